"""Which samples two studies have in common."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


@dataclass(frozen=True)
class SameSamples:
    """The rows of a comparison: all of the first study in its order, then those that only the other one has, in its order."""

    one: NDArray[np.int64]
    """(rows,): row in the first study's sample table, −1 for none."""
    other: NDArray[np.int64]
    """The same of the other one."""
    by_id: int
    """Samples with the same id: the same content, degradation and seed."""
    by_content: int
    """Further samples with the same content and degradation label, each the only one of its study: another seed or scale."""

    @property
    def both(self) -> NDArray[np.bool_]:
        """(rows,)"""
        return (self.one >= 0) & (self.other >= 0)

    def of(self, side: int) -> NDArray[np.int64]:
        """`one` for 0, `other` for 1."""
        return self.other if side else self.one

    def joined(self, side: int) -> NDArray[np.int64]:
        """Row of that study → row of the comparison."""
        rows = self.of(side)
        out = np.empty(int(rows.max(initial=-1)) + 1, np.int64)
        out[rows[rows >= 0]] = np.flatnonzero(rows >= 0)
        return out


def same_samples(one: pa.Table, other: pa.Table) -> SameSamples:
    """`one`, `other`: sample tables with the columns sample_id, content, label."""
    known = {name: row for row, name in enumerate(other["sample_id"].to_pylist())}
    match = np.array([known.get(name, -1) for name in one["sample_id"].to_pylist()], np.int64)
    by_id = int((match >= 0).sum())
    free = np.ones(other.num_rows, bool)
    free[match[match >= 0]] = False
    theirs = _alone(other, np.flatnonzero(free).tolist())
    for key, row in _alone(one, np.flatnonzero(match < 0).tolist()).items():
        if key in theirs:
            match[row] = theirs[key]
            free[theirs[key]] = False
    by_content = int((match >= 0).sum()) - by_id
    rest = np.flatnonzero(free)
    return SameSamples(
        np.concatenate([np.arange(one.num_rows), np.full(len(rest), -1)]).astype(np.int64), np.concatenate([match, rest]), by_id, by_content
    )


def _alone(table: pa.Table, rows: Iterable[int]) -> dict[tuple[str, str], int]:
    """Content and label → row, of those that no other of `rows` has."""
    contents, labels = table["content"].to_pylist(), table["label"].to_pylist()
    out: dict[tuple[str, str], int] = {}
    twice = set()
    for row in rows:
        key = contents[row], labels[row]
        if key in out:
            twice.add(key)
        out[key] = row
    return {key: row for key, row in out.items() if key not in twice}
