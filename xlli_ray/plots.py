"""Figures as SVG text, for the page and for analyses: data in, text out.

matplotlib without pyplot: no window, no backend chosen, no state left behind. Text stays text: it takes the page's font, can be searched,
and the same data give the same bytes.
"""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from xlli_ray.stats.intervals import Interval

INK = "#1f2328"
MUTED = "#6b7280"
RULE = "#d9dde2"
WIDTH = 11.1
"""Inches of a figure that fills the page's column."""
BLUE = "#0072B2"
"""Of marks on pictures; in a figure it stands for blur."""

# Okabe and Ito, 2008: black (as ink), blue, vermillion, orange, sky blue, bluish green, reddish purple; no yellow on white.
# Degradations bring a colour of their own (`Degradation.COLOUR`: blue, vermillion and orange are taken); the rest is given out here.
UNDEGRADED = "#3d4450"
SPARE = ("#CC79A7", "#56B4E9", "#009E73", "#8C6D31", "#E69F00", "#0072B2", "#D55E00")
NETWORKS = ("#332288", "#E7298A", "#117733", "#9B8CFF", "#661100", "#00CFC8", "#999933", "#882255")
"""Of networks. None looks like a colour that stands for a degradation (CIE 1976 differences of 20 and more). With MARKERS, for print."""
MARKERS = "os^DvPX*"
LINES = ("-", "--", ":")

_STYLE: dict[str, Any] = {
    "svg.fonttype": "none",
    "font.family": ["DejaVu Sans"],  # matplotlib's own; the page's style sheet replaces it
    "font.size": 9.0,
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.labelsize": 8.5,
    "axes.titlesize": 9.0,
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.spines.left": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "axes.grid.axis": "x",
    "axes.formatter.useoffset": False,
    "grid.color": "#e8eaee",
    "grid.linewidth": 0.8,
    "xtick.color": MUTED,
    "xtick.labelsize": 8.0,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "ytick.labelsize": 8.5,
}


@dataclass(frozen=True)
class Look:
    """How a network is drawn."""

    colour: str
    marker: str
    line: str


def network_looks(models: Sequence[str]) -> dict[str, Look]:
    """The look of each network. `models`: all of the study in its order, so that one has the same look in every figure."""
    return {
        model: Look(NETWORKS[i % len(NETWORKS)], MARKERS[i % len(MARKERS)], LINES[i // len(NETWORKS) % len(LINES)])
        for i, model in enumerate(models)
    }


@dataclass(frozen=True)
class Panel:
    """One set of dots: an interval, or None, for each row of the figure."""

    title: str
    xlabel: str
    values: Sequence[Interval | None]
    colours: Sequence[str]
    """One for each row."""
    spans: Sequence[tuple[float, float] | None] = ()
    """A light bar behind each row: the range over all models."""
    zero: bool = False
    """Draw the line of no difference."""
    share: str = ""
    """Panels of one name have one x axis."""


def dot_figure(rows: Sequence[str], panels: Sequence[Panel], *, title: str, columns: int = 4) -> str:
    """Dots with intervals: one line for each of `rows`, panels side by side, `columns` in a row. SVG text."""
    count = min(columns, len(panels))
    lines = -(-len(panels) // count)
    names = max((len(row) for row in rows), default=0)
    left = 0.25 + 0.072 * min(names, 40)
    each = min(6.5, (WIDTH - left) / count)
    pitch = 0.27 if len(rows) <= 12 else 0.2
    height = lines * (pitch * len(rows) + 0.75) + 0.25
    with canvas(left + each * count, height) as figure:
        axes = figure.subplots(lines, count, sharey=True, squeeze=False)
        limits = _limits(panels)
        for number, axis in enumerate(axes.flat):
            if number >= len(panels):
                axis.set_visible(False)
                continue
            _dots(axis, rows, panels[number], limits)
        if len({panel.xlabel for panel in panels}) == 1:
            figure.supxlabel(panels[0].xlabel, fontsize=8.5, color=MUTED)
        else:
            for axis, panel in zip(axes.flat, panels):
                axis.set_xlabel(panel.xlabel)
        return svg_text(figure, title)


def _limits(panels: Sequence[Panel]) -> dict[str, tuple[float, float]]:
    """x range of each group of panels, with a margin."""
    out = {}
    for name in {panel.share for panel in panels}:
        values = [
            end
            for panel in panels
            if panel.share == name
            for item in panel.values
            if item is not None
            for end in (item.mean, item.low, item.high, 0.0 if panel.zero else item.mean)
            if np.isfinite(end)
        ]
        out[name] = limits_of(values)
    return out


def limits_of(values: Sequence[float]) -> tuple[float, float]:
    """Ends of an axis that holds all values, with a margin."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.02 * abs(high) or 1.0
    return low - margin, high + margin


def _dots(axis: Any, rows: Sequence[str], panel: Panel, limits: Mapping[str, tuple[float, float]]) -> None:
    from matplotlib.ticker import MaxNLocator

    places = np.arange(len(rows))
    for place, span in zip(places, panel.spans):
        if span is not None:
            axis.plot(span, [place, place], color="#eceef1", linewidth=7, solid_capstyle="round", zorder=1)
    if panel.zero:
        axis.axvline(0, color=MUTED, linewidth=0.9, zorder=1.5)
    for place, item, colour in zip(places, panel.values, panel.colours):
        if item is None:
            continue
        if np.isfinite(item.low):
            axis.plot([item.low, item.high], [place, place], color=colour, linewidth=1.8, alpha=0.75, zorder=2)
        axis.plot([item.mean], [place], "o", color=colour, markersize=5.2, markeredgecolor="white", markeredgewidth=0.7, zorder=3)
    axis.set_yticks(places, list(rows))
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(*limits[panel.share])
    axis.xaxis.set_major_locator(MaxNLocator(nbins=5, min_n_ticks=3))
    axis.set_title(panel.title, color=INK, fontweight="bold", pad=7)


def heat_figure(
    rows: Sequence[str],
    columns: Sequence[str],
    values: np.ndarray,
    *,
    title: str,
    colours: Sequence[str] = (),
    diverging: bool = False,
    digits: int = 2,
    brackets: np.ndarray | None = None,
) -> str:
    """`values`, float (rows, columns), as coloured cells with their numbers when they fit; NaN stays white. SVG text.

    `colours`: of the columns' names. `brackets`: bool (rows, columns), numbers that are not to be relied on.
    """
    written = values.size <= 400
    cell_width = (0.16 + 0.075 * (digits + 4 + (brackets is not None))) if written else 0.22
    left = 0.3 + 0.072 * min(max(map(len, rows)), 40)
    below = 0.25 + 0.065 * min(max(map(len, columns)), 40)
    size = (left + max(2.5, cell_width * len(columns)) + 0.9, 0.5 + 0.24 * len(rows) + below)
    finite = values[np.isfinite(values)]
    low, high = (float(finite.min()), float(finite.max())) if finite.size else (0.0, 1.0)
    if diverging:
        high = max(abs(low), abs(high)) or 1.0
        low = -high
    with canvas(*size) as figure:
        axis = figure.subplots()
        # pcolormesh, not imshow: vectors, and no picture inside the SVG
        edges = (np.arange(values.shape[1] + 1) - 0.5, np.arange(values.shape[0] + 1) - 0.5)
        mesh = axis.pcolormesh(
            *edges, np.ma.masked_invalid(values), cmap="RdBu_r" if diverging else "cividis", vmin=low, vmax=high,
            edgecolors="white", linewidth=0.6,
        )  # fmt: skip
        if written:
            for (i, k), value in np.ndenumerate(values):
                if np.isfinite(value):
                    shade = (value - low) / ((high - low) or 1.0)
                    dark = abs(shade - 0.5) > 0.34 if diverging else shade < 0.55
                    text = f"{value:+.{digits}f}".replace("-", "−") if diverging else f"{value:.{digits}f}"
                    text = f"({text})" if brackets is not None and brackets[i, k] else text
                    axis.text(k, i, text, ha="center", va="center", fontsize=7, color="white" if dark else INK)
        axis.set_yticks(range(len(rows)), list(rows))
        axis.set_xticks(range(len(columns)), list(columns), rotation=60, ha="right", rotation_mode="anchor")
        for tick, colour in zip(axis.get_xticklabels(), colours):
            tick.set_color(colour)
        axis.set_ylim(len(rows) - 0.5, -0.5)
        axis.grid(False)
        axis.spines["bottom"].set_visible(False)
        bar = figure.colorbar(mesh, ax=axis, shrink=min(1.0, 2.2 / size[1] + 0.3), pad=0.02)
        bar.outline.set_visible(False)
        bar.ax.tick_params(labelsize=7.5, colors=MUTED)
        return svg_text(figure, title)


def family_colour(family: str, known: Sequence[str] = (), colours: Mapping[str, str] | None = None) -> str:
    """Colour of a degradation family (`clean`, `blur`, `blur+noise`, …).

    `known`: all families of the study, in order: mixtures and what has no colour of its own take the spare ones in turn. `colours`: those
    that degradations have of their own.
    """
    own = {"clean": UNDEGRADED, "given": UNDEGRADED, **(colours or {})}
    if family in own:
        return own[family]
    others = [name for name in known if name not in own]
    return SPARE[others.index(family) % len(SPARE)] if family in others else MUTED


def paler(colour: str, share: float) -> str:
    """`colour`, #rrggbb, mixed with white: `share` 0 leaves it, 1 is white."""
    return "#" + "".join(f"{round(int(colour[i : i + 2], 16) * (1 - share) + 255 * share):02x}" for i in (1, 3, 5))


@contextmanager
def canvas(width: float, height: float) -> Iterator[Any]:
    """An empty figure of this size in inches, with our style while it is drawn."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def svg_text(figure: Any, title: str) -> str:
    """The figure as one `<svg>` element for a page: scales with its column, named for readers that do not see it."""
    import matplotlib

    sink = io.StringIO()
    # Ids are hashes salted with the title: two figures of one page must not share an id.
    with matplotlib.rc_context({"svg.hashsalt": title}):
        figure.savefig(sink, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    used = set(re.findall(r'(?:url\(#|href="#)([^)"]+)', text))
    text = re.sub(r' id="([^"]+)"', lambda match: match[0] if match[1] in used else "", text)
    text = re.sub(r'="[^"]*"', lambda match: re.sub(r"(\d\.\d\d)\d+", r"\1", match[0]), text)
    text = re.sub(r"\n\s*", "\n", text)
    width = float(figure.get_size_inches()[0]) * 96
    label = html.escape(title, quote=True)
    text = re.sub(
        r'<svg [^>]*?viewBox="([^"]+)"[^>]*>',
        lambda match: f'<svg class="plot" role="img" aria-label="{label}" viewBox="{match[1]}" style="width:{width:.0f}px" '
        'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink">',
        text,
        count=1,
    )  # fmt: skip
    return text.strip()
