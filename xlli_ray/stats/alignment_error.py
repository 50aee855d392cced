"""What an alignment operator keeps and loses: registration error, high frequencies, seams; without any network.

Section A7.3 of the protocol for "Rethinking Alignment in Video Super-Resolution Transformers" (S. Shi et al., NeurIPS 2022, arXiv
2207.08494). An operator has two duties that exclude each other: to bring the support onto the grid of the current frame (registration
error), and to leave its detail as it is (energy of high frequencies). Interpolation wins the first and loses the second; moving whole
pixels or patches does the opposite. So both are always shown together.

High frequencies are those above 0.25 cycles per pixel, half of the Nyquist frequency, of the periodogram without a window: energy above it
divided by that of the support, 1 for an operator that keeps everything. Seams: the mean difference of neighbours across the borders of
patches, minus that elsewhere, in grey levels; about 0 for an operator without patches.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xlli_ray.stats.motion import EDGES, Flow, bins, magnitude

HIGH = 0.25
"""Cycles per pixel above which a frequency is high."""
PHASES = 4
"""Bins of the position between pixels, along each axis."""

Image = NDArray[np.floating]
"""(C, H, W), grey levels."""


def squared_by_motion(error: Image, flow: Flow, hidden: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Σ e² and number of values (pixels × channels) by visibility (visible, hidden) and motion: (2, bins) each.

    `error`: (C, H, W), aligned support minus current frame.
    """
    group = hidden.astype(np.intp) * len(EDGES) + bins(magnitude(flow))
    return _summed(error, group, (2, len(EDGES)))


def squared_by_phase(error: Image, flow: Flow, hidden: NDArray[np.bool_]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The same by the position between pixels to which the flow points, of pixels that are not hidden: (4, 4) each, phase of y, of x."""
    x, y = (np.minimum(((plane - np.floor(plane)) * PHASES).astype(np.intp), PHASES - 1) for plane in flow.astype(np.float64))
    shown = ~hidden
    return _summed(error[:, shown], (y * PHASES + x)[shown], (PHASES, PHASES))


def _summed(error: NDArray[np.floating], group: NDArray[np.intp], shape: tuple[int, int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    squares = np.square(error, dtype=np.float64).sum(0).ravel()
    sums = np.asarray(np.bincount(group.ravel(), weights=squares, minlength=shape[0] * shape[1]), np.float64)
    counts: NDArray[np.int64] = np.bincount(group.ravel(), minlength=shape[0] * shape[1]) * len(error)
    return sums.reshape(shape), counts.reshape(shape)


def high_frequency_energy(image: Image) -> float:
    """Σ |Fourier transform|² over frequencies above HIGH, and over channels, per pixel; the image's edges are neighbours."""
    height, width = image.shape[1:]
    power = np.abs(np.fft.rfft2(image.astype(np.float64))) ** 2
    power[..., 1 : (width + 1) // 2] *= 2  # the other half of a real image's transform
    radius = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width))
    return float(power[:, radius > HIGH].sum() / (height * width) ** 2)


def seam_sums(image: Image, side: int, *, top: int = 0, left: int = 0) -> NDArray[np.float64]:
    """Σ |difference of neighbours| and their number, across the borders of patches and elsewhere: float64 (2, 2), [place, (sum, number)].

    `side`: of the patches, whose grid begins at the frame's corner; the image begins at row `top` and column `left` of the frame.
    """
    out = np.zeros((2, 2))
    for axis, first in ((1, top), (2, left)):
        steps = np.abs(np.diff(image.astype(np.float64), axis=axis))
        across = (first + 1 + np.arange(steps.shape[axis])) % side == 0
        for place, chosen in enumerate((across, ~across)):
            part = steps.compress(chosen, axis=axis)
            out[place] += part.sum(), part.size
    return out


def seam(sums: NDArray[np.float64]) -> float:
    """Mean difference across borders of patches minus that elsewhere, grey levels; NaN without borders. `sums`: of `seam_sums`."""
    with np.errstate(invalid="ignore"):
        across, elsewhere = sums[:, 0] / sums[:, 1]
    return float(across - elsewhere)
