"""Which image sizes a network accepts, determined by trial: for networks that do not declare it.

A U-Net that halves its image three times needs heights and widths in multiples of 8; window attention needs multiples of the window;
some need squares. Nothing in a module says so. Each candidate is tried on a few sizes, without data if the network can run without (the
meta device), on black images otherwise, and the smallest multiple whose sizes all work is the rule. It is used wherever a size is chosen:
padding, plans, the reach that LAM crops by.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.errors import XlliError
from xlli_ray.models.dryrun import OnMeta, dry_run
from xlli_ray.models.model import Model

MULTIPLES = (1, 2, 3, 4, 5, 6, 7, 8, 10, 12, 14, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96, 128)
BASES = (64, 48, 96, 128, 60, 112, 224, 256, 32, 16, 8)
"""Sides of the images that are tried first."""


@dataclass(frozen=True)
class SizeRule:
    """Height and width are multiples of `multiple`, at least `minimum`, and equal if `square`."""

    multiple: int = 1
    minimum: int = 1
    square: bool = False


def find_rule(model: Model, base: int) -> SizeRule | None:
    """The rule of a network that accepts images of `base` x `base`. None if no multiple explains it: a network of one fixed size."""
    works = _trial(model, base)
    for square in (False, True):
        for multiple in MULTIPLES:
            if base % multiple:
                continue
            k = base // multiple
            sizes = ((k + 1, k + 1), (k + 2, k + 2)) if square else ((k + 1, k + 2), (k, k + 3))
            if all(works(multiple * high, multiple * wide) for high, wide in sizes):
                return SizeRule(multiple, _smallest(works, multiple, k), square)
    return None


def with_rule(model: Model) -> Model:
    """The model with its size rule as determined; unchanged if there is none."""
    for base in BASES:
        try:
            rule = find_rule(model, base)
        except (XlliError, RuntimeError):
            continue
        return model if rule is None else replace(model, multiple=rule.multiple, minimum=rule.minimum, square=rule.square)
    return model


def _smallest(works: Callable[[int, int], bool], multiple: int, k: int) -> int:
    """The smallest side that works, by bisection: all larger sides are assumed to work."""
    low, high = 0, k  # low fails, high works
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if works(multiple * middle, multiple * middle) else (middle, high)
    return multiple * high


def _trial(model: Model, base: int) -> Callable[[int, int], bool]:
    """Whether the network accepts an image of (height, width) and returns one of the right size, or anything with `output: none`."""

    def visit(module: nn.Module, x: Tensor) -> Any:
        with torch.no_grad():
            return shape_given(model.run(module, x))

    on_meta = OnMeta(model)
    _, real = dry_run(model, visit, shape=model.shape(model.trial_size(base, base)), on_meta=on_meta)

    def works(height: int, width: int) -> bool:
        shape = model.shape(model.trial_size(height, width))
        try:
            given = dry_run(model, visit, shape=shape)[0] if real else on_meta(visit, shape=shape)
        except (XlliError, RuntimeError, MemoryError):  # from the network itself, or a machine too small for this size
            return False
        return model.output == "none" or given == model.given(shape, height, width)

    return works


def shape_given(output: Any) -> Any:
    """The shape of a tensor, or the type of anything else."""
    return tuple(output.shape) if isinstance(output, Tensor) else f"a {type(output).__name__}"
