"""What is about to be done with a network, told to whoever watches.

A process in which code of others runs says so before each step, and where it ends or hangs, its last word names the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`what`: a sentence's beginning, as "my.py:make was imported". `pixels`: of the input, 0 where there is none. `trial`: id of the model
    that is tried by `trial`, '' outside of it."""

    what: str
    pixels: int = 0
    trial: str = ""


_watcher: Callable[[Step], None] | None = None
_trial = ""


def watch(watcher: Callable[[Step], None] | None) -> None:
    """Have all steps of this process told to `watcher`; None: to nobody."""
    global _watcher
    _watcher = watcher


def step(what: str, *names: object, shape: Sequence[int] = ()) -> None:
    """About to do `what % names`, with an input of `shape` (B, C, H, W)."""
    if _watcher is not None:
        said = what % names
        size = f"{said} an input of {'×'.join(map(str, shape))}" if shape else said
        _watcher(Step(size, shape[0] * shape[-1] * shape[-2] if len(shape) == 4 else 0, _trial))


@contextmanager
def trial(model: str) -> Iterator[None]:
    """Steps in here only find out about a model: a study can do without them."""
    global _trial
    _trial = model
    try:
        yield
    finally:
        _trial = ""
        step("model %s was planned", model)
