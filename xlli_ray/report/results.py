"""One section of the page for each analysis, made from what its result says of itself: flags first, then figures, tables, notes.

Nothing here names an analysis. A result that is stale is shown as it is, with a banner that says what changed.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from xlli_ray.analyses import analysis_class
from xlli_ray.analyses.states import State
from xlli_ray.errors import RecipeError, XlliError
from xlli_ray.report.parts import Figure
from xlli_ray.report.sections import paragraphs
from xlli_ray.store.results import BULKY, Column
from xlli_ray.study import Study, StudyResult

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
    numeric: tuple[bool, ...]
    rows: list[list[str]]
    total: int

    @property
    def folded(self) -> bool:
        """Long tables are opened by hand."""
        return self.total > OPEN


@dataclass
class ResultSection:
    """Everything the template shows of an analysis."""

    id: str
    kind: str
    state: State
    prose: list[str] = field(default_factory=list)
    reference: str = ""
    params: str = ""
    flags: Sequence[str] = ()
    notes: Sequence[str] = ()
    tables: list[Shown] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    inputs: int = 0
    fingerprint: str = ""


def result_sections(study: Study) -> list[ResultSection]:
    """The sections of a study's analyses: in the recipe's order, then results of earlier recipes."""
    results = study.results
    return [_section(state, results.get(state.id)) for state in study.analyses]


def _section(state: State, result: StudyResult | None) -> ResultSection:
    out = ResultSection(state.id, state.kind, state)
    try:
        cls = analysis_class(state.kind)
        out.prose, out.reference = paragraphs(cls), cls.REFERENCE
    except (RecipeError, ImportError):
        out.prose = [f"The analysis {state.kind!r} is not part of this installation; its result is shown as it is stored."]
        out.reference = result.stored.made.reference if result is not None else ""
    if result is None:
        return out
    made = result.stored.made
    out.params = json.dumps(dict(made.params), ensure_ascii=False) if made.params else ""
    out.inputs, out.fingerprint = len(made.inputs), made.fingerprint
    out.flags, out.notes = result.flags, result.notes
    try:
        svg = result.figures
        for file in result.stored.figures:
            text = re.sub(r"<metadata>.*?</metadata>", "", svg[file.name], count=1, flags=re.DOTALL)
            out.figures.append(Figure(text, file.about))
        for file in result.stored.tables:
            out.tables.append(_shown(file.name, file.about, file.columns, result.tables[file.name]))
    except XlliError as error:  # a file that is gone or damaged: the page says so, the rest of it stands
        out.flags = [*out.flags, str(error)]
    return out


def _shown(name: str, about: str, columns: tuple[Column, ...], table: pa.Table) -> Shown:
    """Empty columns are left out, those that this study has nothing for, and pictures and lists, which are for programs."""
    kept = tuple(column for column in columns if column.name in table.column_names and column.dtype not in BULKY
                 and table[column.name].null_count < table.num_rows)  # fmt: skip
    rows = table.select([column.name for column in kept]).slice(0, ROWS).to_pylist()
    texts = [[_text(row[column.name]) for column in kept] for row in rows]
    return Shown(name, about, kept, tuple(column.dtype in ("float64", "int64") for column in kept), texts, table.num_rows)


def _text(value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if not math.isfinite(value):
            return "–"
        return f"{value:.4g}".replace("-", "−") if abs(value) < 1e4 else f"{value:.0f}".replace("-", "−")
    return str(value)
