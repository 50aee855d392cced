"""Whether a network processes each image independently: tested before a study starts, on small images, with real numbers.

The result of a sample must not depend on the rest of its batch or on earlier batches. Networks violate this in three ways:

- they use statistics of the batch (batch normalisation without running statistics, division by the batch's maximum): a batch of two
  differs from each image alone by more than rounding. Such a network runs with batch size 1.
- they draw random numbers (dropout that is always on, injected noise): the same image twice gives two results. Drawn from torch's
  generator they can be keyed by the sample; then the result depends only on the sample, and is the same in every run.
- they keep state between images, or draw from elsewhere: results are not reproducible, and they are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import torch
from torch import Tensor

from xlli_ray.errors import PlanError
from xlli_ray.models.layers import capture, frames_of
from xlli_ray.models.model import Model
from xlli_ray.models.tap import Tap
from xlli_ray.models.trace import first_tensor

SIDE = 24
"""Side in pixels of the test images, if the network accepts so small ones."""
TOLERANCE = 1e-4
"""Relative to the largest value: batch sizes round differently, by up to 3e-6 in 16 networks; batch statistics differ far more."""


@dataclass(frozen=True)
class Manners:
    """How a network has to be run. `alone`: why one image at a time, '' if neighbours do not matter. `draws`: it draws from torch's
    generator."""

    alone: str = ""
    draws: bool = False


def manners(model: Model, taps: Sequence[Tap] = ()) -> Manners:
    """Test `model` on its device: outputs, and the layers at `taps`. Restores torch's random state.

    Raises PlanError for a network whose result for one image varies although torch's seed is the same. Errors of a forward pass are
    ignored here: a real image will raise them again, and its row will report them.
    """
    try:
        dark, mid, wide = _images(model)
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            first = _seeded(model, taps, dark)
            _run(model, taps, wide)  # of another size, between the two
            drawn = _run(model, taps, dark)  # the generator has advanced by now, if anything was drawn
            again = first if _same(first, drawn) else _seeded(model, taps, dark)
            second = _seeded(model, taps, mid)
    except Exception:
        return Manners()
    if not _same(first, again):
        raise PlanError(
            f"model {model.id} ({model.network}): the same image gives a different result each time: the network keeps state between"
            " images, or draws random numbers that torch.manual_seed does not control (numpy, random). Its results would not be"
            " reproducible; let its `forward` keep no state, or draw from torch."
        )
    if not _same(first, drawn):
        return Manners("it draws random numbers: each sample gets its own draws, keyed by the seed and the sample", draws=True)
    try:
        with torch.random.fork_rng(devices=[]), torch.no_grad():
            both = _seeded(model, taps, torch.cat([dark, mid]))
    except Exception as error:
        return Manners(f"it does not accept two images at once ({type(error).__name__}: {str(error).strip().splitlines()[0][:120]})")
    worst = max(_apart(_part(both, i, 2), alone) for i, alone in ((0, first), (1, second)))
    if worst > TOLERANCE:
        return Manners(f"an image's result changes by {100 * min(worst, 9.99):.2g} % of its largest value with another image in the batch")
    return Manners()


def sample_seed(sample_id: str) -> int:
    """63-bit seed for torch's generator, set before a network that draws runs on a sample (whose id covers the study's seed)."""
    return int.from_bytes(sha256(f"{sample_id}|network".encode()).digest()[:8], "big") >> 1


def _images(model: Model) -> tuple[Tensor, Tensor, Tensor]:
    """A dark flat input, a mid-grey one of strong contrast, and a larger one; batches of one in 0..1."""
    side = max(SIDE, model.minimum)
    rng = np.random.default_rng(0)

    def image(size: int, low: float, high: float) -> Tensor:
        pixels = rng.uniform(low, high, model.shape(model.trial_size(size, size))).astype(np.float32)
        return torch.from_numpy(pixels).to(model.device)

    return image(side, 0.05, 0.15), image(side, 0.0, 1.0), image(side + 8, 0.2, 0.6)


def _run(model: Model, taps: Sequence[Tap], x: Tensor) -> list[Tensor]:
    with capture(model, taps, frames=frames_of(x)) as captured:
        output: Any = model.forward(x)
    tensors = [first_tensor(output), *(captured[tap.name] for tap in taps)]
    return [tensor.detach().float() for tensor in tensors if tensor is not None]


def _seeded(model: Model, taps: Sequence[Tap], x: Tensor) -> list[Tensor]:
    torch.manual_seed(0)
    return _run(model, taps, x)


def _part(tensors: Sequence[Tensor], index: int, count: int) -> list[Tensor]:
    """One image's part of each tensor: attention windows are along the first axis, image by image."""
    return [t[index * (len(t) // count) : (index + 1) * (len(t) // count)] for t in tensors]


def _apart(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> float:
    """The largest difference, relative to the largest value of its tensor; infinite for different shapes or values that are not finite."""
    worst = 0.0
    for a, b in zip(tensors, others, strict=True):
        if a.shape != b.shape:
            return float("inf")
        bad = ~torch.isfinite(a)
        if not torch.equal(bad, ~torch.isfinite(b)):
            return float("inf")
        if not bad.all():
            a, b = a[~bad], b[~bad]
            worst = max(worst, float((a - b).abs().max()) / max(float(b.abs().max()), 1e-12))
    return worst


def _same(tensors: Sequence[Tensor], others: Sequence[Tensor]) -> bool:
    return _apart(tensors, others) == 0.0
