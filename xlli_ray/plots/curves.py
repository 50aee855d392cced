"""Curves against a numeric or categorical axis, with error bars or bands; the legend is on the right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np

from xlli_ray.plots.canvas import WIDTH, canvas, svg_text
from xlli_ray.plots.checks import LINE_STYLES, MARKS, check_choice, check_colours, check_length, check_range
from xlli_ray.plots.palette import MUTED, RULE, edge_of
from xlli_ray.plots.panel_grid import Style, arrange, panels
from xlli_ray.plots.panel_ticks import set_names
from xlli_ray.plots.side_list import size_of, write_list
from xlli_ray.plots.ticks import log_ticks
from xlli_ray.plots.view import View

EACH = 3.4
"""Width of a panel in inches; more with many categories."""
PLACES = 9
"""With more categories than this, ticks are placed automatically."""


@dataclass(frozen=True)
class Axis:
    """One axis of a panel."""

    label: str = ""
    log: bool = False
    falling: bool = False
    """Reversed: larger values on the left."""
    zero: bool = False
    """Starts at 0."""
    places: tuple[float, ...] = ()
    """Positions of ticks; empty: automatic."""
    names: tuple[str, ...] = ()
    """Names of categories; empty: numbers."""

    def __post_init__(self) -> None:
        check_length("names", self.names, len(self.places), optional=True)


@dataclass(frozen=True)
class Curve:
    """One curve of a panel. Curves with the same name look the same in all panels."""

    name: str
    colour: str
    x: tuple[float, ...]
    y: tuple[float, ...]
    low: tuple[float, ...] = ()
    """Lower ends of the intervals; NaN: none."""
    high: tuple[float, ...] = ()
    line: str = "-"
    """Line style; empty: markers only."""
    marker: str = ""
    """Marker; empty: line only."""
    hollow: tuple[bool, ...] = ()
    """Which markers are hollow."""
    floor: tuple[float, ...] = ()
    """A grey tick per marker: the value expected without any effect."""

    def __post_init__(self) -> None:
        check_colours((self.colour,))
        check_choice("line", self.line, ("", *LINE_STYLES))
        check_choice("marker", self.marker, ("", *MARKS))
        check_length("y", self.y, len(self.x))
        for name in ("low", "high", "hollow", "floor"):
            check_length(name, getattr(self, name), len(self.x), optional=True)
        check_length("high", self.high, len(self.low))


@dataclass(frozen=True)
class CurvePanel:
    """One panel."""

    title: str
    curves: tuple[Curve, ...]
    x: Axis = field(default_factory=Axis)
    y: Axis = field(default_factory=Axis)
    rule: tuple[float, ...] = ()
    """Vertical grey lines at these x."""


@dataclass(frozen=True)
class Curves(View):
    """See the module docstring."""

    KIND: ClassVar[str] = "curves"

    panels: tuple[CurvePanel, ...]
    band: bool = False
    """Intervals as bands, else as error bars."""
    apart: bool = False
    """Curves are shifted slightly, so that their error bars do not overlap."""
    share_x: bool = False
    share_y: bool = False
    columns: int = 3
    each: float = EACH
    """Width of a panel in inches."""
    legend: bool = True
    """Draw a legend; otherwise curves must be identified outside the figure."""
    order: tuple[str, ...] = ()
    """Order of names in the legend; others follow in order of appearance."""

    def __post_init__(self) -> None:
        check_range("columns", self.columns, 1, 20)
        check_range("each", self.each, 1, 20)
        if not self.panels:
            raise ValueError("a figure needs at least one panel")

    def draw(self) -> str:
        """See `View.draw`."""
        shown = {curve.name: curve for panel in reversed(self.panels) for curve in reversed(panel.curves)}
        names = (*self.order, *(curve.name for panel in self.panels for curve in panel.curves))
        order = [name for name in dict.fromkeys(names) if name in shown]
        count = min(self.columns, len(self.panels))
        listed = [shown[name] for name in order] if self.legend else []
        beside = size_of([curve.name for curve in listed], samples=True) if listed else (0.1, 0.0)
        places = max(len(panel.x.names) for panel in self.panels)
        labels = {panel.x.label for panel in self.panels}
        common = labels.pop() if len(labels) == 1 and len(self.panels) > 1 else ""
        width = min(WIDTH, beside[0] + max(self.each, 0.3 * places) * count)
        with canvas(width, 1.0) as figure:
            axes = panels(figure, len(self.panels), share_x=self.share_x, share_y=self.share_y)
            for number, (axis, panel) in enumerate(zip(axes, self.panels)):
                self._draw_panel(axis, panel, order)
                axis.set_xlabel("" if common else panel.x.label)
                before = self.panels[number - 1].y.label if number % count else ""
                axis.set_ylabel("" if panel.y.label == before else panel.y.label)
            if self.share_y and self.panels[0].y.zero:
                axes[0].set_ylim(0, self._top())
            arrange(figure, axes, count, Style(2.15, True, self.share_x, self.share_y, common, beside))
            write_list(figure, [curve.name for curve in listed], [_sample(curve) for curve in listed])
            return svg_text(figure, self.title)

    def _top(self) -> float:
        ends = [value for panel in self.panels for curve in panel.curves for value in (*curve.y, *curve.high) if np.isfinite(value)]
        return 1.05 * max(ends, default=1.0) or 1.0

    def _draw_panel(self, axis: Any, panel: CurvePanel, order: Sequence[str]) -> None:
        axis.set_title(panel.title, loc="left")
        for name, side in (("x", panel.x), ("y", panel.y)):
            if side.log:
                getattr(axis, f"set_{name}scale")("log")
        for place in panel.rule:
            axis.axvline(place, color=RULE, linewidth=1.2, zorder=1)
        step = _step(panel.x, len(order)) if self.apart else 0.0
        for curve in panel.curves:
            _draw_curve(axis, curve, step * (order.index(curve.name) - (len(order) - 1) / 2), band=self.band)
        if panel.y.zero and not self.share_y:
            axis.set_ylim(bottom=0)
        _place_ticks(axis, panel.x, apart=self.apart)
        for side, there in ((panel.x, axis.xaxis), (panel.y, axis.yaxis)):
            if side.log and not side.places:
                log_ticks(there, 5)


def _step(x: Axis, curves: int) -> float:
    """Horizontal shift between curves."""
    if x.names:
        return 0.5 / max(2, curves - 1)
    return 0.012 * (x.places[-1] - x.places[0]) if x.places else 0.0


def _place_ticks(axis: Any, x: Axis, *, apart: bool) -> None:
    if x.names:
        set_names(axis.xaxis, x.places, x.names)
        if apart and len(x.places):
            axis.set_xlim(min(x.places) - 0.6, max(x.places) + 0.6)
    elif 0 < len(x.places) <= PLACES:
        set_names(axis.xaxis, x.places, [f"{value:g}".replace("-", "−") for value in x.places])
    if x.falling:
        axis.invert_xaxis()


def _draw_curve(axis: Any, curve: Curve, step: float, *, band: bool) -> None:
    order = np.argsort(np.array(curve.x, float), kind="stable")
    x, y = np.array(curve.x, float)[order] + step, np.array(curve.y, float)[order]
    if curve.line:
        axis.plot(x, y, curve.line, color=curve.colour, linewidth=1.4, zorder=2)
    if curve.low:
        low, high = np.array(curve.low, float)[order], np.array(curve.high, float)[order]
        if band:
            low, high = np.where(np.isfinite(low), low, y), np.where(np.isfinite(high), high, y)
            axis.fill_between(x, low, high, color=curve.colour, alpha=0.13, linewidth=0)
        else:
            axis.vlines(x, low, high, color=curve.colour, linewidth=1.2, alpha=0.7, zorder=2)
    if curve.floor:
        axis.plot(x, np.array(curve.floor, float)[order], "_", color=MUTED, markersize=7, zorder=3)
    if not curve.marker:
        return
    hollow = np.array(curve.hollow, bool)[order] if curve.hollow else np.zeros(len(x), bool)
    for some, face, edge, line in ((~hollow, curve.colour, edge_of(curve.marker, curve.colour), 0.6), (hollow, "white", curve.colour, 1.0)):
        if some.any():
            style = {"markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": line, "markersize": 4.6}
            axis.plot(x[some], y[some], linestyle="none", marker=curve.marker, zorder=3, **style)


def _sample(curve: Curve) -> dict[str, Any]:
    """The curve's line and marker in the legend."""
    edge = edge_of(curve.marker, curve.colour)
    style: dict[str, Any] = {"linewidth": 1.4, "markersize": 5, "markeredgecolor": edge, "markeredgewidth": 0.6}
    return {**style, "color": curve.colour, "marker": curve.marker or "none", "linestyle": curve.line or "none"}
