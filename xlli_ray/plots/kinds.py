"""The kinds of views, by name. A new kind is one file, imported here and added to `_ALL`."""

from __future__ import annotations

from xlli_ray.plots.curves import Curves
from xlli_ray.plots.dots import Dots
from xlli_ray.plots.embedding import Embedding
from xlli_ray.plots.heat import Heat
from xlli_ray.plots.histograms import Histograms
from xlli_ray.plots.image_panels import ImagePanels
from xlli_ray.plots.matrices import Matrices
from xlli_ray.plots.scatter import Scatter
from xlli_ray.plots.strips import Strips
from xlli_ray.plots.view import View, parse

_ALL: tuple[type[View], ...] = (Curves, Dots, Embedding, Heat, Histograms, ImagePanels, Matrices, Scatter, Strips)
KINDS: dict[str, type[View]] = {kind.KIND: kind for kind in _ALL}


def from_json(text: str | bytes, where: str) -> View:
    """The view in `text`; `where`: the file it comes from. Raises StudyError naming file and field."""
    return parse(text, where, KINDS)
