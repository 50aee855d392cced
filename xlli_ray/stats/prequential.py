"""Prequential complexity: how long does a small network take to learn to predict a component of a mixture?

A. P. Dawid, JRSS A 147, 1984: code each observation with a model that was fitted to those before; the code length is the sum of the losses
as they occur, the area under the learning curve. A component that is learnt at once costs little, whatever its images look like; so this
asks what a network learns first (arXiv 2502.12600: the less complex of background and degradation). The answer depends on the content
that a component is hidden in: on photographs and rain it contradicts the variety of patches (docs/deraining.md).

The same network (`LAYERS` convolutions of 3 × 3 with `WIDTH` channels, 50 thousand weights, no global residual), the same budget and the
same signal-to-noise ratio for every component: it is scaled to a root mean square of 1 and added to unrelated content of root mean square
1, white noise or textures (`stats.textures`), drawn anew in each step, and is to be predicted from the sum by least squares. Where a set
has few images they return, and are learnt by heart: the size of the set enters here, too.

    area = Σ_t loss_t / loss_0        loss of batch t before the step that it makes; loss_0: of predicting nothing

in steps: `steps` for a component that cannot be learnt. `half` is the first step from which the mean of ten losses is half of loss_0 or
below.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

LAYERS, WIDTH = 5, 42
RATE, BATCH, CROP = 1e-3, 16, 32
SMOOTH = 10
Other = Literal["noise", "textures"]


@dataclass(frozen=True)
class Learning:
    """One training."""

    area: float
    """Σ loss / loss_0, in steps; NaN where there is nothing to learn from."""
    half: float
    """Steps to half of the loss; NaN where it is not reached."""
    losses: np.ndarray
    """float64 (steps,), relative to loss_0."""


def learn(component: np.ndarray, other: Other, textures: np.ndarray, steps: int, rng: np.random.Generator) -> Learning:
    """Train once.

    `component`: float (n, S, S), S ≥ CROP, in any unit. `textures`: float (m, S', S'), S' ≥ CROP, for `other` = "textures". All randomness
    is `rng`'s; one thread, so that the same numbers come out whatever the machine's cores.
    """
    import torch

    scaled = _unit(component)
    if scaled is None:
        return Learning(float("nan"), float("nan"), np.full(steps, np.nan))
    content = _unit(textures) if other == "textures" else None
    losses = np.empty(steps)
    with _one_thread():
        weights = _network(rng)
        optimizer = torch.optim.Adam([tensor for pair in weights for tensor in pair], lr=RATE)
        for step in range(steps):
            wanted = _crops(scaled, rng)
            added = rng.standard_normal(wanted.shape) if content is None else _crops(content, rng)
            target = torch.from_numpy(wanted.astype(np.float32))
            given = torch.from_numpy((wanted + added).astype(np.float32))
            loss = (_predict(weights, given[:, None])[:, 0] - target).square().mean()
            losses[step] = float(loss.detach()) / max(float(target.square().mean()), 1e-3)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    mean = np.convolve(losses, np.full(SMOOTH, 1 / SMOOTH), "valid")
    reached = np.flatnonzero(mean <= 0.5)
    return Learning(float(losses.sum()), float(reached[0]) if len(reached) else float("nan"), losses)


def _unit(images: np.ndarray) -> np.ndarray | None:
    """float32, mean 0 and root mean square 1 over the whole set; None for a set of one value."""
    values = images.astype(np.float64) - images.mean(dtype=np.float64)
    size = float(np.sqrt((values**2).mean())) if values.size else 0.0
    return (values / size).astype(np.float32) if size > 1e-9 else None


def _crops(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A batch of random places, flipped or not: (BATCH, CROP, CROP)."""
    number = rng.integers(0, len(images), BATCH)
    top, left = rng.integers(0, images.shape[1] - CROP + 1, (2, BATCH))
    flip = rng.random(BATCH) < 0.5
    out = np.stack([images[n, y : y + CROP, x : x + CROP] for n, y, x in zip(number, top, left)])
    return np.where(flip[:, None, None], out[:, :, ::-1], out)


def _network(rng: np.random.Generator) -> list[tuple[Any, Any]]:
    """Weights and biases of each layer: K. He et al., ICCV 2015; the last one starts small, so that the first loss is loss_0."""
    import torch

    widths = [1, *([WIDTH] * (LAYERS - 1)), 1]
    out = []
    for layer, (inside, outside) in enumerate(pairwise(widths)):
        scale = np.sqrt(2 / (9 * inside)) * (1.0 if layer < LAYERS - 1 else 0.1)
        weight = torch.from_numpy((scale * rng.standard_normal((outside, inside, 3, 3))).astype(np.float32)).requires_grad_()
        out.append((weight, torch.zeros(outside, requires_grad=True)))
    return out


def _predict(weights: list[tuple[Any, Any]], given: Any) -> Any:
    from torch.nn import functional as F

    for layer, (weight, bias) in enumerate(weights):
        given = F.conv2d(given, weight, bias, padding=1)
        given = F.relu(given) if layer < len(weights) - 1 else given
    return given


@contextmanager
def _one_thread() -> Iterator[None]:
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.enable_grad():
            yield
    finally:
        torch.set_num_threads(before)
