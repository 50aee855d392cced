"""Alignment error: what each alignment operator makes of these frames, without any network.

Neighbouring frames of a clip are aligned to each other, along the flow of a stage `flow`, by operators (`models.alignment`), and compared
with the frame to which they are aligned; after section A7.3 of the protocol for "Rethinking Alignment in Video Super-Resolution
Transformers" (S. Shi et al., NeurIPS 2022, arXiv 2207.08494; `stats.alignment_error` has the definitions). Two numbers belong together: the
registration error, and the share of high-frequency energy that is kept. Bilinear interpolation registers well and keeps about half of that
energy; patches keep all, and are off by up to half a pixel, more where motion varies inside a patch.

The frames are the network's input, in grey levels. The frame `gap` frames later supports the current one, by flow composed of the steps
between. Pixels without a counterpart (hidden, or out of the frame) are counted apart, and the `border` is left out, where operators differ
in what they find outside the frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, field_validator

from xlli_ray.errors import NetworkError, PlanError
from xlli_ray.probes.flow.measured import MeasuredFlow, measured_flow
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes, Subject
from xlli_ray.probes.probe import Probe
from xlli_ray.stats.alignment_error import PHASES, high_frequency_energy, seam, seam_sums, squared_by_motion, squared_by_phase
from xlli_ray.stats.motion import EDGES, between, checked, inside

Operator = str | dict[str, dict[str, Any]]
# No column has a mean on the page: it would be one over operators. `report.sections.operator_table` has one line for each.
OPERATORS = ("none", "bilinear", "nearest", "bicubic", "patch")
PATCH = 8
"""Side of the patches across whose borders seams are looked for, of operators that have none of their own."""


class Params(BaseModel):
    """Fields of an `alignment_error` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    flow: str = Field(default="flow", description="id of the flow stage")
    operators: list[Operator] = Field(
        default_factory=lambda: list[Operator](OPERATORS), min_length=1,
        description="alignment operators without weights, by name or {patch: {size: 16}}",
    )  # fmt: skip
    gaps: list[int] = Field(default_factory=lambda: [1], min_length=1, description="how many frames away the support is")
    border: int = Field(default=8, ge=0, description="input pixels left out on each side")

    @field_validator("operators")
    @classmethod
    def _different(cls, operators: list[Operator]) -> list[Operator]:
        names = [name_of(operator) for operator in operators]
        if again := [name for name in names if names.count(name) > 1]:
            raise ValueError(f"{again[0]} is there twice")
        return operators

    @field_validator("gaps")
    @classmethod
    def _ascending(cls, gaps: list[int]) -> list[int]:
        if sorted(set(gaps)) != gaps or gaps[0] < 1:
            raise ValueError("expected different numbers of 1 or more in ascending order")
        return gaps


class AlignmentError(Probe):
    """Errors of operators. Writes table `alignment_error`, one row per operator and gap, and the arrays `squared`, `count`,
    `phase_squared`, `phase_count`, `high_frequency`, `seams`."""

    KIND: ClassVar[str] = "alignment_error"
    VERSION: ClassVar[int] = 1
    SUBJECT: ClassVar[Subject] = "sample"
    CLIPS: ClassVar[bool] = True
    IMAGES: ClassVar[bool] = False
    ROW: ClassVar[str] = "operator"
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("operator", "string", "the alignment operator", place=True),
        Column("gap", "int64", "how many frames away the support is", unit="frames", place=True),
        Column("rmse", "float64", "root of the mean squared difference to the current frame, of pixels with a counterpart",
               unit="grey levels", better="lower", limits=(0.0, None), detail=True),
        Column("rmse_all", "float64", "the same of all pixels", unit="grey levels", better="lower", limits=(0.0, None), detail=True),
        Column("hf_kept", "float64", "energy of high frequencies over that of the support; 1: all of it is kept", limits=(0.0, None),
               detail=True),
        Column("seam", "float64", "difference of neighbours across borders of patches minus elsewhere", unit="grey levels", detail=True),
        Column("hidden", "float64", "share of pixels without a counterpart: occluded, or out of the frame", limits=(0.0, 1.0), detail=True),
        Column("outside", "float64", "share of pixels that leave the frame", limits=(0.0, 1.0), detail=True),
    )  # fmt: skip
    REFERENCE: ClassVar[str] = "Shi et al., NeurIPS 2022, arXiv 2207.08494"
    Params: ClassVar[type[BaseModel]] = Params
    cost = 300.0
    by_source = False

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        super().__init__(params, spec)
        assert isinstance(params, Params)
        self.needs = (params.flow,)
        self._operators: dict[str, Any] = {}

    @classmethod
    def parts(cls, params: BaseModel) -> dict[str, int]:
        from xlli_ray.models.alignment.alignment import alignment_class

        assert isinstance(params, Params)
        return {f"alignment {name_of(operator)}": alignment_class(operator).VERSION for operator in params.operators}

    @classmethod
    def cells(cls, params: BaseModel, model: Any, example: Any) -> list[dict[str, Any]]:
        assert isinstance(params, Params)
        try:
            made = {name_of(operator): _made(operator) for operator in params.operators}
        except NetworkError as error:
            raise PlanError(f"alignment_error: {error}") from error
        if learned := [name for name, operator in made.items() if operator.LEARNED]:
            raise PlanError(f"alignment_error: {learned[0]} has weights, which only a network that was trained with it has; leave it out")
        return [{}]

    def identity(self) -> dict[str, Any]:
        return {**super().identity(), "operator versions": self.parts(self.params)}

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """See `probes.measurement.Selective`."""
        border = self.params.border
        if min(height, width) > 2 * border + 1:
            return ""
        return f"too small: {width}×{height} pixels, and a border of {border} is left out on each side; `border` may be smaller"

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        gaps, operators = self.params.gaps, [name_of(operator) for operator in self.params.operators]
        if gaps[-1] >= shapes.frames:
            raise PlanError(f"alignment_error: `gaps: {gaps}`: a clip of {shapes.frames} frames has none {gaps[-1]} apart")
        both, about = (len(operators), len(gaps)), {"operators": operators, "gaps": gaps}
        by_motion = {**about, "visibility": ["visible", "hidden"], "edges": list(EDGES)}
        return (
            ArrayPlan("squared", (*both, 2, len(EDGES)), "float64", ("operator", "gap", "visibility", "bin"), attributes=by_motion),
            ArrayPlan("count", (len(gaps), 2, len(EDGES)), "int64", ("gap", "visibility", "bin"), attributes=by_motion),
            ArrayPlan("phase_squared", (*both, PHASES, PHASES), "float64", ("operator", "gap", "phase_y", "phase_x"), attributes=about),
            ArrayPlan("phase_count", (len(gaps), PHASES, PHASES), "int64", ("gap", "phase_y", "phase_x"), attributes=about),
            ArrayPlan("high_frequency", (*both, 2), "float64", ("operator", "gap", "image"),
                      attributes={**about, "images": ["aligned", "support"]}),
            ArrayPlan("seams", (*both, 2, 2), "float64", ("operator", "gap", "place", "sum"),
                      attributes={**about, "places": ["across borders of patches", "elsewhere"], "sums": ["difference", "number"]}),
        )  # fmt: skip

    def measure(self, model: Any, batch: Batch, forward: Forward | None) -> Measurement:
        count, frames, _, height, width = batch.input.shape
        plans = self.arrays(Shapes(height, width, None, {}, frames=frames))
        arrays = {plan.name: np.zeros((count, *plan.shape), plan.dtype) for plan in plans}
        columns: dict[str, list[Any]] = {column.name: [] for column in self.COLUMNS}
        positions: list[int] = []
        failed: dict[int, str] = {}
        flow = measured_flow(batch, self.params.flow)
        self._operators = self._operators or {name_of(operator): _made(operator) for operator in self.params.operators}
        for position in np.flatnonzero(batch.ok).tolist():
            if problem := self.unfit(1, height, width, "", target=False):
                failed[position] = problem
                continue
            stored = {name: array[position] for name, array in arrays.items()}
            outside = [0.0] * len(self.params.gaps)
            for i, gap in enumerate(self.params.gaps):
                for current in range(frames - gap):
                    outside[i] += self._add(stored, i, batch.input[position], flow, position, current, current + gap) / (frames - gap)
            for row in self._rows(stored, outside):
                positions.append(position)
                for name, value in row.items():
                    columns[name].append(value)
        return Measurement(arrays, columns, positions, failed)

    def _add(
        self, into: Mapping[str, NDArray[Any]], gap: int, clip: Any, flow: MeasuredFlow, position: int, current: int, support: int
    ) -> float:
        """Add one pair of frames to the sums of the gap number `gap`. `clip`: tensor (T, 3, H, W). Returns the share of pixels that leave
        the frame."""
        import torch

        following, preceding = flow.next[position], flow.previous[position]
        there = between(following, preceding, current, support)
        if support == current + 1:
            hidden = flow.occluded_next[position][current]
        else:
            hidden = checked(there, between(following, preceding, support, current))[1]
        part = self._part(*clip.shape[-2:])
        inner, shown = there[:, *part], hidden[part]
        now, later = (255 * clip[i].cpu().numpy()[:, *part].astype(np.float64) for i in (current, support))
        energy = high_frequency_energy(later)
        for i, operator in enumerate(self._operators.values()):
            with torch.no_grad():
                moved = operator(clip[support][None].cpu(), clip[current][None].cpu(), torch.from_numpy(there)[None])
            aligned = 255 * moved[0].numpy()[:, *part].astype(np.float64)
            for name, find in (("", squared_by_motion), ("phase_", squared_by_phase)):
                squares, counts = find(aligned - now, inner, shown)
                into[f"{name}squared"][i, gap] += squares
                if i == 0:
                    into[f"{name}count"][gap] += counts
            into["high_frequency"][i, gap] += high_frequency_energy(aligned), energy
            side = getattr(operator, "size", PATCH)
            into["seams"][i, gap] += seam_sums(aligned, side, top=part[0].start, left=part[1].start)
        return float(np.count_nonzero(~inside(there)[part]) / shown.size)

    def _part(self, height: int, width: int) -> tuple[slice, slice]:
        border = self.params.border
        return slice(border, height - border), slice(border, width - border)

    def _rows(self, sums: Mapping[str, NDArray[Any]], outside: list[float]) -> list[dict[str, Any]]:
        """The rows of one clip."""
        out = []
        for i, operator in enumerate(self._operators):
            for j, gap in enumerate(self.params.gaps):
                squared, count = sums["squared"][i, j].sum(1), sums["count"][j].sum(1)
                aligned, support = sums["high_frequency"][i, j]
                with np.errstate(invalid="ignore", divide="ignore"):
                    out.append({
                        "operator": operator, "gap": gap, "rmse": float(np.sqrt(squared[0] / count[0])),
                        "rmse_all": float(np.sqrt(squared.sum() / count.sum())), "hf_kept": float(aligned / support),
                        "seam": seam(sums["seams"][i, j]), "hidden": float(count[1] / count.sum()), "outside": outside[j],
                    })  # fmt: skip
        return out


def name_of(operator: Operator) -> str:
    """`patch`, or `patch(size=16)`."""
    if isinstance(operator, str):
        return operator
    ((name, options),) = operator.items()
    return f"{name}({', '.join(f'{key}={value}' for key, value in options.items())})" if options else name


def _made(operator: Operator) -> Any:
    from xlli_ray.models.alignment.alignment import alignment_of

    return alignment_of(operator, channels=3).eval()
