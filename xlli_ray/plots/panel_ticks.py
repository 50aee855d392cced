"""Ticks of a panel as plain values: where, what is written there, and how much room that takes.

matplotlib chooses places and numbers, but its own ticks (two marks, a grid line and two texts each, every one asked for its box again and
again) take most of the time of a figure of a few dots.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from xlli_ray.plots.text_size import text_height, text_width

APART = 5.0
"""Least distance of two labels on one line, points."""
_NUMBER = re.compile(r"[-−]?[\d.]+(e[-−+]?\d+|⁻?[⁰¹²³⁴⁵⁶⁷⁸⁹]+)?")
"""Of numbers some may be left out, of names none."""


@dataclass(frozen=True)
class Ticks:
    """The ticks of one axis within its limits."""

    places: tuple[float, ...] = ()
    """Shares of the panel's side, from the left or from below."""
    names: tuple[str, ...] = ()
    """An empty name: a grid line only."""
    factor: str = ""
    """What all numbers are to be multiplied by; empty: 1."""
    upright: bool = False

    def room(self, size: float) -> tuple[float, float]:
        """Width and height in points of the largest label in a font of `size` points."""
        wide = max((text_width(name, size) for name in self.names), default=0.0)
        high = max((text_height(name, size) for name in self.names), default=0.0)
        return (high, wide) if self.upright else (wide, high)

    def beyond(self, side: float, size: float) -> tuple[float, float]:
        """How far labels below a panel of width `side` reach over its left and right end, points, at least 0."""
        halves = [(text_height if self.upright else text_width)(name, size) / 2 if name else 0.0 for name in self.names]
        left = max((half - place * side for place, half in zip(self.places, halves)), default=0.0)
        right = max((half - (1 - place) * side for place, half in zip(self.places, halves)), default=0.0)
        return max(left, 0.0), max(right, 0.0)


def set_names(side: Any, places: Sequence[float], names: Sequence[str]) -> None:
    """Let the axis `side` of matplotlib have these ticks. `Axes.set_xticks` would make one artist each."""
    from matplotlib.ticker import FixedFormatter, FixedLocator

    side.set_major_locator(FixedLocator(list(places)))
    side.set_major_formatter(FixedFormatter(list(names)))


def ticks_of(panel: Any, which: str) -> Ticks:
    """The ticks on the axis `which`, "x" or "y", of a panel of matplotlib that has its place and its contents."""
    panel.get_xlim(), panel.get_ylim()  # limits that follow the contents are found when asked for, not by `transLimits`
    side = getattr(panel, f"{which}axis")
    values = np.asarray(side.get_majorticklocs(), float)
    names = side.get_major_formatter().format_ticks(values)
    points = np.column_stack([values, values])
    with np.errstate(all="ignore"):
        shares = (panel.transScale + panel.transLimits).transform(points)[:, 0 if which == "x" else 1]
    seen = [i for i, share in enumerate(shares) if -1e-6 <= share <= 1 + 1e-6]
    return Ticks(tuple(float(shares[i]) for i in seen), tuple(names[i] for i in seen), side.get_major_formatter().get_offset())


def that_fit(ticks: Ticks, side: float, size: float) -> Ticks:
    """Ticks below a panel of width `side` whose labels do not touch: names are turned upright, and others left out until they fit."""
    if _fit(ticks, side, size):
        return ticks
    if any(map(is_name, ticks.names)) and not ticks.upright:
        return that_fit(Ticks(ticks.places, ticks.names, ticks.factor, upright=True), side, size)
    names, end = list(ticks.names), -np.inf
    for i in np.argsort(ticks.places, kind="stable"):
        start, stop = _extent(ticks, int(i), side, size)
        if names[i] and start < end + (0.0 if ticks.upright else APART):
            names[i] = ""
        elif names[i]:
            end = stop
    return Ticks(ticks.places, tuple(names), ticks.factor, ticks.upright)


def is_name(label: str) -> bool:
    """Whether a tick's label is more than a number, which its neighbours tell."""
    return bool(label) and not _NUMBER.fullmatch(label)


def _fit(ticks: Ticks, side: float, size: float) -> bool:
    extents = sorted(_extent(ticks, i, side, size) for i, name in enumerate(ticks.names) if name)
    gap = 0.0 if ticks.upright else APART
    return all(start >= stop + gap for (_, stop), (start, _) in pairwise(extents))


def _extent(ticks: Ticks, i: int, side: float, size: float) -> tuple[float, float]:
    half = (text_height if ticks.upright else text_width)(ticks.names[i], size) / 2
    return ticks.places[i] * side - half, ticks.places[i] * side + half
