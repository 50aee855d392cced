"""SRGA: does a network treat degraded inputs like those on which it works well?

Y. Liu, H. Zhao, J. Gu, Y. Qiao, C. Dong, "Evaluating the Generalization Ability of Super-Resolution Networks", IEEE TPAMI 45, 2023. For
each model and set of patches: PCA scores of the deepest features, pooled and trimmed, fitted by a generalized Gaussian; the index is
log₁₀(KL(reference ‖ set) + 10⁻⁵) + 5. 0: the same distribution as on the reference; one more: ten times the divergence. Lower means that
the network handles the set more like its reference. `stats.srga` has the definition and what differs from the authors' program.

Read it together with PSNR. An untrained or dead network scores low as well, and its index rises with the degradation, too; so models with a
PSNR far below the best one's on the reference are flagged. Networks whose last features carry the image itself (no global residual) score
lower than networks that carry a residual, for that reason alone: compare networks of one kind.

Sets must have the same contents. Each set has as many samples as the others; a content that failed in one set of a model is removed from
all of its sets. Sets of other contents (real photographs) are shown with the floor that other contents alone score, and are not ranked.

Intervals: the samples are split into halves, the same for every set and model; half of the root mean square difference is the standard
error (`stats.subsampling`: McCarthy 1969). Patches of one image stay together, so intervals describe other images of this kind, not other
trainings. `draw: samples` splits patches as if they were independent: shorter intervals, valid for these images only. A ranking separates
two models if the interval of their paired difference does not contain 0. With `by` and `replicate`, groups of networks are compared instead
of networks, with intervals over trainings (`analyses.shared.replicates`).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from xlli_ray.analyses.analysis import Result, Table, cells_of, restore_cells, whole
from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.analyses.srga.params import Params
from xlli_ray.analyses.srga.sets import READS
from xlli_ray.analyses.srga.tables import TABLES
from xlli_ray.errors import PlanError, closest
from xlli_ray.plots.palette import network_looks
from xlli_ray.store.records.manifest import Cell, SampleTable


class Srga:
    """The generalization index by model and set, with intervals, floors, and a ranking with ties. Writes `srga`, `srga_families`,
    `srga_pairs`, `srga_spectrum`, `srga_groups`, `srga_group_pairs`."""

    KIND: ClassVar[str] = "srga"
    # 2: networks in colours of their own; 3: intervals and floors; 4: photographs in both halves, uneven ones; 5: curves and places drawn
    # from views; 6: sets of the spectra in the study's order
    VERSION: ClassVar[int] = 6
    REFERENCE: ClassVar[str] = (
        "Liu et al., IEEE TPAMI 45, 2023 (index); McCarthy, Review of the International Statistical Institute 37, 1969 (intervals)"
    )
    TABLES: ClassVar[tuple[Table, ...]] = TABLES
    HEADLINE: ClassVar[tuple[str, tuple[str, ...]]] = ("srga_families", ("model", "family", "sets", "srga", "low", "high", "first", "last"))
    Params: ClassVar[type[BaseModel]] = Params

    @classmethod
    def brings(
        cls, params: Mapping[str, Any], stage_id: str, models: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """A `gram` stage or a `features` stage to read, and `restore` for the PSNR; nothing if `of` is given."""
        if params.get("of") is not None:
            return dict(params), []
        layers = [params.get("layer", Params.model_fields["layer"].default)]
        if params.get("store_features"):
            kind, fields = "features", {"layers": layers, "dtype": "float32", "codec": "blosc"}
        else:
            kind, fields = "gram", {"layers": layers}
        of = f"{stage_id}-{kind}"
        images = [model["id"] for model in models if model.get("output", "image") == "image"]
        restored = [{"restore": {"models": images}}] if images and params.get("restore", "auto") == "auto" else []
        return {**params, "of": of}, [{kind: {"id": of, **fields}}, *restored]

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        assert isinstance(params, Params)
        wanted = _measured(params, cells)
        restored = restore_cells(cells, params.restore, {cell.model for cell in wanted}, asked_by="srga.restore")
        return [cell.id for cell in (*wanted, *restored)]

    @classmethod
    def check(cls, params: BaseModel, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
        from xlli_ray.analyses.srga.check import check

        assert isinstance(params, Params)
        return check(params, [cell for cell in cells if cell.kind in READS], samples)

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """See `analyses.analysis.Telling`."""
        from xlli_ray.analyses.srga.findings import findings

        return findings(outcome)

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        from xlli_ray.analyses.srga import figures as draw
        from xlli_ray.analyses.srga.groups import group_rows
        from xlli_ray.analyses.srga.measures import Measures

        assert isinstance(params, Params)
        measures = Measures(view, params, seed)
        sets, families, pairs = measures.sets(), measures.families(), [] if params.by else measures.pairs()
        groups, group_pairs, about_groups = group_rows(measures)
        rows = {"srga": sets, "srga_families": families, "srga_pairs": pairs, "srga_spectrum": measures.spectra(),
                "srga_groups": groups, "srga_group_pairs": group_pairs}  # fmt: skip
        looks = network_looks(view.study_models)
        figures = [
            *draw.levels(sets, measures.models, looks, view.meaning),
            *draw.ranking(families, measures.models, looks),
            *draw.fits(measures.drawn_fits(), view.meaning),
            *draw.spectra(measures.drawn_spectra(), measures.components, view.meaning),
        ]
        return Result(
            {table.name: whole(rows[table.name], table.columns) for table in TABLES},
            figures,
            measures.values(),
            measures.flags(),
            [*about_groups, *measures.notes()],
        )


def _measured(params: Params, cells: Sequence[Cell]) -> list[Cell]:
    """The cells with Gram matrices or features, one per model. Raises PlanError."""
    stages = {cell.stage: cell.kind for cell in cells if cell.kind in READS}
    of = params.of
    if of is None:
        grams = sorted(stage for stage, kind in stages.items() if kind == "gram")
        if len(grams) != 1:
            what = f"there are {len(grams)} gram stages ({', '.join(grams)})" if grams else "there is no gram stage here"
            raise PlanError(f"srga.of: {what}: name the stage to read, or add one: `- gram: {{layers: [{params.layer!r}]}}`")
        (of,) = grams
    matches = cells_of(cells, of, stages.get(of, "gram"), asked_by="srga.of")
    by_model: dict[str, list[Cell]] = {}
    for cell in matches:
        by_model.setdefault(cell.model, []).append(cell)
    out = []
    for model, mine in by_model.items():
        fitting = [cell for cell in mine if params.layer in _names(cell)] if len(mine) > 1 else mine
        if len(fitting) != 1:
            listed = ", ".join(sorted(cell.what for cell in mine))
            near = closest(params.layer, [cell.what for cell in mine], n=1)
            hint = f"; did you mean {near[0]}?" if near else ""
            raise PlanError(
                f"srga.layer: {params.layer!r} does not match exactly one of the {len(mine)} layers of {model} in {of} ({listed}){hint}"
            )
        out += fitting
    return out


def _names(cell: Cell) -> set[str]:
    """The names of a layer: the tap's name in the store, and `module:side` as in patterns."""
    tap = cell.spec.get("tap", {})
    names = {cell.what}
    if "module" in tap:
        names.add(f"{tap['module']}:{tap.get('side', 'output')}")
        if tap.get("side", "output") == "output":
            names.add(str(tap["module"]))
    return names
