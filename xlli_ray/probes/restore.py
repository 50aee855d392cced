"""Restore: the network's output and how close it comes to the target.

The convention of the super-resolution literature: output clamped to 0..1, rounded to 8 bit; PSNR and SSIM on BT.601 Y (16–235) and PSNR on
RGB, the border of `scale` pixels cut (none at scale 1), sums in float64 (`xlli_ray.stats.fidelity`). A one-channel network is scored on the
luma it works on (full range). Without a target the numbers are NaN, and the output can still be kept. Where the border is all there is of
a target, the sample fails with that reason; an exact copy has PSNR inf, which no mean takes in.

Of a clip the scores are those of its centre frame, frame T // 2, as the literature gives them for windows of frames; `psnr_y_frames` and
`ssim_y_frames` are the means over its frames. A network that gives the centre frame alone has no such means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.errors import PlanError
from xlli_ray.probes.protocol import ArrayPlan, Batch, Column, Forward, Measurement, Shapes, columns_of
from xlli_ray.stats.fidelity import border_of, crop_border, luma_studio, psnr, ssim

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.layers import Tap
    from xlli_ray.models.model import Model


class Params(BaseModel):
    """Fields of a `restore` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    save: bool = Field(default=False, description="keep the output as uint8 array `output`")


class Restore:
    """Scores each output. Writes table `restore`, and with `save` the array `output`: uint8 (sample, channel, y, x), of clips
    (sample, frame, channel, y, x)."""

    KIND: ClassVar[str] = "restore"
    VERSION: ClassVar[int] = 2
    """2: an output of which nothing lies inside the border is a failed row, no longer of PSNR inf; see `version_for`."""
    SHARES_FORWARD: ClassVar[bool] = True
    CLIPS: ClassVar[bool] = True
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        Column("psnr_y", "float64", "PSNR on luma, dB, higher is better; NaN without a target"),
        Column("ssim_y", "float64", "SSIM on luma, at most 1, higher is better; NaN without a target or below 11 px", limits=(-1.0, 1.0)),
        Column("psnr_rgb", "float64", "PSNR over the three channels, dB; NaN for one-channel networks"),
        Column("psnr_y_frames", "float64", "mean of PSNR on luma over all frames of a clip, dB, higher is better", clips=True),
        Column("ssim_y_frames", "float64", "mean of SSIM on luma over the frames of a clip", limits=(-1.0, 1.0), clips=True),
    )
    REFERENCE: ClassVar[str] = "SSIM: Wang et al., IEEE TIP 13(4), 2004"
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        assert isinstance(params, Params)
        self.params: Params = params  # type: ignore[assignment]
        self.what = "restore"
        self.cost = 1.0
        self.max_rows: int | None = None
        self.companions: tuple[str, ...] = ()
        self.by_source = False

    @classmethod
    def cells(cls, params: BaseModel, model: Model, example: torch.Tensor) -> list[dict[str, Any]]:
        if model.output != "image":
            raise PlanError(
                f"restore: model {model.id} has `output: none`, it returns no image. "
                "Leave it out with `models: [...]` in the restore stage."
            )
        return [{}]

    def identity(self) -> dict[str, Any]:
        return {"save": self.params.save}

    def version_for(self, scale: int, sizes: Sequence[tuple[int, int]]) -> int:
        """Whose numbers these are, for a network of `scale` and inputs of these (height, width): 2 changed only the smallest."""
        return self.VERSION if self.VERSION > 2 or any(scale * min(size) <= 2 * border_of(scale) for size in sizes) else 1

    def taps(self) -> tuple[Tap, ...]:
        return ()

    def refuses(self, model: Model, scales: Sequence[int]) -> str | None:
        other = [scale for scale in scales if scale not in (0, model.scale)]
        if not other:
            return None
        return (
            f"model {model.id} enlarges ×{model.scale}, the corpus holds ×{other[0]} samples; "
            f"use `corpus.scale: {model.scale}` or pairs of that scale, or leave the model out of this stage"
        )

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """See `probes.protocol.Selective`."""
        border = border_of(scale)
        if not target or scale * min(height, width) > 2 * border:
            return ""
        return f"too small to score: the target is {scale * width}×{scale * height} pixels, and {border} are cut off on each side"

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        if not self.params.save:
            return ()
        assert shapes.output is not None
        stride = (shapes.height / shapes.output[-2], shapes.width / shapes.output[-1])
        attributes = {"range": "0..255"}
        dims = ("frame", "channel", "y", "x")[-len(shapes.output) :]
        return (ArrayPlan("output", shapes.output, "uint8", dims, "blosc", stride, attributes),)

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        assert forward is not None
        assert forward.output is not None
        output = forward.output.detach().cpu().numpy()
        clips = batch.input.ndim > 4
        failed: dict[int, str] = {}
        images = np.zeros(output.shape, np.uint8)
        names = [name for name, _ in columns_of(self.COLUMNS, clips=clips)]
        scores = np.full((len(output), len(names)), np.nan)
        for position in np.flatnonzero(batch.ok).tolist():
            if not np.isfinite(output[position].sum(dtype=np.float64)):
                failed[position] = "not finite: NaN or infinity in the output"
                continue
            images[position] = np.floor(output[position].clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
            target = batch.targets[position]
            if target is None:
                continue
            (height, width), (high, wide) = output[position].shape[-2:], target.shape[-2:]
            if (height, width) != (high, wide):
                failed[position] = f"wrong scale: the output is {width}×{height} pixels, the target {wide}×{high}"
                continue
            if problem := self.unfit(model.scale, high // model.scale, wide // model.scale, "", target=True):
                failed[position] = problem
                continue
            measure = score_clip if clips else score
            scores[position] = measure(images[position], target, border=border_of(model.scale))
        columns = {name: scores[:, i].tolist() for i, name in enumerate(names)}
        return Measurement({"output": images} if self.params.save else {}, columns, failed=failed)


def score_clip(images: np.ndarray, target: np.ndarray, *, border: int) -> tuple[float, float, float, float, float]:
    """(PSNR-Y, SSIM-Y, PSNR-RGB) of the centre frame, and the means over frames of PSNR-Y and SSIM-Y.

    `images`: uint8 (T, C, H, W), or (C, H, W): the centre frame alone, then both means are NaN. `target`: float32 (T, 3, H, W) RGB in 0..1.
    """
    centre = len(target) // 2
    if images.ndim == 3:
        return *score(images, target[centre], border=border), float("nan"), float("nan")
    each = [score(image, wanted, border=border) for image, wanted in zip(images, target, strict=True)]
    mean_y, mean_ssim = (float(np.mean([one[i] for one in each])) for i in (0, 1))
    return *each[centre], mean_y, mean_ssim


def score(image: np.ndarray, target: np.ndarray, *, border: int) -> tuple[float, float, float]:
    """(PSNR-Y, SSIM-Y, PSNR-RGB) of one output.

    `image`: uint8 (3, H, W) or (1, H, W). `target`: float32 (3, H, W) RGB in 0..1. `border`: pixels cut on each side.
    """
    hwc = crop_border(np.moveaxis(image, 0, 2), border)
    wanted = crop_border(np.moveaxis(target, 0, 2), border)
    if image.shape[0] == 1:
        # The network works on full-range luma; it is scored on that, unrounded, not on studio range.
        luma = wanted.astype(np.float64) @ np.array([0.299, 0.587, 0.114]) * 255.0
        grey = hwc[:, :, 0].astype(np.float64)
        return psnr(grey, luma), ssim(grey, luma), float("nan")
    eight_bit = np.floor(wanted.astype(np.float64) * 255 + 0.5).astype(np.uint8)
    y, wanted_y = luma_studio(hwc), luma_studio(eight_bit)
    return psnr(y, wanted_y), ssim(y, wanted_y), psnr(hwc, eight_bit)
