"""Tables as text: how a report shows a result's table, or a table of a third-party section."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from xlli_ray.report.section import Rows
from xlli_ray.store.tables.results import Column

ROWS = 400
"""Rows of a table on the page; the rest is a query away."""
OPEN = 30
"""A table of more rows than this is folded."""


@dataclass(frozen=True)
class Shown:
    """One table as text."""

    name: str
    about: str
    columns: tuple[Column, ...]
    rows: list[list[str]]
    total: int
    query: str = ""
    """What gives its rows."""
    note: str = ""
    """What is left out."""

    @property
    def numeric(self) -> tuple[bool, ...]:
        """Which columns are numbers."""
        return tuple(column.dtype in ("float64", "int64") for column in self.columns)

    @property
    def folded(self) -> bool:
        """Long tables are opened by hand."""
        return self.total > OPEN


def shown_rows(table: Rows) -> Shown:
    """The first ROWS rows."""
    return Shown(table.title, table.about, tuple(table.columns), texts(table.columns, table.rows[:ROWS]), len(table.rows))


def texts(columns: Sequence[Column], rows: Sequence[Any]) -> list[list[str]]:
    """Mappings as text, in the order of `columns`."""
    return [[text_of(row.get(column.name)) for column in columns] for row in rows]


def text_of(value: Any) -> str:
    """One value; a dash for None and for what is not finite."""
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        return f"{value:.4g}".replace("-", "−") if abs(value) < 1e4 else f"{value:.0f}".replace("-", "−")
    return str(value)
