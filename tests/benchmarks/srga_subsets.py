"""Intervals and floors of SRGA on disjoint subsets of one population of photographs: for `coverage.py subsets`.

A population is what a study measured (its Gram matrices), or one drawn from a law. It is cut at random into disjoint subsets of so many
photographs, again and again; each subset is a study of its own. Within a cut, subsets are independent draws from what the population itself
was drawn from, so their sample variance has no finite-population correction; deviations from the population's own mean lack the share that
the subset is of it, and are lengthened by it here.

One population of 35 photographs says little, however often it is cut: the same photographs come again. How much is told by populations of a
known law that are treated in the same way (`coverage.py subsets` without `--study`): the range of their ratios is that of luck.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import srga_worlds
from scipy.stats import f, t

from xlli_ray.stats.subsampling import halves, orders

Array = np.ndarray
SPLITS = 40
REFERENCE = "clean"


@dataclass(frozen=True)
class Population:
    """Gram matrices of the same contents in several sets, of several networks."""

    group: Array
    """int (N,): the photograph of each sample."""
    grams: Mapping[tuple[str, str], Array]
    """(network, set) → float64 (N, N)."""
    pairs: tuple[tuple[str, str], ...]
    """Networks to compare."""

    @property
    def sets(self) -> list[str]:
        return sorted({label for _, label in self.grams if label != REFERENCE})


def measured(folder: Path, pairs: tuple[tuple[str, str], ...], labels: tuple[str, ...]) -> Population:
    """The population of a finished study with a gram stage."""
    import xlli_ray

    study = xlli_ray.open_study(str(folder))
    table = study.sql("select sample_id, label, source_sha from samples order by row").to_pylist()
    names = {model for pair in pairs for model in pair}
    rows = {label: [row["sample_id"] for row in table if row["label"] == label] for label in (REFERENCE, *labels)}
    arrays = {name.split("/")[1]: study.array(name) for name in study.arrays if "gram" in name.split("/")[0]}
    grams = {(model, label): np.asarray(arrays[model].rows(rows[label])) for model in sorted(names) for label in rows}
    _, group = np.unique([row["source_sha"] for row in table if row["label"] == REFERENCE], return_inverse=True)
    return Population(group, grams, pairs)


def drawn(law: srga_worlds.Law, seed: int) -> Population:
    """A population of a law: two networks, one degradation."""
    networks = law.networks(np.random.default_rng([seed, 2]))
    grams = {(name, label): some @ some.T for name, pair in zip("ab", networks) for label, some in zip((REFERENCE, "degraded"), pair)}
    return Population(law.group, grams, (("a", "b"),))


def cuts(
    population: Population, photographs: int, patches: int | None, samples: int, times: int, rng: np.random.Generator
) -> Iterator[list[Array]]:
    """Disjoint subsets, rows ascending, of so many photographs: `patches` patches of each, or all of theirs, cut to `samples` at random."""
    names, counts = np.unique(population.group, return_counts=True)
    names = names[counts >= (patches or 1)]
    for _ in range(times):
        mixed, found = rng.permutation(names), []
        for some in mixed[: len(mixed) // photographs * photographs].reshape(-1, photographs):
            rows = [rng.permutation(np.flatnonzero(population.group == name))[:patches] for name in some]
            together = np.concatenate(rows)
            if len(together) >= samples:
                found.append(np.sort(rng.permutation(together)[:samples]))
        if len(found) > 1:
            yield found


@dataclass(frozen=True)
class Subset:
    """What one subset says: name → (value, half differences (splits,)); divergences of halves of each network's reference; its fits."""

    values: dict[tuple[str, ...], tuple[float, Array]]
    splits: dict[str, Array]
    references: dict[str, tuple[Array, Array]]
    sizes: Array
    """int (photographs,): patches of each."""
    shown: float
    """Share of the variance between photographs that halves show: one that is in both cancels."""


def subset(population: Population, rows: Array, components: int, rng: np.random.Generator) -> Subset:
    group = np.unique(population.group[rows], return_inverse=True)[1]
    cut = np.array([half for order in orders(group, SPLITS, rng) for half in halves(order)])
    count = np.array([np.bincount(group[half], minlength=group.max() + 1) for half in cut])
    sizes = np.bincount(group)
    found: dict[tuple[str, str], tuple[float, Array]] = {}
    values: dict[tuple[str, ...], tuple[float, Array]] = {}
    splits, references = {}, {}
    share = max(1, components * cut.shape[1] // len(rows))
    for model in dict.fromkeys(name for name, _ in population.grams):
        fits = {}
        for label in (REFERENCE, *population.sets):
            gram = population.grams[model, label][np.ix_(rows, rows)]
            fits[label] = srga_worlds.fits(gram[None], components), srga_worlds.fits(srga_worlds.parts(gram, cut), share)
        whole, (sigma, alpha) = fits[REFERENCE]
        references[model] = whole
        splits[model] = srga_worlds.divergences((sigma[::2], alpha[::2]), (sigma[1::2], alpha[1::2])) / 2
        for label in population.sets:
            value, parts = (srga_worlds.indices(srga_worlds.divergences(a, b)) for a, b in zip(fits[REFERENCE], fits[label]))
            found[model, label] = float(value[0]), parts[::2] - parts[1::2]
            values["index", model, label] = found[model, label]
    for one, other in population.pairs:
        for label in population.sets:
            (a, first), (b, second) = found[one, label], found[other, label]
            values["difference", one, other, label] = a - b, first - second
    shown = float(np.mean(((count[::2] - count[1::2]) ** 2).sum(axis=1)) / (sizes**2).sum())
    return Subset(values, splits, references, sizes, shown)


SHAPES = ((8, 6, 48, 12), (8, None, 64, 16), (9, 6, 54, 13), (15, 6, 90, 22), (17, None, 140, 35))
"""(photographs of a subset, patches of each or all, samples, components)."""
UNEVEN = (2, 4, 4, 4, *[6] * 21, 9, 16, 16, 20, 33, 33, 33, 33, 33, 34)
"""Patches of 35 photographs as a corpus of three sizes of images has them."""
LABELS = ("blur1", "blur3", "noise30")
PAIRS = (("nogr-clean", "nogr-blur"), ("gr-clean", "gr-noise"))
"""Sets and networks of `pipelines/srga_x4.yaml`."""


def lines(folders: list[Path], worlds: int) -> Iterator[dict[str, Any]]:
    """Of each finished study of `pipelines/srga_x4.yaml`; without one, of so many worlds of a law, each by itself."""
    laws = (srga_worlds.Law(210, 35, 20), srga_worlds.Law(sum(UNEVEN), 35, 20, uneven=UNEVEN))
    found = [(folder.name, measured(folder, PAIRS, LABELS)) for folder in folders]
    if not folders:
        found = [(f"{'uneven' if law.uneven else 'even'} {seed}", drawn(law, seed)) for law in laws for seed in range(worlds)]
    for name, population in found:
        for photographs, patches, samples, components in SHAPES:
            rng = np.random.default_rng(0)
            cut = [[subset(population, rows, components, rng) for rows in some]
                   for some in cuts(population, photographs, patches, samples, 8, rng)]  # fmt: skip
            if cut:
                yield from ({"of": name, "patches": patches or "all", **line} for line in summary(population, cut))


METHODS = ("halves", "halves, shown", "halves, shown, effective")


def summary(population: Population, cut: list[list[Subset]]) -> Iterator[dict[str, Any]]:
    """One line for indices, one for differences, one for floors."""
    photographs = len(np.unique(population.group))
    everything = [one for some in cut for one in some]
    number = len(everything[0].sizes)
    effective = np.array([one.sizes.sum() ** 2 / (one.sizes**2).sum() for one in everything])
    shown = np.array([one.shown for one in everything])
    about = {"population": photographs, "photographs": number, "effective": float(effective.mean()), "shown": float(shown.mean()),
             "samples": int(everything[0].sizes.sum()), "subsets": len(everything)}  # fmt: skip
    for what in ("index", "difference"):
        names = [name for name in everything[0].values if name[0] == what]
        ratios: dict[str, list[float]] = {method: [] for method in METHODS}
        held: dict[str, list[float]] = {method: [] for method in METHODS}
        for name in names:
            value = np.array([one.values[name][0] for one in everything])
            error = np.array([np.sqrt(np.mean(one.values[name][1] ** 2)) / 2 for one in everything])
            spread = np.sqrt(np.mean([np.var([one.values[name][0] for one in some], ddof=1) for some in cut]))
            away = np.abs(value - value.mean()) / np.sqrt(1 - number / photographs)
            for method in METHODS:
                mine = error if method == "halves" else error / np.sqrt(shown)
                free = effective - 1 if method.endswith("effective") else np.full(len(value), number - 1.0)
                ratios[method].append(float(np.sqrt(np.mean(mine**2)) / spread))
                held[method].append(float(np.mean(away <= t.ppf(0.975, free) * mine)))
        for method in METHODS:
            some = ratios[method]
            yield {**about, "what": what, "error by": method, "error / spread": float(np.median(some)), "from": min(some), "to": max(some),
                   "held": float(np.mean(held[method])), "worst": min(held[method])}  # fmt: skip
    above: dict[str, list[bool]] = {method: [] for method in METHODS}
    for some in cut:
        for i, one in enumerate(some):
            for other in some[:i] + some[i + 1 :]:
                for model in one.references:
                    apart = float(srga_worlds.divergences(one.references[model], other.references[model])[0])
                    for method in METHODS:
                        free = (one.sizes.sum() ** 2 / (one.sizes**2).sum() if method.endswith("effective") else number) - 1
                        mean = one.splits[model].mean() / (1.0 if method == "halves" else one.shown)
                        above[method].append(apart > mean * f.ppf(0.95, 1, free))
    for method in METHODS:
        yield {**about, "what": "floor of other contents", "floor by": method, "exceeded": float(np.mean(above[method]))}
