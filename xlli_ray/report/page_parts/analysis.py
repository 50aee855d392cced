"""One section of the page per analysis, made from its stored result: flags first, then figures, tables, notes.

Nothing here depends on a particular analysis. A stale result is shown with a banner about what changed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from xlli_ray.analyses import analysis_class
from xlli_ray.analyses.shared.findings import Finding
from xlli_ray.analyses.shared.freshness import State
from xlli_ray.analyses.shared.untrained import untrained
from xlli_ray.errors import RecipeError, XlliError, counted
from xlli_ray.plots.embedding import Embedding
from xlli_ray.probes import described
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_model import Figure, Piece, anchor_of
from xlli_ray.report.page_parts.brought_section import foreign_line, pieces_of
from xlli_ray.report.page_parts.result_findings import findings_of
from xlli_ray.report.page_parts.stage import ordered
from xlli_ray.report.page_parts.table_text import ROWS, Shown, texts
from xlli_ray.report.section import SectionContext
from xlli_ray.stats.network_pairs import compared
from xlli_ray.store.tables.results import BULKY, StoredFile
from xlli_ray.store.tables.sql import quoted, text
from xlli_ray.study import StudyResult


@dataclass
class ResultSection:
    """Everything shown by the template for an analysis."""

    id: str
    kind: str
    state: State
    prose: list[str] = field(default_factory=list)
    reference: str = ""
    params: str = ""
    flags: Sequence[str] = ()
    notes: list[str] = field(default_factory=list)
    tables: list[Shown] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    own: list[Piece] = field(default_factory=list)
    """Of the analysis's own section."""
    findings: list[Finding] = field(default_factory=list)
    reads: list[str] = field(default_factory=list)
    """Ids of the stages that it reads."""
    inputs: int = 0
    fingerprint: str = ""


def result_sections(context: Context) -> list[ResultSection]:
    """The sections of a study's analyses: in the recipe's order, then results of earlier recipes."""
    results = context.study.results
    return [_section(state, results.get(state.id), context) for state in context.study.analyses]


def _section(state: State, result: StudyResult | None, context: Context) -> ResultSection:
    out = ResultSection(state.id, state.kind, state)
    cls: type | None = None
    try:
        cls = known = analysis_class(state.kind, state.code)
        out.prose, out.reference = described(known), known.REFERENCE
    except (RecipeError, ImportError):
        out.prose = [f"The analysis {state.kind!r} is not part of this installation; its result is shown as it is stored."]
        out.reference = result.stored.made.reference if result is not None else ""
    if result is None:
        return out
    models = [model.id for model in context.study.manifest.models]
    made = result.stored.made
    out.params = json.dumps(dict(made.params), ensure_ascii=False) if made.params else ""
    out.inputs, out.fingerprint = len(made.inputs), made.fingerprint
    out.flags, out.notes = result.flags, list(result.notes)
    try:
        svg = result.figures
        for file in result.stored.figures:
            drawn = re.sub(r"<metadata>.*?</metadata>", "", svg[file.name], count=1, flags=re.DOTALL)
            out.figures.append(Figure(drawn, file.about, foreign=True, anchor=anchor_of(state.id, file.name)))
        for file in result.stored.tables:
            out.tables.append(_shown(file, result.tables[file.name], state.id, models, context.against))
    except XlliError as error:  # a missing or damaged file: reported on the page, which is otherwise complete
        out.flags = [*out.flags, str(error)]
    read = {item.cell for item in made.inputs}
    cells = [cell for cell in ordered(context.study.manifest) if cell.id in read]
    out.reads = list(dict.fromkeys(cell.stage for cell in cells))
    out.findings, notes = findings_of(cls, result, untrained(context.study.manifest))
    out.findings = [replace(one, points=one.points if one.points in _clouds(result) else "") for one in out.findings]
    out.notes += notes
    out.own, notes = pieces_of(cls, SectionContext(context, state.id, state.kind, cells, result))
    out.notes += notes
    if cls is None and state.code:
        out.notes.append(foreign_line("analysis", state.kind, state.code))
    return out


def _clouds(result: StudyResult) -> set[str]:
    """Names of the figures whose points can be explored; older results have none."""
    try:
        return {name for name, view in result.views.items() if isinstance(view, Embedding)}
    except XlliError:  # a damaged file: the figures say so
        return set()


def _shown(
    file: StoredFile, table: pa.Table, stage: str, models: Sequence[str] = (), against: str | None = None
) -> Shown:
    """Empty columns are left out, and images and lists, which are for programs. Of the pairs of
    many models, only those with one of them are shown."""
    kept = tuple(column for column in file.columns if column.name in table.column_names and column.dtype not in BULKY
                 and table[column.name].null_count < table.num_rows)  # fmt: skip
    table, note = _compared(table, models, against)
    rows = table.select([column.name for column in kept]).slice(0, ROWS).to_pylist()
    query = f"select * from {quoted(file.name)} where stage = {text(stage)}"
    return Shown(file.name, file.about, kept, texts(kept, rows), table.num_rows, query, note)


def _compared(table: pa.Table, models: Sequence[str], against: str | None) -> tuple[pa.Table, str]:
    """The rows of a table of pairs that are shown (`stats.network_pairs`), and what is left out."""
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
