"""Perturbations of an input, and how they change the score of a window.

An attribution A of a path from a baseline x₀ to x is in units of the score: moving the share δ of the way back, pixel by pixel, should
lower the score by Σ δ A. So a perturbation is I = δ ⊙ (x − x₀), and

    change = F(x) − F(x − δ ⊙ (x − x₀))          claim = Σ δ A

(captum's convention for attributions that are multiplied by the input's difference from the baseline.) For a linear F both are equal. A map
of slopes, that was multiplied by nothing, claims Σ δ (x − x₀) A.

    squares    δ is 1 in a square and 0 elsewhere: content goes. Sides are uniform from 1/16 to 1/2 of the shorter side of the input, places
               uniform; of a clip, the same square of all frames (Yeh et al.'s square removal, NeurIPS 2019)
    noise      δ is normal, of standard deviation `sigma`, in every value of its own: the map's slope near x, where gradients are exact

δ is drawn for a window, not for a map, so that maps of one window are asked the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlli_ray.errors import NetworkError
from xlli_ray.models.blocks.one_frame import one_frame
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.window import Window

SIDES = (1 / 16, 1 / 2)
"""Of squares, relative to the shorter side of the input."""


@dataclass(frozen=True)
class Scored:
    """What is perturbed and how it is scored. `image`, `baseline`: (C, H, W), of a clip (T, C, H, W). `target`: of the window's frame,
    (C, sH, sW), for objective `error`. `frame`: of a clip's output."""

    model: Model
    image: Tensor
    baseline: Tensor
    window: Window
    objective: Objective
    target: Tensor | None = None
    frame: int | None = None

    @property
    def away(self) -> Tensor:
        """x − x₀, of the image's shape."""
        return self.image - self.baseline

    def score(self, given: Tensor) -> NDArray[np.float64]:
        """F of each of `given`, (n, [T,] C, H, W). Raises NetworkError for one that is not finite."""
        with torch.no_grad():
            if self.frame is None:
                output = self.model.forward(given)
            else:
                with one_frame(self.frame):
                    output = self.model.forward(given)
                output = output[:, self.frame] if output.ndim == 5 else output
        target = None if self.target is None else self.target.double()
        scores = self.objective(output.double(), self.window, target)
        if not torch.isfinite(scores).all():
            raise NetworkError("not finite: NaN or infinity in the network's output, so there is no score to compare")
        return np.asarray(scores.cpu().numpy())


def shares(draws: np.random.Generator, shape: tuple[int, ...], *, squares: int, noise: int, sigma: float) -> Iterator[NDArray[np.float32]]:
    """δ of each perturbation, of `shape` ([T,] C, H, W): first the squares, then the noise."""
    height, width = shape[-2:]
    least, most = (max(1, round(min(height, width) * side)) for side in SIDES)
    for _ in range(squares):
        side = int(draws.integers(least, most + 1))
        top, left = int(draws.integers(0, height - side + 1)), int(draws.integers(0, width - side + 1))
        square = np.zeros(shape, np.float32)
        square[..., top : top + side, left : left + side] = 1
        yield square
    for _ in range(noise):
        yield np.float32(sigma) * draws.standard_normal(shape, np.float32)


def changes(scored: Scored, perturbations: Iterator[NDArray[np.float32]], *, rows: int) -> NDArray[np.float64]:
    """F(x) − F(x − δ ⊙ (x − x₀)) of each perturbation, (n,). `rows`: of one forward pass; results depend on it in the last digits."""
    away = scored.away
    own = scored.score(scored.image[None])[0]
    found: list[NDArray[np.float64]] = []
    while some := list(islice(perturbations, rows)):
        moved = torch.from_numpy(np.stack(some)).to(away.device)
        found.append(own - scored.score(scored.image - moved * away))
    return np.concatenate(found) if found else np.zeros(0)
