"""From an attribution to a map, and from a map to numbers: Gini, diffusion index, n95.

    map = |Σ_c A| / max                                in 0..1, of the input's height and width
    Gini = Σ_i (2i − n − 1) a_i / (n Σ a)              a ascending, i = 1 … n: 0 all pixels equal, near 1 all in one
    DI = (1 − Gini) · 100                              larger: the network uses a wider area (Gu & Dong 2021)
    n95                                                number of largest pixels with 95 % of the map

DI depends on the image size: the same map, padded with zeros to four times the area, has a quarter of its DI. Compare only maps of equal
size. A map that is zero everywhere (a constant image, a network that ignores its input) has no Gini: the demo's formula gives DI 100
there; here it is NaN.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

EPSILON = 1e-7
"""Added to each pixel by the authors; the reason why maps are normalised first."""


def normalised_map(attribution: NDArray[np.floating], *, axes: tuple[int, ...] = (-2, -1)) -> NDArray[np.float32]:
    """(…, C, H, W) signed → (…, H, W) in 0..1, float32; all zeros if the attribution is zero everywhere, NaN if it is not finite.

    `axes`: those of the map that share a peak; of a clip (T, C, H, W) also the frames, −3, since shares of frames would be lost otherwise.
    """
    summed = np.abs(np.asarray(attribution, np.float64).sum(axis=-3))
    peak = summed.max(axis=axes, keepdims=True)
    with np.errstate(invalid="ignore"):
        return (summed / np.where(peak == 0, 1.0, peak)).astype(np.float32)


def gini(values: NDArray[np.floating]) -> float:
    """Gini coefficient of all values, 0..1, with the authors' conventions (shifted to ≥ 0, plus 1e-7).

    NaN if all values are 0 or any is not finite.
    """
    flat = np.asarray(values, np.float64).ravel()
    if flat.size == 0 or not np.isfinite(flat).all() or not flat.any():
        return float("nan")
    if flat.min() < 0:
        flat = flat - flat.min()
    ordered = np.sort(flat + EPSILON)
    n = ordered.size
    return float(((2.0 * np.arange(1, n + 1) - n - 1) * ordered).sum() / (n * ordered.sum()))


def diffusion_index(values: NDArray[np.floating]) -> float:
    """DI of a map (H, W), 0..100; NaN if the map is undefined."""
    return (1.0 - gini(values)) * 100.0


def n95(values: NDArray[np.floating], share: float = 0.95) -> int:
    """The smallest number of pixels that together make up at least `share` of a non-negative map; 0 for an undefined one."""
    flat = np.sort(np.asarray(values, np.float64).ravel())[::-1]
    total = flat.sum()
    if not np.isfinite(total) or total <= 0:
        return 0
    return int(min(flat.size, np.searchsorted(np.cumsum(flat), share * total) + 1))
