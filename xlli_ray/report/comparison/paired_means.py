"""What networks measured in two studies on the same samples: paired differences, averaged over photographs.

A value of one study is paired with that of the other of the same sample, network, stage, column and place (window). A photograph's
differences are averaged first, photographs weigh the same (`stats.intervals`).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from xlli_ray.report.comparison.same_samples import SameSamples
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_model import Scalar
from xlli_ray.report.page_parts.arrays import OWNER
from xlli_ray.report.page_parts.stage import scalars_of
from xlli_ray.stats.intervals import Interval, intervals, photograph_means
from xlli_ray.store.records.manifest import Manifest
from xlli_ray.store.tables.sql import photograph_of, quoted

NUMBERS = ("float64", "int64", "bool")


@dataclass(frozen=True)
class PairedMean:
    """One column of one network under one degradation."""

    stage: str
    column: Scalar
    model: str
    """NO_MODEL where samples were measured without one."""
    label: str
    one: float
    """Mean over photographs in the first study, of the values that have a partner."""
    other: float
    difference: Interval
    """The other study minus the first."""

    alike: bool
    """Every value is the same in both."""


def paired_means(one: Context, other: Context, same: SameSamples) -> list[PairedMean]:
    """In the order of the first study: stages, degradations, networks, columns. Infinite values are left out."""
    kinds = {cell.stage: cell.kind for cell in other.study.manifest.cells if cell.columns}
    stages = dict.fromkeys(cell.stage for cell in one.study.manifest.cells if cell.columns and kinds.get(cell.stage) == cell.kind)
    photographs = _photographs(one)
    return [mean for stage in stages for mean in _of_stage((one, other), stage, kinds[stage], same, photographs)]


def _photographs(context: Context) -> tuple[NDArray[np.int64], list[str]]:
    """(number of the photograph, degradation label) of each row of the sample table."""
    found = context.tables.arrow(f"select label, {photograph_of()} as photograph from samples order by row")
    _, codes = np.unique(np.array(found["photograph"].to_pylist()), return_inverse=True)
    return codes.astype(np.int64).reshape(-1), found["label"].to_pylist()


def _columns(manifest: Manifest, stage: str) -> dict[str, Scalar]:
    return {column.name: column for column in scalars_of([cell for cell in manifest.cells if cell.stage == stage], manifest.kinds)}


def _of_stage(
    sides: tuple[Context, Context], stage: str, kind: str, same: SameSamples, photographs: tuple[NDArray[np.int64], list[str]]
) -> Iterator[PairedMean]:
    known, theirs = (_columns(side.study.manifest, stage) for side in sides)
    places = [name for name, column in known.items() if column.place and name in theirs]
    listed = [column for column in known.values() if column.dtype in NUMBERS and column.name in theirs]
    shown = [column for column in listed if not column.place and not column.detail]
    if not shown:
        return
    keys = ["at", "owner", *places]
    one, other = (_rows(side, stage, kind, places, shown, same.joined(i)) for i, side in enumerate(sides))
    pairs = one.join(other, keys, join_type="inner", right_suffix=" of the other").sort_by([(key, "ascending") for key in keys])
    at, owners = pairs["at"].to_numpy(), np.array(pairs["owner"].to_pylist(), dtype=object)
    row = same.one[at]
    codes, labels = photographs
    label_of = np.array(labels, dtype=object)[row]
    ranks = {model.id: i for i, model in enumerate(sides[0].study.manifest.models)}
    order = sorted(set(owners.tolist()), key=lambda owner: ranks.get(owner, len(ranks)))
    values = {column.name: (_numbers(pairs[column.name]), _numbers(pairs[f"{column.name} of the other"])) for column in shown}
    for label in sides[0].table.labels:
        for owner in order:
            chosen = np.flatnonzero((label_of == label) & (owners == owner))
            for column in shown:
                first, second = (side[chosen] for side in values[column.name])
                finite = np.isfinite(first) & np.isfinite(second)
                if finite.any():
                    yield _mean(stage, column, owner, label, first[finite], second[finite], codes[row[chosen[finite]]])


def _rows(
    context: Context, stage: str, kind: str, places: Sequence[str], columns: Sequence[Scalar], joined: NDArray[np.int64]
) -> pa.Table:
    """at (row of the comparison), owner, places as text, columns as float64; of several cells of a network the first, as on the page."""
    named = "".join(f", coalesce(cast({quoted(name)} as varchar), '') as {quoted(name)}" for name in places)
    numbers = "".join(f", cast({quoted(column.name)} as double) as {quoted(column.name)}" for column in columns)
    found = context.tables.arrow(
        f"select row, owner{named}{numbers} from (select *, {OWNER} as owner from {quoted(kind)} where stage = ? "
        "qualify what = min(what) over (partition by owner)) where status = 'ok'",
        [stage],
    )
    return found.drop_columns("row").append_column("at", pa.array(joined[found["row"].to_numpy()]))


def _numbers(column: pa.ChunkedArray) -> NDArray[np.float64]:
    return np.asarray(pc.fill_null(column, float("nan")).to_numpy(), np.float64)


def _mean(
    stage: str, column: Scalar, model: str, label: str, one: NDArray[np.float64], other: NDArray[np.float64], photograph: NDArray[np.int64]
) -> PairedMean:
    _, codes = np.unique(photograph, return_inverse=True)
    means, counts = photograph_means(np.stack([one, other, other - one], 1), codes.reshape(-1), int(codes.max()) + 1)
    (difference,) = intervals(means[:, 2:], counts[:, 2:], difference=True)
    alike = bool(np.array_equal(one, other))
    return PairedMean(stage, column, model, label, float(means[:, 0].mean()), float(means[:, 1].mean()), difference, alike)
