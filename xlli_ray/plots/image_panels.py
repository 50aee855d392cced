"""Images beside each other as a view: an input, outputs of networks, a target, attribution maps over the image, differences.

A panel is a stack of layers over one part of a sample. A layer says where its values lie in the study (`Source`), what is computed of them
(a difference, its size, nothing where a mask is), and how they become colours (`ColourScale`, opacity); the panel says which part of the
sample is seen (`area`) and which windows are framed. Places are in pixels of the sample's input, whatever the scale of a network or the
stride of a layer, so that one zoom and one pan fit all panels of a row.

`panel_values.filled` puts the pixels into the layers (8-bit levels in a PNG file); from these the static image is drawn (`panel_pixels`).
Without them the view is small, and whoever draws reads the arrays: the page stores it so. A layer of values that lie nowhere in the study
has no source and keeps its pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from xlli_ray.plots.canvas import svg_text
from xlli_ray.plots.checks import EDGE, check_choice, check_colours, check_range
from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.view import Png, View

CHANNELS = ("", "luma", "mean", "sum")
SIDE = 240
"""Pixels that a panel is about long if nothing else is said."""


@dataclass(frozen=True)
class Source:
    """Where values lie: of one sample, in the corpus or in an array of a cell.

    Images (input, target, stored arrays of bytes) count in grey levels 0..255; by-products and other arrays as they are.
    """

    row: int
    """Of the sample table."""
    array: str
    """Of a cell: the array's name. Of the sample: `input`, `target`, or the name of a by-product of its degradation (`rain`, `mask`)."""
    cell: str = ""
    """The cell's id; empty: the sample itself."""
    index: tuple[int, ...] = ()
    """Places on the leading axes, so that (y, x) or (channel, y, x) remains. Of a clip, the centre frame where none is given."""

    def __post_init__(self) -> None:
        if self.row < 0 or not self.array or any(place < 0 for place in self.index):
            raise ValueError("a source needs a row, the name of an array and indices, none of them below 0")


@dataclass(frozen=True)
class Term:
    """What is added to the values of a layer: those of another source, with a weight; −1: a difference."""

    source: Source
    weight: float = -1.0

    def __post_init__(self) -> None:
        check_range("weight", self.weight, -1e6, 1e6)


@dataclass(frozen=True)
class Layer:
    """Values of a source, or a weighted sum of several; later layers lie above earlier ones."""

    source: Source | None = None
    terms: tuple[Term, ...] = ()
    """Added, value by value. Between a colour image and one of a single channel, the former's luma counts."""
    absolute: bool = False
    """The size of each value."""
    outside: Source | None = None
    """A mask: the values count as 0 where it is not 0."""
    channels: str = ""
    """How one number is made of several channels: `luma`, `mean` or `sum`. Empty: an image in its colours, or a single channel."""
    scale: ColourScale | None = None
    """None: an image in its own colours."""
    offset: float = 0.0
    """Without a scale: added last, so that a difference of two colour images is seen about a middle grey (128)."""
    opacity: float = 1.0
    """0..1; at the strongest value, where it is shared."""
    shared: bool = False
    """Opacity is `opacity` times the level (the value's share of the scale, to its power): what is small is see-through."""
    png: Png | None = None
    """The pixels of the panel's area: grey levels of a colour image, else the scale's levels."""

    def __post_init__(self) -> None:
        check_choice("channels", self.channels, CHANNELS)
        check_range("opacity", self.opacity, 0, 1)
        if self.source is None and self.png is None:
            raise ValueError("a layer has a source, or pixels")
        if self.source is None and (self.terms or self.outside):
            raise ValueError("a layer without a source has nothing to add to or to mask")
        check_range("offset", self.offset, -1e6, 1e6)
        if self.scale is None and (self.channels or self.shared):
            raise ValueError("a layer of single values, or of an opacity that follows them, needs a scale")


@dataclass(frozen=True)
class Frame:
    """A frame around a window, in input pixels."""

    top: float
    left: float
    height: float
    width: float
    colour: str = ""
    """Empty: white between dark lines."""

    def __post_init__(self) -> None:
        check_colours((self.colour,) if self.colour else ())
        _check_area(self.top, self.left, self.height, self.width)


@dataclass(frozen=True)
class Area:
    """A part of a sample, in input pixels."""

    top: float
    left: float
    height: float
    width: float

    def __post_init__(self) -> None:
        _check_area(self.top, self.left, self.height, self.width)


@dataclass(frozen=True)
class ImagePanel:
    """One image with the words below it."""

    caption: str
    layers: tuple[Layer, ...]
    note: str = ""
    area: Area | None = None
    """None: the whole sample."""
    frames: tuple[Frame, ...] = ()
    side: int = SIDE
    """Pixels of the longer side: a larger image is averaged down over whole blocks of pixels."""
    enlarged: bool = False
    """A smaller one is enlarged towards it, pixels repeated a whole number of times."""
    overview: bool = False
    """For the eye alone: a page may keep it with loss."""
    height: int = 0
    """Not 0: stretched over the whole row and to so many pixels, as a matrix is that lies nowhere in the image."""
    edge: tuple[str, ...] = ()
    """Of a matrix: the colour of each of its rows, drawn at the left end."""

    def __post_init__(self) -> None:
        check_range("side", self.side, 1, EDGE)
        check_range("height", self.height, 0, 2000)
        check_colours(self.edge)
        if not self.layers:
            raise ValueError("a panel needs at least one layer")
        if self.frames and self.area is None:
            raise ValueError("a panel with frames needs its area: frames have places in it")


@dataclass(frozen=True)
class PanelRow:
    """Panels side by side below a line of words; None keeps a place empty."""

    label: str
    panels: tuple[ImagePanel | None, ...]
    colour: str = ""
    """Of the sample's degradation, where the figure shows several."""

    def __post_init__(self) -> None:
        check_colours((self.colour,) if self.colour else ())


@dataclass(frozen=True)
class ImagePanels(View):
    """See the module docstring."""

    KIND: ClassVar[str] = "image_panels"

    rows: tuple[PanelRow, ...]
    scale: ColourScale | None = None
    """The one that panels share, drawn as a bar; None: each panel's words say its own."""
    scale_label: str = ""

    def __post_init__(self) -> None:
        if not self.rows or not any(row.panels for row in self.rows):
            raise ValueError("a figure needs at least one panel")

    @property
    def columns(self) -> int:
        """Panels of the longest row."""
        return max(len(row.panels) for row in self.rows)

    def draw(self) -> str:
        """See `View.draw`. Raises ValueError for a panel without pixels."""
        from xlli_ray.plots.panel_sheet import sheet

        with sheet(self) as figure:
            return svg_text(figure, self.title)


def scale_ends(scale: ColourScale) -> tuple[str, str]:
    """The ends of a scale as text."""
    return f"{scale.low:.3g}".replace("-", "−"), f"{scale.high:.3g}".replace("-", "−")


def _check_area(top: float, left: float, height: float, width: float) -> None:
    for name, value in (("top", top), ("left", left)):
        check_range(name, value, -1e6, 1e6)
    for name, value in (("height", height), ("width", width)):
        if not 0 < value <= 1e6:
            raise ValueError(f"{name} is {value}, expected a number above 0")
