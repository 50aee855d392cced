"""What a section of the page consists of: filled by `page_parts`, read by the template."""

from __future__ import annotations

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, Protocol

from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.plots.palette import Look, network_looks
from xlli_ray.plots.view import View
from xlli_ray.report.image_strip import Strip
from xlli_ray.report.page_means import Tables
from xlli_ray.report.page_parts.table_text import Shown
from xlli_ray.report.shown_samples import Samples
from xlli_ray.stats.intervals import UNLIMITED, Limits
from xlli_ray.store.records.manifest import NO_MODEL, SampleTable
from xlli_ray.study import Study

PIXELS_A_POINT = 4 / 3


@dataclass(frozen=True)
class Context:
    """What all sections share."""

    study: Study
    table: SampleTable
    tables: Tables
    samples: Samples
    meaning: Labels
    """What the degradation labels mean, in the sample table's order."""
    against: str | None = None
    """The model that each other one is compared with; None: every pair of a few, the first with each other one of many."""

    @property
    def families(self) -> dict[str, str]:
        """Degradation label → family, in the sample table's order."""
        return {label: self.meaning.type(label) for label in self.table.labels}

    def colour(self, label: str) -> str:
        """The colour of a degradation label."""
        return self.meaning.colour(label)

    @cached_property
    def looks(self) -> dict[str, Look]:
        """How each network is drawn."""
        return network_looks([model.id for model in self.study.manifest.models])


class Described(Protocol):
    """What columns of probes and of results say of themselves."""

    @property
    def about(self) -> str: ...
    @property
    def unit(self) -> str: ...
    @property
    def better(self) -> str | None: ...


def words_of(column: Described) -> str:
    """Meaning, unit and which way is better, as a caption has them."""
    about, mark, rest = column.about.partition(";")
    way = f"{column.better} is better" if column.better else ""
    return ", ".join(part for part in (about, column.unit, way) if part) + mark + rest


def head_of(column: Described) -> str:
    """What stands above its numbers: the unit, and an arrow to where it is better."""
    return " ".join(part for part in (column.unit, {"higher": "↑", "lower": "↓"}.get(column.better or "", "")) if part)


@dataclass(frozen=True)
class Scalar:
    """A column as the protocol describes it."""

    name: str
    dtype: str
    about: str
    place: bool = False
    """Says which row it is: listed, not averaged."""
    limits: Limits = UNLIMITED
    unit: str = ""
    better: str | None = None
    detail: bool = False
    """In the table of the store, and no mean of it on the page."""

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
    """One number of the table as text."""

    mean: str
    interval: str = ""
    over: str = ""
    """How many photographs it is over, where these are fewer than its line says."""


@dataclass(frozen=True)
class Line:
    """One row of the table of means, or of that of differences."""

    name: str
    """The model; of differences, `b − a`."""
    place: str
    """The degradation; of differences of two degradations, the model."""
    photographs: int
    numbers: int
    """Values measured, of which the photographs' means are made."""
    values: Sequence[Value | None]


@dataclass(frozen=True)
class Figure:
    """SVG with its caption."""

    svg: str
    caption: str
    foreign: bool = False
    """Read from the study, which may have come from a stranger: shown as an image, in which nothing runs and which loads nothing."""
    view: View | None = None
    """What the drawing was made of; None for a drawing that is nothing else."""

    @property
    def uri(self) -> str:
        """The drawing as the source of an `<img>`."""
        return f"data:image/svg+xml;base64,{base64.b64encode(self.svg.encode()).decode()}"

    @property
    def width(self) -> int:
        """Pixels that the drawing asks for."""
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
