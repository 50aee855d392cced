"""How networks and degradations look in a view: every colour and marker that it gives to a name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from xlli_ray.plots.curves import Curves
from xlli_ray.plots.dots import Dots
from xlli_ray.plots.embedding import Embedding
from xlli_ray.plots.heat import Heat
from xlli_ray.plots.histograms import Histograms
from xlli_ray.plots.image_panels import ImagePanels
from xlli_ray.plots.matrices import Matrices
from xlli_ray.plots.palette import INK, MUTED, Look
from xlli_ray.plots.scatter import Scatter
from xlli_ray.plots.strips import Strips
from xlli_ray.plots.view import View


class Seen(NamedTuple):
    """A name in a figure. `marker`: "" where only its colour tells."""

    name: str
    colour: str
    marker: str


def seen_in(view: View) -> Iterator[Seen]:
    """All names of a view that have a colour. A kind of view that this function does not know is an error."""
    if isinstance(view, Curves):
        for panel in view.panels:
            yield from (Seen(curve.name, curve.colour, curve.marker) for curve in panel.curves)
    elif isinstance(view, Scatter):
        for plot in view.panels:
            yield from (Seen(point.name, point.colour, point.marker) for point in plot.points)
    elif isinstance(view, Dots):
        for dots in view.panels:
            yield from map(Seen, view.rows, dots.colours, dots.markers or [""] * len(view.rows))
    elif isinstance(view, Strips):
        yield from map(Seen, view.rows, view.colours, view.markers or [""] * len(view.rows))
    elif isinstance(view, Histograms):
        for line in view.lines:
            yield from (Seen(item.title.split(", ")[-1], item.colour, "") for item in line)
    elif isinstance(view, Matrices):
        yield from (Seen(name, colour, "") for name, colour in zip(view.names, view.colours))
    elif isinstance(view, Embedding):
        yield from (Seen(group.name, group.colour, "") for group in view.groups)
    elif isinstance(view, Heat):
        yield from (Seen(name, colour, "") for name, colour in zip(view.columns, view.colours))
    elif isinstance(view, ImagePanels):
        yield from (Seen(row.label, row.colour, "") for row in view.rows if row.colour)
    else:
        raise TypeError(f"how names look in a view of the kind {view.KIND} is not known here: add it")


def strangers(view: View, networks: Mapping[str, Look], degradations: Mapping[str, str]) -> list[Seen]:
    """What looks otherwise than its network or degradation does. Ink and grey are nobody's: they say whether an interval holds 0."""
    out = []
    for seen in seen_in(view):
        if seen.colour in (INK, MUTED) and not seen.marker:
            continue
        look = networks.get(seen.name)
        if look is not None and (seen.colour != look.colour or seen.marker not in ("", look.marker)):
            out.append(seen)
        if look is None and seen.colour != degradations.get(seen.name, seen.colour):
            out.append(seen)
    return out
