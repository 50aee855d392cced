"""Quantities as studies have them, drawn from laws whose mean is known: values of photographs with several patches each, which are alike.

A value is f(z) of a standard normal z = √ρ · photograph + √(1 − ρ) · patch, so that ρ is the correlation within a photograph, and the mean
over photographs is E f(z) whatever ρ and the number of patches are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy.special import ndtr, ndtri

from xlli_ray.stats.intervals import SHARE, UNLIMITED, Limits

Array = np.ndarray
PERCENT: Limits = (0.0, 100.0)
POSITIVE: Limits = (0.0, None)


@dataclass(frozen=True)
class Quantity:
    """A law, and what its values can be."""

    of: Callable[[Array], Array]
    limits: Limits = UNLIMITED

    @property
    def mean(self) -> float:
        """E f(z), by 2·10⁶ quantiles."""
        number = 2_000_000
        return float(self.of(ndtri((np.arange(number) + 0.5) / number)).mean())


def _diffusion(spread: float) -> Quantity:
    return Quantity(lambda z: np.minimum(8 * np.exp(spread * z), 100.0), PERCENT)


QUANTITIES: dict[str, Quantity] = {
    "normal": Quantity(lambda z: z),
    "psnr": Quantity(lambda z: 20 + 9 * np.exp(0.3 * z)),  # 21…45 dB, smooth patches in a long tail
    "ssim": Quantity(lambda z: np.clip(1 - 0.12 * np.exp(0.8 * z), -1, 1), (-1.0, 1.0)),
    "di": _diffusion(0.5),
    "di, skewed": _diffusion(0.7),
    "di, very skewed": _diffusion(0.9),
    "area": Quantity(lambda z: ndtr(-1.5 + 0.8 * z), SHARE),
}
"""What resembles a column of ours."""
STRESS: dict[str, Quantity] = {
    "lognormal, σ 1": Quantity(lambda z: 400 * np.exp(z), POSITIVE),
    "share 0.3": Quantity(lambda z: (z < ndtri(0.3)).astype(float), SHARE),
}
"""Harder than any column; a share of 0 and 1 has few values, so its coverage is a saw."""


def latent(rng: np.random.Generator, studies: int, photographs: int, patches: int, alike: float) -> Array:
    """z, float64 (studies, photographs, patches)."""
    photograph = rng.normal(size=(studies, photographs, 1))
    return np.sqrt(alike) * photograph + np.sqrt(1 - alike) * rng.normal(size=(studies, photographs, patches))


def means(rng: np.random.Generator, quantity: Quantity, studies: int, photographs: int, patches: int, alike: float) -> Array:
    """Means of photographs, float64 (photographs, studies). `patches` 0: 1 to 16 of them, more in some photographs than in others."""
    values = quantity.of(latent(rng, studies, photographs, patches or 16, alike))
    if patches:
        return values.mean(axis=2).T
    counts = np.minimum(rng.geometric(0.25, size=(studies, photographs, 1)), 16)
    return ((values * (np.arange(16) < counts)).sum(axis=2) / counts[..., 0]).T


def differences(rng: np.random.Generator, quantity: Quantity, studies: int, photographs: int, patches: int, alike: float) -> Array:
    """Of two equal networks on the same photographs: each sees most of what there is in common, and errs by itself."""
    common, one, other = (latent(rng, studies, photographs, patches, alike) for _ in range(3))
    return (quantity.of(0.8 * common + 0.6 * other) - quantity.of(0.8 * common + 0.6 * one)).mean(axis=2).T
