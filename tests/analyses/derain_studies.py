"""Studies with a `derain` table made by hand: removal and damage of which everything is known, on noise10 (seen) and noise20."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from toy_studies import Recipe, Stage

from xlli_ray.probes.derain import Derain

COLUMNS = tuple((column.name, column.dtype) for column in Derain.COLUMNS)
SEEN, UNSEEN = "noise10", "noise20"
PERFECT = 40.0
"""E_R* of every sample."""
Numbers = Mapping[str, float]


def effect(row: int, pictures: int, spread: float = 0.05) -> float:
    """Of a photograph, the same under every degradation."""
    return float(np.random.default_rng((5, row % pictures)).normal(0, spread))


def fitted(model: int, row: int, label: str) -> Numbers:
    """ρ falls by 0.2 on unseen rain, by a hundredth more with each network; the background is better for later networks."""
    gap = 0.2 + 0.01 * model if label == UNSEEN else 0.0
    return {"rho": 0.95 - gap, "d_perp": 5.0 + model, "e_background": 4.0 - 0.5 * model}


def derain_recipe(
    value: Callable[[int, int, str], Numbers] = fitted, *, models: int = 3, pictures: int = 6,
    background: Callable[[int], str] | None = None, params: dict[str, Any] | None = None, **fields: Any,
) -> Recipe:  # fmt: skip
    """A study's recipe with the stage and `derain_summary`. `value`: ρ, D⊥, E_B; the rest follows from them."""

    def row(model: int, number: int, label: str) -> dict[str, Any]:
        found = dict(value(model, number, label))
        rho, damage = found["rho"] + effect(number, pictures), found["d_perp"]
        change, left = np.hypot(rho * PERFECT, damage), np.hypot((1 - rho) * PERFECT, damage)
        full = {
            "rho": rho, "d_perp": damage, "e_background": found["e_background"], "e_rain_input": float(change), "e_rain_perfect": PERFECT,
            "e_rain_left": float(left), "mse_rain_gt": float(left**2), "mse_background_gt": found["e_background"] ** 2,
            "psnr_y": 30.0 + effect(number, pictures, 2.0) - found["e_background"], "psnr_y_rain": 25.0, "psnr_y_background": 35.0,
            "coverage": 0.4, "corrupted": bool(left > PERFECT), "inflated": bool(damage**2 > change**2 / 2), "mask_from": "whole",
            "undefined": "", "background": background(number) if background else f"{number % pictures:016x}",
        }  # fmt: skip
        nan = {"float64": float("nan"), "bool": False, "string": ""}
        return {name: full.get(name, nan[dtype]) for name, dtype in COLUMNS}

    stage = Stage("derain", "derain", columns=COLUMNS, whats=("derain",), value=row)
    summary = {"kind": "derain_summary", "id": "derain_summary", "params": params or {}, "models": "all"}
    fields = {"degradations": ({"noise": 10}, {"noise": 20}), **fields}
    return Recipe([stage], models=models, pictures=pictures, analyses=[summary], **fields)
