"""The arrays of a `motion_error` stage, summed by clip."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from xlli_ray.analyses.alignment_summary.pooled_errors import PooledErrors
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError
from xlli_ray.stats.motion import EDGES
from xlli_ray.stats.motion_error import BY, STEPS_MOTION, TEXTURE, VISIBILITY
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.tables.sql import photograph_of

STRATA = ("all", *TEXTURE, *VISIBILITY)
Sums = NDArray[np.int64]


def read_errors(view: View, cells: Sequence[Cell], level: float) -> tuple[PooledErrors, list[str]]:
    """Sums of the clips that every network was measured on, and notes. Integers until the last step: any division gives the same.

    If one network gives the middle frame only and another all, that frame is what is compared. Raises AnalysisError where nothing can be.
    """
    clips = _clips(view)
    names = sorted(set(clips.values()))
    number = {name: i for i, name in enumerate(names)}
    sums = {cell.model: _of_network(view, cell) for cell in cells}
    moved = np.zeros(len(EDGES), np.int64)
    known = set.intersection(*(set(found) for found in sums.values())) & set(clips)
    if not known:
        raise AnalysisError("motion_error: no clip was measured with every network; `xlli query STUDY \"from failures\"` says why")
    squared = np.zeros((len(sums), len(STRATA), len(EDGES), len(names)), np.int64)
    count = np.zeros_like(squared)
    steps = [_steps(view, cell) for cell in cells]
    for i, found in enumerate(sums.values()):
        for row in known:
            moved += found[row][2][0] if i == 0 else 0
            squared[i, :, :, number[clips[row]]] += found[row][0]
            count[i, :, :, number[clips[row]]] += found[row][1]
    if not (count == count[:1]).all():
        raise AnalysisError(
            "motion_error: the networks were scored on different pixels (frames, colours or borders), so they cannot be compared. Give "
            "them one stage with `scored: centre`, or choose networks of one kind with `models`"
        )
    used = count[0, 0].any(axis=0)
    far = np.divide(moved, count[0, 0].sum(axis=1) * STEPS_MOTION, out=np.full(len(EDGES), np.nan), where=count[0, 0].any(axis=1))
    white = 255.0 * np.array(steps, np.float64)[:, None, None, None]
    errors = PooledErrors(
        tuple(sums), STRATA, EDGES, squared[..., used].astype(np.float64) / white**2, count[0][..., used].astype(np.float64),
        tuple(far.tolist()), level,
    )  # fmt: skip
    lost = len(set().union(*sums.values()) - known)
    notes = [f"{lost} samples were left out: not every network was measured on them."] if lost else []
    return errors, notes


def _clips(view: View) -> dict[int, str]:
    """Row of the sample table → its clip: windows of one folder or video, and made clips of one photograph, are one."""
    table = view.sql(f"select distinct s.row, {photograph_of('s')} as clip from motion_error m join samples s on m.row = s.row")
    return dict(zip(table["row"].to_pylist(), table["clip"].to_pylist()))


def _of_network(view: View, cell: Cell) -> dict[int, tuple[Sums, Sums, Sums]]:
    """Row of the sample table → squared errors, counts and motion, int64 (strata, bins), by the largest motion, over the scored frames."""
    found: dict[str, dict[int, Sums]] = {"squared": {}, "count": {}, "moved": {}}
    for name, rows in found.items():
        for block in view.array(cell.id, name).blocks():
            for row, values, good in zip(block.table_rows.tolist(), block.values, block.valid):
                if good:
                    rows[row] = _strata(values[BY.index("max")].sum(axis=0))
    complete = set.intersection(*(set(one) for one in found.values()))
    return {row: (found["squared"][row], found["count"][row], found["moved"][row]) for row in sorted(complete)}


def _strata(values: Sums) -> Sums:
    """(visibility, texture, bin) → (strata, bin), in the order of STRATA."""
    return np.concatenate([values.sum(axis=(0, 1))[None], values.sum(axis=0), values.sum(axis=1)]).astype(np.int64)


def _steps(view: View, cell: Cell) -> int:
    (reader, *_) = view.array(cell.id, "squared").readers
    return int(reader.meta.attributes.get("steps", 1))
