"""Studies with `motion_error`, `flow` and `lam` stages made by hand: errors by motion, and maps, of which everything is known.

Every image stands for a clip of FRAMES frames in which everything moves by one velocity to the right."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
from toy_studies import SCALE, Further, Recipe, Stage

from xlli_ray.stats.motion import EDGES
from xlli_ray.stats.motion_error import AXES, STEPS_MOTION

FRAMES, CENTRE, SIDE = 3, 1, 16
TEXTURES = AXES[2]
LAM = (
    ("window", "int64"), ("top", "int64"), ("left", "int64"), ("size", "int64"), ("frame", "int64"), ("centre_share", "float64"),
    ("effective_frames", "float64"), ("height", "int64"), ("width", "int64"), ("undefined", "bool"), ("control", "string"),
)  # fmt: skip
Level = Callable[[int, int, int], float]
"""(model, row, bin) → mean squared error in squared grey levels."""


def hard(row: int) -> float:
    """How much harder a clip is than others, as a factor of the squared error."""
    return float(np.exp(np.random.default_rng((3, row)).normal(0, 0.5)))


def windowed(model: int, row: int, place: int) -> float:
    """Network 0 is good at any motion; network 1 as good below 8 pixels, and has twice the error from there on; others see nothing else."""
    beyond = EDGES[place] >= 8
    return 40.0 * hard(row) * (1.0 if model == 0 or (model == 1 and not beyond) else 2.0 if model == 1 else 4.0)


def pixels(row: int, place: int) -> int:
    """Of one texture, visible, in a bin: fewer fast ones."""
    return 3 * (40 + 7 * (row % 3)) // (1 + place)


def sums(level: Level, thin: bool) -> tuple[Callable[..., np.ndarray], Callable[..., np.ndarray]]:
    """Makers of the arrays `squared` and `count`. Occluded pixels are a tenth, with twice the error."""

    def count(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(shape, np.int64)
        for place in range(len(EDGES)):
            number = pixels(row, place) if EDGES[place] < 8 or not thin else 3 * (row == 0 and place == 7)
            out[:, :, 0, :, place], out[:, :, 1, :, place] = 10 * number, number
        return out

    def squared(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        counts = count(model, row, shape)
        out = np.zeros(shape, np.int64)
        for place in range(len(EDGES)):
            out[..., place] = np.rint(counts[..., place] * level(model, row, place)).astype(np.int64)
        out[:, :, 1] *= 2
        return out

    return squared, count


def alignment_recipe(
    level: Level = windowed, *, velocity: Callable[[int], float] = lambda row: 3.0,
    follows: Callable[[int, int], float] = lambda model, row: 1.0,
    maps: bool = True, thin: bool = False, params: dict[str, Any] | None = None, models: int = 3, pictures: int = 6, **fields: Any,
) -> Recipe:  # fmt: skip
    """A study's recipe with the stages and `alignment_summary`. `follows`: share of the motion that a network's maps follow. `thin`: hardly
    anything moves 8 pixels or more."""
    squared, count = sums(level, thin)
    def moved(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        middles = np.array([*((low + high) / 2 for low, high in pairwise(EDGES)), 40.0])
        return np.asarray(count(model, row, shape) * (middles * STEPS_MOTION).astype(np.int64))

    axes = (AXES[0], 1, *AXES[1:])
    dims = ("by", "frame", "visibility", "texture", "bin")
    errors = Stage("motion_error", "motion_error", columns=(("psnr", "float64"),), whats=("motion_error",), name="squared", shape=axes,
                   dims=dims, dtype="int64", value=lambda m, row, label: {"psnr": 30.0}, array=squared,
                   further=(Further("count", axes, dims, "int64", count), Further("moved", axes, dims, "int64", moved)))  # fmt: skip

    def flow(sign: float) -> Callable[..., np.ndarray]:
        def make(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
            out = np.zeros(shape, np.float16)
            out[:, 0] = sign * velocity(row)
            return out

        return make

    side = 32
    pairs, way = (FRAMES - 1, 2, side, side), ("pair", "component", "y", "x")
    flows = Stage("flow", "flow", columns=(("motion_mean", "float64"),), whats=("flow",), name="next", shape=pairs, dims=way,
                  dtype="float16", value=lambda m, row, label: {"motion_mean": velocity(row)}, array=flow(1.0), without_model=True,
                  further=(Further("previous", pairs, way, "float16", flow(-1.0)),))  # fmt: skip

    def rows(model: int, row: int, label: str) -> list[dict[str, Any]]:
        return [{"window": w, "top": 20 + 4 * w, "left": 24, "size": SIDE, "frame": CENTRE, "centre_share": 0.5 + 0.1 * model,
                 "effective_frames": 2.5 - 0.2 * model, "height": side, "width": side, "undefined": False, "control": ""}
                for w in range(2)]  # fmt: skip

    def centroid(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        out = np.zeros(shape, np.float32)
        for w in range(shape[0]):
            out[w, :, 0] = (20 + 4 * w + SIDE / 2) / SCALE - 0.5
            out[w, :, 1] = (24 + SIDE / 2) / SCALE - 0.5 + follows(model, row) * velocity(row) * (np.arange(FRAMES) - CENTRE)
        return out

    lam = Stage("lam", "lam", columns=LAM, whats=("accurate",), name="centroid", shape=(2, FRAMES, 2),
                dims=("window", "frame", "coordinate"), value=rows, array=centroid)  # fmt: skip
    stages = [errors, flows, lam] if maps else [errors]
    summary = {"kind": "alignment_summary", "id": "alignment_summary", "params": params or {}, "models": "all"}
    fields = {"degradations": ("clean",), **fields}
    return Recipe(stages, models=models, pictures=pictures, analyses=[summary], **fields)
