"""Objectives: the score of one window of the output, which a map explains.

`gradient`, the paper's D: Σ over the window and the channels of sqrt((S[y,x] − S[y+1,x])² + (S[y,x] − S[y,x+1])²), forward differences, no
ε (the authors' code; some notes say Sobel). It measures the amount of detail in the window.
`sum`: the window's brightness, whose map is a plain sensitivity.   `channel`: the same for one channel.
`error`: Σ (S − T)² against the target; pixels with a positive share make the result worse.

There are two differences from the demo. Only the window is cut from the output before the score is computed, since the rest cannot matter.
And the derivative of sqrt at 0 is 0: at exactly flat pixels the demo's 0 · ∞ is NaN, which spreads back through the network and is then
silently set to 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from xlli_ray.errors import counted
from xlli_ray.probes.lam.window import Window

ObjectiveName = Literal["gradient", "sum", "error", "channel"]


@dataclass(frozen=True)
class Objective:
    """One of the objectives above; `channel` only for that one."""

    name: ObjectiveName = "gradient"
    channel: int = 0

    @property
    def label(self) -> str:
        """As in the tables: `gradient`, `channel1`."""
        return f"channel{self.channel}" if self.name == "channel" else self.name

    def __call__(self, output: Tensor, window: Window, target: Tensor | None = None) -> Tensor:
        """(R, C, H, W) → (R,): the score of the window in each row. `target`: (C, H, W), for `error` only."""
        if self.name == "gradient":
            return root(squared_steps(window.cut(output, 1))).sum(dim=(1, 2, 3))
        patch = window.cut(output)
        if self.name == "sum":
            return patch.sum(dim=(1, 2, 3))
        if self.name == "channel":
            if self.channel >= patch.shape[1]:
                raise ValueError(f"objective: channel {self.channel} of an output with {counted(patch.shape[1], 'channel')}")
            return patch[:, self.channel].sum(dim=(1, 2))
        if target is None:
            raise ValueError("objective `error` needs a target")
        return (patch - window.cut(target)).square().sum(dim=(1, 2, 3))


def squared_steps(patch: Tensor) -> Tensor:
    """(…, h + 1, w + 1) → (…, h, w): squared forward differences down plus across."""
    down = (patch[..., :-1, :] - patch[..., 1:, :]).square()[..., :, :-1]
    across = (patch[..., :, :-1] - patch[..., :, 1:]).square()[..., :-1, :]
    return down + across


def root(squares: Tensor) -> Tensor:
    """sqrt with derivative 0 at 0; NaN stays NaN."""
    positive = squares != 0
    return torch.where(positive, torch.where(positive, squares, torch.ones_like(squares)).sqrt(), torch.zeros_like(squares))


def flat_pixels(output: Tensor, window: Window) -> int:
    """Window pixels, over all channels, where the gradient objective is flat: both differences are exactly 0. `output`: (C, H, W)."""
    return int((squared_steps(window.cut(output, 1)) == 0).sum())
