"""Scores of one restored image: PSNR on luma, and how much fine detail there is.

PSNR as in the literature and in `restore` stages: output clamped and rounded to 8 bits, BT.601 luma 16..235, a border of
`scale` pixels cut, none at scale 1 (`stats.fidelity.border_of`).

High-frequency energy is the part of the luma's variance (grey levels squared) at spatial frequencies above a quarter of
the sampling rate, i.e. above half the Nyquist frequency; a Hann window suppresses the border. A network trained
with a pixel loss produces less of it than the photograph has; an adversarial one more, at a cost in PSNR.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from xlli_ray.stats.fidelity import crop_border, luma_studio, psnr

U8 = NDArray[np.uint8]
HIGH = 0.25  # cycles per pixel


@dataclass(frozen=True)
class Scored:
    """Means over images: `psnr_y` in dB; `high_frequency` and `target_high_frequency` in grey levels squared.

    `images`: number of images averaged. One no larger than its border has no score, an exact copy an infinite one: both are left out.
    """

    images: int
    psnr_y: float
    high_frequency: float
    target_high_frequency: float


def compare(output: U8, target: U8, *, border: int) -> tuple[float, float, float]:
    """PSNR of luma, high-frequency energy of `output` and of `target`, both uint8 (H, W, 3)."""
    y, t = (crop_border(luma_studio(image), border) for image in (output, target))
    return psnr(y, t), high_frequency(y), high_frequency(t)


def high_frequency(luma: NDArray[np.float64]) -> float:
    """Variance at frequencies above HIGH cycles per pixel, grey levels squared. `luma`: (H, W), grey levels."""
    window = np.outer(np.hanning(luma.shape[0] + 2)[1:-1], np.hanning(luma.shape[1] + 2)[1:-1])
    window /= np.sqrt(np.mean(window**2))
    power = np.abs(np.fft.fft2((luma - luma.mean()) * window)) ** 2 / luma.size**2
    radius = np.hypot(np.fft.fftfreq(luma.shape[0])[:, None], np.fft.fftfreq(luma.shape[1])[None, :])
    return float(power[radius > HIGH].sum())
