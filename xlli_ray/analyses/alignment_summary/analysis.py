"""Alignment summary: does alignment help these video networks, and where?

S. Shi et al., "Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022 (arXiv 2207.08494): a Transformer that attends
within windows over several frames uses motion up to the size of its window without alignment, and alignment can harm it; beyond the window,
or for convolutional networks, there is no doing without. So networks, or operators in one network, are compared by the motion of the
pixels, on the same pixels: errors are pooled over a bin, never PSNRs averaged (`stats.motion_error`), and the difference is said inside and
beyond each window, with an interval over clips, or over trainings and clips where a group has three trainings (`stats.pooled`,
`stats.crossed`). Bins of motion differ in content: absolute PSNR by motion stands beside, not instead; strata by texture and by occlusion
show whether a difference is one of content.

A network that sees one frame only (`single`) is the control: what the others gain over it is their use of the other frames. Attribution
maps say the same from inside: which frames they are on, and whether they follow what moves (`maps`)."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, ClassVar

from pydantic import BaseModel

from xlli_ray.analyses.alignment_summary.params import Params
from xlli_ray.analyses.alignment_summary.tables import TABLES
from xlli_ray.analyses.analysis import Result, Table, cells_of, whole
from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.analyses.shared.replicates import Group, groups_of
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, PlanError, closest
from xlli_ray.store.records.manifest import Cell, ModelRecord, SampleTable


class AlignmentSummary:
    """Differences by motion, and what maps follow. Writes `alignment_windows`, `alignment_motion`, `alignment_differences`,
    `alignment_knots`, `alignment_maps`."""

    KIND: ClassVar[str] = "alignment_summary"
    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "Shi et al., NeurIPS 2022, arXiv 2207.08494; Gu and Dong, CVPR 2021 (maps); Tukey 1958 (jackknife)"
    TABLES: ClassVar[tuple[Table, ...]] = TABLES
    HEADLINE: ClassVar[tuple[str, tuple[str, ...]]] = (
        "alignment_windows", ("group", "other", "window", "inside", "beyond", "change", "change_low", "change_high"),
    )  # fmt: skip
    Params: ClassVar[type[BaseModel]] = Params

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        assert isinstance(params, Params)
        errors = _stage(cells, params.of, "motion_error", "of")
        maps = _stage(cells, params.lam, "lam", "lam", optional=True) if params.lam is not None else []
        flow = _stage(cells, params.flow, "flow", "flow", optional=not maps) if maps else []
        return [cell.id for cell in (*errors, *maps, *flow)]

    @classmethod
    def check(cls, params: BaseModel, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
        """See `analyses.analysis.Checking`."""
        assert isinstance(params, Params)
        models = sorted({cell.model for cell in cells if cell.kind == "motion_error"})
        if params.single is not None and not params.by and params.single not in models:
            near = closest(params.single, models, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PlanError(f"alignment_summary.single: no network {params.single!r}: {hint}Networks: {', '.join(models)}")
        return []

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """See `analyses.analysis.Telling`."""
        from xlli_ray.analyses.alignment_summary.findings import findings

        return findings(outcome)

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        from xlli_ray.analyses.alignment_summary import comparisons
        from xlli_ray.analyses.alignment_summary import figures as draw
        from xlli_ray.analyses.alignment_summary.maps import Maps, map_rows, read_maps
        from xlli_ray.analyses.alignment_summary.read_errors import read_errors

        assert isinstance(params, Params)
        scored, mapped, flows = ([cell for cell in view.cells if cell.kind == kind] for kind in ("motion_error", "lam", "flow"))
        measured = {cell.model for cell in scored}
        models = [model for model in view.models if model.id in measured]
        groups, left, single = _groups(models, params)
        errors, notes = read_errors(view, scored, params.level)
        pairs = comparisons.pairs_of(groups, single)
        motion, differences = comparisons.motion_rows(errors, groups), comparisons.difference_rows(errors, pairs)
        windows = comparisons.window_rows(errors, pairs, params.windows)
        maps = read_maps(view, mapped, next(iter(flows), None)) if mapped else Maps()
        followed = map_rows(maps, groups, params.level)
        rows = {"alignment_windows": windows, "alignment_motion": motion, "alignment_differences": differences,
                "alignment_knots": comparisons.knot_rows(errors, pairs, params.windows[0], seed), "alignment_maps": followed}
        if left:
            notes.append(f"In no group, for want of a tag: {', '.join(left)}.")
        clips = errors.count.shape[-1]
        notes.append(f"{clips} clips: a folder or video with all its windows of frames is one, a photograph with all its motions is one.")
        return Result(
            {table.name: whole(rows[table.name], table.columns) for table in TABLES},
            [*draw.by_motion(motion, differences, params.windows), *draw.maps(followed)],
            _values(windows, followed),
            [*comparisons.flags(errors, windows), *comparisons.worse_than_single(differences, single)],
            notes,
        )


def _groups(models: Sequence[ModelRecord], params: Params) -> tuple[list[Group], list[str], str | None]:
    """Groups by tags, or each network by itself; networks in none of them; and the control's name: `single` may be that, or the value of a
    tag that only one group has. Raises AnalysisError."""
    if not params.by:
        return [Group(model.id, ((model.id, model.id),)) for model in models], [], params.single
    groups, left = groups_of(models, params)
    if not groups:
        raise AnalysisError(f"no network has all of the tags {', '.join(params.by)}")
    names = [group.name for group in groups]
    if params.single is None or params.single in names:
        return groups, left, params.single
    having = [name for name in names if params.single in [part.partition("=")[2] for part in name.split(", ")]]
    if len(having) == 1:
        return groups, left, having[0]
    near = closest(params.single, names, n=1)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise AnalysisError(f"alignment_summary.single: no group {params.single!r}: {hint}Groups: {', '.join(names)}")


def _stage(cells: Sequence[Cell], stage: str | None, kind: str, field: str, *, optional: bool = False) -> list[Cell]:
    """The cells of a stage by its id; `auto`: of the only one of its kind. Raises PlanError."""
    if stage is not None and stage != "auto":
        return cells_of(cells, stage, kind, asked_by=f"alignment_summary.{field}")
    stages = list(dict.fromkeys(cell.stage for cell in cells if cell.kind == kind))
    if len(stages) > 1:
        raise PlanError(f"alignment_summary.{field}: there are {len(stages)} stages of kind {kind} ({', '.join(stages)}): name one")
    if not stages and not optional:
        raise PlanError(f"alignment_summary needs a stage {kind}: add `- {kind}: {{…}}`, or choose models that have it")
    return [cell for cell in cells if cell.kind == kind]


def _values(windows: Sequence[dict[str, Any]], maps: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """The numbers one would quote."""
    return {
        "difference": {f"{row['group']} − {row['other']}, window {row['window']:g}": {"inside": row["inside"], "beyond": row["beyond"]}
                       for row in windows},
        "maps": {row["group"]: {"centre_share": row["centre_share"], "follows": row["follows"], "verdict": row["verdict"]} for row in maps},
    }  # fmt: skip
