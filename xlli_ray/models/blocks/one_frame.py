"""A network for clips of which one output frame is wanted, and its gradient: what it may leave out, and what it need not keep.

A map of a window (LAM) reads one frame of the output. What only other frames depend on is then computed in vain, forwards and, with
gradients of zero, backwards; and of a recurrent network the intermediate results of all steps are kept until the backward pass, eight
gigabytes for five frames of 180 × 144 pixels in BasicVSR. Within `one_frame` a network of this package computes what that frame depends
on, gives zeros for the others, and keeps only the inputs of its larger steps, which are run again in the backward pass (T. Chen et al.,
"Training Deep Nets with Sublinear Memory Cost", 2016, arXiv 1604.06174). The frame and its gradient are the same to the last bit.

Networks that know nothing of this give all frames, as always.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint


@dataclass(frozen=True)
class _Wanted:
    frame: int
    recompute: bool


_wanted: ContextVar[_Wanted | None] = ContextVar("one_frame", default=None)


@contextmanager
def one_frame(frame: int, *, recompute: bool = True) -> Iterator[None]:
    """Networks that run within may give zeros for all frames of their output but `frame`.

    `recompute`: in a backward pass, also outside of the context, they may run steps of the forward pass again. Not if what they run is
    replaced within a context of its own that has then ended.
    """
    token = _wanted.set(_Wanted(frame, recompute))
    try:
        yield
    finally:
        _wanted.reset(token)


def wanted_frames(frames: int) -> range:
    """The frames of a clip's output that are wanted: all, or one."""
    wanted = _wanted.get()
    return range(frames) if wanted is None else range(wanted.frame, wanted.frame + 1)


def stacked(given: Mapping[int, Tensor], frames: int) -> Tensor:
    """(B, T, …) of the wanted frames `given`, (B, …) each; zeros for the others."""
    blank = torch.zeros_like(next(iter(given.values())), requires_grad=False) if len(given) < frames else None
    return torch.stack([given.get(t, blank) for t in range(frames)], 1)


def step(run: Callable[[Tensor], Tensor], x: Tensor) -> Tensor:
    """`run(x)`, computed again in the backward pass instead of kept, where that is allowed and there will be one."""
    wanted = _wanted.get()
    if wanted is None or not wanted.recompute or not (torch.is_grad_enabled() and x.requires_grad):
        return run(x)
    result: Tensor = checkpoint(run, x, use_reentrant=False, preserve_rng_state=False)
    return result
