"""The controls of `lam_summary`: each map compared with that of randomised weights and that of a shifted window (`stats.map_controls`)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.analyses.lam_summary.clips import explained_frames
from xlli_ray.analyses.shared.study_access import CellArray, View
from xlli_ray.stats.map_controls import alike, alike_beyond_place, followed

if TYPE_CHECKING:
    from xlli_ray.analyses.lam_summary.params import Params

RANDOMISED, SHIFTED = "randomised_weights", "shifted_window"
SAME = 0.99
"""Rank correlation above which two maps count as equal: used for shifted windows whose position is not in the table."""
_Row = dict[str, Any]
_NAN = float("nan")


class _Maps:
    """Maps by row of the table `lam`; of a clip, that of the explained frame. Keeps one sample of each cell, since its windows are read one
    after another."""

    def __init__(self, view: View, data: Mapping[str, np.ndarray], stage: str) -> None:
        self._view, self._data, self._stage = view, data, stage
        self._arrays: dict[str, CellArray] = {}
        self._frames = explained_frames(view)
        self._held: dict[str, tuple[int, np.ndarray | None]] = {}

    def __call__(self, index: int) -> np.ndarray | None:
        """The map behind row `index`, (H, W); None if it is not stored."""
        cell = f"{self._stage}/{self._data['model'][index]}/{self._data['what'][index]}"
        row, window = int(self._data["row"][index]), int(self._data["win"][index])
        if cell not in self._arrays:
            self._arrays[cell] = self._view.array(cell, "map")
        if self._held.get(cell, (-1, None))[0] != row:
            self._held[cell] = (row, self._arrays[cell].row(row))
        stack = self._held[cell][1]
        if stack is None or window >= len(stack):
            return None
        return stack[window] if stack.ndim == 3 else stack[window, self._frames[str(self._data["model"][index]), row]]

    def place(self, index: int) -> tuple[int, int, int]:
        """Top, left and size of the window, output pixels."""
        top, left, size = (int(self._data[name][index]) for name in ("top", "lft", "size"))
        return top, left, size


def control_maps(view: View, data: Mapping[str, np.ndarray], own: np.ndarray, params: Params) -> list[_Row]:
    """Rows of `lam_control_maps`: one per control map that can be compared.

    `data`: columns of the table `lam`, sorted by model, what, row and window. `own`: the rows that are not controls.
    """
    return list(_compared(view, data, own, params))


def _compared(view: View, data: Mapping[str, np.ndarray], own: np.ndarray, params: Params) -> Iterator[_Row]:
    scale = {model.id: model.scale for model in view.models}
    stored_maps = _Maps(view, data, params.of)
    maps = {(data["model"][i], data["row"][i], data["win"][i]): int(i) for i in own}
    for index in np.flatnonzero((data["control"] != "") & (data["status"] == "ok")).tolist():
        model, row, window = (data[name][index] for name in ("model", "row", "win"))
        beside = maps.get((model, row, window))
        one, other = (None if i is None else stored_maps(i) for i in (beside, index))
        if beside is None or one is None or other is None:
            continue
        control, here = str(data["control"][index]), stored_maps.place(beside)
        rho, beyond, way = alike(one, other), alike_beyond_place(one, other, here, scale[model]), _NAN
        if not np.isfinite(rho):  # one of them is all zero, and is counted as undefined elsewhere
            continue
        fails = beyond >= params.survives
        if control == SHIFTED:
            way = followed(one, other, here, stored_maps.place(index), scale[model])
            fails = way < params.follows if np.isfinite(way) else rho >= SAME
        yield {"model": model, "control": control, "sample_id": data["sample_id"][index], "row": int(row), "window": int(window),
               "rho": rho, "beyond": beyond, "follows": way, "fails": bool(fails)}  # fmt: skip


def control_rows(maps: Sequence[_Row], models: Sequence[str], images: Mapping[int, int]) -> list[_Row]:
    """Rows of `lam_controls`. `images`: row of the sample table → its image."""
    out = []
    for model in models:
        for control in sorted({item["control"] for item in maps if item["model"] == model}):
            mine = [item for item in maps if item["model"] == model and item["control"] == control]
            kept = np.array([item["beyond"] for item in mine if np.isfinite(item["beyond"])])
            low, high = np.quantile(kept, [0.05, 0.95]).tolist() if len(kept) else (_NAN, _NAN)
            fails = sum(item["fails"] for item in mine)
            out.append(
                {"model": model, "control": control, "maps": len(mine), "images": len({images[item["row"]] for item in mine}),
                 "rho": median([item["rho"] for item in mine]), "beyond": median(kept), "beyond_low": low, "beyond_high": high,
                 "follows": median([item["follows"] for item in mine]), "alike": fails, "flag": fails > len(mine) / 2}
            )  # fmt: skip
    return out


def median(values: Any) -> float:
    """Median of the finite values, NaN if there are none."""
    finite = np.asarray(values, np.float64)
    finite = finite[np.isfinite(finite)]
    return float(np.median(finite)) if len(finite) else _NAN
