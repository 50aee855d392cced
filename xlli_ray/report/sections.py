"""One section of the page for each stage, made from the probe's protocol: its columns, its arrays, its docstrings and its reference.

Nothing here names a probe. Scalars become a table and a figure, arrays become pictures (`panels`).
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from xlli_ray.errors import RecipeError, StudyError
from xlli_ray.probes import probe_class
from xlli_ray.report import figures, panels
from xlli_ray.report.figures import Panel, family_colour
from xlli_ray.report.gallery import Block
from xlli_ray.report.numbers import FEW, Interval, Summary, Tables, summarise
from xlli_ray.store.layout import ArrayMeta
from xlli_ray.store.manifest import Cell, SampleTable
from xlli_ray.store.read import ArrayReader, open_readers
from xlli_ray.study import Study

PANELS = 12
"""Layers drawn in one section."""
MODELS_SHOWN = 6
"""Models side by side in a row of images."""
DOTS = 160
"""More dots than this in one figure become a heat map."""
SIGNIFICANT = -1
"""In place of a number of decimals: three significant digits."""
_NUMBERS = ("float64", "int64", "bool")
_Key = tuple[str, str]


@dataclass(frozen=True)
class Context:
    """What all sections share."""

    study: Study
    table: SampleTable
    tables: Tables
    samples: panels.Samples
    families: Mapping[str, str]
    """Degradation label → family, in the sample table's order."""

    def colour(self, label: str) -> str:
        """The colour of a degradation label."""
        return family_colour(self.families.get(label, label), list(dict.fromkeys(self.families.values())))


@dataclass(frozen=True)
class Scalar:
    """A column as the protocol describes it."""

    name: str
    dtype: str
    about: str


@dataclass(frozen=True)
class Value:
    """One number of the table as text."""

    mean: str
    interval: str = ""
    paired: str = ""


@dataclass(frozen=True)
class Line:
    """One row of the table of numbers."""

    model: str
    label: str
    contents: int
    values: Sequence[Value | None]


@dataclass(frozen=True)
class Figure:
    """SVG with its caption."""

    svg: str
    caption: str


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
    columns: list[Scalar] = field(default_factory=list)
    shown: list[Scalar] = field(default_factory=list)
    """The columns of the table of numbers: those with at least one value."""
    lines: list[Line] = field(default_factory=list)
    pairing: str = ""
    figures: list[Figure] = field(default_factory=list)
    stored: list[Stored] = field(default_factory=list)
    blocks: list[Block] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    query: str = ""


def stage_sections(context: Context) -> list[Section]:
    """The sections of a study, in the recipe's order; stages that only the study knows come last."""
    manifest = context.study.manifest
    order = [stage.get("id") for stage in manifest.recipe.get("stages", [])]
    stages = list(dict.fromkeys(cell.stage for cell in manifest.cells))
    stages.sort(key=lambda stage: order.index(stage) if stage in order else len(order))
    return [section(context, stage) for stage in stages]


def section(context: Context, stage: str) -> Section:
    """One stage."""
    manifest = context.study.manifest
    rank = {model.id: i for i, model in enumerate(manifest.models)}
    cells = [cell for cell in manifest.cells if cell.stage == stage]
    cells.sort(key=lambda cell: (rank.get(cell.model, len(rank)), panels.natural(cell.what)))
    kind = cells[0].kind
    out = Section(stage, kind, models=list(dict.fromkeys(cell.model for cell in cells)))
    out.params = json.dumps(dict(cells[0].params), ensure_ascii=False) if cells[0].params else ""
    out.prose, out.reference, abouts = describe(kind)
    out.columns = [Scalar(name, dtype, abouts.get(name, "")) for name, dtype in cells[0].columns]
    for text in dict.fromkeys(bucket.refused for cell in cells for bucket in cell.buckets if bucket.refused):
        out.notes.append(f"Refused: {text}.")
    if out.columns:
        _numbers(context, out)
    if any(bucket.arrays for cell in cells for bucket in cell.buckets):
        out.stored = _stored(context, stage, cells)
        _pictures(context, out, cells)
    if not out.query:
        out.query = f"select model, what, bucket, shape, dtype, bytes_stored from features where stage = '{stage}'"
    return out


def describe(kind: str) -> tuple[list[str], str, dict[str, str]]:
    """(what it is, where it comes from, column → meaning) in the probe's own words; empty for a probe that is not installed."""
    try:
        cls = probe_class(kind)
    except (RecipeError, ImportError):
        return [f"The probe {kind!r} is not part of this installation; its numbers are shown as they are stored."], "", {}
    module = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")
    texts = [re.sub(r"\s*\n\s*", " ", part) for part in module.split("\n\n") if not part.startswith((" ", ">>>"))]
    return texts[:3], cls.REFERENCE, {column.name: column.about for column in cls.COLUMNS}


# -- scalars ----------------------------------------------------------------------------------------------------


def _numbers(context: Context, out: Section) -> None:
    labels = list(context.families)
    counts = context.tables.rows(
        f"select count(*) filter (where status = 'ok') as good, count(*) as rows from \"{out.kind}\" where stage = ?", [out.id]
    )[0]
    if not counts["good"]:
        out.notes.append(f"No sample has been measured yet ({counts['rows']} rows, none of them valid).")
        return
    summaries: list[Summary] = []
    for column in out.columns:
        if column.dtype not in _NUMBERS:
            _texts(context, out, column)
            continue
        summary = summarise(context.tables, out.kind, out.id, column.name, models=out.models, labels=labels)
        if not summary.values:
            out.notes.append(f"{column.name}: no value in {counts['good']} measured rows (there may be no targets).")
            continue
        if summary.missing:
            out.notes.append(f"{column.name}: {summary.missing} of {counts['good']} measured rows have no value.")
        if summary.infinite:
            out.notes.append(f"{column.name}: {summary.infinite} infinite values are left out of the means.")
        out.shown.append(column)
        summaries.append(summary)
    if not summaries:
        return
    present = [label for label in labels if any((model, label) in s.values for s in summaries for model in out.models)]
    out.pairing = summaries[0].pairing or ""
    out.lines = _lines(out.models, present, summaries)
    fewest = min(item.contents for summary in summaries for item in summary.values.values())
    if fewest < FEW:
        out.notes.append(f"Means over as few as {fewest} contents: such intervals are rough guides.")
    for column, summary in zip(out.shown, summaries):
        about = f"{column.name}: {column.about}" if column.about else column.name
        for svg, more in _draw(context, out.models, present, summary):
            out.figures.append(Figure(svg, f"{about.rstrip('.')}. {more}".strip()))
    means = ", ".join(f'avg("{column.name}")' for column in out.shown)
    out.query = (
        f'select model, label, {means} from "{out.kind}" join samples using (sample_id) '
        f"where stage = '{out.id}' and status = 'ok' group by all order by all"
    )


def _texts(context: Context, out: Section, column: Scalar) -> None:
    """A column of words: the most frequent ones, as a note."""
    found = context.tables.rows(
        f'select "{column.name}" as text, count(*) as n from "{out.kind}" where stage = ? and status = \'ok\' '
        "group by all order by n desc, text limit 6",
        [out.id],
    )
    if found:
        listed = ", ".join(f"{row['text']} ({row['n']})" for row in found[:5])
        out.notes.append(f"{column.name}: {listed}{', …' if len(found) > 5 else ''}.")


def digits(values: Sequence[float]) -> int:
    """Decimals that suit numbers of this size: 32.25, 0.8948, 1234.5; SIGNIFICANT where none do."""
    top = max((abs(value) for value in values if np.isfinite(value)), default=1.0)
    return 1 if top >= 1000 else 2 if top >= 1.5 else 4 if top >= 0.01 or top == 0 else SIGNIFICANT


def number(value: float, places: int, *, sign: bool = False) -> str:
    """`value` with a true minus, and none before a zero."""
    form = ".3g" if places == SIGNIFICANT else f".{places}f"
    return format(value, f"{'+' if sign else ''}z{form}").replace("-", "−")


def _lines(models: Sequence[str], labels: Sequence[str], summaries: Sequence[Summary]) -> list[Line]:
    out = []
    for label in labels:
        for model in models:
            if not any((model, label) in summary.values for summary in summaries):
                continue
            values: list[Value | None] = []
            for summary in summaries:
                item, paired = summary.values.get((model, label)), summary.paired.get((model, label))
                places = digits([value.mean for value in summary.values.values()])
                if summary.pairing == "labels" and label == labels[0]:
                    paired = None  # the reference itself
                values.append(_value(item, paired, places) if item is not None else None)
            contents = max(summary.values[model, label].contents for summary in summaries if (model, label) in summary.values)
            out.append(Line(model, label, contents, values))
    return out


def _value(item: Interval, paired: Interval | None, places: int) -> Value:
    interval = f"{number(item.low, places)} … {number(item.high, places)}" if np.isfinite(item.low) else ""
    if paired is None:
        return Value(number(item.mean, places), interval)
    finer = places + (places == 2)  # models differ by hundredths of a dB
    text = number(paired.mean, finer, sign=True)
    if np.isfinite(paired.low):
        text += f" [{number(paired.low, finer, sign=True)}, {number(paired.high, finer, sign=True)}]"
    return Value(number(item.mean, places), interval, text)


def _draw(context: Context, models: Sequence[str], labels: Sequence[str], summary: Summary) -> Iterator[tuple[str, str]]:
    """(figure, what its caption adds to the column's own words); a second one where paired differences need their own."""
    name = summary.column
    if len(labels) == 1 or len(models) == 1:
        yield _one_axis(context, models, labels, summary), ""
        return
    difference = "Difference from the mean over the models, content by content"
    if len(models) * len(labels) > DOTS:
        yield _heat(context, models, labels, summary.values, f"{name}: means"), ""
        if summary.paired:
            yield _heat(context, models, labels, summary.paired, f"{name}: differences", diverging=True), f"{difference}."
        return
    # The longer list goes down, the shorter one makes the panels: comparisons within a panel are the easy ones.
    across, down = (models, labels) if len(labels) >= len(models) else (labels, models)
    for values, paired in ((summary.values, False), (summary.paired, True)):
        if not values:
            continue
        parts = []
        for head in across:
            keys = [(head, row) if across is models else (row, head) for row in down]
            spans = [] if paired or across is labels else [_span(summary.values, models, row) for row in down]
            xlabel = f"{name}, difference from the mean over the models" if paired else name
            colours = [context.colour(label) for _, label in keys]
            found = [values.get(key) for key in keys]
            parts.append(Panel(head, xlabel, found, colours, spans, zero=paired))
        title = f"{name}: {'differences of models' if paired else 'means'} by degradation and model"
        bars = "Light bars: range of the means over all models." if across is models else ""
        yield figures.dot_figure(down, parts, title=title), f"{difference}; the line is no difference." if paired else bars


def _one_axis(context: Context, models: Sequence[str], labels: Sequence[str], summary: Summary) -> str:
    """One degradation or one network: means at the left, paired differences at the right."""
    name, alone = summary.column, len(labels) == 1
    keys: list[_Key] = [(model, label) for label in labels for model in models]
    if alone:  # best on top tells more than the recipe's order
        keys.sort(key=lambda key: -summary.values[key].mean if key in summary.values else np.inf)
    colours = [context.colour(label) for _, label in keys]
    means = [summary.values.get(key) for key in keys]
    parts = [Panel("mean" if alone else f"mean · {models[0]}", name, means, colours, share="mean")]
    if summary.pairing is not None:
        against = "against the mean of the models" if summary.pairing == "models" else f"against {labels[0]}"
        paired = [summary.paired.get(key) for key in keys]
        parts.append(Panel(against, f"difference in {name}, same contents", paired, colours, zero=True, share="paired"))
    rows = [model if alone else label for model, label in keys]
    return figures.dot_figure(rows, parts, title=f"{name} by {'model' if alone else 'degradation'}")


def _span(values: Mapping[_Key, Interval], models: Sequence[str], label: str) -> tuple[float, float] | None:
    means = [values[model, label].mean for model in models if (model, label) in values]
    return (min(means), max(means)) if len(means) > 1 else None


def _heat(
    context: Context,
    models: Sequence[str],
    labels: Sequence[str],
    values: Mapping[_Key, Interval],
    title: str,
    *,
    diverging: bool = False,
) -> str:
    grid = np.array([[values[m, label].mean if (m, label) in values else np.nan for label in labels] for m in models])
    places = min(max(digits(grid.ravel().tolist()), 0), 3)
    colours = [context.colour(label) for label in labels]
    return figures.heat_figure(models, labels, grid, title=title, colours=colours, diverging=diverging, digits=places)


# -- arrays -----------------------------------------------------------------------------------------------------


def _stored(context: Context, stage: str, cells: Sequence[Cell]) -> list[Stored]:
    """What is stored, one line for each array of each cell, sizes summed over buckets."""
    found = context.tables.rows(
        'select model, what, "array", sum(rows)::bigint as rows, sum(valid)::bigint as valid, sum(bytes)::bigint as raw, '
        "sum(bytes_stored)::bigint as stored from features where stage = ? group by all",
        [stage],
    )
    sums = {(row["model"], row["what"], row["array"]): row for row in found}
    out = []
    for cell in cells:
        names = list(dict.fromkeys(meta.name for bucket in cell.buckets for meta in bucket.arrays))
        for name in names:
            metas = [meta for bucket in cell.buckets for meta in bucket.arrays if meta.name == name]
            shapes = list(dict.fromkeys(meta.shape for meta in metas))
            meta, row = metas[0], sums.get((cell.model, cell.what, name))
            stride = meta.attributes.get("stride")
            text = " × ".join(map(str, shapes[0])) or "one number"
            out.append(
                Stored(
                    model=cell.model,
                    what=cell.what if len(names) == 1 else f"{cell.what}/{name}",
                    shape=text + (f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else ""),
                    stride=f"{stride[0]:.3g} × {stride[1]:.3g}" if stride else "–",
                    dtype=meta.dtype,
                    codec=meta.codec,
                    rows=row["rows"] if row else 0,
                    valid=row["valid"] if row else 0,
                    stored=(row["stored"] or 0) if row else 0,
                    raw=row["raw"] if row else 0,
                )
            )
    return out


def _pictures(context: Context, out: Section, cells: Sequence[Cell]) -> None:
    """Galleries of the section: outputs beside targets, then maps and matrices of at most PANELS arrays."""
    arrays = [(cell, name) for cell in cells for name in dict.fromkeys(meta.name for bucket in cell.buckets for meta in bucket.arrays)]
    images = [(cell, name) for cell, name in arrays if panels.is_image(_meta(cell, name))]
    others = [(cell, name) for cell, name in arrays if (cell, name) not in images and _meta(cell, name).shape]
    groups: dict[tuple[str, str], list[tuple[Cell, str]]] = {}
    for cell, name in others:
        single = panels.is_single_map(_meta(cell, name))
        groups.setdefault((cell.what if single else cell.id, name), []).append((cell, name))
    chosen = panels.spread(PANELS, list(groups.values()))
    if len(chosen) < len(groups):
        out.notes.append(f"{len(chosen)} of {len(groups)} arrays are drawn, evenly spaced; all of them are in the table.")
    try:
        if images:
            _gallery(context, out, images)
        for members in chosen:
            if len(members) > 1:
                _beside(context, out, members)
            else:
                _alone(context, out, *members[0], rows=2 if len(chosen) <= PANELS // 2 else 1)
    except StudyError as error:  # a damaged shard: the numbers are still worth a page
        out.notes.append(f"Not all arrays can be read: {error}")
    if not out.blocks and not any(line.valid for line in out.stored):
        out.notes.append("No array holds a valid row yet.")


def _meta(cell: Cell, name: str) -> ArrayMeta:
    """The array as it is for the first input size; sizes differ, kinds do not."""
    return next(meta for bucket in cell.buckets for meta in bucket.arrays if meta.name == name)


def _readers(context: Context, cell: Cell, name: str) -> list[ArrayReader]:
    return [reader for reader in open_readers(context.study.objects, cell) if reader.meta.name == name]


def _alone(context: Context, out: Section, cell: Cell, name: str, *, rows: int) -> None:
    """One array of one network."""
    readers = _readers(context, cell, name)
    usable = panels.usable_readers(readers)
    if not usable:
        if any(reader.valid.any() for reader in readers):
            out.notes.append(f"{cell.model} · {cell.what}: a single sample is too large to be drawn here.")
        return
    title = panels.cell_title(cell, usable[0])
    if panels.is_map(usable[0].meta):
        block = panels.map_block(context.samples, context.table, usable, title=title, count=rows)
    else:
        block = panels.matrix_block(context.samples, usable, title=title, colour=context.colour)
    out.blocks += [block] if block is not None else []


def _beside(context: Context, out: Section, members: Sequence[tuple[Cell, str]]) -> None:
    """The same single map of several networks."""
    readers = {cell.model: panels.usable_readers(_readers(context, cell, name)) for cell, name in members}
    readers = {model: some for model, some in readers.items() if some}
    if len(readers) > panels.MAPS:
        out.notes.append(f"{panels.MAPS} of {len(readers)} models are shown side by side, evenly spaced.")
        readers = {model: readers[model] for model in panels.spread(panels.MAPS, list(readers))}
    if readers:
        title = members[0][0].what
        block = panels.side_by_side(context.samples, context.table, readers, title=title)
        out.blocks += [block] if block is not None else []


def _gallery(context: Context, out: Section, images: Sequence[tuple[Cell, str]]) -> None:
    """Best, median and worst sample by the first scalar; the first, middle and last one where there is none."""
    score = next((column for column in out.shown if column.dtype == "float64"), None)
    by_model = {cell.model: (cell, name) for cell, name in reversed(images)}
    by_model = {model: by_model[model] for model in out.models if model in by_model}
    if len(by_model) > MODELS_SHOWN:
        if score is not None:
            means = context.tables.rows(
                f'select model, avg("{score.name}") as v from "{out.kind}" where stage = ? and status = \'ok\' '
                f'and isfinite("{score.name}") group by all order by v desc, model',
                [out.id],
            )
            by_model = {row["model"]: by_model[row["model"]] for row in means if row["model"] in by_model} or by_model
        names = panels.spread(MODELS_SHOWN, list(by_model))
        how = f"evenly spaced by their mean {score.name}" if score else "evenly spaced"
        out.notes.append(f"{len(names)} of {len(by_model)} models are shown side by side, {how}.")
        by_model = {name: by_model[name] for name in names}
    readers = {model: _readers(context, cell, name) for model, (cell, name) in by_model.items()}
    shown = _ranked(context, out, score, list(by_model)) if score is not None else []
    if not shown:
        first = next((some for some in readers.values() if any(r.valid.any() for r in some)), [])
        good = [(r, int(place)) for r in first for place in np.flatnonzero(r.valid)[:1000]]
        shown = [panels.Shown(panels.table_row(r.bucket, place), "", {}) for r, place in panels.spread(3, good)]
    block = panels.image_block(context.samples, readers, shown)
    if block is not None:
        out.blocks.append(block)


def _ranked(context: Context, out: Section, score: Scalar, models: Sequence[str]) -> list[panels.Shown]:
    """Samples with the highest, the median and the lowest mean score over `models`, of those that all of them measured."""
    values = ", ".join("?" for _ in models)
    rows = context.tables.rows(
        f"""
        with per as (
          select row, avg("{score.name}") as v from "{out.kind}"
          where stage = ? and status = 'ok' and isfinite("{score.name}") and model in ({values})
          group by row having count(distinct model) = {len(models)}
        ),
        ranked as (select row, v, row_number() over (order by v desc, row) as place, count(*) over () as n from per)
        select row, v, place, n from ranked where place in (1, (n + 1) // 2, n) order by place
        """,
        [out.id, *models],
    )
    if not rows:
        return []
    each = context.tables.rows(
        f'select row, model, avg("{score.name}") as v from "{out.kind}" where stage = ? and status = \'ok\' '
        f"and row in ({', '.join(str(row['row']) for row in rows)}) group by all",
        [out.id],
    )
    places = digits([row["v"] for row in rows])
    lower = "lower is better" in score.about
    better = "higher is better" in score.about or lower
    ends = ("worst", "best") if lower else ("best", "worst") if better else ("highest", "lowest")
    out_rows = []
    for row in rows:
        name = ends[0] if row["place"] == 1 else ends[1] if row["place"] == row["n"] else "median"
        scores = {e["model"]: f"{score.name} {number(e['v'], places)}" for e in each if e["row"] == row["row"]}
        rank = f"{name} of {row['n']} by {score.name}, mean over the models {number(row['v'], places)}"
        out_rows.append(panels.Shown(row["row"], rank if len(models) > 1 else f"{name} of {row['n']} by {score.name}", scores))
    return out_rows
