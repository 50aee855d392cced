"""Unions of closed ranges, `[20, 45]` or `[[-45, -20], [20, 45]]`: parameters that a degradation draws anew for every sample.

A draw is a multiple of a unit that the caller chooses, made by integer arithmetic from 64 random bits, so that it is the same on every
machine; both ends belong to a range.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

Ranges = tuple[tuple[float, float], ...]
"""(low, high) each, sorted, without common values."""
WholeRanges = tuple[tuple[int, int], ...]


def read(value: Any, low: float, high: float, *, whole: bool = False) -> Ranges:
    """A number, one range or a list of ranges → sorted ranges within `low`…`high`. `whole`: of whole numbers.

    Raises ValueError for an empty range, one outside the limits, and ranges that overlap.
    """
    several = isinstance(value, list | tuple) and bool(value) and all(isinstance(one, list | tuple) for one in value)
    pairs = sorted(_pair(one, low, high, whole) for one in (value if several else [value]))
    for one, other in pairwise(pairs):
        if one[1] >= other[0]:
            raise ValueError(f"{list(one)} and {list(other)} overlap; write them as one range")
    return tuple(pairs)


def _pair(value: Any, low: float, high: float, whole: bool) -> tuple[float, float]:
    ends = list(value) if isinstance(value, list | tuple) else [value, value]
    if len(ends) != 2 or not all(_number(end) and low <= end <= high and (not whole or end == int(end)) for end in ends):
        what = "whole numbers" if whole else "numbers"
        shown = list(value) if isinstance(value, tuple) else value
        raise ValueError(f"{shown!r}: expected a number, a range [low, high] or a list of ranges; {what} from {low:g} to {high:g}")
    if ends[0] > ends[1]:
        raise ValueError(f"{ends} is an empty range; expected [low, high] with low <= high")
    return (int(ends[0]), int(ends[1])) if whole else (float(ends[0]), float(ends[1]))


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def pick(ranges: Ranges, word: int, unit: int = 1) -> int:
    """A multiple of 1/`unit` in the ranges, all equally likely, both ends included, in units. `word`: 64 random bits.

    A multiply-and-shift of the bits, whose bias is the number of multiples over 2^64.
    """
    steps = [(round(low * unit), round(high * unit)) for low, high in ranges]
    place = word * sum(high - low + 1 for low, high in steps) >> 64
    for low, high in steps:
        if place <= high - low:
            return low + place
        place -= high - low + 1
    raise ValueError(f"{word}: expected 64 random bits")


def middle(ranges: Ranges) -> float:
    """Mean of a number drawn uniformly from the ranges; of their middles where all are single numbers."""
    sizes = [high - low for low, high in ranges]
    if not sum(sizes):
        sizes = [1.0] * len(ranges)
    return sum(size * (low + high) / 2 for size, (low, high) in zip(sizes, ranges, strict=True)) / sum(sizes)


def rest(ranges: Ranges, low: float, high: float, digits: int = 0) -> Ranges:
    """What the ranges leave of `low`…`high`, in numbers of so many decimal digits; empty where they leave nothing."""
    step = 10.0**-digits if digits else 1
    edges = [low - step, *(end for pair in ranges for end in pair), high + step]
    gaps = zip(edges[::2], edges[1::2], strict=True)
    kept = ((round(start + step, digits), round(stop - step, digits)) for start, stop in gaps)
    return tuple((start, stop) for start, stop in kept if start <= stop)


def disjoint(one: Ranges, other: Ranges) -> bool:
    """Whether no number is in both."""
    return all(a[1] < b[0] or b[1] < a[0] for a in one for b in other)


def hull(several: Sequence[Ranges]) -> tuple[float, float]:
    """Lowest and highest number of any of them."""
    return min(ranges[0][0] for ranges in several), max(ranges[-1][1] for ranges in several)
