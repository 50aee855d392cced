"""Studies with a `features` stage made by hand: how far the degradations stand apart is known, layer by layer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from toy_studies import Recipe, Stage

SHAPE = (4, 8, 8)
LAYERS = ("head.out", "trunk.0.out", "trunk.1.out", "trunk.2.out")
PICTURES = 12
EFFECT = 1.0
"""Of a model's degradations at its last layer, in units of the contents' spread."""


def content_of(row: int, pictures: int) -> tuple[int, int]:
    """(degradation, content) of a row of the sample table: whole images, one degradation after the other."""
    return row // pictures, row % pictures


def features(layer: int, pictures: int = PICTURES, *, effect: float = EFFECT, offset: float = 5.0) -> Callable[..., np.ndarray]:
    """The array of one layer: content, plus a shift for each degradation that grows with depth, level and model, plus a little rest.

    Model 0 has no shift at all.
    """

    def array(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        label, content = content_of(row, pictures)
        seen = np.random.default_rng((1, content)).normal(size=shape)
        way = np.random.default_rng((2, label)).normal(size=shape)
        rest = np.random.default_rng((3, model, layer, row)).normal(size=shape)
        return offset + seen + effect * model * layer / 3 * label * way + 0.1 * rest

    return array


def ddr_recipe(
    degradations: Sequence[Any] = ("clean", {"blur": 1}, {"blur": 2}, {"noise": 20}), *, pictures: int = PICTURES, models: int = 2,
    layers: Sequence[str] = LAYERS, make: Callable[[int], Callable[..., np.ndarray]] | None = None, **fields: Any,
) -> Recipe:  # fmt: skip
    """A study of whole images, each under every degradation. `make(layer)` gives a layer's array."""
    made = make or (lambda layer: features(layer, pictures))
    stages = [
        Stage("features", "features", columns=(), whats=(what,), shape=SHAPE, array=made(number)) for number, what in enumerate(layers)
    ]
    return Recipe(stages, models=models, pictures=pictures, degradations=degradations, **fields)
