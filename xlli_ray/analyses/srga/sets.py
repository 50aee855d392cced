"""From stored rows to one Gram matrix per set: which samples form a set, which are left out, and how large features are read.

A **set** is what one degradation made of the contents of one input size. Sets with the reference's contents are `paired` with it. A content
that failed in one set is removed from all of them, so that every set keeps the same number of samples.

A stored Gram matrix is read directly. Stored features give the same matrix, summed over fixed ranges of features, whatever the available
memory (`feature_gram`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from xlli_ray.analyses.shared.feature_gram import feature_gram, reader_of, table_rows, valid_rows
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.analyses.shared.study_access import CellArray, View
from xlli_ray.corpus.degradations import GIVEN
from xlli_ray.errors import AnalysisError, closest, counted
from xlli_ray.store.records.manifest import Cell

READS = ("gram", "features")
"""Kinds of stages from which an index can be computed."""


@dataclass(frozen=True)
class ImageSet:
    """The samples of one set, in the order of the sample table: images and their patches have the same order in every set."""

    label: str
    family: str
    """Kinds of its degradation, e.g. `blur` or `blur+noise`."""
    level: float | None
    """Level of its degradation, if it has one kind."""
    rows: np.ndarray
    """int64 (N,): rows of the sample table, ascending."""
    contents: tuple[str, ...]
    images: tuple[str, ...]
    """The image that each sample is from."""


@dataclass(frozen=True)
class Sets:
    """All sets of one input size."""

    reference: ImageSet
    others: tuple[ImageSet, ...]
    bucket: str
    height: int
    width: int
    left_out: Mapping[str, int]
    """Number of samples of other input sizes, by bucket."""

    @property
    def all(self) -> tuple[ImageSet, ...]:
        """All sets, the reference first."""
        return (self.reference, *self.others)

    def paired(self, item: ImageSet) -> bool:
        """Whether a set has the reference's contents."""
        return item.contents == self.reference.contents

    def refusal(self, item: ImageSet) -> str:
        """Why a set cannot be compared with the reference; empty if it can."""
        if len(item.rows) == len(self.reference.rows):
            return ""
        return (
            f"unequal N: {counted(len(item.rows), 'sample')}, {len(self.reference.rows)} in {self.reference.label}; σ and α depend "
            "on N: use the same contents in every set"
        )


def sets_of(view: View, cells: Sequence[Cell], reference: str) -> Sets:
    """The sets of the input size with most samples in `cells`. Raises AnalysisError if the reference is not among them."""
    buckets: dict[str, list[tuple[int, int]]] = {}
    for cell in cells:
        for bucket in cell.sizes:
            buckets.setdefault(bucket.name, list(bucket.segments))
    held = {name: sum(count for _, count in segments) for name, segments in buckets.items()}
    most = max(held, key=lambda name: (held[name], name))
    table = view.sql("select * from samples where bucket = ? order by row", [most])
    number = table["row"].to_numpy()
    inside = np.zeros(len(number), bool)
    for first, count in buckets[most]:
        inside |= (number >= first) & (number < first + count)
    import pyarrow.compute as pc  # takes 50 ms to load, which a current result need not wait for

    mine = table.filter(pa.array(inside))
    by_label = {label: _set(mine.filter(pc.equal(mine["label"], label)), label, view.meaning) for label in view.labels}
    filled = {label: item for label, item in by_label.items() if len(item.rows)}
    if reference not in filled:
        near = closest(reference, filled, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise AnalysisError(f"srga.reference: there is no set {reference!r} here; {hint}Sets: {', '.join(filled)}")
    return Sets(
        filled[reference], tuple(item for label, item in filled.items() if label != reference), most, int(mine["height"][0].as_py()),
        int(mine["width"][0].as_py()), {name: rows for name, rows in sorted(held.items()) if name != most},
    )  # fmt: skip


def _set(table: pa.Table, label: str, meaning: Labels) -> ImageSet:
    family = table["type"][0].as_py() if table.num_rows else ""
    level = meaning.records[label].levels.get(family) if label in meaning.records else None
    named = [table[name].to_pylist() for name in ("target_sha", "source_sha", "content")]
    if label == GIVEN:
        named = named[1:]  # for labelled pairs the target identifies the image
    images = [next(name for name in names if name) for names in zip(*named)]
    return ImageSet(label, family or label, level, table["row"].to_numpy(), tuple(table["content"].to_pylist()), tuple(images))


def measured(array: CellArray, sets: Sets) -> dict[str, np.ndarray]:
    """Which samples of each set were measured: label → bool (N,)."""
    good = valid_rows(reader_of(array, sets.bucket))
    return {item.label: np.isin(item.rows, good) for item in sets.all}


def kept_contents(array: CellArray, sets: Sets) -> tuple[np.ndarray, dict[str, str]]:
    """The contents that were measured in every usable set, bool (N,); and for the other sets, label → reason.

    A set in which most samples failed is dropped itself, instead of removing these contents from all others.
    """
    valid = measured(array, sets)
    refused = {item.label: text for item in sets.others if (text := sets.refusal(item))}
    for item in sets.others:
        good = int(valid[item.label].sum())
        if item.label not in refused and 2 * good < len(item.rows):
            refused[item.label] = f"{good} of {counted(len(item.rows), 'sample')} measured"
    return np.logical_and.reduce([valid[item.label] for item in sets.all if item.label not in refused]), refused


def grams(array: CellArray, kind: str, sets: Sets, refused: Collection[str] = ()) -> Iterator[tuple[ImageSet, np.ndarray]]:
    """(set, Gram matrix float64 (N, N)) for each set, the reference first; NaN where a sample failed.

    `kind`: of the cell, `gram` or `features`. `refused`: labels of sets that are left out.
    """
    reader = reader_of(array, sets.bucket)
    known = table_rows(reader)
    for item in sets.all:
        if item.label in refused:
            continue
        matrix = np.full((len(item.rows), len(item.rows)), np.nan)
        if kind == "features":
            rows, product = feature_gram(array, sets.bucket, rows=item.rows)
            place = np.searchsorted(item.rows, rows)
            matrix[np.ix_(place, place)] = product
        elif reader.meta.shape == matrix.shape[1:]:
            matrix = reader.rows(np.searchsorted(known, item.rows))
        else:
            raise AnalysisError(
                f"{array.cell.id}: the Gram matrix has {reader.meta.shape[0]} columns, the set {item.label} {len(item.rows)} samples; "
                "run `xlli verify`"
            )
        yield item, matrix
