"""Studies with a `lam` table made by hand: DI, maps and controls of which everything is known."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from toy_studies import SCALE, Recipe, Stage

COLUMNS = (
    ("window", "int64"), ("mode", "string"), ("control", "string"), ("objective", "string"), ("path", "string"), ("top", "int64"),
    ("left", "int64"), ("size", "int64"), ("di", "float64"), ("gini", "float64"), ("n95", "int64"), ("area", "float64"),
    ("nodes", "int64"), ("error_estimate", "float64"), ("completeness", "float64"), ("objective_baseline", "float64"),
    ("objective_input", "float64"), ("nonfinite", "int64"), ("undefined", "bool"), ("height", "int64"), ("width", "int64"),
)  # fmt: skip
SIDE = 16  # of a window, output pixels
PLACES = ((8, 8), (24, 24), (40, 8), (8, 40))


def place(window: int, *, shifted: bool = False) -> tuple[int, int]:
    """Top and left of a window; the control's lies 16 output pixels to the right."""
    top, left = PLACES[window % len(PLACES)]
    return (top, left + SIDE) if shifted else (top, left)


def image_effect(row: int) -> float:
    """Images differ much more than models."""
    return float(np.random.default_rng((7, row)).normal(0, 3))


def psnr(model: int, row: int) -> float:
    """Images differ by dB, models by a fifth of one, a little more on some images."""
    return 28 + 0.2 * model + image_effect(row) + float(np.random.default_rng((11, model, row)).normal(0, 0.05))


def steady(model: int, row: int, window: int) -> float:
    """DI: models one apart, the same effect of image and window for all."""
    return 12.0 + model + image_effect(row) + 0.3 * window


@dataclass
class Lam:
    """What the lam stage of a study says."""

    windows: int = 3
    di: Callable[[int, int, int], float | None] = steady
    """(model, row, window) → DI; None: undefined."""
    blob: Callable[[int, int, int], float] = lambda model, row, window: 0.0
    """How much of a model's map ignores its weights: 1, the control map is the map."""
    stays: frozenset[int] = frozenset()
    """Models whose map does not follow its window."""
    size: Callable[[int], int] = lambda row: 32
    """Height and width that the table tells for a row."""
    error: float = 0.05
    controls: int | None = 4
    """Rows with controls, None: none at all."""
    reverse: bool = False
    """Windows in another order."""
    psnr: bool = True

    def stages(self) -> list[Stage]:
        lam = {"id": "lam", "kind": "lam", "columns": COLUMNS, "name": "map", "dims": ("window", "y", "x"), "shape": (self.windows, 32, 32)}
        out = [Stage(**lam, whats=("accurate",), value=self._rows(""), array=self._map(""))]
        for control in ("randomised_weights", "shifted_window") if self.controls else ():
            values = {"value": self._rows(control), "array": self._map(control)}
            out.append(Stage(**lam, whats=(f"accurate.{control}",), first=self.controls, **values))
        if self.psnr:
            out.append(Stage("restore", value=lambda model, row, label: {"psnr_y": psnr(model, row)}))
        return out

    def _rows(self, control: str) -> Callable[[int, int, str], list[dict[str, Any]]]:
        def rows(model: int, row: int, label: str) -> list[dict[str, Any]]:
            out = []
            for window in range(self.windows):
                di = self.di(model, row, window)
                top, left = place(window, shifted=control == "shifted_window")
                side = self.size(row)
                out.append(
                    {"window": window, "mode": "accurate", "control": control, "objective": "gradient", "path": "blur", "top": top,
                     "left": left, "size": SIDE, "di": np.nan if di is None else di, "gini": np.nan if di is None else 1 - di / 100,
                     "n95": 0 if di is None else 300, "area": np.nan if di is None else 0.3, "nodes": 20, "error_estimate": self.error,
                     "completeness": 0.01, "objective_baseline": 1.0, "objective_input": 2.0, "nonfinite": 0,
                     "undefined": di is None, "height": side, "width": side}
                )  # fmt: skip
            return out[::-1] if self.reverse else out

        return rows

    def _map(self, control: str) -> Callable[[int, int, tuple[int, ...]], np.ndarray]:
        def maps(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
            out = np.zeros(shape)
            y, x = np.indices(shape[1:])
            for window in range(shape[0]):
                if self.di(model, row, window) is None:
                    continue
                top, left = place(window, shifted=control == "shifted_window" and model not in self.stays)
                away = np.maximum(np.abs(y - (top + SIDE / 2) / SCALE), np.abs(x - (left + SIDE / 2) / SCALE))
                own = np.random.default_rng((model, row, window)).random(shape[1:])
                other = np.random.default_rng((model, row, window, 99)).random(shape[1:])
                share = self.blob(model, row, window) if control == "randomised_weights" else 1.0
                out[window] = np.exp(-away / 3) * (share * own + (1 - share) * other)
            return out

        return maps


def lam_recipe(
    lam: Lam | None = None, *, params: dict[str, Any] | None = None, others: Sequence[dict[str, Any]] = (), **fields: Any
) -> Recipe:
    """A study's recipe with the stage and `lam_summary`."""
    lam = lam or Lam()
    summary = {"kind": "lam_summary", "id": "lam_summary", "params": {"resamples": 400, **(params or {})}, "models": "all"}
    fields = {"models": 3, "pictures": 6, "degradations": ("clean",), **fields}
    return Recipe(lam.stages(), analyses=[summary, *others], **fields)
