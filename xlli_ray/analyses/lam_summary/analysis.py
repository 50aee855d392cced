"""LAM summary: how much of the input each network uses, how networks differ, the relation to PSNR, and whether the maps are credible.

J. Gu, C. Dong, "Interpreting Super-Resolution Networks with Local Attribution Maps", CVPR 2021. The diffusion index DI = 100 (1 − Gini) of
a map grows with the share of input pixels that a network uses for one window. It depends on the size of the input (the same map with a
border of zeros has a smaller DI), so means are for one input size; differences and ratios of two networks are taken on the same windows, at
equal input size. `extent`, DI / 100 × pixels, is not changed by such a border.

Intervals are over images: an image's windows, patches and degradations, which are not independent of each other, are averaged first
(`stats.intervals`: skewness-corrected t; t for differences and ratios; none below 3 images). They describe other images of this kind, not
other trainings of the networks. They are not adjusted for multiple comparisons: at 95 %, one of 20 pairs without a difference will differ.
With `by` and `replicate`, groups of networks are compared instead, with intervals over trainings (`analyses.shared.replicates`).

DI against PSNR: Spearman's ρ over the networks, for each image and for the networks' means; undefined below 3 networks, and for few
networks an association is weak evidence even at ρ = 1 (4 networks: p = 0.08).

Of clips, DI is that of the map over all frames, a clip is what an image is elsewhere, and `lam_frames` has the share of each frame.

Controls, after J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018. A map `survives` randomised weights if its rank
correlation with the map of the randomised network, beyond what the position relative to the window explains, is at least √½: then half of
the variance of its ranks is explained by a network that has learned nothing (`stats.map_controls` has typical values). A map does not
follow its window if its centre of mass moves less than a quarter of the window's shift. A network is flagged if more than half of its maps
fail.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from xlli_ray.analyses.analysis import Result, Table, cells_of, restore_cells, whole
from xlli_ray.analyses.lam_summary.params import Params
from xlli_ray.analyses.lam_summary.tables import ALL, TABLES
from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.plots.palette import network_looks
from xlli_ray.store.records.manifest import Cell


class LamSummary:
    """DI per model, paired differences, DI against PSNR, controls. Writes `lam_summary`, `lam_pairs`, `lam_psnr`, `lam_controls`,
    `lam_control_maps`, `lam_groups`, `lam_group_pairs`, `lam_frames`."""

    KIND: ClassVar[str] = "lam_summary"
    VERSION: ClassVar[int] = 7
    """2: networks in colours of their own; 3: intervals; 4: none longer than twice t's; 5: marks; 6: pairs with one clean image,
    and windows of one clip, are one photograph; 7: frames of clips."""
    REFERENCE: ClassVar[str] = (
        "Gu and Dong, CVPR 2021 (maps, DI); Adebayo et al., NeurIPS 2018 (controls); "
        "Hall, Journal of the Royal Statistical Society B 54, 1992 (intervals)"
    )
    TABLES: ClassVar[tuple[Table, ...]] = TABLES
    HEADLINE: ClassVar[tuple[str, tuple[str, ...]]] = (
        "lam_summary", ("model", "label", "height", "width", "images", "di", "di_low", "di_high"),
    )  # fmt: skip
    Params: ClassVar[type[BaseModel]] = Params

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        assert isinstance(params, Params)
        maps = cells_of(cells, params.of, "lam", asked_by="lam_summary.of")
        maps = [cell for cell in maps if ".cascade_" not in cell.what]  # a depth of the cascade is no control that passes or fails
        restored = restore_cells(cells, params.restore, {cell.model for cell in maps}, asked_by="lam_summary.restore")
        return [cell.id for cell in (*maps, *restored)]

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """See `analyses.analysis.Telling`."""
        from xlli_ray.analyses.lam_summary.findings import findings

        return findings(outcome)

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        from xlli_ray.analyses.lam_summary import figures as draw
        from xlli_ray.analyses.lam_summary.frames import frame_rows, frames
        from xlli_ray.analyses.lam_summary.groups import group_rows
        from xlli_ray.analyses.lam_summary.measures import Measures

        assert isinstance(params, Params)
        measures = Measures(view, params, seed)
        summary, pairs = measures.summary(), [] if params.by else measures.pairs()
        groups, group_pairs, about_groups = group_rows(measures)
        against = measures.against_psnr() if measures.psnr is not None else []
        maps, controls = measures.controls()
        shares = frame_rows(measures)
        rows = {"lam_summary": summary, "lam_pairs": pairs, "lam_psnr": against, "lam_controls": controls, "lam_control_maps": maps,
                "lam_groups": groups, "lam_group_pairs": group_pairs, "lam_frames": shares}  # fmt: skip
        looks = network_looks(view.study_models)
        figures = [
            *draw.indices(summary, measures.models, measures.labels, looks),
            *draw.pairs(pairs, measures.models),
            *frames(shares, measures.models, looks),
            *draw.against_psnr(measures.points(), against, looks),
            *draw.controls(maps, measures.models, params.survives, params.follows, looks),
        ]
        return Result(
            {table.name: whole(rows[table.name], table.columns) for table in TABLES},
            figures,
            _values(measures.models, summary, against),
            measures.flags(summary, controls),
            [*about_groups, *measures.notes()],
        )


def _values(models: Sequence[str], summary: Sequence[dict[str, Any]], against: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The main numbers: DI of each model over everything, and ρ against PSNR."""
    label = ALL if any(row["label"] == ALL for row in summary) else None
    sizes = {(row["height"], row["width"]) for row in summary}
    key = (None, None) if (None, None) in sizes else None
    chosen = {row["model"]: row for row in summary
              if (label is None or row["label"] == label) and (key is None or (row["height"], row["width"]) == key)}  # fmt: skip
    return {
        "di": {model: chosen[model]["di"] for model in models if model in chosen},
        "rho": {f"{row['scope']}, {row['label']}": row["rho"] for row in against},
    }
