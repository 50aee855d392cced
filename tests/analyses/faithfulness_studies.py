"""Studies with `deletion`, `lam`, `cem` and `infidelity` tables and maps made by hand, of which everything is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from lam_studies import COLUMNS as LAM
from toy_studies import SCALE, Further, Recipe, Stage

from xlli_ray.probes.cem.columns import COLUMNS as CEM
from xlli_ray.probes.deletion.probe import PERCENT, Deletion
from xlli_ray.probes.infidelity.probe import Infidelity
from xlli_ray.stats.map_controls import places

INPUT, SIZE, BLOCK = 32, 16, 4
"""Sides of an input and of a block in input pixels, of a window in output pixels."""
PLACES = ((8, 8), (24, 24))
GRID = INPUT // BLOCK
Gain = Callable[[int, int, int], float]


def luck(*key: int) -> float:
    return float(np.random.default_rng(key).normal())


def better(model: int, row: int, window: int) -> float:
    """Network 0 gains 0.1 over nearest first, network 1 loses as much, network 2 gains nothing, on every image within a hundredth or so."""
    return (0.1, -0.1, 0.0)[model % 3] + 0.01 * luck(1, model, row) + 0.002 * luck(2, model, row, window)


def distance(window: int) -> np.ndarray:
    """Stratum of each block about the window, (GRID, GRID)."""
    return places((GRID, GRID), (*PLACES[window], SIZE), SCALE * BLOCK)


def fall(window: int) -> np.ndarray:
    """What depends on distance alone."""
    order = np.unique(distance(window), return_inverse=True)[1].reshape(GRID, GRID)
    return np.exp(-order / 6.0)


def effect_of(model: int, row: int, window: int) -> np.ndarray:
    """dB of each block: a fall-off times chance, of both signs; the last column was not tried."""
    rng = np.random.default_rng((5, model, row, window))
    out = fall(window) * rng.uniform(0.1, 1, (GRID, GRID)) * rng.choice([-1, 1], (GRID, GRID))
    out[:, -1] = 0
    return out


def spread(blocks: np.ndarray) -> np.ndarray:
    """Blocks as pixels, over their peak."""
    return np.repeat(np.repeat(blocks / blocks.max(), BLOCK, 0), BLOCK, 1)


def true_map(model: int, row: int, window: int) -> np.ndarray:
    """A map that ranks blocks as the effects do."""
    return spread(np.abs(effect_of(model, row, window)) + 1e-3)


def near_map(model: int, row: int, window: int) -> np.ndarray:
    """A map of distance and chance."""
    return spread(fall(window) * np.random.default_rng((6, model, row, window)).uniform(0.1, 1, (GRID, GRID)))


MAPS = {"lam": true_map, "near": near_map}


@dataclass
class Truth:
    """What is true of the maps. Gains are of `lam`; those of `near` are 0 but for chance."""

    deletion: Gain = better
    insertion: Gain = better
    methods: Sequence[str] = ("lam", "near")
    controls: bool = True
    cem: bool = True
    infidelity: bool = True
    windows: int = 2
    still: Callable[[int, int], bool] = lambda row, window: False
    """Windows that do not change at all."""

    def gain(self, way: str, method: str, *place: int) -> float:
        return getattr(self, way)(*place) if method == "lam" else 0.001 * luck(9, *place)

    def stages(self) -> list[Stage]:
        out = []
        for method in self.methods:
            shape = {"name": "map", "dims": ("window", "y", "x"), "shape": (self.windows, INPUT, INPUT)}
            lam = {"id": method, "kind": "lam", "columns": LAM, **shape}
            out.append(Stage(**lam, whats=("accurate",), value=self._lam(""), array=self._maps(method, 0.0)))
            for control, share in (("cascade_50", 0.5), ("randomised_weights", 1.0)) if self.controls and method == "lam" else ():
                maps = {"value": self._lam(control), "array": self._maps(method, share)}
                out.append(Stage(**lam, whats=(f"accurate.{control}",), **maps))
        if self.cem:
            columns = [(column.name, column.dtype) for column in CEM if not column.clips]
            grid = (self.windows, GRID, GRID)
            out.append(
                Stage("cem", "cem", columns=columns, whats=("cem",), name="effect", dims=("window", "y", "x"), shape=grid,
                      value=self._cem, array=lambda m, row, shape: np.stack([effect_of(m, row, w) for w in range(shape[0])]),
                      further=(Further("draws", grid, ("window", "y", "x"), "int32", self._draws),))
            )  # fmt: skip
        tried = [(column.name, column.dtype) for column in Deletion.COLUMNS]
        of = {"of": list(self.methods)}
        out.append(Stage("deletion", "deletion", columns=tried, whats=("deletion",), params=of, value=self._deletion))
        if self.infidelity:
            told = [(column.name, column.dtype) for column in Infidelity.COLUMNS]
            out.append(Stage("infidelity", "infidelity", columns=told, whats=("infidelity",), params=of, value=self._infidelity))
        return out

    def _each(self) -> list[dict[str, Any]]:
        return [{"window": w, "top": PLACES[w][0], "left": PLACES[w][1], "size": SIZE} for w in range(self.windows)]

    def _lam(self, control: str) -> Callable[[int, int, str], list[dict[str, Any]]]:
        more = {"mode": "accurate", "control": control, "objective": "gradient", "path": "blur", "di": 20.0, "gini": 0.8, "n95": 300,
                "area": 0.3, "nodes": 20, "error_estimate": 0.05, "completeness": 0.02, "objective_baseline": 1.0, "objective_input": 2.0,
                "nonfinite": 0, "undefined": False, "height": INPUT, "width": INPUT}  # fmt: skip
        return lambda model, row, label: [{**place, **more} for place in self._each()]

    def _maps(self, method: str, drawn: float) -> Callable[[int, int, tuple[int, ...]], np.ndarray]:
        def maps(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
            return np.stack([self._with_weights(MAPS[method](model, row, w), drawn, (model, row, w)) for w in range(shape[0])])

        return maps

    @staticmethod
    def _with_weights(own: np.ndarray, drawn: float, key: tuple[int, int, int]) -> np.ndarray:
        """With all weights drawn nothing is left but the fall-off; with half of them half of the logarithm."""
        other = spread(fall(key[2]) * np.random.default_rng((8, *key)).uniform(0.1, 1, (GRID, GRID)))
        return own ** (1 - drawn) * other**drawn

    def _cem(self, model: int, row: int, label: str) -> list[dict[str, Any]]:
        more = {"block": BLOCK, "psnr": 30.0, "helping": 10, "harming": 10, "neutral": 44, "undecided": 0, "area": 0.3, "range": 9.0,
                "strongest": 1.0, "most_harmful": -1.0, "harm_share": 0.5, "mean_error": 0.01, "draws": 500, "corruption": "none",
                "undefined": False}  # fmt: skip
        return [{**place, **more} for place in self._each()]

    @staticmethod
    def _draws(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        out = np.full(shape, 8, np.int32)
        out[..., -1] = 0
        return out

    def _deletion(self, model: int, row: int, label: str) -> list[dict[str, Any]]:
        out = []
        for place in self._each():
            w, nan = place["window"], float("nan")
            still = self.still(row, w)
            base = {"deletion": 0.5 + 0.05 * luck(3, row, w), "insertion": 0.5 + 0.05 * luck(4, row, w)}
            orders = [(method, "map", 0, {way: self.gain(way, method, model, row, w) for way in base}) for method in self.methods]
            if self.controls:
                orders.append(("lam", "control", 0, {"deletion": -0.05, "insertion": -0.05}))
            orders += [("", "nearest", 0, dict.fromkeys(base, 0.0))]
            orders += [("", "random", k, dict.fromkeys(base, -0.3 - 0.01 * (2 * k - 1))) for k in range(2)]
            for of, ranking, draw, gains in orders:
                gone, come = base["deletion"] + gains["deletion"], base["insertion"] - gains["insertion"]
                curves = {f"{way}_{percent}": 0.0 if still else 10.0 * value for percent in PERCENT
                          for way, value in (("deletion", gone), ("insertion", come))}  # fmt: skip
                out.append(
                    {**place, "of": of, "ranking": ranking, "draw": draw, "distance": 0.0 if still else 10.0,
                     "deletion_auc": nan if still else gone, "insertion_auc": nan if still else come,
                     "deletion_gain": nan if still else gains["deletion"], "insertion_gain": nan if still else gains["insertion"], **curves}
                )  # fmt: skip
        return out

    def _infidelity(self, model: int, row: int, label: str) -> list[dict[str, Any]]:
        out = []
        for place in self._each():
            for k, method in enumerate(self.methods):
                share = 0.2 + 0.3 * k + 0.01 * luck(7, model, row)
                kind = {"relative": 2 * share, "share": share, "factor": 0.8, "infidelity": 3.0, "change": 2.0}
                out.append({**place, "of": method, **kind, **{f"noise_{name}": value for name, value in kind.items()}, "sparseness": 0.8})
        return out


def faithfulness_recipe(
    truth: Truth | None = None, *, params: dict[str, Any] | None = None, models: int = 3, pictures: int = 6, **fields: Any
) -> Recipe:
    """A study's recipe with the stages and `faithfulness`."""
    analysis = {"kind": "faithfulness", "id": "faithfulness", "params": params or {}, "models": "all"}
    fields = {"degradations": ("clean",), **fields}
    return Recipe((truth or Truth()).stages(), models=models, pictures=pictures, analyses=[analysis], **fields)
