"""The content of a section of the page: filled by `page_parts`, read by the template."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal, Protocol

from xlli_ray.plots.view import View
from xlli_ray.report.image_strip import Strip
from xlli_ray.report.page_means import Summary
from xlli_ray.report.page_parts.table_text import Shown
from xlli_ray.stats.intervals import UNLIMITED, Limits
from xlli_ray.store.records.manifest import NO_MODEL

PIXELS_A_POINT = 4 / 3


class Described(Protocol):
    """The description that columns of probes and of results have."""

    @property
    def about(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def better(self) -> str | None: ...


def anchor_of(section: str, figure: str) -> str:
    """Id on the page of a figure, by the id of its stage or analysis and its own name."""
    return f"figure-{section}-{figure}"


def words_of(column: Described) -> str:
    """Meaning, unit and better direction, for a caption."""
    about, mark, rest = column.about.partition(";")
    way = f"{column.better} is better" if column.better else ""
    return ", ".join(part for part in (about, column.unit, way) if part) + mark + rest


def head_of(column: Described) -> str:
    """Head of the column: the unit, and an arrow in the better direction."""
    return " ".join(part for part in (column.unit, {"higher": "↑", "lower": "↓"}.get(column.better or "", "")) if part)


@dataclass(frozen=True)
class Scalar:
    """A column as described in the protocol."""

    name: str
    dtype: str
    about: str
    place: bool = False
    """It identifies the row: listed, not averaged."""
    limits: Limits = UNLIMITED
    unit: str = ""
    better: str | None = None
    detail: bool = False
    """In the stored table, but without a mean on the page."""

    @property
    def words(self) -> str:
        """See `words_of`."""
        return words_of(self)

    @property
    def head(self) -> str:
        """See `head_of`."""
        return head_of(self)


@dataclass(frozen=True)
class Value:
    """One number of the table, as text."""

    mean: str
    interval: str = ""
    over: str = ""
    """Number of photographs in the mean, if fewer than for its line."""


@dataclass(frozen=True)
class Line:
    """One row of the table of means or differences."""

    name: str
    """The model; for differences, `b − a`."""
    place: str
    """The degradation; for differences of two degradations, the model."""
    photographs: int
    numbers: int
    """Number of measured values."""
    values: Sequence[Value | None]


@dataclass(frozen=True)
class Figure:
    """SVG with its caption."""

    svg: str
    caption: str
    foreign: bool = False
    """Read from the study, which may be untrusted: shown as an image, which cannot run scripts or load anything."""
    view: View | None = None
    """The view it was made from; None for a drawing without one."""
    anchor: str = ""
    """Its id on the page (`anchor_of`), "" for none."""

    @property
    def uri(self) -> str:
        """The drawing as the source of an `<img>`."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"

    @property
    def width(self) -> int:
        """Width of the drawing in pixels."""
        match = re.search(r'\bviewBox="[\d.\-]+ [\d.\-]+ (\d{1,7}(?:\.\d{1,7})?) ', self.svg[:2000])
        return min(2000, round(float(match[1]) * PIXELS_A_POINT)) if match else 720


@dataclass(frozen=True)
class Piece:
    """One part of a third-party section (`report.section`) for the template."""

    form: Literal["text", "figure", "table", "strip"]
    item: str | Figure | Shown | Strip


@dataclass(frozen=True)
class Stored:
    """One row of the table of arrays."""

    model: str
    what: str
    shape: str
    stride: str
    dtype: str
    codec: str
    rows: int
    valid: int
    stored: int
    raw: int


@dataclass
class Section:
    """Everything the template shows of a stage."""

    id: str
    kind: str
    prose: list[str] = field(default_factory=list)
    reference: str = ""
    params: str = ""
    models: list[str] = field(default_factory=list)
    """Ids, or NO_MODEL: owners of cells."""
    columns: list[Scalar] = field(default_factory=list)
    shown: list[Scalar] = field(default_factory=list)
    """The columns of the table of numbers: those with at least one value."""
    lines: list[Line] = field(default_factory=list)
    differences: list[Line] = field(default_factory=list)
    pairing: str = ""
    means: str = ""
    """What the means and their intervals are, in words."""
    apart: str = ""
    """The same of the differences."""
    summaries: list[Summary] = field(default_factory=list)
    """Means and differences of the columns in `shown`."""
    figures: list[Figure] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    strips: list[Strip] = field(default_factory=list)
    own: list[Piece] = field(default_factory=list)
    """Of the section that the probe brings, in place of `strips`."""
    notes: list[str] = field(default_factory=list)
    query: str = ""

    @property
    def without_model(self) -> bool:
        """Whether samples were measured without a model: there is none to be named."""
        return self.models == [NO_MODEL]
