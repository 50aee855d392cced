"""PSNR and SSIM as the super-resolution literature computes them.

PSNR: 10·log10(255² / MSE) on 8-bit values. SSIM: Wang et al., IEEE TIP 2004, 11×11 Gaussian window of σ 1.5, K1 = 0.01, K2 = 0.03,
only where the window fits ("valid"). Y is BT.601 luma in studio range, 16–235, unrounded (MATLAB `rgb2ycbcr` on 8-bit input without the
final rounding), the border of `scale` pixels is cut (`border_of`: none at scale 1), sums are in float64. Higher is better; identical
images give PSNR inf, SSIM 1.

>>> import numpy as np
>>> a = np.zeros((16, 16)); b = a + 5.0
>>> round(psnr(a, b), 4)   # 20 log10(255 / 5)
34.1514
"""

from __future__ import annotations

import numpy as np

_Y = np.array([65.481, 128.553, 24.966]) / 255.0
_K1, _K2, _SIGMA, _RADIUS = 0.01, 0.03, 1.5, 5


def luma_studio(rgb: np.ndarray) -> np.ndarray:
    """BT.601 luma 16–235 of 8-bit RGB. `rgb`: uint8 (H, W, 3). Returns float64 (H, W)."""
    return rgb.astype(np.float64) @ _Y + 16.0


def border_of(scale: int) -> int:
    """Pixels cut from each side of the output before scoring: `scale`, or none at scale 1, where every pixel was given."""
    return scale if scale > 1 else 0


def crop_border(image: np.ndarray, border: int) -> np.ndarray:
    """Cut `border` pixels from each side of (H, W) or (H, W, C)."""
    return image[border:-border, border:-border] if border else image


def psnr(image: np.ndarray, target: np.ndarray) -> float:
    """Peak signal-to-noise ratio in dB for values in 0..255; any equal shapes. inf when equal. ValueError for empty arrays."""
    if not image.size:
        raise ValueError("PSNR of no pixels: an image must be larger than the border that is cut off")
    difference = image.astype(np.float64) - target.astype(np.float64)
    mse = float(np.mean(difference * difference))
    return float(10.0 * np.log10(255.0**2 / mse)) if mse > 0 else float("inf")


def _window() -> np.ndarray:
    offsets = np.arange(-_RADIUS, _RADIUS + 1)
    window = np.exp(-(offsets**2) / (2 * _SIGMA**2))
    return window / window.sum()


def _smooth(image: np.ndarray) -> np.ndarray:
    window = _window()
    rows = image.shape[0] - 2 * _RADIUS
    columns = image.shape[1] - 2 * _RADIUS
    down = sum(weight * image[i : i + rows] for i, weight in enumerate(window))
    return sum(weight * down[:, i : i + columns] for i, weight in enumerate(window))  # type: ignore[index]


def ssim_map(image: np.ndarray, target: np.ndarray) -> np.ndarray | None:
    """Structural similarity of each window of two (H, W) images with values in 0..255: float64 (H − 10, W − 10). None below 11×11."""
    if min(image.shape) <= 2 * _RADIUS:
        return None
    x, y = image.astype(np.float64), target.astype(np.float64)
    c1, c2 = (_K1 * 255) ** 2, (_K2 * 255) ** 2
    mean_x, mean_y = _smooth(x), _smooth(y)
    var_x = _smooth(x * x) - mean_x**2
    var_y = _smooth(y * y) - mean_y**2
    covariance = _smooth(x * y) - mean_x * mean_y
    numerator = (2 * mean_x * mean_y + c1) * (2 * covariance + c2)
    denominator = (mean_x**2 + mean_y**2 + c1) * (var_x + var_y + c2)
    found: np.ndarray = numerator / denominator
    return found


def ssim(image: np.ndarray, target: np.ndarray) -> float:
    """Mean structural similarity of two (H, W) images with values in 0..255, float64. NaN below 11×11 pixels."""
    found = ssim_map(image, target)
    return float("nan") if found is None else float(np.mean(found))
