"""Features: the activations of a layer, stored in full or pooled.

The raw material of SRGA and DDR: the tensor at the input or output of a named module during a plain forward pass.
`*:last_conv_input` is the tap of the SRGA paper (HR_term: the last feature map before the output convolution, after its activation).

Pooling shrinks a (C, h, w) map before it is stored: `mean` stores the C channel means; `moments` keeps mean, standard deviation
(population), skewness and excess kurtosis of each channel (4, C), computed in float64; `{stride: n}` every n-th row and column.

Features of a clip have an axis `frame`, wherever the network has its frames (`models.frame_axis`), and are pooled frame by frame; so do the
layers of an image network that is run frame by frame.

A network that requires sizes in multiples gets a padded image; the part of its features that comes from the padding is cut off before
anything is stored or pooled, so that it enters no statistic.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.probes.measurement import ArrayPlan, Batch, Forward, Launched, Measurement, Shapes, at_once
from xlli_ray.probes.probe import Probe

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.model import Model
    from xlli_ray.models.tap import Tap

FLOAT16_MAX = 65504.0


class Stride(BaseModel):
    """Keep every n-th row and column, from the first."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    stride: int = Field(ge=1)


class Params(BaseModel):
    """Fields of a `features` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    layers: list[str] = Field(min_length=1, description="patterns of module names, optionally with `:input` or `:output`")
    dtype: Literal["float16", "float32"] = "float16"
    codec: Literal["blosc", "none"] = "blosc"
    pool: Literal["mean", "moments"] | Stride | None = None
    max_rows: int | None = Field(default=None, ge=1, description="maximum number of samples to store, evenly spaced")


class Features(Probe):
    """One layer's features. Writes array `features`: (sample, channel, y, x), for clips (sample, frame, channel, y, x), or fewer dimensions
    if pooled or flat."""

    KIND: ClassVar[str] = "features"
    VERSION: ClassVar[int] = 1
    CLIPS: ClassVar[bool] = True
    REFERENCE: ClassVar[str] = "tap conventions: Liu et al., SRGA, TPAMI 2023, and DDR, arXiv 2108.00406"
    Params: ClassVar[type[BaseModel]] = Params

    def __init__(self, params: BaseModel, spec: Mapping[str, Any]) -> None:
        from xlli_ray.models.tap import Tap

        assert isinstance(params, Params)
        super().__init__(params, spec)
        self.tap = Tap(**spec["tap"])
        self.stride: tuple[float, float] | None = tuple(spec["stride"]) if spec.get("stride") else None
        self.what = self.tap.name
        self.max_rows = params.max_rows

    @classmethod
    def cells(cls, params: BaseModel, model: Model, example: torch.Tensor) -> list[dict[str, Any]]:
        from xlli_ray.models.layers import resolve

        assert isinstance(params, Params)
        infos = resolve(model, params.layers, example)
        return [{"tap": info.tap.spec(), "stride": list(info.stride) if info.stride else None} for info in infos]

    def identity(self) -> dict[str, Any]:
        pool = self.params.pool
        return {
            "tap": self.what,
            "dtype": self.params.dtype,
            "codec": self.params.codec,
            "pool": pool.model_dump() if isinstance(pool, Stride) else pool,
            "max_rows": self.params.max_rows,
            **({"frame axis": self.tap.frames} if self.tap.frames else {}),
        }

    def taps(self) -> tuple[Tap, ...]:
        return (self.tap,)

    def arrays(self, shapes: Shapes) -> tuple[ArrayPlan, ...]:
        shape, stride = shapes.taps[self.tap]
        dims = self.tap.dims(shape)
        if self.stride is not None and dims[-2:] == ("y", "x"):
            shape = (*shape[:-2], *self._extent(shapes.height, shapes.width, shape[-2:]))
        pool = self.params.pool
        lead, names = (shape[:1], dims[:1]) if self.tap.frames else ((), ())
        rest = shape[len(lead) :]
        channels = rest[1] if len(rest) == 2 else rest[0]  # (tokens, channels) or (channels, …)
        if pool == "mean":
            shape, dims, stride = (*lead, channels), (*names, "channel"), None
        elif pool == "moments":
            shape, dims, stride = (*lead, 4, channels), (*names, "moment", "channel"), None
        elif isinstance(pool, Stride) and dims[-2:] == ("y", "x"):
            n = pool.stride
            shape = (*shape[:-2], -(-shape[-2] // n), -(-shape[-1] // n))
            stride = (stride[0] * n, stride[1] * n) if stride else None
        attributes: dict[str, Any] = {"layer": self.tap.module, "side": self.tap.side, "pool": str(pool) if pool else "none"}
        if pool == "moments":
            attributes["moment_names"] = ["mean", "std", "skewness", "excess kurtosis"]
        return (ArrayPlan("features", shape, self.params.dtype, dims, self.params.codec, stride, attributes),)

    def measure(self, model: Model, batch: Batch, forward: Forward | None) -> Measurement:
        return at_once(self, model, batch, forward)

    def launch(self, model: Model, batch: Batch, forward: Forward | None) -> Launched:
        """See `probes.measurement.Staged`."""
        import torch

        assert forward is not None
        values = forward.taps[self.what]
        frames = bool(self.tap.frames)
        if self.stride is not None and values.ndim == 4 + frames:
            height, width = batch.input.shape[-2:]
            rows, columns = self._extent(height, width, tuple(values.shape[-2:]))
            values = values[..., :rows, :columns]
        if frames:
            values = pooled(values.flatten(0, 1), self.params.pool).unflatten(0, values.shape[:2])
        else:
            values = pooled(values, self.params.pool)
        # All three kinds of failure show in the extremes: NaN and infinity propagate, overflow is large. Two reductions, because
        # aminmax over one dimension takes eighteen times as long.
        flat = values.flatten(1)
        stored = values.to(getattr(torch, self.params.dtype)).contiguous()
        return Launched({"low": flat.amin(1), "high": flat.amax(1), "features": stored})

    def conclude(self, model: Model, batch: Batch, results: Mapping[str, Any]) -> Measurement:
        """See `probes.measurement.Staged`."""
        low, high, failed = results["low"], results["high"], {}
        for position in np.flatnonzero(batch.ok):
            largest = max(-low[position], high[position])
            if not np.isfinite(largest):
                failed[int(position)] = f"not finite: NaN or infinity in {self.what}"
            elif self.params.dtype == "float16" and largest > FLOAT16_MAX:
                failed[int(position)] = (
                    f"float16 overflow: |{self.what}| reaches {largest:.4g}, float16 ends at {FLOAT16_MAX:.0f}; use dtype: float32"
                )
        return Measurement({"features": results["features"]}, failed=failed)

    def _extent(self, height: int, width: int, size: tuple[int, ...]) -> tuple[int, int]:
        """Rows and columns of a feature map that belong to an input of (height, width), not to its padding."""
        assert self.stride is not None
        high, wide = (math.ceil(pixels / step - 1e-9) for pixels, step in zip((height, width), self.stride))
        return min(size[0], high), min(size[1], wide)


def pooled(values: torch.Tensor, pool: Literal["mean", "moments"] | Stride | None) -> torch.Tensor:
    """`values` (B, C, h, w), (B, tokens, C) or (B, C), float32 → pooled as the module docstring says, float32."""
    import torch

    if pool is None:
        return values
    if isinstance(pool, Stride):
        return values[..., :: pool.stride, :: pool.stride] if values.dim() == 4 else values
    if values.dim() == 3:  # (B, tokens, channels)
        values = values.transpose(1, 2)
    values = values.cpu() if values.device.type == "mps" else values  # Apple's GPUs have no float64
    flat = values.flatten(2).to(torch.float64) if values.dim() > 2 else values[..., None].to(torch.float64)
    mean = flat.mean(2)
    if pool == "mean":
        return mean.float()
    centred = flat - mean[..., None]
    variance = centred.square().mean(2)
    # Skewness and excess kurtosis of a constant channel are 0, not 0/0.
    safe = torch.where(variance > 0, variance, torch.ones_like(variance))
    skewness = centred.pow(3).mean(2) / safe.pow(1.5)
    kurtosis = torch.where(variance > 0, centred.pow(4).mean(2) / safe.square() - 3.0, torch.zeros_like(variance))
    return torch.stack([mean, variance.sqrt(), skewness, kurtosis], dim=1).float()
