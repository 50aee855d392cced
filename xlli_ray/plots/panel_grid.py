"""Panels in a grid, of equal size, as large as the text around them leaves them.

Panels are ordinary axes of matplotlib, made by `panels`; `arrange` gives them their places and writes titles, ticks and labels. Every text
is measured once, which takes a tenth of the time of the constrained layout of matplotlib, whose solver moreover differs in its last digits
from run to run. Nothing is cut and no label covers another: long titles and labels are broken into lines, names below a panel that would
touch are turned upright, numbers left out, and the figure grows where its panels would become too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import isfinite
from typing import Any

from xlli_ray.plots.canvas import POINTS
from xlli_ray.plots.palette import INK, MUTED, RULE
from xlli_ray.plots.panel_ticks import Ticks, is_name, that_fit, ticks_of
from xlli_ray.plots.text_size import ASCENT, PITCH, text_height, text_width, wrapped

PAD, BETWEEN = 4.0, 10.0
"""Points around the grid, and between its panels with their labels."""
TITLE, LABEL, TICK, NAME = 9.0, 8.5, 8.0, 8.5
"""Font sizes: of titles, labels of axes, numbers, and names of rows."""
_GRID = "#e8eaee"
_TITLE_GAP, _TICK_GAP, _LABEL_GAP = 7.0, 3.5, 3.0
LEAST = 54.0
"""Least width of a panel, points: the figure grows where there is less."""


@dataclass(frozen=True)
class Style:
    """What is alike in all panels of a figure."""

    high: float
    """Height of a panel in inches, without the text around it."""
    numbers: bool = True
    """The y axis has numbers and grid lines; else names of rows."""
    share_x: bool = False
    """Ticks of x only below the lowest panel of each column."""
    share_y: bool = False
    """Ticks of y only in the first column."""
    xlabel: str = ""
    """A label of x for the whole figure."""
    beside: tuple[float, float] = (0.0, 0.0)
    """Inches to the right of the panels that are for something else, and how high that is."""


@dataclass
class _Place:
    """A panel in the grid, with the text around it."""

    panel: Any
    line: int
    column: int
    lowest: bool
    title: str = ""
    xlabel: str = ""
    ylabel: str = ""
    x: Ticks = field(default_factory=Ticks)
    y: Ticks = field(default_factory=Ticks)


def panels(figure: Any, count: int, *, share_x: bool = False, share_y: bool = False) -> list[Any]:
    """`count` axes for `arrange`, which share limits as said."""
    out: list[Any] = []
    for _ in range(count):
        first = out[0] if out else None
        out.append(figure.add_axes((0.1, 0.1, 0.8, 0.8), sharex=first if share_x else None, sharey=first if share_y else None))
        out[-1].set_axis_off()
    return out


def arrange(figure: Any, drawn: Sequence[Any], columns: int, style: Style) -> None:
    """Place `drawn`, with their contents, in lines of `columns`, and write their titles, ticks and labels. None: an empty place.

    The figure keeps its width, unless panels would be narrower than LEAST, and has the height that all needs.
    """
    figure.set_layout_engine("none")
    lowest = {i % columns: i for i, panel in enumerate(drawn) if panel is not None}
    places = [_Place(panel, i // columns, i % columns, lowest[i % columns] == i) for i, panel in enumerate(drawn) if panel is not None]
    left, wide = _across(figure, places, columns, style)
    for p in places:
        p.title = wrapped(p.panel.get_title(loc="left"), TITLE, wide + BETWEEN / 2, True)
        p.xlabel = wrapped(p.panel.get_xlabel(), LABEL, wide + BETWEEN)
    below_all = wrapped(style.xlabel, LABEL, left[-1] + wide - left[0] + PAD)
    lines = range(places[-1].line + 1)
    above = [max((_above(p) for p in places if p.line == line), default=0.0) for line in lines]
    below = [max((_below(p, style) for p in places if p.line == line), default=0.0) for line in lines]
    foot = PAD + (text_height(below_all, LABEL) + _LABEL_GAP if below_all else 0.0)
    high = style.high * POINTS
    bottom = [foot + sum(above[line + 1 :]) + sum(below[line:]) + (high + BETWEEN) * (len(lines) - 1 - line) for line in lines]
    height = max(bottom[0] + high + above[0] + PAD, style.beside[1] * POINTS)
    lift = height - (bottom[0] + high + above[0] + PAD)  # what is beside the panels may be higher: all hangs from the top
    figure.set_size_inches(figure.get_size_inches()[0], height / POINTS)
    for p in places:
        _write(figure, p, (left[p.column], bottom[p.line] + lift, wide, high), style)
    _text(figure, (left[0] + left[-1] + wide) / 2, PAD + 0.2 * LABEL + lift, below_all, LABEL, MUTED, "center")


def _across(figure: Any, places: Sequence[_Place], columns: int, style: Style) -> tuple[list[float], float]:
    """Left ends of the columns, and the width of a panel, points; reads the ticks. Widens the figure if it has to."""
    from matplotlib.text import Annotation

    high, width = style.high * POINTS, float(figure.get_size_inches()[0]) * POINTS
    height = float(figure.get_size_inches()[1]) * POINTS
    before, after = [0.0] * columns, [0.0] * columns
    for p in places:
        p.panel.set_position((0.0, 0.0, 0.5, high / height))
        p.x, p.y = ticks_of(p.panel, "x"), ticks_of(p.panel, "y")
        p.ylabel = wrapped(p.panel.get_ylabel(), LABEL, high + 2 * TITLE)
        before[p.column] = max(before[p.column], _before(p, style))
    least = max(LEAST, *(1.15 * TICK * sum(map(is_name, p.x.names)) for p in places))
    wide = 0.0
    for _ in range(4):  # how far tick labels and notes reach over the ends depends on the width, by little
        free = width - style.beside[0] * POINTS - 2 * PAD - BETWEEN * (columns - 1) - sum(before) - sum(after)
        if free / columns < least:
            width += least * columns - free
            figure.set_size_inches(width / POINTS, height / POINTS)
            free = least * columns
        if abs(free / columns - wide) < 0.01:
            break
        wide = free / columns
        for p in places:
            p.panel.set_position((0.0, 0.0, wide / width, high / height))
            p.x = that_fit(ticks_of(p.panel, "x"), wide, TICK)
            start, end = p.x.beyond(wide, TICK) if p.lowest or not style.share_x else (0.0, 0.0)
            before[p.column] = max(before[p.column], start)
            after[p.column] = max(
                after[p.column], end, *(_over(note, p, wide) for note in p.panel.texts if isinstance(note, Annotation)), 0.0
            )
    left = [PAD + sum(before[: i + 1]) + sum(after[:i]) + (wide + BETWEEN) * i for i in range(columns)]
    return left, wide


def _before(p: _Place, style: Style) -> float:
    """Points that the labels to the left of a panel need."""
    wide = 0.0 if p.column and style.share_y else p.y.room(TICK if style.numbers else NAME)[0]
    return (wide + _TICK_GAP if wide else 0.0) + (text_height(p.ylabel, LABEL) + _LABEL_GAP if p.ylabel else 0.0)


def _above(p: _Place) -> float:
    factor = TICK + 2 if p.y.factor else 0.0
    return factor + (text_height(p.title, TITLE) - TITLE * (1 - ASCENT) + _TITLE_GAP if p.title else TICK / 2)


def _below(p: _Place, style: Style) -> float:
    under = p.x.room(TICK)[1] if p.lowest or not style.share_x else 0.0
    return (
        (_TICK_GAP + under if under else 0.0)
        + (TICK + 2 if p.x.factor and under else 0.0)
        + (text_height(p.xlabel, LABEL) + _LABEL_GAP if p.xlabel else 0.0)
    )


def _over(note: Any, p: _Place, wide: float) -> float:
    """How far an annotation reaches over the right end of its panel, points."""
    share = float((p.panel.transScale + p.panel.transLimits).transform(note.xy)[0])
    if not isfinite(share):
        return 0.0  # beside a value that is nowhere
    return (share - 1) * wide + float(note.xyann[0]) + text_width(note.get_text(), note.get_fontsize()) + 1


def _write(figure: Any, p: _Place, box: tuple[float, float, float, float], style: Style) -> None:
    """Give a panel its place in the figure, and write what is around it and its grid."""
    left, bottom, wide, high = box
    width, height = (float(value) * POINTS for value in figure.get_size_inches())
    p.panel.set_position((left / width, bottom / height, wide / width, high / height))
    for say in (p.panel.set_title, p.panel.set_xlabel, p.panel.set_ylabel):
        say("")
    _rules(p, numbers=style.numbers)
    top = bottom + high + (TICK + 2 if p.y.factor else 0.0)
    _text(figure, left, top + _TITLE_GAP, p.title, TITLE, INK, "left", bold=True)
    under = bottom - _TICK_GAP
    if p.lowest or not style.share_x:
        for place, name in zip(p.x.places, p.x.names):
            if p.x.upright:
                figure.text(*_at(figure, left + place * wide, under), name, fontsize=TICK, color=MUTED, rotation=90, va="top", ha="center")
            else:
                _text(figure, left + place * wide, under - text_height(name, TICK) + 0.2 * TICK, name, TICK, MUTED, "center")
        under -= p.x.room(TICK)[1]
        if p.x.factor:
            under -= TICK + 2
            _text(figure, left + wide, under + 2, p.x.factor, TICK, MUTED, "right")
    _text(figure, left + wide / 2, under - _LABEL_GAP - text_height(p.xlabel, LABEL) + 0.2 * LABEL, p.xlabel, LABEL, MUTED, "center")
    start = left
    if not (p.column and style.share_y):
        size, colour = (TICK, MUTED) if style.numbers else (NAME, INK)
        for place, name in zip(p.y.places, p.y.names):
            middle = bottom + place * high - (text_height(name, size) - 0.3 * size) / 2
            _text(figure, left - _TICK_GAP, middle, name, size, colour, "right")
        _text(figure, left, bottom + high + 3, p.y.factor, TICK, MUTED, "left")
        start -= p.y.room(size)[0] + _TICK_GAP
    if p.ylabel:
        middle = start - _LABEL_GAP - text_height(p.ylabel, LABEL) / 2
        figure.text(*_at(figure, middle, bottom + high / 2), p.ylabel, fontsize=LABEL, color=MUTED, rotation=90, va="center", ha="center")


def _rules(p: _Place, *, numbers: bool) -> None:
    """Grid lines and the lower and left edge of a panel: two artists."""
    from matplotlib.lines import Line2D

    nan = float("nan")
    lines = [point for x in p.x.places for point in ((x, 0.0), (x, 1.0), (nan, nan))]
    if numbers:
        lines += [point for y in p.y.places for point in ((0.0, y), (1.0, y), (nan, nan))]
    edge = [(0.0, 1.0)] if numbers else []
    for points, colour, zorder in ((lines, _GRID, 0.5), ([*edge, (0.0, 0.0), (1.0, 0.0)], RULE, 2.5)):
        if points:
            x, y = zip(*points)
            p.panel.add_artist(Line2D(x, y, color=colour, linewidth=0.8, zorder=zorder, transform=p.panel.transAxes, clip_on=False))


def _text(figure: Any, x: float, y: float, text: str, size: float, colour: str, align: str, *, bold: bool = False) -> None:
    """Write lines of text, the last of which stands on y; points from the figure's left and lower edge."""
    for i, line in enumerate(reversed(text.split("\n"))):
        if line:
            weight = "bold" if bold else "normal"
            where = _at(figure, x, y + i * PITCH * size)
            figure.text(*where, line, fontsize=size, color=colour, ha=align, va="baseline", fontweight=weight)


def _at(figure: Any, x: float, y: float) -> tuple[float, float]:
    """Points as shares of the figure's sides."""
    width, height = figure.get_size_inches()
    return x / (float(width) * POINTS), y / (float(height) * POINTS)
