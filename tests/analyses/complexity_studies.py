"""Studies with a `complexity` stage made by hand: images vary in every direction, residuals in as many as one asks for."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from toy_studies import Recipe, Stage

PICTURES, PATCHES = 12, 24
LABELS = ("clean", {"noise": 10}, {"noise": 20})
NAMES = ("clean", "noise10", "noise20")
RANKS = {"noise10": 3, "noise20": 40}
"""Directions along which the residual of a degradation varies; those of an image: IMAGE."""
IMAGE = 12


def patches(ranks: dict[str, int], pictures: int = PICTURES) -> Callable[..., Any]:
    """The array `patches`: (side, patch, y, x), by row of the sample table (one degradation after the other)."""

    def array(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        label, content = NAMES[row // pictures], row % pictures
        out = np.full(shape, np.nan)
        out[0] = 128 + side(IMAGE, 1, content, shape[1])
        if label in ranks:
            out[1] = side(ranks[label], 2, content + 100 * row, shape[1])
        return out

    return array


def side(rank: int, basis: int, key: int, count: int) -> np.ndarray:
    """Patches without means along the first `rank` of fixed directions, of equal variance: (count, 8, 8)."""
    directions = np.linalg.qr(np.random.default_rng(basis).standard_normal((64, 64)) - 0.0)[0][:rank]
    directions = directions - directions.mean(axis=1, keepdims=True)
    return np.asarray(40 * np.random.default_rng((basis, key)).standard_normal((count, rank)) @ directions).reshape(count, 8, 8)


def crops(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
    """The array `crop`: noise on side 0, stripes on side 1."""
    stripes = np.tile(60.0 * (np.arange(shape[-1]) % 8 < 2), (shape[-2], 1))
    return np.stack([np.random.default_rng(row).standard_normal(shape[1:]) * 30, stripes])


def complexity_recipe(ranks: dict[str, int] | None = None, *, pictures: int = PICTURES, models: int = 1, **fields: Any) -> Recipe:
    """A study of whole images, each under every degradation, with 24 patches of each and a layer whose features are noise."""
    about: dict[str, Any] = {"columns": (("tv", "float64"),), "whats": ("complexity",), "dtype": "float16",
                             "value": lambda model, row, label: {"tv": 1.0}, "params": {"patches": PATCHES}}  # fmt: skip
    stages = [
        Stage("complexity", "complexity", name="patches", dims=("side", "patch", "py", "px"), shape=(2, PATCHES, 8, 8),
              array=patches(RANKS if ranks is None else ranks, pictures), **about),
        Stage("features", "features", columns=(), whats=("head.out",), shape=(6, 8, 8)),
    ]  # fmt: skip
    return Recipe(stages, models=models, pictures=pictures, degradations=LABELS, **fields)
