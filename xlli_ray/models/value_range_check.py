"""Whether the declared value range of a network is plausible: tested on synthetic images before a study starts.

Nothing in a checkpoint says whether it was trained on 0..1, 0..255 or -1..1, and a wrong range does not fail: it costs some dB and
invalidates every later number. An image is downscaled and super-resolved (at scale 1: made noisy and restored) under the declared range
and under the other usual ones. A range under which the network is clearly better, or better than bicubic where the declared one hardly
is, is reported. Networks that do well under none of them get no remark: they may be adversarial, untrained, or for other degradations.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray

from xlli_ray.corpus.resize import bicubic_up, downscale
from xlli_ray.models.model import LUMA, Model, Range
from xlli_ray.stats.fidelity import border_of, crop_border, psnr

RANGES = (Range(0.0, 1.0), Range(0.0, 255.0), Range(-1.0, 1.0))
SPANS = (1.0, 2.0, 255.0, 256.0, 1023.0, 4095.0, 65535.0)
"""Plausible spans of image values: 1 or 2, or integers of 8 to 16 bits."""
SIDE = 32
SEEDS = (0, 2)
SURE = 0.5
"""A network this many dB above bicubic has the right range."""
CLEARLY = {True: 2.0, False: 3.0}
"""dB by which another range must be better, at scales above 1 and at scale 1."""
A_LITTLE = 0.2
"""dB by which it must be better if it is above bicubic, at scales above 1; at scale 1, dB by which it must beat the noisy input."""
DEAD = -5.0
"""Further below bicubic than this no range is better than another: no remark on untrained networks."""

_F32 = NDArray[np.float32]


def range_remark(model: Model) -> str:
    """Remark on the range of `model`, '' if it is plausible. Runs the network on real numbers, on its device."""
    if model.output != "image":
        return ""
    try:
        declared = _gain(model, model.range, SEEDS[:1])
        if model.scale > 1 and declared >= SURE:
            return ""
        declared = _gain(model, model.range, SEEDS)
        others = {other: _gain(model, other, SEEDS) for other in RANGES if other != model.range}
    except Exception:  # a real image will raise it again, and its row will report it
        return ""
    best = max(others, key=others.__getitem__)
    better = others[best] - declared
    enlarges = model.scale > 1
    if not enlarges and others[best] < A_LITTLE:
        return ""  # no denoiser in that range either: where its layers see nothing, a network with a skip gives its input back
    if others[best] < DEAD or not (better >= CLEARLY[enlarges] or (enlarges and others[best] >= 0.3 and better >= A_LITTLE)):
        return ""
    against = "bicubic" if enlarges else "the noisy input"
    return (
        f"is `range: {_text(model.range)}` right? On synthetic test images it gives {declared:+.2f} dB against {against},"
        f" `range: {_text(best)}` {others[best]:+.2f} dB"
    )


def span_fault(low: float, high: float) -> str:
    """Why images do not have values low..high; '' if they may."""
    if any(abs((high - low) - span) <= 1e-6 * span for span in SPANS):
        return ""
    return (
        f"`range: {_text(Range(low, high))}` spans {high - low:g}: images do not have such values; expected [0, 1], [0, 255], [-1, 1], or"
        " integers of 8 to 16 bits. A network that really uses them must declare it: its factory returns"
        " xlli_ray.models.networks.Built(module, range=...)."
    )


@cache
def synthetic_image(side: int, seed: int) -> _F32:
    """float32 (side, side, 3) in 0.02..0.98: patches of colour with edges, some striped, on a background of natural spectrum (1/f^1.2).

    The same numbers on every machine up to the last bits of the Fourier transform, which do not matter here.
    """
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side] / side
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1.0

    def ground(power: float) -> NDArray[np.float64]:
        noise = np.fft.ifft2(np.fft.fft2(rng.normal(size=(side, side))) / frequency**power).real
        return (noise - noise.mean()) / noise.std()

    image = np.stack([0.45 + 0.12 * ground(1.2)] * 3, -1) + 0.05 * np.stack([ground(1.5) for _ in range(3)], -1)
    for number in range(14):
        angle, (cx, cy), radius, colour = rng.uniform(0, np.pi), rng.uniform(0.1, 0.9, 2), rng.uniform(0.08, 0.3), rng.uniform(-0.3, 0.3, 3)
        u = (x - cx) * np.cos(angle) + (y - cy) * np.sin(angle)
        v = -(x - cx) * np.sin(angle) + (y - cy) * np.cos(angle)
        inside = (np.abs(u) < radius) & (np.abs(v) < radius * rng.uniform(0.2, 1)) if number % 2 else u * u + v * v < radius * radius
        image += inside[..., None] * colour
        if number % 5 == 0:
            image += (inside * np.sin(2 * np.pi * u * side / rng.uniform(6, 14)))[..., None] * 0.15
    return np.clip(image, 0.02, 0.98).astype(np.float32)


def _gain(model: Model, values: Range, seeds: Sequence[int]) -> float:
    """dB above bicubic (at scale 1: above the noisy input), mean over test images; luma."""
    return float(np.mean([_one(model, values, seed) for seed in seeds]))


def _one(model: Model, values: Range, seed: int) -> float:
    scale = model.scale
    side = -(-max(SIDE, model.minimum) // model.multiple) * model.multiple
    clean = synthetic_image(side * scale, seed)
    target = _eight(clean)
    if scale > 1:
        small = downscale(clean, scale).astype(np.float32)
        base = bicubic_up(small, scale) / 255
    else:
        small = _eight(clean + np.random.default_rng(seed).normal(0, 25 / 255, clean.shape)).astype(np.float32)
        base = small / 255
    planes = torch.from_numpy(np.ascontiguousarray(small.transpose(2, 0, 1)[None] / np.float32(255))).to(model.device)
    tried = replace(model, range=values)
    if frames := model.trial_size(side, side).frames:  # a static clip
        planes = planes[:, None].expand(-1, frames, -1, -1, -1)
    with torch.no_grad():
        given = tried.forward(tried.prepare(planes))[0]
    output = (given[len(given) // 2] if given.ndim > 3 else given).float().cpu().numpy().transpose(1, 2, 0)
    border = border_of(scale)
    return _psnr(np.nan_to_num(output), target, border) - _psnr(base, target, border)


def _psnr(image: NDArray[np.floating], target: NDArray[np.uint8], border: int) -> float:
    actual, wanted = (_luma(crop_border(pixels, border)) for pixels in (_eight(image), target))
    return psnr(actual, wanted)


def _luma(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    grey = pixels.astype(np.float64)
    return grey[..., 0] if grey.shape[-1] == 1 else grey @ np.array(LUMA)


def _eight(image: NDArray[np.floating]) -> NDArray[np.uint8]:
    return np.floor(np.clip(image, 0.0, 1.0) * 255 + 0.5).astype(np.uint8)


def _text(values: Range) -> str:
    return f"[{values.lo:g}, {values.hi:g}]"
