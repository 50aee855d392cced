"""From arrays over windows to the rows of `faithfulness`, `faithfulness_gains`, `faithfulness_pairs`, `faithfulness_curves`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.analyses.faithfulness.tables import ALL, DELETION_ONLY, INSERTION_ONLY, MORE, NO_MORE, OPEN
from xlli_ray.analyses.faithfulness.trials import CONTROL, NEAREST, RANDOM, Trials, Values
from xlli_ray.stats.intervals import SHARE, Interval
from xlli_ray.stats.network_pairs import compared

CORRELATION = (-1.0, 1.0)
POSITIVE = (0.0, None)
RIVALS = (NEAREST, RANDOM, CONTROL)
_Row = dict[str, Any]


def verdict(deletion: Interval, insertion: Interval) -> str:
    """Whether a map says more than distance: both gains over nearest first have intervals above 0, neither, or one of them."""
    if not (np.isfinite(deletion.low) and np.isfinite(insertion.low)):
        return OPEN
    both = deletion.low > 0, insertion.low > 0
    return {(True, True): MORE, (False, False): NO_MORE, (True, False): DELETION_ONLY, (False, True): INSERTION_ONLY}[both]


def judged(trials: Trials, agreed: dict[str, Values]) -> dict[str, Values]:
    """The values of each window that are compared, by column of `faithfulness`."""
    return {
        "deletion_gain": trials.gain("deletion", NEAREST), "insertion_gain": trials.gain("insertion", NEAREST), "rho": agreed["rho"],
        "beyond": agreed["beyond"], "infidelity_share": trials.numbers["share"],
    }  # fmt: skip


def groups(trials: Trials) -> Iterator[tuple[str, NDArray[np.bool_]]]:
    """Labels with their windows; several of them also together."""
    for label in [*trials.labels, *([ALL] if len(trials.labels) > 1 else [])]:
        yield label, np.ones(len(trials.windows), bool) if label == ALL else trials.label == label


def summary_rows(trials: Trials, values: dict[str, Values]) -> list[_Row]:
    """Rows of `faithfulness`."""
    numbers = trials.numbers
    out = []
    for label, mask in groups(trials):
        gains = [trials.averaged(values[name], mask, difference=True) for name in ("deletion_gain", "insertion_gain")]
        alike = [trials.averaged(values[name], mask, CORRELATION) for name in ("rho", "beyond")]
        share = trials.averaged(numbers["share"], mask, SHARE)
        others = [trials.averaged(some, mask, limits) for some, limits in (
            (numbers["relative"], POSITIVE), (numbers["noise_relative"], POSITIVE), (numbers["completeness"], POSITIVE),
            (numbers["gini"], SHARE), (trials.area("deletion"), POSITIVE), (trials.area("insertion"), POSITIVE),
        )]  # fmt: skip
        for i, (model, method) in enumerate((model, method) for model in trials.models for method in trials.methods):
            deletion, insertion = (some[i] for some in gains)
            if not deletion.photographs:
                continue
            told = verdict(deletion, insertion)
            relative, noise, complete, sparse, gone, come = (some[i].mean for some in others)
            out.append(
                {"model": model, "method": method, "label": label, "images": deletion.photographs, "windows": deletion.values,
                 **_ends("deletion", deletion, "deletion_gain"), **_ends("insertion", insertion, "insertion_gain"),
                 "verdict": told, "flag": told == NO_MORE, **_ends("rho", alike[0][i]), **_ends("beyond", alike[1][i]),
                 "infidelity": relative, **_ends("infidelity_share", share[i]), "noise_infidelity": noise, "completeness": complete,
                 "sparseness": sparse, "deletion_auc": gone, "insertion_auc": come}
            )  # fmt: skip
    return out


def gain_rows(trials: Trials) -> list[_Row]:
    """Rows of `faithfulness_gains`."""
    out = []
    for label, mask in groups(trials):
        for rival in RIVALS:
            both = [trials.averaged(trials.gain(way, rival), mask, difference=True) for way in ("deletion", "insertion")]
            for i, (model, method) in enumerate((model, method) for model in trials.models for method in trials.methods):
                deletion, insertion = (some[i] for some in both)
                if deletion.photographs:
                    out.append({"model": model, "method": method, "label": label, "rival": rival, "images": deletion.photographs,
                                "windows": deletion.values, **_ends("deletion", deletion), **_ends("insertion", insertion)})  # fmt: skip
    return out


def pair_rows(trials: Trials, values: dict[str, Values]) -> list[_Row]:
    """Rows of `faithfulness_pairs`: methods on the same network, all pairs of up to 8, and networks for the same method."""
    models, methods = trials.models, trials.methods
    which = {method: i for i, method in enumerate(methods)}
    rank = {model: i for i, model in enumerate(models)}
    pairs: list[tuple[str, tuple[str, str], tuple[str, str]]] = [
        ("methods", (model, one), (model, other)) for model in models for one, other in compared(methods, most=8)
    ]
    pairs += [("networks", (one, method), (other, method)) for method in methods for one, other in compared(models, most=8)]
    out = []
    for label, mask in groups(trials) if pairs else ():
        for measure, some in values.items():
            apart = np.stack(
                [some[:, rank[a[0]], which[a[1]]] - some[:, rank[b[0]], which[b[1]]] for _, a, b in pairs], axis=1
            )  # fmt: skip
            for (kind, one, other), item in zip(pairs, trials.averaged(apart, mask, difference=True)):
                if item.photographs:
                    out.append({"compared": kind, "model": one[0], "other_model": other[0], "method": one[1], "other_method": other[1],
                                "label": label, "measure": measure, "images": item.photographs, "windows": item.values,
                                "difference": item.mean, "low": item.low, "high": item.high})  # fmt: skip
    return out


def curve_rows(trials: Trials) -> list[_Row]:
    """Rows of `faithfulness_curves`: all degradations together, with both ends, which are 0 and 1 for every order."""
    everything, count = np.ones(len(trials.windows), bool), len(trials.percent)
    out = []
    for order in [*trials.methods, NEAREST, RANDOM]:
        both = [trials.averaged(trials.curve(way, order), everything) for way in ("deletion", "insertion")]
        for m, model in enumerate(trials.models):
            gone, come = (some[m * count : (m + 1) * count] for some in both)
            if not gone[0].photographs:
                continue
            ends = ((0.0, 0.0, 1.0), *((float(p), a.mean, b.mean) for p, a, b in zip(trials.percent, gone, come)), (100.0, 1.0, 0.0))
            about = {"model": model, "order": order, "images": gone[0].photographs}
            out += [{**about, "percent": percent, "deletion": first, "insertion": second} for percent, first, second in ends]
    return out


def window_rows(trials: Trials, values: dict[str, Values], agreed: dict[str, Values]) -> list[_Row]:
    """Rows of `faithfulness_windows`."""
    shown = {**values, "methods_rho": agreed["methods_rho"]}
    out = []
    for m, model in enumerate(trials.models):
        for k, method in enumerate(trials.methods):
            known = np.isfinite(np.stack([some[:, m, k] for some in shown.values()])).any(axis=0)
            for i in np.flatnonzero(known).tolist():
                row, window = trials.windows[i, :2].tolist()
                out.append({"model": model, "method": method, "sample_id": trials.sample_id[i], "row": row, "window": window,
                            **{name: float(some[i, m, k]) for name, some in shown.items()}})  # fmt: skip
    return out


def least_agreed(trials: Trials, methods_rho: Values, number: int) -> list[tuple[str, int]]:
    """(network, index of the window) where the maps of the methods agree least, each of another image where there are enough."""
    with np.errstate(invalid="ignore"):
        seen = np.isfinite(methods_rho)
        means = np.divide(np.where(seen, methods_rho, 0).sum(2), seen.sum(2), out=np.full(seen.shape[:2], np.nan), where=seen.any(2))
    order = [(i, m) for i, m in np.argwhere(np.isfinite(means)).tolist()]
    order.sort(key=lambda place: (means[place], *place))
    chosen: list[tuple[int, int]] = []
    for fresh in (True, False):
        images = {int(trials.image[i]) for i, _ in chosen}
        for place in order:
            if len(chosen) < number and place not in chosen and not (fresh and int(trials.image[place[0]]) in images):
                chosen.append(place)
                images.add(int(trials.image[place[0]]))
    return [(trials.models[m], i) for i, m in chosen]


def _ends(name: str, item: Interval, mean: str = "") -> _Row:
    return {mean or name: item.mean, f"{name}_low": item.low, f"{name}_high": item.high}
