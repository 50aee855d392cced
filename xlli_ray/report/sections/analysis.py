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
from xlli_ray.analyses.freshness import State
from xlli_ray.errors import RecipeError, XlliError, counted
from xlli_ray.probes import described
from xlli_ray.report.page_model import Figure
from xlli_ray.stats.pairs import compared
from xlli_ray.store.tables.results import BULKY, Column, StoredFile
from xlli_ray.store.tables.sql import quoted, text
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
    query: str
    """What gives its rows."""
    note: str = ""
    """What is left out."""

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


def result_sections(study: Study, against: str | None = None) -> list[ResultSection]:
    """The sections of a study's analyses: in the recipe's order, then results of earlier recipes. `against`: as of `page.write_report`."""
    results = study.results
    models = [model.id for model in study.manifest.models]
    return [_section(state, results.get(state.id), models, against) for state in study.analyses]


def _section(state: State, result: StudyResult | None, models: Sequence[str], against: str | None) -> ResultSection:
    out = ResultSection(state.id, state.kind, state)
    try:
        cls = analysis_class(state.kind, state.code)
        out.prose, out.reference = described(cls), cls.REFERENCE
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
            drawn = re.sub(r"<metadata>.*?</metadata>", "", svg[file.name], count=1, flags=re.DOTALL)
            out.figures.append(Figure(drawn, file.about, foreign=True))
        for file in result.stored.tables:
            out.tables.append(_shown(file, result.tables[file.name], state.id, models, against))
    except XlliError as error:  # a file that is gone or damaged: the page says so, the rest of it stands
        out.flags = [*out.flags, str(error)]
    return out


def _shown(
    file: StoredFile, table: pa.Table, stage: str, models: Sequence[str] = (), against: str | None = None
) -> Shown:
    """Empty columns are left out, those that this study has nothing for, and pictures and lists, which are for programs. Of the pairs of
    many models, those with one of them are shown."""
    kept = tuple(column for column in file.columns if column.name in table.column_names and column.dtype not in BULKY
                 and table[column.name].null_count < table.num_rows)  # fmt: skip
    table, note = _compared(table, models, against)
    rows = table.select([column.name for column in kept]).slice(0, ROWS).to_pylist()
    texts = [[_text(row[column.name]) for column in kept] for row in rows]
    query = f"select * from {quoted(file.name)} where stage = {text(stage)}"
    numeric = tuple(column.dtype in ("float64", "int64") for column in kept)
    return Shown(file.name, file.about, kept, numeric, texts, table.num_rows, query, note)


def _compared(table: pa.Table, models: Sequence[str], against: str | None) -> tuple[pa.Table, str]:
    """The rows of a table of pairs that are shown (`stats.pairs`), and what is left out."""
    if not {"model", "other"} <= set(table.column_names):
        return table, ""
    # In some tables `other` is a degradation, or the same model: only two models are a pair.
    known = set(models)
    named = zip(table["model"].to_pylist(), table["other"].to_pylist())
    pairs = [frozenset(pair) if known.issuperset(pair) and pair[0] != pair[1] else None for pair in named]
    here = [model for model in models if any(pair and model in pair for pair in pairs)]
    if not here:
        return table, ""
    chosen = against if against in here else None
    wanted = {frozenset(pair) for pair in compared(here, chosen)}
    kept = [i for i, pair in enumerate(pairs) if pair is None or pair in wanted]
    left = len(pairs) - len(kept)
    note = f"Each model against {chosen or here[0]}; {counted(left, 'row')} of other pairs: xlli query" if left else ""
    return table.take(pa.array(kept, pa.int64())), note


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
