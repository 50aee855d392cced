"""A `cem` stage made by hand: effects, errors and draws of blocks of which everything is known."""

from __future__ import annotations

from typing import Any

import numpy as np
from toy_studies import Further, Stage

from xlli_ray.probes.cem.columns import COLUMNS

BLOCK = 5
"""Of a block, input pixels: no divisor of the 32 of an input, so that the last blocks are smaller."""
BLOCKS = 7
PLACES = ((8, 8), (24, 24), (40, 8))
"""Top and left of the windows, output pixels; the last one is restored perfectly."""
SIZE = 16
DIMS = ("window", "y", "x")


def blocks(model: int, row: int) -> dict[str, np.ndarray]:
    """effect, error and draws, (windows, BLOCKS, BLOCKS): blocks of every verdict, and some that are out of reach."""
    rng = np.random.default_rng((5, model, row))
    shape = (len(PLACES), BLOCKS, BLOCKS)
    draws = rng.choice([0, 4, 16, 64], shape)
    effect = np.where(draws > 0, rng.normal(0, 0.4, shape) * rng.choice([0.001, 1], shape), 0)
    error = np.where(draws > 0, rng.choice([0.001, 0.2], shape), 0)
    effect[-1], error[-1], draws[-1] = np.nan, np.nan, 0
    return {"effect": effect, "error": error, "draws": draws}


def cem_stage(id: str = "cem") -> Stage:
    def of(name: str) -> Any:
        return lambda model, row, shape: blocks(model, row)[name]

    def rows(model: int, row: int, label: str) -> list[dict[str, Any]]:
        found = blocks(model, row)["effect"]
        return [
            {"window": i, "top": top, "left": left, "size": SIZE, "block": BLOCK, "psnr": 30.0 + i, "helping": 10 + i, "harming": 4,
             "neutral": 30, "undecided": 3, "area": 0.25, "range": 11.5, "strongest": float(found[i].max()),
             "most_harmful": float(found[i].min()), "harm_share": 0.1, "mean_error": 0.05, "draws": 700, "corruption": "none",
             "undefined": i == len(PLACES) - 1}
            for i, (top, left) in enumerate(PLACES)
        ]  # fmt: skip

    shape = (len(PLACES), BLOCKS, BLOCKS)
    further = [Further("error", shape, DIMS, "float32", of("error")), Further("draws", shape, DIMS, "int32", of("draws"))]
    columns = [(column.name, column.dtype) for column in COLUMNS if not column.clips]
    return Stage(
        id, "cem", columns, (id,), name="effect", shape=shape, dims=DIMS, value=rows, array=of("effect"), further=further
    )  # fmt: skip
