"""How often intervals hold the truth, by simulation: seeded, one JSON line a case.

    python tests/benchmarks/coverage.py means          # five methods for means over photographs
    python tests/benchmarks/coverage.py differences    # two equal networks: how often they are told apart
    python tests/benchmarks/coverage.py srga           # index, paired differences, equal networks, floor of other contents
    python tests/benchmarks/coverage.py crossed        # over trainings and photographs: means, gaps, ratios, groups
    python tests/benchmarks/coverage.py pooled         # logarithms of pooled errors over clips: jackknife against bootstrap
    python tests/benchmarks/coverage.py subsets        # the same on disjoint subsets of worlds of a law, or of `--study` FOLDER …

`hall` is what the package does (`stats.intervals`); the others are what was tried: Student's t, t on the scale of a logarithm or logit
about the mean, bootstrap-t, and BCa with expanded percentiles (B. Efron, R. Tibshirani 1993, ch. 12 and 14; T. Hesterberg 2015). What came
of it: docs/decisions/009-intervals.md.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import f, norm, t

sys.path.append(str(Path(__file__).parents[1] / "stats"))
import srga_subsets
import srga_worlds
from quantities import QUANTITIES, STRESS, Quantity, differences, means

from xlli_ray.stats import bootstrap, crossed, pooled
from xlli_ray.stats.intervals import Limits, intervals
from xlli_ray.stats.subsampling import halves, orders, standard_error

Ends = tuple[np.ndarray, np.ndarray]
DRAWS = 1000
PHOTOGRAPHS = (3, 5, 8, 12, 20, 40, 100)
PATCHES = ((1, 0.5), (4, 0.3), (8, 0.6), (0, 0.45))
"""(patches a photograph, correlation within it); 0: unequal, 1 to 16."""


def hall(values: np.ndarray, limits: Limits) -> Ends:
    found = intervals(values, limits=limits)
    return np.array([item.low for item in found]), np.array([item.high for item in found])


def plain_t(values: np.ndarray, _: Limits) -> Ends:
    found = intervals(values, difference=True)
    return np.array([item.low for item in found]), np.array([item.high for item in found])


def on_a_scale(values: np.ndarray, limits: Limits) -> Ends:
    """t by the delta method: logit between two limits, logarithm above one."""
    low, high = limits
    mean, reach = values.mean(axis=0), t.ppf(0.975, len(values) - 1) * values.std(axis=0, ddof=1) / np.sqrt(len(values))
    if low is None:
        return mean - reach, mean + reach
    if high is None:
        return mean * np.exp(-reach / mean), mean * np.exp(reach / mean)
    middle, half = np.log((mean - low) / (high - mean)), reach * (high - low) / ((mean - low) * (high - mean))
    return tuple(low + (high - low) / (1 + np.exp(-(middle + sign * half))) for sign in (-1, 1))  # type: ignore[return-value]


def bootstrap_t(values: np.ndarray, _: Limits) -> Ends:
    count = len(values)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS).astype(float)
    mean = values.mean(axis=0)
    away = values - mean
    moved = draws @ away / count
    error = np.sqrt(np.maximum(draws @ away**2 / count - moved**2, 1e-300) / (count - 1))
    high, low = np.quantile(moved / error, [0.025, 0.975], axis=0)
    own = values.std(axis=0, ddof=1) / np.sqrt(count)
    return mean - low * own, mean - high * own


def expanded_bca(values: np.ndarray, _: Limits) -> Ends:
    count = len(values)
    draws = np.random.default_rng(0).multinomial(count, np.full(count, 1 / count), DRAWS).astype(float)
    mean, drawn = values.mean(axis=0), np.sort(draws @ values / count, axis=0)
    bias = norm.ppf(np.clip(((drawn < mean).mean(axis=0) + (drawn <= mean).mean(axis=0)) / 2, 1 / DRAWS, 1 - 1 / DRAWS))
    away = values - mean
    bend = (away**3).sum(axis=0) / (6 * (away**2).sum(axis=0) ** 1.5)
    out = []
    for sign in (-1, 1):
        z = bias + sign * np.sqrt(count / (count - 1)) * t.ppf(0.975, count - 1)
        place = (norm.cdf(bias + z / (1 - bend * z)) * DRAWS).astype(int).clip(0, DRAWS - 1)
        out.append(np.take_along_axis(drawn, place[None], axis=0)[0])
    return out[0], out[1]


METHODS: dict[str, Callable[[np.ndarray, Limits], Ends]] = {
    "hall": hall, "t": plain_t, "t on a scale": on_a_scale, "bootstrap-t": bootstrap_t, "expanded BCa": expanded_bca,
}  # fmt: skip


def cases(studies: int, draw: Callable[..., np.ndarray]) -> Iterator[tuple[dict[str, Any], Quantity, np.ndarray]]:
    for name, quantity in (QUANTITIES | STRESS).items():
        for photographs in PHOTOGRAPHS:
            for patches, alike in PATCHES if draw is means else PATCHES[:3]:
                rng = np.random.default_rng([photographs, patches])
                about = {"quantity": name, "photographs": photographs, "patches": patches or "1–16", "alike": alike}
                yield about, quantity, draw(rng, quantity, studies, photographs, patches, alike)


def of_means(studies: int) -> Iterator[dict[str, Any]]:
    for about, quantity, values in cases(studies, means):
        truth = quantity.mean
        for name, method in METHODS.items():
            if name in ("bootstrap-t", "expanded BCa") and about["photographs"] > 40:
                continue
            with np.errstate(all="ignore"):
                low, high = method(values, quantity.limits)
            yield {**about, "method": name, "held": float(((low <= truth) & (truth <= high)).mean()), "above": float((low > truth).mean()),
                   "below": float((high < truth).mean()), "length": float(np.nanmedian(high - low) / abs(truth or 1.0))}  # fmt: skip


def of_differences(studies: int) -> Iterator[dict[str, Any]]:
    for about, _, values in cases(studies, differences):
        for name, method in (("t", plain_t), ("hall", hall)):
            low, high = method(values, (None, None))
            yield {**about, "method": name, "told apart": float(((low > 0) | (high < 0)).mean())}


SPREADS = {"seeds and photographs": (0.03, 0.08), "photographs only": (0.0, 0.08), "seeds only": (0.05, 0.0), "rest only": (0.0, 0.0)}
"""Standard deviations of trainings and of photographs, of ρ; the rest has 0.02."""


def of_crossed(studies: int) -> Iterator[dict[str, Any]]:
    """ρ on seen and unseen rain, and a second group of networks on the same photographs; photographs are skewed where it is said."""
    for name, (training, photograph) in SPREADS.items():
        for trainings in (1, 3, 5, 10):
            for photographs in (5, 8, 14, 40):
                for skewed in (False, True):
                    rng = np.random.default_rng([trainings, photographs, skewed])
                    about = {"what varies": name, "trainings": trainings, "photographs": photographs, "skewed": skewed}
                    yield from _crossed_case(rng, studies, about, training if trainings > 1 else 0.0, photograph)


def _crossed_case(
    rng: np.random.Generator, studies: int, about: dict[str, Any], training: float, photograph: float
) -> Iterator[dict[str, Any]]:
    trainings, photographs = about["trainings"], about["photographs"]

    def images() -> np.ndarray:
        drawn = rng.normal(0, 1, photographs)
        return photograph * ((np.exp(0.8 * drawn) - np.exp(0.32)) / 1.3 if about["skewed"] else drawn)

    def values(level: float, shared: np.ndarray) -> np.ndarray:
        rest = rng.normal(0, 0.02, (trainings, photographs))
        return level + rng.normal(0, training, (trainings, 1)) + shared + images() / 2 + rest

    held: dict[str, list[bool]] = {}
    lengths: dict[str, list[float]] = {}
    for _ in range(studies):
        shared = images()
        seen, unseen, others = values(0.95, shared), values(0.7, shared), values(0.7, shared)
        found = {
            "mean": (crossed.mean(seen), 0.95), "gap": (crossed.difference(seen, unseen), 0.25),
            "gap, other photographs": (crossed.difference(seen, values(0.7, images()), common_photographs=False), 0.25),
            "ratio": (crossed.ratio(unseen, seen), 0.7 / 0.95),
            "equal groups": (crossed.difference(unseen, others, common_trainings=False), 0.0),
        }  # fmt: skip
        for what, (one, truth) in found.items():
            held.setdefault(what, []).append(one.low <= truth <= one.high)
            lengths.setdefault(what, []).append(one.high - one.low)
    for what, some in held.items():
        yield {**about, "what": what, "held": float(np.mean(some)), "length": float(np.median(lengths[what]))}


def of_pooled(studies: int) -> Iterator[dict[str, Any]]:
    """Pooled errors of one group, and the difference of two on the same clips; clips differ in pixels, and in how hard they are."""
    for trainings in (1, 3):
        for clips in (3, 4, 5, 8, 14, 40):
            for uneven in (0.0, 0.7, 1.4):
                rng = np.random.default_rng([trainings, clips, int(10 * uneven)])
                about = {"trainings": trainings, "clips": clips, "uneven": uneven}
                yield from _pooled_case(rng, studies, about)


HARD, APART, TRAINED, REST = 0.7, 0.15, 0.05, 0.02
"""Standard deviations of log squared errors: of clips, of what two groups differ by on a clip, of trainings, of the rest."""


def _pooled_case(rng: np.random.Generator, studies: int, about: dict[str, Any]) -> Iterator[dict[str, Any]]:
    trainings, clips, uneven = about["trainings"], about["clips"], about["uneven"]
    held: dict[str, list[bool]] = {}
    lengths: dict[str, list[float]] = {}

    def note(what: str, low: float, high: float, truth: float) -> None:
        held.setdefault(what, []).append(low <= truth <= high)
        lengths.setdefault(what, []).append(high - low)

    for _ in range(studies):
        size = rng.normal(0, 1, clips)
        counts = np.exp(uneven * size - uneven**2 / 2)
        hard = HARD * (0.5 * size + np.sqrt(0.75) * rng.normal(0, 1, clips))  # clips with more motion are harder
        errors = []
        for level in (0.0, -0.2):
            own = rng.normal(0, APART, clips)
            spread = (rng.normal(0, TRAINED, (trainings, 1)) if trainings > 1 else 0.0) + rng.normal(0, REST, (trainings, clips))
            errors.append(counts * np.exp(level + hard + own + spread))
        # of n, mean 1, and of n exp(hard + own + rest): log of its mean
        truth = 0.5 * uneven * HARD + (HARD**2 + APART**2 + REST**2) / 2
        values = [pooled.pseudo_values(some, counts) for some in errors]
        one, two = crossed.mean(values[0]), crossed.difference(values[0], values[1])
        note("mean", one.low, one.high, truth)
        note("difference", two.low, two.high, 0.2)
        if trainings == 1 and clips >= 3:
            draws = bootstrap.resample(clips, DRAWS, rng)
            means = [np.log((draws @ some[0]) / (draws @ counts)) for some in errors]
            for what, found, right in (("mean, bootstrap", means[0], truth), ("difference, bootstrap", means[0] - means[1], 0.2)):
                low, high = np.percentile(found, [2.5, 97.5])
                note(what, float(low), float(high), right)
    for what, some in held.items():
        yield {**about, "what": what, "held": float(np.mean(some)), "length": float(np.median(lengths[what]))}


LAWS = (
    srga_worlds.Law(60, 15, 20), srga_worlds.Law(60, 60, 20), srga_worlds.Law(60, 30, 20), srga_worlds.Law(64, 8, 20),
    srga_worlds.Law(60, 20, 40, power=0.4, alike=0.7), srga_worlds.Law(60, 20, 20, amount=0.4, power=1.2),
    srga_worlds.Law(96, 24, 40, amount=0.1, alike=0.3),
)  # fmt: skip
SPLITS = 40


def of_srga(studies: int) -> Iterator[dict[str, Any]]:
    """What intervals and floors of SRGA claim, against what many studies of one law show."""
    for law in LAWS:
        srga_worlds.check(law)
        found = [_srga_study(law, seed) for seed in range(studies)]
        about = {"samples": law.samples, "photographs": law.photographs, "components": law.components, "power": law.power,
                 "alike": law.alike, "amount": law.amount}  # fmt: skip
        quantile = t.ppf(0.975, law.photographs - 1)
        for name in ("index", "difference", "difference of equals"):
            values = np.array([study[name][0] for study in found])
            for place, how in enumerate(("halves, k/2", "halves, k", "three quarters, k"), 1):
                errors = np.array([study[name][place] for study in found])
                reach = errors * (quantile if how.startswith("halves") else t.ppf(0.975, SPLITS - 1))
                truth = 0.0 if name == "difference of equals" else values.mean()
                yield {**about, "what": name, "error by": how, "mean": float(values.mean()), "spread": float(values.std(ddof=1)),
                       "error / spread": float(np.sqrt(np.mean(errors**2)) / values.std(ddof=1)),
                       "held": float(np.mean(np.abs(values - truth) <= reach)), "length": float(np.median(2 * reach))}  # fmt: skip
        other, splits = (np.array([study[name] for study in found]) for name in ("other contents", "splits"))
        ratio = other / splits.mean(axis=1)
        above = {f"F({ends}, G − 1)": ratio > f.ppf(0.95, ends, law.photographs - 1) for ends in (1, 2)}
        above |= {f"95 % quantile of {some} splits": other > np.quantile(splits[:, :some], 0.95, axis=1) for some in (20, SPLITS)}
        for how, which in above.items():
            yield {**about, "what": "floor of other contents", "floor by": how, "exceeded": float(which.mean()),
                   "mean ratio": float(ratio.mean())}  # fmt: skip


def _srga_study(law: srga_worlds.Law, seed: int) -> dict[str, Any]:
    out: dict[str, Any] = {}
    drawn = orders(law.group, SPLITS, np.random.default_rng([seed, 1]))
    cut = np.array([half for order in drawn for half in halves(order)])
    quarters = np.sort(drawn[:, : 3 * law.samples // 4], axis=1)
    shares = ((np.arange(law.samples)[None], law.components), (cut, law.share(cut.shape[1])), (cut, law.kept(cut.shape[1])),
              (quarters, law.kept(quarters.shape[1])))  # fmt: skip
    for name, more in (("difference", 1.15), ("difference of equals", 1.0)):
        networks = law.networks(np.random.default_rng([seed, 2]), more)
        found = []
        for pair in networks:
            made = [[srga_worlds.fits(srga_worlds.parts(gram, chosen), components) for chosen, components in shares]
                    for gram in (some @ some.T for some in pair)]  # fmt: skip
            found.append([srga_worlds.indices(srga_worlds.divergences(a, b)) for a, b in zip(*made)])
            if name == "difference" and pair is networks[0]:
                whole, (sigma, alpha), *_ = made[0]
                out["splits"] = srga_worlds.divergences((sigma[::2], alpha[::2]), (sigma[1::2], alpha[1::2])) / 2
        if name == "difference":
            out["index"] = _errors(found[0])
            stranger = law.networks(np.random.default_rng([seed, 3]), more)[0][0]
            strange = srga_worlds.fits((stranger @ stranger.T)[None], law.components)
            out["other contents"] = float(srga_worlds.divergences(whole, strange)[0])
        out[name] = _errors([a - b for a, b in zip(*found)])
    return out


def _errors(found: list[np.ndarray]) -> tuple[float, ...]:
    """A statistic of all samples, its errors by halves, and that by subsamples of three quarters."""
    whole, *splits, quarters = found
    return float(whole[0]), *(standard_error(split[::2] - split[1::2]) for split in splits), float(quarters.std(ddof=1) * np.sqrt(3))


MODES: dict[str, tuple[Callable[[int], Iterator[dict[str, Any]]], int]] = {
    "means": (of_means, 4000), "differences": (of_differences, 4000), "crossed": (of_crossed, 1000), "pooled": (of_pooled, 1000),
    "srga": (of_srga, 400),
    "subsets": (lambda worlds: srga_subsets.lines(asked.study, worlds), 40),
}  # fmt: skip

if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=MODES)
    parser.add_argument("--studies", type=int, help="simulated studies of each case")
    parser.add_argument("--study", type=Path, nargs="*", default=[], help="subsets: finished studies of pipelines/srga_x4.yaml")
    asked = parser.parse_args()
    run, usual = MODES[asked.what]
    for line in run(asked.studies or usual):
        print(json.dumps({key: round(value, 4) if isinstance(value, float) else value for key, value in line.items()}, ensure_ascii=False),
              flush=True)  # fmt: skip
