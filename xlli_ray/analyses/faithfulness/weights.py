"""What is left of a map when weights are drawn anew, from the output down: rows of `faithfulness_weights`.

After J. Adebayo et al., "Sanity Checks for Saliency Maps", NeurIPS 2018: the maps of a stage's controls `randomised_weights` and, where it
has them, `cascade_25` and the like, the share of the layers that is drawn, against the network's own: by rank correlation
(`stats.map_controls`) and, as they do too, by structural similarity of the maps in 0..1, which sees where the strongest pixels are and
little of the others.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.analyses.shared.study_access import CellArray, View
from xlli_ray.stats.fidelity import ssim
from xlli_ray.stats.map_controls import alike, alike_beyond_place

if TYPE_CHECKING:
    from xlli_ray.analyses.faithfulness.trials import Trials

CORRELATION = (-1.0, 1.0)
_CASCADE = re.compile(r"cascade_([0-9]+)")
_Row = dict[str, Any]


def drawn_share(what: str) -> float | None:
    """Share of the layers whose weights are drawn in a cell of this name: 1 for `accurate.randomised_weights`; None for other cells."""
    control = what.rpartition(".")[2] if "." in what else ""
    if control == "randomised_weights":
        return 1.0
    found = _CASCADE.fullmatch(control)
    return int(found[1]) / 100 if found else None


def weight_rows(view: View, trials: Trials) -> list[_Row]:
    """See the module docstring."""
    frames = _frames(view)
    out = []
    scales = {model.id: model.scale for model in view.models}
    for m in trials.models:
        for method in trials.methods:
            cells = [cell for cell in view.cells if (cell.model, cell.stage, cell.kind) == (m, method, "lam")]
            own = next((cell for cell in cells if "." not in cell.what), None)
            drawn = sorted((share, cell.id) for cell in cells if (share := drawn_share(cell.what)) is not None)
            if own is None or not drawn:
                continue
            mine = view.array(own.id, "map")
            for share, cell in drawn:
                values = _compared(trials, mine, view.array(cell, "map"), scales[m], frames.get(m, {}))
                rho, beyond, similar = trials.averaged(values, np.ones(len(values), bool), CORRELATION)
                if rho.photographs:
                    out.append({"model": m, "method": method, "drawn": share, "images": rho.photographs, "maps": rho.values,
                                "rho": rho.mean, "rho_low": rho.low, "rho_high": rho.high,
                                "beyond": beyond.mean, "beyond_low": beyond.low, "beyond_high": beyond.high,
                                "ssim": similar.mean, "ssim_low": similar.low, "ssim_high": similar.high})  # fmt: skip
    return out


def _compared(trials: Trials, own: CellArray, other: CellArray, scale: int, frames: dict[int, int]) -> np.ndarray:
    """(windows, 3): ρ, ρ beyond position, and SSIM, of two maps of each window."""
    out = np.full((len(trials.windows), 3), np.nan)
    held: tuple[int, Any, Any] = (-1, None, None)
    for i, (row, j, top, left, size) in enumerate(trials.windows.tolist()):
        if held[0] != row:
            held = (row, own.row(row), other.row(row))
        if held[1] is None or held[2] is None or j >= min(len(held[1]), len(held[2])):
            continue
        one, two = (maps[j] if maps.ndim == 3 else maps[j, frames.get(row, maps.shape[1] // 2)] for maps in held[1:])
        out[i] = alike(one, two), alike_beyond_place(one, two, (top, left, size), scale), ssim(255 * one, 255 * two)
    return out


def _frames(view: View) -> dict[str, dict[int, int]]:
    """Of clips: network → row of the sample table → explained frame."""
    if not any("frame" in dict(cell.columns) for cell in view.cells if cell.kind == "lam"):
        return {}
    out: dict[str, dict[int, int]] = {}
    for row in view.sql("select distinct model, row, frame from lam where status = 'ok' and frame is not null").to_pylist():
        out.setdefault(row["model"], {})[row["row"]] = row["frame"]
    return out
