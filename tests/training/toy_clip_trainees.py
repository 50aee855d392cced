"""Networks for clips of a user's own, named as toy_clip_trainees:factory in recipes."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.networks import Built


class Neighbours(nn.Module):
    """(B, T, 3, h, w) to (B, T, 3, 2h, 2w), from each frame and its neighbours; `gives` "centre": (B, 3, 2h, 2w) of frame T // 2.

    `frozen`: a layer whose first weights are part of no training.
    """

    def __init__(self, gives: str = "frames", width: int = 6, frozen: bool = False) -> None:
        super().__init__()
        self.gives = gives
        self.first = nn.Conv2d(9, width, 3, padding=1)
        self.last = nn.Conv2d(width, 12, 3, padding=1)
        if frozen:
            self.first.requires_grad_(False)

    def forward(self, clip: Tensor) -> Tensor:
        before, behind = torch.cat([clip[:, :1], clip[:, :-1]], 1), torch.cat([clip[:, 1:], clip[:, -1:]], 1)
        x = torch.cat([before, clip, behind], 2)
        if self.gives == "centre":
            x = x[:, clip.shape[1] // 2][:, None]
        y = F.pixel_shuffle(self.last(F.relu(self.first(x.flatten(0, 1)))), 2)
        y = (0.1 * y + F.interpolate(x[:, :, 3:6].flatten(0, 1), scale_factor=2.0)).unflatten(0, x.shape[:2])
        return y[:, 0] if self.gives == "centre" else y


class Told(Neighbours):
    """Remembers the flow that it was given."""

    def forward(self, clip: Tensor, motion: Any = None) -> Tensor:
        self.told = motion
        return super().forward(clip)


def neighbours(gives: str = "frames", frozen: bool = False) -> Built:
    return Built(Neighbours(gives, frozen=frozen), scale=2, call="clip", gives=gives)  # type: ignore[arg-type]


def told() -> Built:
    return Built(Told(), scale=2, call="clip")
