"""Points around the input itself, in the form of a path, for methods that take gradients there instead of along a path.

Cell k of n even cells of 0..1 is draw k: the gradients are those of `attribution` and `wide_passes`, and so are their sums.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.probes.lam.path_points import on_device


@dataclass(frozen=True)
class InputPoints:
    """`draws` points: the input plus normal noise of `noise` times its range, keyed by `key` and their number; without noise the input.

    The increments of all of them sum to 1, or with `times_input` to the input. Takes images (C, H, W) and clips (T, C, H, W), whose range
    is that of all frames.
    """

    draws: int = 1
    noise: float = 0.0
    key: str = ""
    times_input: bool = False

    def points(self, image: Tensor, at: Sequence[float]) -> Tensor:
        """The draws whose cells contain `at`: (n, …, C, H, W) of the image's dtype."""
        same = image.expand(len(at), *image.shape)
        if not self.noise:
            return same.clone()
        numbers = [min(self.draws - 1, int(u * self.draws)) for u in at]
        normal = [torch.from_numpy(generator(f"{self.key}|{k}").standard_normal(tuple(image.shape))) for k in numbers]
        spread = self.noise * (image.amax() - image.amin()).double()
        return (same.double() + spread * on_device(torch.stack(normal), image.device)).to(image.dtype)

    def increments(self, image: Tensor, start: Sequence[float], stop: Sequence[float]) -> Tensor:
        """Each cell's width, times the image with `times_input`: (n, …, C, H, W)."""
        widths = torch.tensor(stop, dtype=torch.float64) - torch.tensor(start, dtype=torch.float64)
        each = on_device(widths, image.device).view(-1, *[1] * image.ndim)
        return (each * (image.double() if self.times_input else torch.ones_like(image, dtype=torch.float64))).to(image.dtype)
