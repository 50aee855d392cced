"""Motion inside a network for video: the flows between the frames of a clip, and where a network takes them from.

The choice `flow` of a network: `spynet` is a flow network among its own layers (`blocks.spynet`), whose weights are in its state dict and
through which gradients flow; `none` estimates nothing; any other name is an estimator of `registry.FLOW_ESTIMATORS` that looks at two
frames, as `dis`: it has no weights, and its flow is a constant for gradients. Flow may also be given to a network, `network(clip, motion)`:
then nothing is estimated. With `known` it is told the true motion of each batch of a corpus that knows it (`motion`), so that operators
are compared without an estimator's errors; before it is told anything, as in the trials before a run, nothing moves.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from xlli_ray.errors import NetworkError, RecipeError
from xlli_ray.models.blocks.spynet import SPyNet
from xlli_ray.models.blocks.warp import composed
from xlli_ray.registry import FLOW_ESTIMATORS

ARG = "flow"
OWN, NONE, KNOWN = "spynet", "none", "known"


@dataclass(frozen=True)
class Motion:
    """Flows between neighbouring frames of clips of T frames, (B, T − 1, 2, h, w) each, pixels, x first."""

    next: Tensor
    """Frame t → t + 1."""
    previous: Tensor
    """Frame t + 1 → t."""

    def between(self, here: int, there: int) -> Tensor:
        """(B, 2, h, w), frame `here` → frame `there`. Of frames further apart the flows of the steps between are composed."""
        if here == there:
            return torch.zeros_like(self.next[:, 0])
        step = 1 if there > here else -1
        first = self.next[:, here] if step == 1 else self.previous[:, here - 1]
        return first if here + step == there else composed(first, self.between(here + step, there))


def estimated(flow: nn.Module, clip: Tensor) -> Motion | None:
    """The motion of clips (B, T, 3, h, w) in 0..1 by a module from two frames to a flow; None if they have one frame."""
    batch, frames = clip.shape[:2]
    if frames == 1:
        return None
    early, late = clip[:, :-1].flatten(0, 1), clip[:, 1:].flatten(0, 1)
    return Motion(*(flow(here, there).unflatten(0, (batch, frames - 1)) for here, there in ((early, late), (late, early))))


class Estimator(nn.Module):
    """A flow estimator without weights as a module: (B, 3, h, w) twice to (B, 2, h, w), without gradients."""

    def __init__(self, name: str, cls: Any) -> None:
        super().__init__()
        self.name, self._cls = name, cls
        self._made: Any = None

    def forward(self, here: Tensor, there: Tensor) -> Tensor:
        if self._made is None:
            self._made = self._cls(self._cls.Args())
        pairs = zip(*(x.detach().float().cpu().numpy() for x in (here, there)), strict=True)
        flows = [self._made.estimate(self._made.prepare(first), self._made.prepare(second)) for first, second in pairs]
        return torch.from_numpy(np.stack(flows)).to(here)

    def __getstate__(self) -> dict[str, Any]:
        return {**super().__getstate__(), "_made": None}  # OpenCV's objects can be neither copied nor pickled


def flow_of(choice: Any, *, network: str) -> nn.Module | None:
    """The module from two frames to a flow that `choice` names; None for `none`. NetworkError for what is no such name."""
    if choice == OWN:
        return SPyNet()
    if choice in (NONE, KNOWN, None):
        return None
    cls = estimator_class(choice, network=network)
    if not (hasattr(cls, "prepare") and hasattr(cls, "estimate")) or getattr(cls, "WEIGHTS", False):
        raise NetworkError(
            f"network {network!r}: flow {choice!r} is no estimator that looks at two frames and has no weights; a network cannot take its"
            f" flow from it. Expected {OWN}, {KNOWN}, {NONE}, or an estimator such as dis."
        )
    return Estimator(choice, cls)


def estimator_class(choice: Any, *, network: str) -> Any:
    """The class of an estimator by its name or place. NetworkError if there is none."""
    try:
        return FLOW_ESTIMATORS.load(str(choice))
    except RecipeError as error:
        raise NetworkError(f"network {network!r}: flow is {choice!r}; expected {OWN}, {KNOWN}, {NONE} or an estimator: {error}") from error
