"""Does relative complexity predict the gap? κ of training sets against Δρ of the networks trained on them.

The thesis of J. Gu et al., NeurIPS 2023, and of arXiv 2502.12600: a network learns whichever of rain and background is simpler. With κ =
log(complexity of the rain / complexity of the backgrounds), κ < 0 predicts that the rain is fitted, so that ρ falls on unseen rain, and
κ > 0 that the image is learned. Over a grid of trainings: Spearman's ρ of κ and Δρ (below 0 if the thesis holds), and the share of points
where the sign of κ predicts whether Δρ exceeds `fits`. Both have a permutation null: the κ are exchanged between points. The κ come from
the analysis `complexity` of another study, over the training sets (table `complexity_kappa`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.derain_summary.gaps import FITS, OPEN
from xlli_ray.analyses.derain_summary.measures import Measures, text
from xlli_ray.analyses.derain_summary.params import Kappa
from xlli_ray.errors import AnalysisError
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.rank import permutation_p, spearman

LEARNS = "learns the image"
EXCHANGES = 9999
_OWN = ("kappa", "kappa_low", "kappa_high", "set")
_Row = dict[str, Any]


def kappa_rows(measures: Measures, gaps: Sequence[_Row]) -> list[_Row]:
    """Rows of `derain_kappa`: groups that a row of κ belongs to, under each unseen rain. Raises AnalysisError where none does."""
    if measures.params.kappa is None:
        return []
    if isinstance(measures.params.kappa, str):
        raise AnalysisError(f"kappa: {measures.params.kappa} was not read into the recipe; run the recipe, not a copy of its parameters")
    own = {group: found for group, tags in measures.tags.items() if (found := _kappa_of(group, tags, measures.params.kappa)) is not None}
    if not own:
        first = measures.params.kappa[0] if measures.params.kappa else None
        raise AnalysisError(
            f"kappa: none of its rows belongs to a group of networks ({', '.join(measures.tags)}). A row belongs to the group whose tags "
            f"its columns name, or whose name or tag its `set` is; the first row: {first}"
        )
    out = []
    for row in gaps:
        if row["group"] in own:
            found = own[row["group"]]
            out.append(
                {"group": row["group"], "unseen": row["unseen"], "kappa": found.kappa, "kappa_low": found.kappa_low,
                 "kappa_high": found.kappa_high, "gap": row["gap"], "gap_low": row["gap_low"], "gap_high": row["gap_high"],
                 "predicted": predicted(found), "observed": FITS if row["gap"] > measures.params.fits else LEARNS}
            )  # fmt: skip
    return out


def _kappa_of(group: str, tags: Mapping[str, Any], rows: Sequence[Kappa]) -> Kappa | None:
    """The row of a group: its columns that are tags agree with the group's, or its `set` names it."""
    for row in rows:
        named = {name: value for name, value in (row.model_extra or {}).items() if name in tags and name not in _OWN}
        agrees = all(text(value) == text(tags[name]) for name, value in named.items())
        if (named and agrees) or (not named and row.set and row.set in (group, *map(text, tags.values()))):
            return row
    return None


def predicted(row: Kappa) -> str:
    """By the interval of κ where it has one, else by its sign."""
    low = row.kappa if row.kappa_low is None else row.kappa_low
    high = row.kappa if row.kappa_high is None else row.kappa_high
    return FITS if high < 0 else LEARNS if low > 0 else OPEN


def association_rows(rows: Sequence[_Row], seed: int) -> list[_Row]:
    """Rows of `derain_kappa_tests`."""
    out = []
    for label in dict.fromkeys(row["unseen"] for row in rows):
        mine = [row for row in rows if row["unseen"] == label]
        kappa, gap = (np.array([row[name] for row in mine], np.float64) for name in ("kappa", "gap"))
        p = permutation_p(kappa, gap, generator(seed, "kappa", label)) if len(mine) > 2 else float("nan")
        sure = [row for row in mine if row["predicted"] != OPEN]
        wrong = np.array([row["predicted"] == FITS for row in sure]), np.array([row["observed"] == FITS for row in sure])
        accuracy, null, accuracy_p = sign_accuracy(*wrong, generator(seed, "signs", label))
        out.append(
            {"unseen": label, "points": len(mine), "rho": spearman(kappa, gap), "p": p, "decided": len(sure), "accuracy": accuracy,
             "null_accuracy": null, "accuracy_p": accuracy_p}
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
