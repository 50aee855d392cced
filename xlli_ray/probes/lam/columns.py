"""The columns of table `lam`, and the row of one map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.probes.lam import over_clips
from xlli_ray.probes.lam.diffusion_index import gini, n95
from xlli_ray.probes.measurement import Column

if TYPE_CHECKING:
    from xlli_ray.probes.lam.attribution import WindowResult

COLUMNS: tuple[Column, ...] = (
    Column("window", "int64", "index of the window within its sample, as in the array", place=True),
    Column("mode", "string", "accurate or paper; averaged: accurate with averaged gates; of another method its name, as gradient_input"),
    Column("control", "string", "empty for the map itself; else the change after which the map should differ"),
    Column("objective", "string", "score that is explained"),
    Column("path", "string", "path of integration, by its baseline; empty for a method without one"),
    Column("top", "int64", "first row of the window", place=True, unit="output pixels"),
    Column("left", "int64", "first column of the window", place=True, unit="output pixels"),
    Column("size", "int64", "side of the window", place=True, unit="output pixels"),
    Column("di", "float64", "diffusion index, 0..100, larger: wider; NaN for an undefined map; comparable at equal image size only",
           limits=(0.0, 100.0)),
    Column("gini", "float64", "Gini coefficient of the map, 0..1; NaN for an undefined map", limits=(0.0, 1.0)),
    Column("n95", "int64", "number of pixels with 95 % of the map; 0 for an undefined map", limits=(0.0, None), unit="pixels"),
    Column("area", "float64", "n95 as a share of all pixels, 0..1", limits=(0.0, 1.0)),
    Column("nodes", "int64", "number of gradients; of occlusion, of squares tried"),
    Column("error_estimate", "float64", "E: estimated relative L2 error of the map, of smoothgrad its standard error; NaN in mode paper, "
           "gradient_input and occlusion", limits=(0.0, None)),
    Column("completeness", "float64",
           "|ΣA − change of the score| / |change|: a check, nearly always below the map's error; NaN for other methods than path",
           limits=(0.0, None)),
    Column("objective_baseline", "float64", "score at the baseline; NaN for other methods than path"),
    Column("objective_input", "float64", "score at the end of the path"),
    Column("nonfinite", "int64",
           "gradient entries (of occlusion, scores) that were NaN or infinite: set to 0 in mode paper, else the map is undefined",
           limits=(0.0, None)),
    Column("flat", "int64", "window pixels of the output without gradient, which the objective ignores", limits=(0.0, None)),
    Column("undefined", "bool", "true: the map is zero everywhere or not finite"),
    Column("height", "int64", "rows of the map", place=True),
    Column("width", "int64", "columns of the map", place=True),
    *over_clips.COLUMNS,
)


def map_row(result: WindowResult, values: NDArray[np.float32], asked: dict[str, Any]) -> dict[str, Any]:
    """The row of one map, `values` (…, y, x) in 0..1. `asked`: the columns that say which map it is."""
    window = result.window
    concentration = gini(values) if not result.undefined else float("nan")
    pixels = n95(values) if not result.undefined else 0
    height, width = values.shape[-2:]
    return {
        **asked, "top": window.top, "left": window.left, "size": window.size,
        "di": (1 - concentration) * 100, "gini": concentration, "n95": pixels, "area": pixels / values.size,
        "nodes": result.nodes, "error_estimate": result.error_estimate, "completeness": result.completeness,
        "objective_baseline": result.objective_baseline, "objective_input": result.objective_input,
        "nonfinite": result.nonfinite, "flat": result.flat, "undefined": result.undefined, "height": height, "width": width,
    }  # fmt: skip
