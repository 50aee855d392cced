"""All sets of a study: each subset of the photographs under each degradation, and κ of it.

`measure_sets` is what other analyses call that set κ beside what networks show.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from xlli_ray.analyses.complexity_summary.clouds import Samples, Subset
from xlli_ray.analyses.complexity_summary.learning import Learner
from xlli_ray.analyses.complexity_summary.pairs import Pair
from xlli_ray.analyses.complexity_summary.params import Params
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, counted

FEW = 10
"""Photographs fewer than this: intervals are wide."""
_Row = dict[str, Any]


@dataclass
class Found:
    """Rows of `complexity_sets` and `complexity_kappa`, and what must be said of them."""

    sets: list[_Row] = field(default_factory=list)
    kappas: list[_Row] = field(default_factory=list)
    flags: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def measure_sets(view: View, params: Params, seed: int) -> Found:
    """Measure what the `complexity` cell among the view's inputs stored. Raises AnalysisError when nothing can be said."""
    samples = Samples(view, next(cell for cell in view.cells if cell.kind == "complexity"))
    patches = samples.stored("patches")
    learner = Learner(samples.stored("crop"), params.prequential, seed, params.level) if params.prequential else None
    found, without = Found(), []
    for subset in samples.subsets(params):
        for label in samples.labels:
            pair = Pair(patches, label, subset, params, seed)
            pair.measure()
            found.sets += pair.set_rows()
            found.kappas += (rows := list(pair.kappa_rows()))
            without += [label] if not rows and subset.count is None else []
            if learner is not None:
                more_sets, more_kappas = learner.rows(label, subset)
                found.sets += more_sets
                found.kappas += more_kappas
        found.flags += _few(subset)
    if not found.sets:
        raise AnalysisError("complexity_summary: no sample has enough patches with a contrast of one grey level: the images are flat")
    if without:
        found.notes.append(f"No residual, or a flat one, and no κ: {', '.join(without)}.")
    return found


def _few(subset: Subset) -> Iterator[str]:
    if len(subset.photographs) < FEW:
        yield f"set {subset.name}: {counted(len(subset.photographs), 'photograph')}; intervals over fewer than {FEW} are wide"
