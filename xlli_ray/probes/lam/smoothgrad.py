"""SmoothGrad: the mean gradient of the score over copies of the input with Gaussian noise (Smilkov et al., 2017, arXiv 1706.03825).

    A = 1/n Σ_k ∇D(x + e_k)        e_k ~ N(0, σ²), σ = `noise` · (max x − min x)

**It is not multiplied by the input**, as in the paper: a sensitivity, in units of the objective per unit of input, which sums to nothing.
`times_input: true` multiplies it. Defaults are the paper's, 50 draws and a noise of 15 % of the range. With `draws: 1, noise: 0` it is the
plain gradient.

Draws are keyed by the sample and by their number, not by the window: windows share the passes, more draws begin with the fewer ones, and
a network of one channel gets draws of one channel. E (`error_estimate`) is here the relative standard error of the mean over the draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.probes.lam.method_choices import Gradients

if TYPE_CHECKING:
    from torch import Tensor

    from xlli_ray.probes.lam.path_points import Path


class Args(BaseModel):
    """Arguments of `smoothgrad`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    draws: int = Field(default=50, ge=1, le=10_000, description="noisy copies of the input: gradients of each window")
    noise: float = Field(default=0.15, ge=0, allow_inf_nan=False, description="σ of the noise as a share of the input's range, max − min")
    times_input: bool = Field(default=False, description="multiply the mean gradient by the input, unlike the paper")


class SmoothGrad(Gradients):
    """Gradients at noisy copies of the input."""

    NAME = "smoothgrad"
    REFERENCE = "Smilkov et al., SmoothGrad: removing noise by adding noise, 2017, arXiv 1706.03825"
    Args: ClassVar[type[BaseModel]] = Args
    DRAWN = True

    @property
    def units(self) -> str:
        return "signed, in units of the objective" + ("" if self.args.times_input else " per unit of input: not times the input")

    @property
    def gradients(self) -> int:
        return int(self.args.draws)

    def path(self, image: Tensor, key: str) -> Path:
        from xlli_ray.probes.lam.input_points import InputPoints

        return InputPoints(self.args.draws, self.args.noise, f"{key}|smoothgrad", times_input=self.args.times_input)
