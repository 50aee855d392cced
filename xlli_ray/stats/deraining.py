"""Decoupled evaluation of deraining: what was taken out of the rain, and what was done to the image beside it.

J. Gu et al., "Networks are Slacking Off: Understanding Generalization Problem in Image Deraining", NeurIPS 2023, arXiv 2305.15134, score
the two halves of the task apart; their successor, arXiv 2502.12600, compares both with the clean image. PSNR of the whole image hides one
half behind the other: with more training backgrounds it may rise while *less* unseen rain is removed. With the input O, the clean image B,
the output F and a mask M of the rain, all in 8-bit units (0..255), over pixels and channels:

    E_R  = RMS over M of F − O       how much was changed in the rain; 0: nothing
    E_R* = RMS over M of B − O       the same of a perfect network
    E_RB = RMS over M of F − B       what is still wrong in the rain
    E_B  = RMS over 1 − M of F − B   what was damaged beside it
    ρ    = ⟨F − O, B − O⟩ / ‖B − O‖², over M      share of the rain that was removed: 0 none, 1 all, more: too much
    D⊥   = RMS over M of (F − O) − ρ (B − O)      what ρ does not explain: content destroyed, and rain removed unevenly

ρ (B − O) and the rest are orthogonal, hence exactly

    E_R² = ρ² E_R*² + D⊥²        E_RB² = (1 − ρ)² E_R*² + D⊥²

so E_R alone says nothing: it has no upper bound, and a network that destroys the image has the highest. It is never reported without ρ, D⊥
and E_B. An output with E_RB > E_R* is further from the clean image under the rain than the input was: `corrupted`. One with D⊥² > E_R² / 2
changed more that was no rain than rain: its E_R is `inflated`.

Where the papers leave a choice, both are here, and a column's name says which. The mean is over the masked pixels (`norm="mask"`) or over
the whole image, the rest being zero (`norm="image"`): √coverage times that. The reference is the input, the clean image, or both. The mask
is true or false, or soft, a weight 0..1: the rain layer / 255. ρ and D⊥, and the coverage beside every number, are this package's.

>>> import numpy as np
>>> clean = np.zeros((4, 4, 3)); rainy = clean.copy(); rainy[0] = 100.0; mask = rainy[..., 0] > 50
>>> removal(0.75 * rainy, rainy, clean, mask)   # a quarter of the rain removed, nothing else changed
(0.25, 0.0)
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Norm = Literal["mask", "image"]
Image = NDArray[np.float64]
Mask = NDArray[np.float64] | NDArray[np.bool_]
_NAN = float("nan")


def coverage(mask: Mask) -> float:
    """Share of the pixels that are rain, 0..1; of a soft mask its mean. `mask`: (H, W)."""
    return float(mask.mean(dtype=np.float64))


def squares(one: Image, other: Image) -> Image:
    """(one − other)² of each pixel, mean over channels. float64 (H, W) or (H, W, C) in 0..255 → (H, W)."""
    values = (one - other) ** 2
    return values if values.ndim == 2 else values.mean(axis=2)


def masked_mean(values: Image, mask: Mask) -> float:
    """Σ values · M / Σ M, both (H, W); NaN where the mask is empty."""
    weight = float(mask.sum(dtype=np.float64))
    return float((values * mask).sum(dtype=np.float64)) / weight if weight > 0 else _NAN


def mean_square(one: Image, other: Image, mask: Mask) -> float:
    """Σ (one − other)² M / Σ M over pixels and channels: the masked mean of squares of the successor paper (`mse_rain_gt`), no root.

    `one`, `other`: float64 (H, W) or (H, W, C), 0..255. `mask`: bool or float64 in 0..1, (H, W). NaN where the mask is empty.
    """
    return masked_mean(squares(one, other), mask)


def distance(one: Image, other: Image, mask: Mask, *, norm: Norm = "mask") -> float:
    """Root of the mean of squares over the masked pixels, or over all pixels with the others as zeros. Arguments as of `mean_square`.

    NaN where the mask is empty, under both norms.
    """
    value = float(np.sqrt(mean_square(one, other, mask)))
    return value if norm == "mask" else value * float(np.sqrt(coverage(mask)))


def removal(output: Image, rainy: Image, clean: Image, mask: Mask) -> tuple[float, float]:
    """(ρ, D⊥), see the module. float64 (H, W) or (H, W, C) in 0..255; NaN where the mask is empty or input and clean image agree in it."""
    change, rain = output - rainy, clean - rainy
    along = change * rain if change.ndim == 2 else (change * rain).mean(axis=2)
    there = masked_mean(squares(clean, rainy), mask)
    if not there > 0:
        return _NAN, _NAN
    rho = masked_mean(along, mask) / there
    return rho, float(np.sqrt(mean_square(change, rho * rain, mask)))


def psnr_of(mean_square_error: float) -> float:
    """PSNR in dB, peak 255, of a masked mean of squares; inf for 0, NaN for NaN."""
    return float("inf") if mean_square_error == 0 else float(10 * np.log10(255.0**2 / mean_square_error))


def ssim_within(similarity: Image | None, mask: Mask) -> float:
    """Mean of the windows whose centre is masked. `similarity`: `stats.fidelity.ssim_map` of images of the mask's size (H, W).

    NaN without a map (images below 11×11 pixels) and without such a window.
    """
    if similarity is None:
        return _NAN
    (height, width), (top, left) = similarity.shape, ((a - b) // 2 for a, b in zip(mask.shape, similarity.shape))
    return masked_mean(similarity, mask[top : top + height, left : left + width])


def corrupted(left: float, perfect: float) -> bool:
    """Whether the output is further from the clean image in the rain than the input was: E_RB > E_R*. False where undefined."""
    return left > perfect


def inflated(change: float, damage: float) -> bool:
    """Whether more than half of E_R² is D⊥²: E_R then tells of damage rather than of rain removed. False where undefined."""
    return damage**2 > change**2 / 2


def difference_mask(rainy: Image, clean: Image, threshold: float) -> NDArray[np.bool_]:
    """Where a pair differs by more than `threshold` (8-bit units) in any channel. (H, W) or (H, W, C) → bool (H, W)."""
    apart = np.abs(rainy - clean)
    return (apart if apart.ndim == 2 else apart.max(axis=2)) > threshold

