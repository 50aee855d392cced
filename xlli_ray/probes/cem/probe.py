"""CEM: which blocks of the input help a window of the output, which harm it, and by how many dB (causal effect map).

J. Hu et al., "Interpreting Low-level Vision Models with Causal Effect Maps", TPAMI 2025, arXiv 2407.19789. Where a LAM is the derivative of
a score along a path that no network meets, here a block is really replaced, many times, by other natural content, and the window's PSNR is
measured (`effects`). It costs forward passes only, hundreds to thousands of them, and takes a target.

What the input is a corruption of decides what the patches carry (column `corruption`). `pool`: they are degraded as the sample's inputs.
`kept`: at scale 1, for rain, noise and given pairs, the block's own corruption (input − target) is added to them: the same rain falls on
other content. `none`: the input is clean.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel

from xlli_ray.corpus import resize
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.errors import NetworkError
from xlli_ray.probes.cem.columns import COLUMNS, map_row
from xlli_ray.probes.cem.params import Params
from xlli_ray.probes.lam import over_clips
from xlli_ray.probes.lam.params import Listed
from xlli_ray.probes.lam.window_count import most_windows
from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Measurement, Shapes, columns_of
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.restore import other_scale

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.model import Model
    from xlli_ray.probes.cem.effects import WindowEffects
    from xlli_ray.probes.cem.timing import EffectTime

DRAWS = 12
"""Draws of a block on average: assumed, for the projection."""
BLOCKS = 1024
"""Blocks of an input of 64 × 64 pixels at ×4, for the projection."""


class Cem(Probe):
    """Causal effect maps. Writes table `cem`, one row per window, and arrays `effect` (dB, positive: the block helps) and `error` (its
    standard error), float32 (sample, window, y, x), and `draws`, int32; of clips with the axis `frame` after `window`."""

    KIND: ClassVar[str] = "cem"
    VERSION: ClassVar[int] = 2
    SHARES_FORWARD: ClassVar[bool] = False
    NEEDS_OUTPUT: ClassVar[bool] = True
    CLIPS: ClassVar[bool] = True
    ROW: ClassVar[str] = "map"
    COLUMNS: ClassVar[tuple[Column, ...]] = COLUMNS
    REFERENCE: ClassVar[str] = "Hu et al., Interpreting Low-level Vision Models with Causal Effect Maps, TPAMI 2025, arXiv 2407.19789"
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        assert isinstance(params, Params)
        super().__init__(params, spec)
        self.max_rows = params.max_rows
        self.cost = DRAWS * BLOCKS
        choose = getattr(params.windows, "choose", None)
        self.companions = (choose.hardest.by,) if choose is not None and not isinstance(choose, str) else ()

    @classmethod
    def cells(cls, params: BaseModel, model: Model, example: torch.Tensor) -> list[dict[str, Any]]:
        assert isinstance(params, Params)
        over_clips.check_clips(params.frame, None, model)
        return super().cells(params, model, example)

    @classmethod
    def parts(cls, params: BaseModel) -> dict[str, int]:
        from xlli_ray.probes.cem import patch_pool

        return {"patch pool": patch_pool.VERSION}

    def identity(self) -> dict[str, Any]:
        data = self.params.model_dump(mode="json")
        if isinstance(self.params.windows, Listed):
            del data["windows"]["file"]
        if (own := self.params.own) is not None:
            data["pool"] = {"images": len(own.found), "sha256": sha256_hex("\n".join(file.sha256 for file in own.found).encode())}
        if resize.VERSION > 1:
            data["resize version"] = resize.VERSION  # of the pool, also where the inputs are given
        return {**data, **self.parts(self.params)}

    def refuses(self, model: Model, scales: Sequence[int]) -> str | None:
        if 0 in scales:
            return "cem measures PSNR and needs a target; this corpus has inputs without one: use images or pairs"
        if problem := other_scale(model, scales):
            return problem
        own = self.params.own
        small = own.problem(self._side(model.scale), model.scale, self.params.pool_size) if own is not None else ""
        return f"cem: {small}" if small else None

    @property
    def by_source(self) -> bool:
        """Whether the windows of a sample depend on its file."""
        return isinstance(self.params.windows, Listed)

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """See `probes.measurement.Selective`."""
        from xlli_ray.probes.lam.fitting import no_room_for

        return no_room_for(self.params.windows, scale, height, width, source) if target else "no target: effects are changes of PSNR"

    def timing(self, model: Model) -> EffectTime:
        """See `probes.measurement.Timed`."""
        from xlli_ray.probes.cem.timing import time_effects

        return time_effects(model, self.params, self._frame(model.trial_size(1, 1).frames))

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        assert shapes.output is not None
        if shapes.frames:
            over_clips.check_frame(self._frame(shapes.frames), shapes)
        scale = max(1, shapes.output[-1] // shapes.width)
        side = self._side(scale)
        rows, columns = (-(-n // side) for n in (shapes.height, shapes.width))
        frames = (shapes.frames,) if shapes.frames else ()
        shape = (most_windows(self.params.windows, shapes.output), *frames, rows, columns)
        dims = ("window", *("frame",)[: len(frames)], "y", "x")
        stride = (float(side), float(side))
        effect = {"about": "PSNR of the window minus its mean with the block replaced, dB; positive: the block helps"}
        return (
            ArrayPlan("effect", shape, "float32", dims, "blosc", stride, effect, gaps=True),
            ArrayPlan("error", shape, "float32", dims, "blosc", stride, {"about": "standard error of `effect`, dB"}, gaps=True),
            ArrayPlan("draws", shape, "int32", dims, "blosc", stride, {"about": "times replaced; 0: effect exactly 0"}),
        )

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        frames, (height, width) = tuple(batch.input.shape[1:-3]), batch.input.shape[-2:]
        output = (*frames, 0, model.scale * height, model.scale * width)
        shapes = Shapes(height, width, output, {}, frames=frames[0] if frames else 0)
        arrays = {
            plan.name: np.full((len(batch.samples), *plan.shape), 0 if plan.dtype == "int32" else np.nan, plan.dtype)
            for plan in self.arrays(shapes)
        }
        columns: dict[str, list[Any]] = {name: [] for name, _ in columns_of(self.COLUMNS, clips=bool(frames))}
        positions: list[int] = []
        failed: dict[int, str] = {}
        for i in np.flatnonzero(batch.ok).tolist():
            try:
                corruption, maps = self._sample(model, batch, i)
            except NetworkError as error:
                failed[i] = str(error)
                continue
            for j, found in enumerate(maps):
                positions.append(i)
                arrays["effect"][i, j], arrays["error"][i, j], arrays["draws"][i, j] = found.effect, found.error, found.draws
                row = map_row(found, index=j, side=self._side(model.scale), scale=model.scale, corruption=corruption)
                if frames:
                    row["frame"] = self._frame(*frames)
                for name, value in row.items():
                    columns[name].append(value)
        return Measurement(arrays, columns, positions, failed)

    def _sample(self, model: Model, batch: Batch, i: int) -> tuple[str, list[WindowEffects]]:
        """What the patches carry, and the maps of sample `i`. Raises NetworkError with the reason if it has none."""
        from xlli_ray.probes.cem.sample_map import sample_key, sample_maps
        from xlli_ray.probes.lam.attribution import output_frame
        from xlli_ray.probes.lam.sample_windows import sample_windows

        sample, clean = batch.samples[i], batch.targets[i]
        image = model.prepare(batch.input[i : i + 1])[0]
        frames = len(image) if image.ndim == 4 else 0
        height, width = image.shape[-2:]
        if problem := self.unfit(model.scale, height, width, sample.source, target=clean is not None):
            raise NetworkError(problem)
        assert clean is not None
        frame = output_frame(model, frames, self._frame(frames)) if frames else None
        windows = sample_windows(self.params.windows, model, batch, i, frame, batch.input)
        return sample_maps(
            model, image, clean, windows, self.params, label=sample.label, key=sample_key(sample.seed, sample.sample_id),
            extras=batch.extras[i] if batch.extras else None, frame=frame, rows=1 if batch.alone else None,
        )  # fmt: skip

    def _side(self, scale: int) -> int:
        """Input pixels along a block."""
        return max(1, round(self.params.block / scale))

    def _frame(self, frames: int) -> int:
        """The explained frame of clips of so many."""
        return frames // 2 if self.params.frame == "centre" else int(self.params.frame)


