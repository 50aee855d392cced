"""Paths of clips: every frame takes its own path, and all are at the same u (the blur is that of all frames jointly).

A map of a clip explains the difference between two clips. If only one frame were blurred, the others would supply what it lacks, and the
map would show how replaceable a frame is, not what it contributes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from xlli_ray.probes.lam.path_choices import Way
from xlli_ray.probes.lam.path_points import BlurPath, Path


@dataclass(frozen=True)
class FramePaths:
    """The paths of the frames of a clip (T, C, H, W), taken at equal pace."""

    paths: tuple[Path, ...]

    def points(self, image: Tensor, at: Sequence[float]) -> Tensor:
        """(n, T, C, H, W)."""
        return torch.stack([path.points(frame, at) for path, frame in zip(self.paths, image, strict=True)], 1)

    def increments(self, image: Tensor, start: Sequence[float], stop: Sequence[float]) -> Tensor:
        """(n, T, C, H, W)."""
        return torch.stack([path.increments(frame, start, stop) for path, frame in zip(self.paths, image, strict=True)], 1)


def path_of(way: Way, image: Tensor, target: Tensor | None = None) -> tuple[Path, Tensor]:
    """The path of an input and its end. `image`: (C, H, W), or (T, C, H, W) with a `target` of as many frames; `way` sees single frames.

    Raises NetworkError if there is no such path.
    """
    if image.ndim == 3:
        return way.path(image, target)
    each = [way.path(frame, None if target is None else target[t]) for t, frame in enumerate(image)]
    paths, end = tuple(path for path, _ in each), torch.stack([last for _, last in each])
    first = paths[0]
    if type(first) is BlurPath and all(path == first for path in paths):
        return first, end  # it takes all frames at once
    return FramePaths(paths), end
