"""The columns of two studies' samples as those of one table: what is the same is one column, networks stand side by side."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.report.comparison.same_samples import SameSamples
from xlli_ray.report.explorer.columns import ExplorerColumn

Names = tuple[str, str]
"""What the two studies are called, different from each other."""


@dataclass(frozen=True)
class Joined:
    """A column of the comparison."""

    column: ExplorerColumn
    ids: tuple[str, str]
    """Of the column in each study that it is made of, "" for none."""


def called(study: str, name: str) -> str:
    """What a network, an array, a figure of a study is called beside those of the other."""
    return f"{study}: {name}"


def joined_columns(
    one: Sequence[ExplorerColumn], other: Sequence[ExplorerColumn], same: SameSamples, names: Names
) -> list[Joined]:
    """In the first study's order; those that only the other one has are the last of their group."""
    theirs = {column.id: column for column in other}
    pairs: list[tuple[ExplorerColumn | None, ExplorerColumn | None]] = [(column, theirs.pop(column.id, None)) for column in one]
    pairs += [(None, column) for column in theirs.values()]
    groups = [next(column.group for column in pair if column is not None) for pair in pairs]
    order = list(dict.fromkeys(groups))
    listed = sorted(range(len(pairs)), key=lambda i: order.index(groups[i]))
    return [joined for i in listed for joined in _joined(*pairs[i], same, names)]


def _joined(left: ExplorerColumn | None, right: ExplorerColumn | None, same: SameSamples, names: Names) -> Iterator[Joined]:
    sides = (None if left is None else _placed(left, 0, same, names), None if right is None else _placed(right, 1, same, names))
    one, other = sides
    if one is None or other is None:
        only = one or other
        assert only is not None
        yield Joined(only, ("" if one is None else one.id, "" if other is None else other.id))
        return
    if (merged := _merged(one, other)) is not None:
        yield Joined(merged, (one.id, other.id))
        return
    for side, column in enumerate((one, other)):
        ids = (column.id, "") if side == 0 else ("", column.id)
        yield Joined(replace(column, name=f"{column.name} ({names[side]})"), ids)


def _placed(column: ExplorerColumn, side: int, same: SameSamples, names: Names) -> ExplorerColumn:
    """With the rows of the comparison."""
    rows = same.of(side)
    empty = 0 if column.kind == "word" else np.nan
    values = np.full((len(column.values), len(rows)), empty, column.values.dtype)
    values[:, rows >= 0] = column.values[:, rows[rows >= 0]]
    return replace(column, values=values, models=tuple(called(names[side], model) for model in column.models))


def _merged(one: ExplorerColumn, other: ExplorerColumn) -> ExplorerColumn | None:
    """One column of both; None where they say different things of a sample."""
    if one.kind != other.kind or bool(one.models) != bool(other.models):
        return None
    most = max(one.most, other.most)
    if one.models:
        return replace(one, models=one.models + other.models, values=np.concatenate([one.values, other.values]), most=most)
    if one.kind == "word":
        words = tuple(dict.fromkeys([*one.words, *other.words]))
        code = {word: i + 1 for i, word in enumerate(words)}
        recoded = np.array([0, *(code[word] for word in other.words)], np.uint32)[other.values]
        values = _agreed(one.values, recoded, one.values > 0, recoded > 0)
        return None if values is None else replace(one, words=words, values=values)
    values = _agreed(one.values, other.values, ~np.isnan(one.values), ~np.isnan(other.values))
    return None if values is None else replace(one, values=values, most=most)


def _agreed(one: NDArray[Any], other: NDArray[Any], in_one: NDArray[np.bool_], in_other: NDArray[np.bool_]) -> NDArray[Any] | None:
    both = in_one & in_other
    return np.where(in_one, one, other) if np.array_equal(one[both], other[both]) else None
