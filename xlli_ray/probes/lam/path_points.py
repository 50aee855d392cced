"""Paths from a baseline to the image, along which gradients are integrated.

`blur`, from the paper (its equation of the Gaussian-blur path, constants of the authors' demo): x = K(σ) ∗ I with σ from 1.2 to 0 and a
9 × 9 kernel, so that detail is added along the path and never brightness. The demo takes equal steps in σ, although almost all of the
change happens between σ = 0.7 and 0.3; so `accurate` mode takes equal steps in u instead, the kernel's centre weight rescaled to 0..1.

Straight lines, x = base + u (I − base), from black, from the image's mean colour, or from the blurred image: for networks whose baseline
should not be a blur (a denoiser's noise is removed by the blur, too). `pair`: from the degraded input to the clean target, for scale 1.

Increments are differences of kernels applied to the image, not differences of two rounded images, and telescope to I − x(0). A constant
channel has increments of exactly 0: a difference of kernels sums to 0 except for rounding, and this rounding would otherwise be the entire
map of a constant image.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

from xlli_ray.errors import NetworkError
from xlli_ray.probes.lam.demo import SIGMA, SIZE, STEPS


class Path(Protocol):
    """x(u) for u in 0..1, with x(1) the image. Paths of clips are `FramePaths`, or take frames themselves."""

    def points(self, image: Tensor, at: Sequence[float]) -> Tensor:
        """x(u): (C, H, W) and n numbers in 0..1 → (n, C, H, W) of the image's dtype."""

    def increments(self, image: Tensor, start: Sequence[float], stop: Sequence[float]) -> Tensor:
        """x(stop) − x(start): (n, C, H, W)."""


def axis(size: int) -> NDArray[np.int64]:
    """Offsets of a kernel's rows from the pixel it is for: −4 … 4 for 9; off centre for even sizes, −3 … 4 for 8, as in the demo."""
    return np.arange(size) + (-size // 2 + 1)


def gaussian_kernels(sigmas: Sequence[float], size: int = SIZE) -> NDArray[np.float64]:
    """K(σ): (n, size, size) float64, each with sum 1; K(0) is an exact delta. The 1e-5 added to σ is the demo's."""
    squares = np.square(axis(size).astype(np.float64))
    distance = squares[:, None] + squares[None, :]
    widths = 2.0 * np.square(np.asarray(sigmas, np.float64) + 1e-5)
    kernels = np.exp(-distance[None] / widths[:, None, None])
    return np.asarray(kernels / kernels.sum(axis=(1, 2), keepdims=True))


def filtered(image: Tensor, kernels: NDArray[np.float64], *, dtype: torch.dtype = torch.float64) -> Tensor:
    """(…, H, W) with n kernels of odd side → (n, …, H, W): correlation, border mirrored without repeating the edge pixel.

    Summed in `dtype` and rounded once to the image's. Raises NetworkError for an image not larger than half the kernel.
    """
    half = kernels.shape[-1] // 2
    if min(image.shape[-2:]) <= half:
        raise NetworkError(f"the blur path needs inputs above {half} pixels on each side, got {image.shape[-2]}×{image.shape[-1]}")
    planes = image.flatten(0, -3)
    padded = F.pad(planes[:, None].to(dtype), (half,) * 4, mode="reflect")
    bank = on_device(torch.from_numpy(kernels)[:, None].to(dtype), image.device)
    return F.conv2d(padded, bank).transpose(0, 1).to(image.dtype).contiguous().unflatten(1, image.shape[:-2])


def changed(image: Tensor, kernels: NDArray[np.float64], *, dtype: torch.dtype = torch.float64) -> Tensor:
    """As `filtered`, for kernels that sum to 0, such as differences of blurs: exactly 0 in channels of one value."""
    out = filtered(image, kernels, dtype=dtype)
    values = image.flatten(-2)
    return out.masked_fill_((values.amax(-1) == values.amin(-1))[..., None, None], 0)


def on_device(values: Tensor, device: torch.device) -> Tensor:
    """A tensor of the host on the device; to a GPU the copy is queued, so that the host need not wait for what is queued before it."""
    return values.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else values.to(device)


@lru_cache(maxsize=4096)
def _sigma(u: float, sigma: float, size: int) -> float:
    """`BlurPath.sigma_at` of one u. Cached: every window of every image needs the same ones, a tenth of a map's time."""
    if u <= 0 or u >= 1:
        return sigma if u <= 0 else 0.0
    squares = np.square(axis(size).astype(np.float64))
    distance = squares[:, None] + squares[None, :]

    def weight(value: float) -> float:
        return 1.0 / float(np.exp(-distance / (2.0 * (value + 1e-5) ** 2)).sum())

    first = weight(sigma)
    wanted, low, high = first + (1.0 - first) * u, 0.0, sigma
    for _ in range(60):
        half = (low + high) / 2
        low, high = (half, high) if weight(half) > wanted else (low, half)
    return (low + high) / 2


@dataclass(frozen=True)
class BlurPath:
    """The Gaussian-blur path; `sigma` in input pixels, `size` odd. Also of clips (T, C, H, W), all frames with the same blur."""

    sigma: float = SIGMA
    size: int = SIZE

    def __post_init__(self) -> None:
        if self.size % 2 == 0 or self.size < 3 or self.sigma <= 0:
            raise ValueError(f"blur path: size {self.size} must be odd and 3 or more, sigma {self.sigma} above 0")

    def sigma_at(self, at: Sequence[float]) -> NDArray[np.float64]:
        """The σ where the kernel's centre weight is c(σ₀) + (1 − c(σ₀)) u: bisection to full precision."""
        return np.array([_sigma(float(u), self.sigma, self.size) for u in at])

    def points(self, image: Tensor, at: Sequence[float]) -> Tensor:
        return filtered(image, gaussian_kernels(self.sigma_at(at).tolist(), self.size))

    def increments(self, image: Tensor, start: Sequence[float], stop: Sequence[float]) -> Tensor:
        first, last = (gaussian_kernels(self.sigma_at(at).tolist(), self.size) for at in (start, stop))
        return changed(image, last - first)

    def demo_steps(self, image: Tensor, steps: int = STEPS) -> tuple[Tensor, Tensor]:
        """Nodes and increments of the authors' demo: x_k and x_k − x_{k−1}, k = 1 … steps, evenly in σ; each (steps, C, H, W).

        Filtered in float32, as the demo does: a ReLU near 0 opens or closes with the last bit of x, and maps with other rounding
        differ by up to 0.4 %.
        """
        kernels = gaussian_kernels([self.sigma * (1 - k / steps) for k in range(steps + 1)], self.size)
        nodes = filtered(image, kernels[1:], dtype=torch.float32)
        return nodes, changed(image, kernels[1:] - kernels[:-1], dtype=torch.float32)

    def demo_null(self, steps: int = STEPS) -> NDArray[np.bool_]:
        """Which of the demo's steps move the image by less than 2e-5 of it (sum of the kernel's change): the last 8 of 50."""
        kernels = gaussian_kernels([self.sigma * (1 - k / steps) for k in range(steps + 1)], self.size)
        return np.asarray(np.abs(kernels[1:] - kernels[:-1]).sum(axis=(1, 2)) < 2e-5)


@dataclass(frozen=True)
class LinearPath:
    """A straight line from `baseline`, (C, H, W), to the image."""

    baseline: Tensor

    def points(self, image: Tensor, at: Sequence[float]) -> Tensor:
        weights = on_device(torch.tensor(at, dtype=torch.float64), image.device)[:, None, None, None]
        return (self.baseline.double() + weights * (image.double() - self.baseline.double())).to(image.dtype)

    def increments(self, image: Tensor, start: Sequence[float], stop: Sequence[float]) -> Tensor:
        widths = on_device(torch.tensor(stop, dtype=torch.float64) - torch.tensor(start, dtype=torch.float64), image.device)
        return (widths[:, None, None, None] * (image.double() - self.baseline.double())).to(image.dtype)
