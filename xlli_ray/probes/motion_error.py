"""Motion error: how well a network restores what moves slowly, and what moves fast.

Squared and absolute errors of restored frames, summed by the motion of each pixel to the frames that support it (`stats.motion_error` has
the definitions), after section A7.2 of the protocol for "Rethinking Alignment in Video Super-Resolution Transformers" (S. Shi et al.,
NeurIPS 2022, arXiv 2207.08494): its claim is that Transformers need no alignment for motion within the window of attention, and CNNs do
from the first pixel on. The motion is that of a stage `flow`, on the frames that the network gets. The arrays are exact integer sums; an
analysis pools them over clips and compares networks bin by bin. The columns here are of one clip, for a first look.

Bins differ in their texture, so a network's own curve says little: compare networks, or operators, on the same pixels. The sums are also
divided by the texture of the target and by whether a pixel is seen in the neighbouring frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.errors import PlanError, SampleError
from xlli_ray.probes.flow.measured import MeasuredFlow, measured_flow
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.restore import other_scale
from xlli_ray.stats.fidelity import border_of
from xlli_ray.stats.motion import EDGES
from xlli_ray.stats.motion_error import (
    AXES,
    BY,
    STEPS_MOTION,
    STEPS_Y,
    TEXTURE,
    VISIBILITY,
    eight_bit,
    error_sums,
    hidden_of,
    motion_of,
    psnr,
    stepped,
    steps_of,
    texture_of,
)

if TYPE_CHECKING:
    from xlli_ray.models.model import Model

FAST = 8.0
"""From this motion on a pixel is fast: the side of the usual window of attention."""
NAMES = ("squared", "absolute", "count", "moved")


class Params(BaseModel):
    """Fields of a `motion_error` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    flow: str = Field(default="flow", description="id of the flow stage")
    scored: Literal["centre", "all"] | list[int] = Field(default="centre", description="frames that are scored; a list counts from 0")
    span: int | None = Field(default=None, ge=1, description="how many frames away a frame supports; null: all of the clip")
    colour: Literal["rgb", "y"] = Field(default="rgb", description="errors of the three channels, or of BT.601 luma")
    border: int | None = Field(default=None, ge=0, description="restored pixels cut on each side; null: `scale`, as restore does")


class MotionError(Probe):
    """Sums of errors by motion. Writes table `motion_error`, and the arrays `squared`, `absolute`, `count`, `moved`, int64 (sample, by,
    frame, visibility, texture, bin)."""

    KIND: ClassVar[str] = "motion_error"
    VERSION: ClassVar[int] = 1
    NEEDS_OUTPUT: ClassVar[bool] = True
    CLIPS: ClassVar[bool] = True
    IMAGES: ClassVar[bool] = False
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("psnr", "float64", "PSNR of the pooled errors of the scored frames", unit="dB", better="higher"),
        Column("psnr_slow", "float64", f"of pixels that move less than {FAST:g} px", unit="dB", better="higher", detail=True),
        Column("psnr_fast", "float64", f"of pixels that move {FAST:g} px or more, NaN without", unit="dB", better="higher", detail=True),
        Column("fast", "float64", f"share of pixels that move {FAST:g} px or more to the furthest supporting frame", limits=(0.0, 1.0)),
    )
    REFERENCE: ClassVar[str] = "Shi et al., NeurIPS 2022, arXiv 2207.08494"
    Params: ClassVar[type[BaseModel]] = Params
    by_source = False

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        super().__init__(params, spec)
        assert isinstance(params, Params)
        self.needs = (params.flow,)

    def refuses(self, model: Model, scales: Sequence[int]) -> str | None:
        return other_scale(model, scales)

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """See `probes.measurement.Selective`."""
        if not target:
            return "no target: errors take clean frames"
        border = self._border(scale)
        if scale * min(height, width) > 2 * border:
            return ""
        return f"too small to score: the target is {scale * width}×{scale * height} pixels, and {border} are cut off on each side"

    def _border(self, scale: int) -> int:
        return border_of(scale) if self.params.border is None else self.params.border

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        assert shapes.output is not None
        if shapes.frames < 2:
            return ()
        scored = chosen_frames(self.params.scored, shapes.frames, centre_only=len(shapes.output) == 3)
        steps = STEPS_Y if shapes.output[-3] == 1 else steps_of(self.params.colour)
        about = {"by": list(BY), "visibility": list(VISIBILITY), "texture": list(TEXTURE), "edges": list(EDGES), "frames": list(scored)}
        units = {"squared": {"steps": steps}, "absolute": {"steps": steps}, "count": {}, "moved": {"steps": STEPS_MOTION}}
        shape, dims = (AXES[0], len(scored), *AXES[1:]), ("by", "frame", "visibility", "texture", "bin")
        return tuple(ArrayPlan(name, shape, "int64", dims, attributes={**about, **units[name]}) for name in NAMES)

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        assert forward is not None
        assert forward.output is not None
        count, frames = batch.input.shape[:2]
        output = forward.output.detach().cpu().numpy()
        if output.ndim == 4:
            output = output[:, None]  # the centre frame alone
        columns = {column.name: [float("nan")] * count for column in self.COLUMNS}
        failed: dict[int, str] = {}
        if frames < 2:  # the flow has failed, with its reason
            return Measurement({}, columns)
        flow = measured_flow(batch, self.params.flow)
        scored = chosen_frames(self.params.scored, frames, centre_only=forward.output.ndim == 4)
        arrays = {name: np.zeros((count, AXES[0], len(scored), *AXES[1:]), np.int64) for name in NAMES}
        for position in np.flatnonzero(batch.ok).tolist():
            try:
                shown = output[position] if output.shape[1] == frames else {frames // 2: output[position, 0]}
                target = self._target(output[position], batch.targets[position], model.scale)
                for i, frame in enumerate(scored):
                    for name, values in self._sums(shown[frame], target[frame], flow, position, frame, model.scale).items():
                        arrays[name][position, :, i] = values
            except SampleError as error:
                failed[position] = str(error)
                continue
            steps = steps_of(self.params.colour) if output.shape[2] == 3 else STEPS_Y
            for name, value in summary({name: array[position] for name, array in arrays.items()}, steps).items():
                columns[name][position] = value
        return Measurement(arrays, columns, failed=failed)

    def _target(self, output: NDArray[np.float32], target: NDArray[np.float32] | None, scale: int) -> NDArray[np.float32]:
        """The target, if the output (T or 1, C, H, W) can be compared with it. Raises SampleError."""
        if target is None:
            raise SampleError(self.unfit(scale, 0, 0, "", target=False))
        if not np.isfinite(output.sum(dtype=np.float64)):
            raise SampleError("not finite: NaN or infinity in the output")
        (height, width), (high, wide) = output.shape[-2:], target.shape[-2:]
        if (height, width) != (high, wide):
            raise SampleError(f"wrong scale: the output is {width}×{height} pixels, the target {wide}×{high}")
        if problem := self.unfit(scale, high // scale, wide // scale, "", target=True):
            raise SampleError(problem)
        return target

    def _sums(
        self, output: NDArray[np.float32], target: NDArray[np.float32], flow: MeasuredFlow, position: int, frame: int, scale: int
    ) -> dict[str, NDArray[np.int64]]:
        """The sums of one frame by name, (by, visibility, texture, bin)."""
        image, wanted, colour = eight_bit(output), eight_bit(target), self.params.colour
        if len(image) == 3:
            pair = stepped(image, colour), stepped(wanted, colour)
        else:  # full-range luma of a network that works on nothing else
            luma = np.tensordot(np.array([0.299, 0.587, 0.114]), target.astype(np.float64), axes=1)[None]
            pair = image.astype(np.int64) * STEPS_Y, np.rint(luma * 255 * STEPS_Y).astype(np.int64)
        motion = motion_of(flow.next[position], flow.previous[position], frame, self.params.span)
        hidden = hidden_of(flow.occluded_next[position], flow.occluded_previous[position], frame)
        sums = error_sums(*pair, motion, hidden, texture_of(target, scale), border=self._border(scale))
        return {name: getattr(sums, name) for name in NAMES}


def chosen_frames(frames: Literal["centre", "all"] | list[int], count: int, *, centre_only: bool) -> tuple[int, ...]:
    """Indices of the frames that are scored, of clips of `count` frames. `centre_only`: the network restores no other. Raises PlanError."""
    centre = count // 2
    if frames == "centre" or (frames == "all" and centre_only):
        return (centre,)
    if frames == "all":
        return tuple(range(count))
    if not frames or sorted(set(frames)) != frames or not 0 <= frames[0] <= frames[-1] < count:
        raise PlanError(f"motion_error: `scored: {frames}`: expected different numbers from 0 to {count - 1} in ascending order")
    if centre_only and frames != [centre]:
        raise PlanError(f"motion_error: `scored: {frames}`, but the network restores only the centre frame, {centre}")
    return tuple(frames)


def summary(sums: Mapping[str, NDArray[np.int64]], steps: int) -> dict[str, float]:
    """The columns of one clip, from its sums (by, frame, visibility, texture, bin)."""
    squared, count = (sums[name][0].sum(axis=(0, 1, 2)) for name in ("squared", "count"))
    fast = EDGES.index(FAST)
    parts = {"psnr": slice(None), "psnr_slow": slice(None, fast), "psnr_fast": slice(fast, None)}
    scores = {name: float(psnr(squared[part].sum(), count[part].sum(), steps=steps)) for name, part in parts.items()}
    return {**scores, "fast": float(count[fast:].sum() / count.sum())}
