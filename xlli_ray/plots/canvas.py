"""The canvas of all figures, and its SVG text.

matplotlib without pyplot: no window, no choice of backend, no global state. Text remains text: it has the page's font, can be searched,
and the same data give the same bytes.
"""

from __future__ import annotations

import hashlib
import html
import io
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from xlli_ray.plots.palette import INK, MUTED, RULE

WIDTH = 11.1
"""Width in inches of a figure that fills the page's column."""
POINTS = 72
"""SVG units per inch, for which layout and output coincide."""
PIXELS = 100
"""Pixels per inch of the few bitmaps: thumbnails beside points, colour bars of heat maps."""

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


def limits_of(values: Sequence[float]) -> tuple[float, float]:
    """Limits of an axis that includes all values, with a margin."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    margin = 0.06 * (high - low) or 0.02 * abs(high) or 1.0
    return low - margin, high + margin


@contextmanager
def canvas(width: float, height: float) -> Iterator[Any]:
    """An empty figure of this size in inches; our style applies within the context."""
    import matplotlib
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    with matplotlib.rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        FigureCanvasSVG(figure)
        yield figure


def _named_by_order(text: str, title: str) -> str:
    """The SVG with referenced ids renamed by title and order, and the others removed.

    matplotlib's ids are hashes of coordinates, down to digits that the layout does not fix. Drawings with the same title have the same ids;
    `with_ids` makes them unique for a document with several.
    """
    start = hashlib.sha256(title.encode()).hexdigest()[:8]
    names = {old: f"f{start}-{i}" for i, old in enumerate(dict.fromkeys(re.findall(r'(?:url\(#|href="#)([^)"]+)', text)))}
    text = re.sub(r' id="([^"]+)"', lambda match: f' id="{names[match[1]]}"' if match[1] in names else "", text)
    return re.sub(r'(url\(#|href="#)([^)"]+)', lambda match: match[1] + names[match[2]], text)


def with_ids(svg: str, start: str) -> str:
    """A drawing of `svg_text` with ids that begin with `start`, for a document that holds several: none refers to another's definitions."""
    return re.sub(r'( id="|url\(#|href="#)f[0-9a-f]{8}-', rf"\g<1>{start}-", svg)


def svg_text(figure: Any, title: str) -> str:
    """The figure as one `<svg>` element for a page: scales with its column, with a label for screen readers."""
    import matplotlib
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    sink = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": title}):
        # Layout once, then print: `savefig` would draw everything a second time just for the layout.
        figure.dpi = POINTS
        if isinstance(engine := figure.get_layout_engine(), ConstrainedLayoutEngine):
            engine.execute(figure)
            figure.set_layout_engine("none")
            for axes in figure.axes:
                # The layout's solver visits its variables in the order of their addresses, so its last digits differ from run to run.
                axes.set_position([round(value, 6) for value in axes.get_position().bounds])
        figure.dpi = PIXELS
        figure.canvas.print_svg(sink, metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = sink.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    text = _named_by_order(text, title)
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
