"""Restore: the network's output and its similarity to the target.

The convention of the super-resolution literature: output clamped to 0..1, rounded to 8 bit (`rounding: floor` truncates instead, as the
published scripts of PReNet and other deraining networks do); PSNR and SSIM on BT.601 Y (16–235) and PSNR on
RGB, the border of `scale` pixels cut (none at scale 1), sums in float64 (`xlli_ray.stats.fidelity`). A one-channel network is scored on the
luma it works on (full range). Without a target the scores are NaN, but the output can be stored. If nothing of a target is left inside the
border, the sample fails with that reason; an exact copy has PSNR inf, which is excluded from means.

The scores of a clip are those of its centre frame, frame T // 2, as usual in the literature for windows of frames; `psnr_y_frames` and
`ssim_y_frames` are means over its frames. A network that returns only the centre frame has no such means.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from xlli_ray.probes.measurement import ArrayPlan, Batch, Column, Forward, Launched, Measurement, Shapes, at_once, columns_of
from xlli_ray.probes.metrics.metric import ALWAYS, Metric, Pair, metric_classes
from xlli_ray.probes.metrics.psnr_ssim import PsnrRgb, PsnrY, SsimY
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.video_benchmarks import COLUMNS as BENCHMARK_COLUMNS
from xlli_ray.probes.video_benchmarks import Name, benchmark_scores
from xlli_ray.registry import METRICS
from xlli_ray.stats.fidelity import border_of, crop_border

if TYPE_CHECKING:
    from xlli_ray.models.model import Model


class Params(BaseModel):
    """Fields of a `restore` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    save: bool = Field(default=False, description="store the output as uint8 array `output`")
    rounding: Literal["nearest", "floor"] = Field(default="nearest", description="of the output to 8 bit; floor: truncated")
    benchmark: Name | None = Field(default=None, description="of clips: also PSNR and SSIM as this benchmark reports them")
    metrics: list[str] = Field(default_factory=list, description="further scores: lpips, dists, niqe, or package.module:Class")

    @field_validator("metrics")
    @classmethod
    def _metrics(cls, names: list[str]) -> list[str]:
        if all(METRICS.knows(name) for name in names):  # code of a study that no recipe names is not loaded
            for metric in metric_classes(names).values():
                metric.check()
        elif unknown := [name for name in names if ":" not in name and name not in METRICS]:
            METRICS.load(unknown[0])
        return names


class Restore(Probe):
    """Scores each output. Writes table `restore`, and with `save` the array `output`: uint8 (sample, channel, y, x), for clips
    (sample, frame, channel, y, x)."""

    KIND: ClassVar[str] = "restore"
    VERSION: ClassVar[int] = 2
    """2: an output without pixels inside the border is a failed row, no longer PSNR inf; see `version_for`."""
    NEEDS_OUTPUT: ClassVar[bool] = True
    CLIPS: ClassVar[bool] = True
    COLUMNS: ClassVar[tuple[Column, ...]] = (
        PsnrY.COLUMN,
        SsimY.COLUMN,
        PsnrRgb.COLUMN,
        Column("psnr_y_frames", "float64", "mean of PSNR on luma over all frames of a clip", clips=True, unit="dB", better="higher"),
        Column("ssim_y_frames", "float64", "mean of SSIM on luma over all its frames", limits=(-1.0, 1.0), clips=True, better="higher"),
    )
    REFERENCE: ClassVar[str] = "SSIM: Wang et al., IEEE TIP 13(4), 2004"
    Params: ClassVar[type[BaseModel]] = Params
    by_source = False

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        super().__init__(params, spec)
        assert isinstance(params, Params)
        self.classes = metric_classes(params.metrics)
        self._scores: dict[str, Metric] = {}

    @classmethod
    def parts(cls, params: BaseModel) -> dict[str, int]:
        assert isinstance(params, Params)
        metrics = metric_classes(params.metrics)
        return {name: metric.VERSION for name, metric in metrics.items() if name not in ALWAYS or metric.VERSION > 1}

    def columns(self) -> tuple[Column, ...]:
        further = tuple(cls.COLUMN for name, cls in self.classes.items() if name not in ALWAYS)
        return (*self.COLUMNS, *further, *(BENCHMARK_COLUMNS if self.params.benchmark else ()))

    def identity(self) -> dict[str, Any]:
        more = self.parts(self.params)
        rounding = {} if self.params.rounding == "nearest" else {"rounding": self.params.rounding}
        benchmark = {"benchmark": self.params.benchmark} if self.params.benchmark else {}
        return {"save": self.params.save, **rounding, **benchmark, **({"metrics": more} if more else {})}

    def version_for(self, scale: int, sizes: Sequence[tuple[int, int]]) -> int:
        """The version of the numbers for a network of `scale` and inputs of these (height, width): 2 changed only the smallest."""
        return self.VERSION if self.VERSION > 2 or any(scale * min(size) <= 2 * border_of(scale) for size in sizes) else 1

    def refuses(self, model: Model, scales: Sequence[int]) -> str | None:
        return other_scale(model, scales)

    def unfit(self, scale: int, height: int, width: int, source: str, *, target: bool) -> str:
        """See `probes.measurement.Selective`."""
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
        return at_once(self, model, batch, forward)

    def launch(self, model: Model, batch: Batch, forward: Forward | None) -> Launched:
        """See `probes.measurement.Staged`."""
        assert forward is not None
        assert forward.output is not None
        return Launched({"output": forward.output.detach()})

    def conclude(self, model: Model, batch: Batch, results: Mapping[str, Any]) -> Measurement:
        """See `probes.measurement.Staged`."""
        output = results["output"]
        clips = batch.input.ndim > 4
        failed: dict[int, str] = {}
        images = np.zeros(output.shape, np.uint8)
        self._scores = self._scores or {name: cls() for name, cls in self.classes.items()}
        scores = {name: [float("nan")] * len(output) for name, _ in columns_of(self.columns(), clips=clips)}
        border = border_of(model.scale)
        half = np.float32(0.5 if self.params.rounding == "nearest" else 0.0)
        for position in np.flatnonzero(batch.ok).tolist():
            if not np.isfinite(output[position].sum(dtype=np.float64)):
                failed[position] = "not finite: NaN or infinity in the output"
                continue
            images[position] = np.floor(output[position].clip(0, 1) * np.float32(255) + half).astype(np.uint8)
            target = batch.targets[position]
            if target is None:
                for name, metric in self._scores.items():
                    if not metric.NEEDS_TARGET and min(output.shape[-2:]) > 2 * border:
                        frame = images[position] if output.ndim == 4 else images[position][output.shape[1] // 2]
                        scores[name][position] = metric.score(Pair(crop_border(np.moveaxis(frame, 0, 2), border), None))
                continue
            (height, width), (high, wide) = output[position].shape[-2:], target.shape[-2:]
            if (height, width) != (high, wide):
                failed[position] = f"wrong scale: the output is {width}×{height} pixels, the target {wide}×{high}"
                continue
            if problem := self.unfit(model.scale, high // model.scale, wide // model.scale, "", target=True):
                failed[position] = problem
                continue
            for name, value in self._scored(images[position], target, border).items():
                scores[name][position] = value
        return Measurement({"output": images} if self.params.save else {}, scores, failed=failed)

    def _scored(self, image: np.ndarray, target: np.ndarray, border: int) -> dict[str, float]:
        """Column → value of one output, uint8 (C, H, W) or (T, C, H, W); for a clip those of its centre frame, and means over frames."""
        if target.ndim == 3:
            pair = cut(image, target, border=border)
            return {name: metric.score(pair) for name, metric in self._scores.items()}
        centre = len(target) // 2
        pairs = [cut(one, wanted, border=border) for one, wanted in zip(image, target, strict=True)] if image.ndim == 4 else []
        pair = pairs[centre] if pairs else cut(image, target[centre], border=border)
        scores = {name: metric.score(pair) for name, metric in self._scores.items()}
        for name in ("psnr_y", "ssim_y") if pairs else ():
            scores[f"{name}_frames"] = float(np.mean([self._scores[name].score(one) for one in pairs]))
        if self.params.benchmark is not None:
            frames = zip(image, target, strict=True) if image.ndim == 4 else [(image, target[centre])]
            whole = [cut(one, wanted, border=0) for one, wanted in frames]
            scores |= zip((column.name for column in BENCHMARK_COLUMNS), benchmark_scores(self.params.benchmark, whole))
        return scores


def other_scale(model: Model, scales: Sequence[int]) -> str | None:
    """Why a network cannot be compared with targets of these scales, or None."""
    other = [scale for scale in scales if scale not in (0, model.scale)]
    if not other:
        return None
    return (
        f"model {model.id} enlarges ×{model.scale}, the corpus holds ×{other[0]} samples; "
        f"use `corpus.scale: {model.scale}` or pairs of that scale, or leave the model out of this stage"
    )


def cut(image: np.ndarray, target: np.ndarray, *, border: int) -> Pair:
    """One output and its target, ready for comparison.

    `image`: uint8 (3, H, W) or (1, H, W). `target`: float32 (3, H, W) RGB in 0..1. `border`: pixels cut on each side.
    """
    return Pair(crop_border(np.moveaxis(image, 0, 2), border), crop_border(np.moveaxis(target, 0, 2), border))


def score(image: np.ndarray, target: np.ndarray, *, border: int) -> tuple[float, float, float]:
    """(PSNR-Y, SSIM-Y, PSNR-RGB) of one output; arguments as of `cut`."""
    pair = cut(image, target, border=border)
    return PsnrY().score(pair), SsimY().score(pair), PsnrRgb().score(pair)
