"""Progress of operations on a network, reported to an observer.

A process that runs third-party code reports each step before it starts, so that if it dies or hangs, the last report names the step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass(frozen=True)
class Step:
    """`what`: the beginning of a sentence, as "my.py:make was imported". `pixels`: of the input, 0 if none. `trial`: id of the model
    tested within `trial`, '' outside of it."""

    what: str
    pixels: int = 0
    trial: str = ""


_watcher: Callable[[Step], None] | None = None
_trial = ""


def watch(watcher: Callable[[Step], None] | None) -> None:
    """Report all steps of this process to `watcher`; None: do not report."""
    global _watcher
    _watcher = watcher


def step(what: str, *names: object, shape: Sequence[int] = ()) -> None:
    """Report that `what % names` is about to start, with an input of `shape` (B, C, H, W)."""
    if _watcher is not None:
        said = what % names
        size = f"{said} an input of {'×'.join(map(str, shape))}" if shape else said
        _watcher(Step(size, shape[0] * shape[-1] * shape[-2] if len(shape) == 4 else 0, _trial))


@contextmanager
def trial(model: str) -> Iterator[None]:
    """Steps within only examine a model: a study can do without them."""
    global _trial
    _trial = model
    try:
        yield
    finally:
        _trial = ""
        step("model %s was planned", model)
