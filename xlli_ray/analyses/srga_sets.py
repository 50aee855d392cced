"""From stored rows to one Gram matrix a set: which samples make up a set, which must go, and how gigabytes of features are read.

A **set** is what one degradation made of the contents of one input size. Sets of the same contents are `paired` with the reference. A
content that failed in one set is struck from all of them, so that every set keeps the same number of samples.

A stored Gram matrix is read row by row. Stored features become the same matrix from fixed ranges of features (`stats.gram`): the rows of
one set, as they stream by shard after shard, go into a float32 matrix, in memory up to `HELD` bytes, else into a scratch file in the
system's temporary folder, which is deleted afterwards; the ranges are then read from it. In memory are two shards, one range, and N²
numbers.
"""

from __future__ import annotations

import tempfile
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from xlli_ray.analyses.view import CellArray, View
from xlli_ray.errors import AnalysisError, closest
from xlli_ray.stats.gram import gram
from xlli_ray.store.manifest import Cell

READS = ("gram", "features")
"""Kinds of stages that an index can be made from."""
HELD = 256 << 20
"""Bytes of one set's features that are kept in memory."""


@dataclass(frozen=True)
class ImageSet:
    """The samples of one set, in the order of the sample table: images and their patches have one order in every set."""

    label: str
    family: str
    """Kinds of its degradation, as `blur` or `blur+noise`."""
    level: float | None
    """Level of its degradation, where it has one kind."""
    rows: np.ndarray
    """int64 (N,): rows of the sample table, ascending."""
    contents: tuple[str, ...]
    images: tuple[str, ...]
    """The picture that each sample is from."""


@dataclass(frozen=True)
class Sets:
    """All sets of one input size."""

    reference: ImageSet
    others: tuple[ImageSet, ...]
    bucket: str
    height: int
    width: int
    left_out: Mapping[str, int]
    """Samples of other input sizes, by bucket."""

    @property
    def all(self) -> tuple[ImageSet, ...]:
        """The reference first."""
        return (self.reference, *self.others)

    def paired(self, item: ImageSet) -> bool:
        """Whether a set has the reference's contents."""
        return item.contents == self.reference.contents

    def refusal(self, item: ImageSet) -> str:
        """Why a set cannot be compared with the reference; empty when it can."""
        if len(item.rows) == len(self.reference.rows):
            return ""
        return (
            f"unequal N: {len(item.rows)} samples, {self.reference.label} has {len(self.reference.rows)}; σ and α depend on N: take "
            "the same contents in every set"
        )


def sets_of(view: View, cells: Sequence[Cell], reference: str) -> Sets:
    """The sets of the input size that has most samples in `cells`. Raises AnalysisError when the reference is not among them."""
    buckets: dict[str, list[tuple[int, int]]] = {}
    for cell in cells:
        for bucket in cell.buckets:
            buckets.setdefault(bucket.name, list(bucket.segments))
    held = {name: sum(count for _, count in segments) for name, segments in buckets.items()}
    most = max(held, key=lambda name: (held[name], name))
    table = view.sql("select * from samples where bucket = ? order by row", [most])
    number = table["row"].to_numpy()
    inside = np.zeros(len(number), bool)
    for first, count in buckets[most]:
        inside |= (number >= first) & (number < first + count)
    mine = table.filter(pa.array(inside))
    by_label = {label: _set(mine.filter(pc.equal(mine["label"], label)), label) for label in view.labels}
    found = {label: item for label, item in by_label.items() if len(item.rows)}
    if reference not in found:
        near = closest(reference, found, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise AnalysisError(f"srga.reference: there is no set {reference!r} here; {hint}Sets: {', '.join(found)}")
    return Sets(
        found[reference], tuple(item for label, item in found.items() if label != reference), most, int(mine["height"][0].as_py()),
        int(mine["width"][0].as_py()), {name: rows for name, rows in sorted(held.items()) if name != most},
    )  # fmt: skip


def _set(table: pa.Table, label: str) -> ImageSet:
    family = table["type"][0].as_py() if table.num_rows else ""
    level = table[family][0].as_py() if family in table.column_names and pa.types.is_floating(table[family].type) else None
    images = [sha or content for sha, content in zip(table["source_sha"].to_pylist(), table["content"].to_pylist())]
    return ImageSet(label, family or label, level, table["row"].to_numpy(), tuple(table["content"].to_pylist()), tuple(images))


def measured(array: CellArray, sets: Sets) -> dict[str, np.ndarray]:
    """For each set, which of its samples were measured: label → bool (N,)."""
    good = np.zeros(max(int(item.rows.max()) for item in sets.all) + 1, bool)
    for reader in array.readers:
        if reader.bucket.name == sets.bucket:
            rows = np.concatenate([np.arange(first, first + count) for first, count in reader.bucket.segments])
            good[rows[reader.valid & (rows < len(good))]] = True
    return {item.label: good[item.rows] for item in sets.all}


def kept_contents(array: CellArray, sets: Sets) -> tuple[np.ndarray, dict[str, str]]:
    """Which contents are whole in every set that can be used, bool (N,); and label → why another one cannot.

    A set of which most samples failed is given up itself, before it takes the contents from all others.
    """
    found = measured(array, sets)
    refused = {item.label: text for item in sets.others if (text := sets.refusal(item))}
    for item in sets.others:
        good = int(found[item.label].sum())
        if item.label not in refused and 2 * good < len(item.rows):
            refused[item.label] = f"{good} of {len(item.rows)} samples were measured"
    return np.logical_and.reduce([found[item.label] for item in sets.all if item.label not in refused]), refused


def grams(array: CellArray, kind: str, sets: Sets, refused: Collection[str] = ()) -> Iterator[tuple[ImageSet, np.ndarray]]:
    """(set, Gram matrix float64 (N, N)) for each set, in the order stored; NaN where a sample failed.

    `kind`: of the cell, `gram` or `features`. `refused`: labels of sets that are left out. Reads each shard once.
    """
    wanted = [item for item in sets.all if item.label not in refused]
    last = max(int(item.rows.max()) for item in wanted) + 1
    number = np.full(last, -1)
    for i, item in enumerate(wanted):
        number[item.rows] = i
    with tempfile.TemporaryDirectory(prefix="xlli-srga-") as folder:
        collect: _Rows | None = None
        current = -1
        for block in array.blocks(sets.bucket):
            inside = block.table_rows < last
            which = np.where(inside, number[np.minimum(block.table_rows, last - 1)], -1)
            cuts = np.flatnonzero(np.diff(which)) + 1
            for rows in np.split(np.arange(len(which)), cuts):
                if not len(rows) or which[rows[0]] < 0:
                    continue
                if which[rows[0]] != current:
                    if collect is not None:
                        yield wanted[current], collect.matrix()
                    current = int(which[rows[0]])
                    collect = _GramRows(wanted[current]) if kind == "gram" else _FeatureRows(wanted[current], Path(folder))
                assert collect is not None
                collect.add(block.values[rows[0] : rows[-1] + 1], block.table_rows[rows])
        if collect is not None:
            yield wanted[current], collect.matrix()


class _Rows:
    """What is stored of one set, until all of it has streamed by."""

    def __init__(self, item: ImageSet) -> None:
        self._rows = item.rows

    def add(self, values: np.ndarray, table_rows: np.ndarray) -> None:
        """Rows of the table, and what is stored of them."""
        raise NotImplementedError

    def matrix(self) -> np.ndarray:
        """float64 (N, N)."""
        raise NotImplementedError


class _GramRows(_Rows):
    """A stored Gram matrix."""

    def __init__(self, item: ImageSet) -> None:
        super().__init__(item)
        self._matrix = np.full((len(item.rows), len(item.rows)), np.nan)

    def add(self, values: np.ndarray, table_rows: np.ndarray) -> None:
        if values.shape[1:] != self._matrix.shape[1:]:
            raise AnalysisError(f"the Gram matrix has {values.shape[1:]} columns, its set {len(self._matrix)} samples; run `xlli verify`")
        self._matrix[np.searchsorted(self._rows, table_rows)] = values

    def matrix(self) -> np.ndarray:
        return self._matrix


class _FeatureRows(_Rows):
    """The features of a set, in memory or in a scratch file that the next set overwrites."""

    def __init__(self, item: ImageSet, folder: Path) -> None:
        super().__init__(item)
        self._folder = folder
        self._features: np.ndarray | None = None

    def add(self, values: np.ndarray, table_rows: np.ndarray) -> None:
        flat = values.reshape(len(values), -1)
        if self._features is None:
            kind = np.float64 if flat.dtype == np.float64 else np.float32
            shape = (len(self._rows), flat.shape[1])
            if shape[0] * shape[1] * np.dtype(kind).itemsize <= HELD:
                self._features = np.full(shape, np.nan, kind)
            else:
                self._features = np.memmap(self._folder / "features", kind, "w+", shape=shape)
        self._features[np.searchsorted(self._rows, table_rows)] = flat

    def matrix(self) -> np.ndarray:
        assert self._features is not None
        return gram(self._features)
