"""The columns of a probe: a table of means with intervals, and a figure of each.

One degradation or one network: one axis, means at the left and paired differences at the right. Both: the longer list goes down and the
shorter one makes the panels. Too many dots: a heat map.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from xlli_ray.report import figures
from xlli_ray.report.figures import Panel
from xlli_ray.report.numbers import FEW, Summary, summarise
from xlli_ray.report.parts import Context, Figure, Line, Scalar, Section, Value
from xlli_ray.stats.bootstrap import Interval

DOTS = 160
"""More dots than this in one figure become a heat map."""
SIGNIFICANT = -1
"""In place of a number of decimals: three significant digits."""
_NUMBERS = ("float64", "int64", "bool")
_Key = tuple[str, str]


def add_scalars(context: Context, out: Section) -> None:
    """Fill `shown`, `lines`, `figures`, `notes` and `query` of a section whose probe has columns."""
    labels = list(context.families)
    counts = context.tables.rows(
        f"select count(*) filter (where status = 'ok') as good, count(*) as rows from \"{out.kind}\" where stage = ?", [out.id]
    )[0]
    if not counts["good"]:
        out.notes.append(f"No sample has been measured yet ({counts['rows']} rows, none of them valid).")
        return
    summaries: list[Summary] = []
    constant: list[str] = []
    for column in out.columns:
        if column.place:
            continue
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
        if (same := _same(summary)) is not None:
            constant.append(f"{column.name} {same:.4g}")
            continue
        out.shown.append(column)
        summaries.append(summary)
    if constant:
        out.notes.append(f"The same everywhere: {', '.join(constant)}.")
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
    means = ", ".join(f"avg({context.tables.name(column.name)})" for column in out.shown)
    out.query = (
        f"select model, label, {means} from {context.tables.name(out.kind)} join samples using (sample_id) "
        f"where stage = '{out.id}' and status = 'ok' group by all order by all"
    )


def _same(summary: Summary) -> float | None:
    """The value that all intervals shrink to, None where there is no such: a figure of it would show a column of equal dots."""
    ends = {value for item in summary.values.values() for value in (item.mean, item.low, item.high)}
    return ends.pop() if len(ends) == 1 and len(summary.values) > 1 else None


def _texts(context: Context, out: Section, column: Scalar) -> None:
    """A column of words: the most frequent ones, as a note."""
    found = context.tables.rows(
        f'select "{column.name}" as text, count(*) as n from "{out.kind}" where stage = ? and status = \'ok\' '
        "group by all order by n desc, text limit 6",
        [out.id],
    )
    if found:
        listed = ", ".join(f"{row['text'] or 'empty'} ({row['n']})" for row in found[:5])
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
