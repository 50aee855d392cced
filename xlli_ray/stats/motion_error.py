"""Errors of restored frames, summed by how far each pixel moves: exact sums that can be merged in any order.

Section A7.2 of the protocol for "Rethinking Alignment in Video Super-Resolution Transformers" (S. Shi et al., NeurIPS 2022, arXiv
2207.08494). A low-resolution pixel belongs to the bin of its motion to the supporting frames, that of the frame to which it moves furthest
(and, counted separately, the mean); the errors of the scale × scale pixels restored from it go there. Stored are Σ e², Σ |e| and n of each
bin. PSNR of a bin is that of the pooled sums, never a mean of PSNRs, in which ten pixels of one clip would weigh as much as a million of
another.

Sums are integers, so that merging them in any order, over any division into clips, frames or machines, gives the same to the last bit, and
the difference of a network with itself is exactly 0. Outputs and targets are rounded to 8 bit, as for every published PSNR, so errors of
RGB are integers. Luma (BT.601, studio range) is counted in steps of 1/256 of a grey level, which moves a PSNR by less than 1e-3 dB.

>>> import numpy as np
>>> round(float(psnr(np.array(30), np.array(10))), 3)          # mean squared error 3
43.36
>>> float(delta_psnr(np.array(30), np.array(30), np.array(10)))
0.0
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xlli_ray.stats.motion import EDGES, Flow, between, bins, magnitude

Colour = Literal["rgb", "y"]
Sums = NDArray[np.int64]
BY = ("max", "mean")
"""Motion of a pixel: to the supporting frame to which it moves furthest, or the mean over supporting frames."""
VISIBILITY = ("visible", "occluded")
TEXTURE = ("smooth", "medium", "textured")
AXES = (len(BY), len(VISIBILITY), len(TEXTURE), len(EDGES))
STEPS_Y = 256
"""Steps of a grey level of luma."""
STEPS_MOTION = 256
"""Steps of a pixel in which motion is summed."""
AROUND = 5
"""Side of the neighbourhood whose texture is that of a pixel, in low-resolution pixels."""
_Y = np.array([65481, 128553, 24966])
"""Weights of studio luma: 255,000 to a grey level."""


@dataclass(frozen=True)
class ErrorSums:
    """Sums over the values (pixels × channels) of each group, int64 (by, visibility, texture, bin)."""

    squared: Sums
    """Σ e², in squared steps."""
    absolute: Sums
    """Σ |e|, in steps."""
    count: Sums
    """Number of values."""
    moved: Sums
    """Σ of their motion, in 1/256 pixel: over `count`, the mean motion in the bin."""


def steps_of(colour: Colour) -> int:
    """Steps of a grey level: errors are integers in these."""
    return STEPS_Y if colour == "y" else 1


def eight_bit(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    """Values in 0..1, clamped and rounded half up to 0..255."""
    return np.floor(image.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)


def stepped(image: NDArray[np.uint8], colour: Colour) -> NDArray[np.int64]:
    """(3, H, W) RGB → int64 (3, H, W) grey levels, or (1, H, W) luma in steps of 1/256."""
    if colour == "rgb":
        return image.astype(np.int64)
    luma = np.tensordot(_Y, image.astype(np.int64), axes=1)[None]  # without the offset of 16, which cancels
    return np.asarray((luma * STEPS_Y + 127_500) // 255_000, np.int64)


def motion_of(following: Flow, preceding: Flow, current: int, span: int | None = None) -> NDArray[np.float32]:
    """|F(current → support)| over the supporting frames, largest and mean: float32 (2, H, W).

    `following`, `preceding`: as of `motion.between`. `span`: how many frames away a frame still supports; None: all of the clip.
    """
    frames = len(following) + 1
    first, last = (0, frames - 1) if span is None else (max(0, current - span), min(frames - 1, current + span))
    far = [magnitude(between(following, preceding, current, support)) for support in range(first, last + 1) if support != current]
    return np.stack([np.max(far, axis=0), np.mean(far, axis=0)])


def hidden_of(occluded_next: NDArray[np.bool_], occluded_previous: NDArray[np.bool_], current: int) -> NDArray[np.bool_]:
    """Where the current frame has no counterpart in one of its neighbours: bool (H, W). Both arguments: (T − 1, H, W), of stage `flow`."""
    out = np.zeros(occluded_next.shape[1:], bool)
    if current < len(occluded_next):
        out |= occluded_next[current]
    if current > 0:
        out |= occluded_previous[current - 1]
    return out


def texture_of(target: NDArray[np.floating], scale: int) -> NDArray[np.intp]:
    """Tertile of the local variance of the gradient in this frame, 0 smooth … 2 textured: intp (h, w), of a target (3, s·h, s·w) in 0..1.

    The variance of the gradient's size, of luma, over AROUND × AROUND low-resolution pixels. It depends on the target alone, so it is the
    same for all networks; about a third of a frame's pixels are in each, whatever it shows.
    """
    from scipy.ndimage import uniform_filter

    luma = np.tensordot(np.array([0.299, 0.587, 0.114]), eight_bit(target).astype(np.float64), axes=1)
    slope = np.hypot(*np.gradient(luma)) if min(luma.shape) > 1 else np.zeros(luma.shape)
    mean, square = (uniform_filter(_blocks(values, scale) / scale**2, AROUND, mode="nearest") for values in (slope, slope**2))
    variance = np.round(square - mean**2, 6)  # the rounding of flat areas is no texture
    low, high = np.quantile(variance, [1 / 3, 2 / 3])
    tertile: NDArray[np.intp] = (variance > low).astype(np.intp) + (variance > high)
    return tertile


def error_sums(
    output: NDArray[np.int64], target: NDArray[np.int64], motion: NDArray[np.float32], hidden: NDArray[np.bool_],
    texture: NDArray[np.intp], *, border: int = 0,
) -> ErrorSums:  # fmt: skip
    """Sums of one frame.

    `output`, `target`: (C, s·h, s·w) in steps. `motion`: (2, h, w), by largest and by mean. `hidden`, `texture`: (h, w). `border`: restored
    pixels cut on each side.
    """
    scale = output.shape[1] // len(hidden)
    error = output - target
    kept = np.zeros(error.shape[1:], np.int64)
    kept[border : error.shape[1] - border, border : error.shape[2] - border] = len(error)
    error[:, kept == 0] = 0
    count = _blocks(kept, scale)
    cells = {"squared": _blocks((error * error).sum(0), scale), "absolute": _blocks(np.abs(error).sum(0), scale), "count": count}
    out = {name: np.zeros(AXES, np.int64) for name in (*cells, "moved")}
    for by, far in enumerate(motion):
        group = np.ravel_multi_index((hidden.astype(np.intp), texture, bins(far)), AXES[1:]).ravel()
        steps = np.rint(far.astype(np.float64) * STEPS_MOTION).astype(np.int64)
        for name, values in {**cells, "moved": count * steps}.items():
            np.add.at(out[name][by].reshape(-1), group, values.ravel())
    return ErrorSums(**out)


def _blocks(values: NDArray[Any], scale: int) -> NDArray[Any]:
    """(s·h, s·w) → (h, w): sums of blocks."""
    height, width = (length // scale for length in values.shape)
    sums: NDArray[Any] = values.reshape(height, scale, width, scale).sum(axis=(1, 3))
    return sums


def psnr(squared: NDArray[Any], count: NDArray[Any], *, steps: int = 1) -> NDArray[np.float64]:
    """10 log₁₀(255² n / Σ e²) in dB, of pooled sums of any equal shape; inf without error, NaN without values."""
    with np.errstate(divide="ignore", invalid="ignore"):
        mean = np.asarray(squared, np.float64) / np.asarray(count, np.float64)
        found: NDArray[np.float64] = 10 * np.log10((255.0 * steps) ** 2 / mean)
    return found


def delta_psnr(squared: NDArray[Any], other: NDArray[Any], count: NDArray[Any]) -> NDArray[np.float64]:
    """PSNR of the first minus that of the second in dB, 10 log₁₀(Σ e²_other / Σ e²), on the same `count` values; exactly 0 for equal sums,
    NaN without values, ±inf where one of them has no error."""
    a, b = (np.asarray(values, np.float64) for values in (squared, other))
    with np.errstate(divide="ignore", invalid="ignore"):
        found = 10 * np.log10(b / a)
    out: NDArray[np.float64] = np.where(np.asarray(count) == 0, np.nan, np.where(a == b, 0.0, found))
    return out
