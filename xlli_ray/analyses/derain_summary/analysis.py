"""Derain summary: did the networks learn the image or the rain?

J. Gu et al., "Networks are Slacking Off: Understanding Generalization Problem in Image Deraining", NeurIPS 2023 (arXiv 2305.15134), and
their successor, arXiv 2502.12600: a network that learned to remove one kind of rain leaves other rain in place, more so the *more* images
it was trained on, while the error of the background falls, and PSNR follows the latter. So removal ρ, damage D⊥ and background error E_B
are said apart, for rain that a network was trained on and for rain that it has not seen; the gap is Δρ = ρ seen − ρ unseen, beside the
ratio, since ρ on seen rain changes, too. E_R stands beside the others or nowhere (`stats.deraining`). The same works for noise and blur.

Which rain a network has seen is said by a tag that names a label of the corpus (`trained_on: light` beside inputs labelled `light`), or by
`seen`. Networks alike in the tags of `by` are a group, `replicate` tells its trainings apart; without `by` each network is a group.
Intervals are over trainings *and* backgrounds (`stats.crossed`), a background being a clean image with all its rains, patches and files
(Rain100 has nine twice). A gap whose interval lies above `fits` is the verdict `fits the rain`; what else would explain it is checked and
printed beside it: under-fitting, corruption, an inflated E_R.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from xlli_ray.analyses.analysis import Result, Table, cells_of, whole
from xlli_ray.analyses.derain_summary.params import Params
from xlli_ray.analyses.derain_summary.tables import TABLES
from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import PlanError, closest
from xlli_ray.store.records.manifest import Cell, SampleTable


class DerainSummary:
    """Removal and damage on seen and unseen rain. Writes `derain_summary`, `derain_gaps`, `derain_differences`, `derain_kappa`,
    `derain_kappa_tests`."""

    KIND: ClassVar[str] = "derain_summary"
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = (
        "Gu et al., NeurIPS 2023, arXiv 2305.15134; arXiv 2502.12600; Zou and Donner, Statistics in Medicine 27, 2008 (intervals)"
    )
    TABLES: ClassVar[tuple[Table, ...]] = TABLES
    HEADLINE: ClassVar[tuple[str, tuple[str, ...]]] = (
        "derain_summary", ("group", "label", "rain", "backgrounds", "rho", "d_perp", "e_background", "psnr_y"),
    )  # fmt: skip
    Params: ClassVar[type[BaseModel]] = Params

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        assert isinstance(params, Params)
        return [cell.id for cell in cells_of(cells, params.of, "derain", asked_by="derain_summary.of")]

    @classmethod
    def check(cls, params: BaseModel, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
        """See `analyses.analysis.Checking`: labels that no sample has."""
        assert isinstance(params, Params)
        named = params.seen if isinstance(params.seen, list) else []
        if isinstance(params.seen, dict):
            named = [label for labels in params.seen.values() for some in labels.values() for label in some]
        for field, labels in (("seen", named), ("unseen", params.unseen or [])):
            for label in labels:
                if label not in samples.labels:
                    near = closest(label, samples.labels, n=1)
                    hint = f"did you mean {near[0]!r}? " if near else ""
                    raise PlanError(
                        f"derain_summary.{field}: no sample has the label {label!r}: {hint}Labels: {', '.join(samples.labels)}"
                    )
        if params.along is not None and params.along not in params.by:
            raise PlanError(f"derain_summary.along: {params.along!r} is not in `by` ({', '.join(params.by) or 'empty'}): add it")
        return []

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """See `analyses.analysis.Telling`."""
        from xlli_ray.analyses.derain_summary.findings import findings

        return findings(outcome)

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        from xlli_ray.analyses.derain_summary import figures as draw
        from xlli_ray.analyses.derain_summary import gaps
        from xlli_ray.analyses.derain_summary.kappa import association_rows, kappa_rows
        from xlli_ray.analyses.derain_summary.measures import Measures

        assert isinstance(params, Params)
        measures = Measures(view, params)
        summary, apart = gaps.summary_rows(measures), gaps.gap_rows(measures)
        points = kappa_rows(measures, apart)
        rows = {"derain_summary": summary, "derain_gaps": apart, "derain_differences": gaps.difference_rows(measures),
                "derain_kappa": points, "derain_kappa_tests": association_rows(points, seed)}  # fmt: skip
        figures = [
            *draw.removal(measures, summary), *draw.gaps(measures, apart), *draw.along(measures, summary, apart), *draw.kappa(points),
        ]  # fmt: skip
        return Result(
            {table.name: whole(rows[table.name], table.columns) for table in TABLES},
            figures,
            _values(summary, apart),
            gaps.flags(measures, summary, apart),
            gaps.notes(measures, summary),
        )


def _values(summary: Sequence[dict[str, Any]], apart: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers one would quote: removal by group and rain with what must stand beside it, and gaps with their verdicts."""
    return {
        "removal": {f"{row['group']}, {row['label']}": {name: row[name] for name in ("rho", "d_perp", "e_background")} for row in summary},
        "gap": {f"{row['group']}, {row['unseen']}": {"gap": row["gap"], "verdict": row["verdict"]} for row in apart},
    }
