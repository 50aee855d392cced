"""Is the degradation simpler than the images? Complexity of sets, κ = log(C of the degradation / C of the images) and what it predicts.

J. Gu et al., "Networks are Slacking Off" (NeurIPS 2023, arXiv 2305.15134; successor arXiv 2502.12600): a network trained on pairs learns
the less complex of background and degradation. If that is the degradation, it fits the degradation of the training and does not remove
another one; else it learns the images, and generalises. Complexity is meant of *sets*: rain of one range against backgrounds of one
number. The complexity of single images does not tell: rates, gradients and entropies follow how much rain there is and how sharp it is,
not how varied (docs/deraining.md, which also says where rank and dimension differ).

So both sides are clouds of patches at the same places, equally many, raw and of equal contrast: effective rank and k95 of their PCA
(`stats.patch_cloud`), TwoNN and MLE dimensions (`stats.intrinsic_dimension`), LZMA of the whole set (`stats.code_length`), and on request
the area under the learning curve of a small network (`stats.prequential`). The authors' own measure is not published; κ and its verdict
are ours, to be tested against the gap that networks show (`derain_summary`).

Intervals are over photographs, left out one by one on both sides, t in logarithms; of learning curves over trainings. `counts` measures the
subsets that trainings with `corpus.count` see, so that one study says κ for a whole grid of numbers of images and degradations.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import ClassVar

from pydantic import BaseModel

from xlli_ray.analyses.analysis import Result, Table, cells_of, whole
from xlli_ray.analyses.complexity_summary.layers import feature_cells
from xlli_ray.analyses.complexity_summary.params import Params
from xlli_ray.analyses.complexity_summary.tables import TABLES
from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import PlanError
from xlli_ray.stats.prequential import CROP
from xlli_ray.store.records.manifest import Cell, SampleTable


class ComplexitySummary:
    """Complexity of images, degradations and layers as sets, and κ. Writes `complexity_kappa`, `complexity_sets`, `complexity_features`."""

    KIND: ClassVar[str] = "complexity_summary"
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = (
        "arXiv 2305.15134, 2502.12600 (the thesis); Roy and Vetterli, EUSIPCO 2007 (effective rank); Facco et al., Scientific Reports 7, "
        "2017 (TwoNN); Levina and Bickel, NIPS 2004 (MLE); Dawid, JRSS A 147, 1984 (prequential)"
    )
    TABLES: ClassVar[tuple[Table, ...]] = TABLES
    HEADLINE: ClassVar[tuple[str, tuple[str, ...]]] = (
        "complexity_kappa", ("degradation", "set", "measure", "kappa", "kappa_low", "kappa_high", "verdict", "n"),
    )  # fmt: skip
    Params: ClassVar[type[BaseModel]] = Params

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        assert isinstance(params, Params)
        patches = cells_of(cells, params.of, "complexity", asked_by="complexity_summary.of")
        return [cell.id for cell in (*patches, *feature_cells(cells, params.features))]

    @classmethod
    def check(cls, params: BaseModel, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
        assert isinstance(params, Params)
        mine = [cell for cell in cells if cell.kind == "complexity"]
        if params.prequential and min((cell.params.get("crop", 0) for cell in mine), default=0) < CROP:
            raise PlanError(f"complexity_summary.prequential needs crops of {CROP} pixels: add `crop: 64` to the complexity stage")
        have: dict[str, int] = {}
        for bucket in samples.buckets:
            for label, _, rows in bucket.blocks:
                have[label] = have.get(label, 0) + rows
        most = max(have.values(), default=0)
        if params.counts and max(params.counts) > most:
            raise PlanError(f"complexity_summary.counts: {max(params.counts)} images are asked for, and the corpus has at most {most}")
        if not any(bucket.targets for bucket in samples.buckets):
            return ["inputs without targets: complexity_summary measures them, and no degradation: κ needs images or pairs"]
        return []

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """See `analyses.analysis.Telling`."""
        from xlli_ray.analyses.complexity_summary.findings import findings

        return findings(outcome)

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        from xlli_ray.analyses.complexity_summary import figures as draw
        from xlli_ray.analyses.complexity_summary.layers import feature_rows
        from xlli_ray.analyses.complexity_summary.sets import measure_sets

        assert isinstance(params, Params)
        found = measure_sets(view, params, seed)
        features = list(feature_rows(view, [cell for cell in view.cells if cell.kind == "features"], params, seed))
        rows = {"complexity_kappa": found.kappas, "complexity_sets": found.sets, "complexity_features": features}
        return Result(
            {table.name: whole(rows[table.name], table.columns) for table in TABLES},
            [*draw.profiles(found.sets, view.meaning), *draw.kappas(found.kappas, view.meaning), *draw.layers(features, view)],
            {f"κ of {row['measure']}, {row['degradation']}": row["kappa"] for row in found.kappas if row["set"] == "all"},
            found.flags, found.notes,
        )  # fmt: skip
