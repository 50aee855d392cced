"""Whether maps rank the blocks of the input as the causal effect map does, and as each other.

Per window, over the blocks that were tried (`draws` above 0): Spearman's ρ of the map, averaged over each block, and |effect|. Both fall
with the distance from the window, so ρ is also taken beyond that, as of the controls of maps (`stats.map_controls`): of ranks minus the
mean rank of the blocks in mirrored positions about the window, which removes any symmetric fall-off.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from xlli_ray.analyses.shared.study_access import CellArray, View
from xlli_ray.stats.map_controls import places
from xlli_ray.stats.rank import spearman, spearman_within

if TYPE_CHECKING:
    from xlli_ray.analyses.faithfulness.trials import Trials, Values

GRID = 16
"""Blocks along the shorter side of the input by which maps are compared with each other."""


def by_block(values: NDArray[np.floating], side: int) -> Values:
    """Mean of (…, H, W) over blocks of `side` pixels, those at the far borders smaller: (…, ⌈H / side⌉, ⌈W / side⌉)."""
    out = np.asarray(values, np.float64)
    for axis in (-2, -1):
        starts = np.arange(0, out.shape[axis], side)
        sizes = np.diff([*starts, out.shape[axis]])
        out = np.moveaxis(np.add.reduceat(out, starts, axis=axis), axis, -1) / sizes
        out = np.moveaxis(out, -1, axis)
    return out


def agreement(
    values: NDArray[np.floating], effect: NDArray[np.floating], draws: NDArray[np.integer], window: tuple[int, int, int], scale: int,
    side: int,
) -> tuple[float, float]:  # fmt: skip
    """(ρ, ρ beyond position) of a map ([T,] H, W) and the effects of blocks of `side` input pixels, ([T,] h, w); NaN where undefined.

    `window`: top, left, size in output pixels, `scale` of them an input pixel.
    """
    tried = np.asarray(draws) > 0
    blocks = by_block(np.abs(values), side)
    if blocks.shape != tried.shape or not (np.isfinite(blocks).all() and np.isfinite(effect).all()) or tried.sum() < 3:
        return float("nan"), float("nan")
    height, width = tried.shape[-2:]
    where = np.broadcast_to(places((height, width), window, scale * side), tried.shape)
    if tried.ndim == 3:
        where = where + (where.max() + 1) * np.arange(len(tried))[:, None, None]
    one, other = blocks[tried], np.abs(effect)[tried]
    return spearman(one, other), spearman_within(one, other, where[tried])


class Maps:
    """The own maps of each network and method, and the effects of the cem stage, by row of the sample table."""

    def __init__(self, view: View, trials: Trials, cem: str | None) -> None:
        self._cells: dict[tuple[str, str], CellArray] = {}
        self._effects: dict[str, dict[str, CellArray]] = {}
        kinds = {cell.stage: cell.kind for cell in view.cells}
        self.trials, self.cem = trials, cem
        for cell in view.cells:
            if "." in cell.what or not any(bucket.arrays for bucket in cell.sizes):
                continue
            if cell.stage in trials.methods and kinds[cell.stage] == "lam":
                self._cells[cell.model, cell.stage] = view.array(cell.id, "map")
            if cell.stage == cem:
                self._effects[cell.model] = {name: view.array(cell.id, name) for name in ("effect", "draws")}

    def of(self, model: str, row: int) -> dict[str, NDArray[np.floating]]:
        """Method → maps of one sample, (windows, [T,] H, W)."""
        found = {method: self._cells[model, method].row(row) for method in self.trials.methods if (model, method) in self._cells}
        return {method: maps for method, maps in found.items() if maps is not None}

    def effects(self, model: str, row: int) -> tuple[NDArray[np.floating], NDArray[np.integer]] | None:
        """Effects and draws of one sample, (windows, [T,] h, w); None without them."""
        found = [self._effects[model][name].row(row) for name in ("effect", "draws")] if model in self._effects else [None]
        return None if any(one is None for one in found) else (found[0], found[1])  # type: ignore[return-value]


def agreements(maps: Maps, side_of: dict[tuple[str, int, int], int], scales: dict[str, int]) -> dict[str, Values]:
    """`rho` and `beyond` with the causal effect map, and `methods_rho`, the mean ρ with the maps of the other methods: (windows, networks,
    methods). `side_of`: (network, row, window) → input pixels along a block of its causal effect map."""
    trials = maps.trials
    out = {name: trials.empty() for name in ("rho", "beyond", "methods_rho")}
    rank = {method: i for i, method in enumerate(trials.methods)}
    for m, model in enumerate(trials.models):
        for row, mine in _by_row(trials.windows):
            found, effects = maps.of(model, row), maps.effects(model, row)
            for i in mine:
                _, j, top, left, size = trials.windows[i].tolist()
                here = {method: some[j] for method, some in found.items() if j < len(some) and np.isfinite(some[j]).all()}
                side = side_of.get((model, row, j))
                if effects is not None and side is not None and j < len(effects[0]):
                    for method, values in here.items():
                        both = agreement(values, effects[0][j], effects[1][j], (top, left, size), scales[model], side)
                        out["rho"][i, m, rank[method]], out["beyond"][i, m, rank[method]] = both
                for method, mean in _among(here).items():
                    out["methods_rho"][i, m, rank[method]] = mean
    return out


def _by_row(windows: NDArray[np.int64]) -> Iterator[tuple[int, list[int]]]:
    """(row of the sample table, indices of its windows), which are sorted by row."""
    rows, starts = np.unique(windows[:, 0], return_index=True)
    for row, first, last in zip(rows.tolist(), starts.tolist(), [*starts[1:].tolist(), len(windows)]):
        yield row, list(range(first, last))


def _among(maps: dict[str, NDArray[np.floating]]) -> dict[str, float]:
    """Method → mean ρ of its map with those of the others, over blocks."""
    blocks = {method: by_block(values, max(1, min(values.shape[-2:]) // GRID)).ravel() for method, values in maps.items()}
    out = {}
    for method, one in blocks.items():
        others = [spearman(one, other) for name, other in blocks.items() if name != method and other.shape == one.shape]
        known = [rho for rho in others if np.isfinite(rho)]
        if known:
            out[method] = float(np.mean(known))
    return out
