"""Complexity of stored features: the vectors over positions of a layer, of all samples under one degradation.

Vectors are drawn at random positions, as many of each sample, at most VECTORS together; standardised channel by channel; and projected
onto at most COMPONENTS principal components, in which neighbours are found. With rank and dimension of clean and of degraded inputs side
by side one sees whether a degradation gives a layer new directions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from typing import Any

import numpy as np

from xlli_ray.analyses.analysis import cells_of
from xlli_ray.analyses.complexity_summary.measures import GROUPS, measured
from xlli_ray.analyses.complexity_summary.params import Params
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import PlanError, closest
from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.separability import interval
from xlli_ray.store.records.manifest import Cell

VECTORS, COMPONENTS = 4096, 64
_Row = dict[str, Any]


def layer_of(cell: Cell) -> str:
    """`trunk.3.out` → `trunk.3`; an input keeps its side."""
    return cell.what.removesuffix(".out")


def feature_cells(cells: Sequence[Cell], patterns: Sequence[str]) -> list[Cell]:
    """The cells that `complexity_summary.features` names. Raises PlanError naming the nearest layers."""
    out: dict[str, Cell] = {}
    for pattern in patterns:
        stage, _, layer = pattern.partition(".")
        known = cells_of(cells, stage, "features", asked_by="complexity_summary.features")
        chosen = [cell for cell in known if fnmatchcase(layer_of(cell), layer) or fnmatchcase(cell.what, layer)]
        if not chosen:
            names = list(dict.fromkeys(map(layer_of, known)))
            near = closest(layer, names, n=1)
            hint = f"did you mean {stage}.{near[0]}? " if near else ""
            raise PlanError(f"complexity_summary.features: {pattern!r} matches no stored layer: {hint}Layers: {', '.join(names[:12])}")
        out |= {cell.id: cell for cell in chosen}
    return list(out.values())


def feature_rows(view: View, cells: Sequence[Cell], params: Params, seed: int) -> Iterator[_Row]:
    """Rows of `complexity_features`; of a layer without positions every sample is one vector."""
    table = view.sql("select row, label, coalesce(target_sha, source_sha, content) as image from samples order by row")
    label, image = (table[name].to_numpy(zero_copy_only=False) for name in ("label", "image"))
    first = int(table["row"][0].as_py())
    photographs, number = np.unique(image, return_inverse=True)
    group, groups = number.reshape(-1) % GROUPS, min(len(photographs), GROUPS)
    for cell in cells:
        by_label: dict[str, tuple[list[np.ndarray], list[int]]] = {one: ([], []) for one in view.labels}
        for block in view.array(cell.id, "features").blocks():
            for row, values, good in zip(block.table_rows.tolist(), block.values, block.valid):
                place = row - first
                if good and np.isfinite(values).all():
                    share = max(1, VECTORS // max(1, int((label == label[place]).sum())))
                    vectors = values.reshape(len(values), -1).T  # (positions, channels)
                    chosen = generator(seed, "positions", row).permutation(len(vectors))[:share]
                    by_label[label[place]][0].append(vectors[np.sort(chosen)])
                    by_label[label[place]][1].extend([int(group[place])] * len(chosen))
        for name, (parts, members) in by_label.items():
            points = _components(np.concatenate(parts)) if parts else np.empty((0, 0))
            if len(points) < COMPONENTS or not points.shape[1]:
                continue
            found = measured(points, np.array(members), groups, generator(seed, "half", cell.id, name))
            about = {"model": cell.model, "layer": layer_of(cell), "degradation": name, "images": len(set(members)), "points": len(points)}
            for measure, item in found.items():
                ends = interval(item.value, item.shift, level=params.level)
                yield {**about, "measure": measure, "value": item.value, "low": ends.low, "high": ends.high, "half": item.half}


def _components(vectors: np.ndarray) -> np.ndarray:
    """Standardised, on their first principal components: float64 (n, ≤ COMPONENTS). Channels that never change are left out."""
    values = vectors.astype(np.float64)
    spread = values.std(axis=0)
    values = (values - values.mean(axis=0))[:, spread > 1e-12] / spread[spread > 1e-12]
    if values.shape[1] <= COMPONENTS:
        return values
    _, axes = np.linalg.eigh(values.T @ values)
    return values @ axes[:, : -COMPONENTS - 1 : -1]
