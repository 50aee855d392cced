"""Does relative complexity predict the gap? κ of training sets against Δρ of the networks trained on them.

The thesis of J. Gu et al., NeurIPS 2023, and of arXiv 2502.12600: a network learns whichever of rain and background is simpler. With κ =
log(complexity of the rain / complexity of the backgrounds), κ < 0 predicts that the rain is fitted, so that ρ falls on unseen rain, and
κ > 0 that the image is learned. Over a grid of trainings: Spearman's ρ of κ and Δρ (below 0 if the thesis holds), and the share of points
where the sign of κ predicts whether Δρ exceeds `fits`. Both have a permutation null: the κ are exchanged between points. The κ come from
the analysis `complexity_summary` of another study, over the training sets (table `complexity_kappa`), one for each measure of complexity.

A row belongs to a group when all of its columns that are tags of the group agree (`count`), its `seed` is one of the group's trainings, and
its `degradation` is a label that the group was trained on, or the value of one of its tags. Of the rows that do, those that say most are
averaged, over seeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.derain_summary.gaps import FITS, OPEN
from xlli_ray.analyses.derain_summary.measures import Measures, text
from xlli_ray.analyses.derain_summary.params import Kappa
from xlli_ray.analyses.shared.replicates import Group
from xlli_ray.errors import AnalysisError
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.rank import permutation_p, spearman

LEARNS = "learns the image"
EXCHANGES = 9999
DEGRADATION, MEASURE = "degradation", "measure"
CHEAP = "k95"
"""The measure that the others are compared with."""
_Row = dict[str, Any]


def kappa_rows(measures: Measures, gaps: Sequence[_Row]) -> list[_Row]:
    """Rows of `derain_kappa`: each measure's κ of each group that has one, under each unseen rain. AnalysisError where no group has any."""
    given = measures.params.kappa
    if given is None:
        return []
    if isinstance(given, str):
        raise AnalysisError(f"kappa: {given} was not read into the recipe; run the recipe, not a copy of its parameters")
    kinds = list(dict.fromkeys(map(_measure, given)))
    own = {(group.name, kind): found for group in measures.groups for kind in kinds
           if (found := _kappa_of(measures, group, [row for row in given if _measure(row) == kind])) is not None}  # fmt: skip
    if not own:
        raise AnalysisError(
            f"kappa: none of its rows belongs to a group of networks ({', '.join(measures.tags)}). A row belongs to the group whose tags "
            f"its columns name, or whose name or tag its `set` is; the first row: {given[0] if given else None}"
        )
    out = []
    for kind in kinds:
        for row in gaps:
            if (found := own.get((row["group"], kind))) is not None:
                observed = FITS if row["gap"] > measures.params.fits else LEARNS
                out.append(
                    {name: row[name] for name in ("group", "unseen", "gap", "gap_low", "gap_high")}
                    | {"measure": kind, "kappa": found.kappa, "kappa_low": found.kappa_low, "kappa_high": found.kappa_high}
                    | {"predicted": predicted(found), "observed": observed}
                )
    return out


def _measure(row: Kappa) -> str:
    return str((row.model_extra or {}).get(MEASURE, ""))


def _kappa_of(measures: Measures, group: Group, rows: Sequence[Kappa]) -> Kappa | None:
    """The mean of the rows that belong to a group and say most; None where none does."""
    scored = [(_agreement(measures, group, row), row) for row in rows]
    most = max((score for score, _ in scored), default=0)
    if not most:
        return None
    chosen = [row for score, row in scored if score == most]
    return Kappa(
        kappa=float(np.mean([row.kappa for row in chosen])),
        kappa_low=_mean([row.kappa_low for row in chosen]), kappa_high=_mean([row.kappa_high for row in chosen]),
    )  # fmt: skip


def _mean(ends: Sequence[float | None]) -> float | None:
    known = [end for end in ends if end is not None]
    return float(np.mean(known)) if len(known) == len(ends) else None


def _agreement(measures: Measures, group: Group, row: Kappa) -> int:
    """How many of a row's columns name this group; 0 where one names another."""
    tags, score = measures.tags[group.name], 0
    values = [*map(text, tags.values())]
    for name, value in (row.model_extra or {}).items():
        if name in tags:
            agrees = text(value) == text(tags[name])
        elif name == measures.params.replicate:
            agrees = text(value) in {text(replicate) for _, replicate in group.members}
        elif name == DEGRADATION:
            agrees = text(value) in (*measures.rain[group.name].seen, *values)
        else:
            continue
        if not agrees:
            return 0
        score += 1
    return score or int(bool(row.set) and row.set in (group.name, *values))


def predicted(row: Kappa) -> str:
    """By the interval of κ where it has one, else by its sign."""
    low = row.kappa if row.kappa_low is None else row.kappa_low
    high = row.kappa if row.kappa_high is None else row.kappa_high
    return FITS if high < 0 else LEARNS if low > 0 else OPEN


def association_rows(rows: Sequence[_Row], seed: int) -> list[_Row]:
    """Rows of `derain_kappa_tests`."""
    out = []
    for label, kind in dict.fromkeys((row["unseen"], row["measure"]) for row in rows):
        mine = [row for row in rows if (row["unseen"], row["measure"]) == (label, kind)]
        cheap = {row["group"]: row["kappa"] for row in rows if (row["unseen"], row["measure"]) == (label, CHEAP)}
        both = np.array([(row["kappa"], cheap[row["group"]]) for row in mine if row["group"] in cheap], np.float64).reshape(-1, 2)
        kappa, gap = (np.array([row[name] for row in mine], np.float64) for name in ("kappa", "gap"))
        p = permutation_p(kappa, gap, generator(seed, "kappa", label, kind)) if len(mine) > 2 else float("nan")
        sure = [row for row in mine if row["predicted"] != OPEN]
        predicts, observed = (np.array([row[name] == FITS for row in sure], bool) for name in ("predicted", "observed"))
        accuracy, null, accuracy_p = sign_accuracy(predicts, observed, generator(seed, "signs", label, kind))
        out.append(
            {"unseen": label, "measure": kind, "points": len(mine), "rho": spearman(kappa, gap), "p": p,
             "rho_k95": spearman(both[:, 0], both[:, 1]), "decided": len(sure), "accuracy": accuracy, "null_accuracy": null,
             "accuracy_p": accuracy_p}
        )  # fmt: skip
    return out


def sign_accuracy(predicts: np.ndarray, observed: np.ndarray, rng: np.random.Generator) -> tuple[float, float, float]:
    """(share of agreement, its mean under exchange, share of exchanges that agree as often or more). bool (points,); NaN without any.

    Where all predictions, or all observations, are the same, exchanging changes nothing, and the last is 1: the grid says nothing.
    """
    if not len(predicts):
        return float("nan"), float("nan"), float("nan")
    accuracy = float((predicts == observed).mean())
    orders = rng.permuted(np.tile(np.arange(len(predicts)), (EXCHANGES, 1)), axis=1)
    null = (predicts[orders] == observed).mean(axis=1)
    return accuracy, float(null.mean()), float(((null >= accuracy - 1e-12).sum() + 1) / (EXCHANGES + 1))
