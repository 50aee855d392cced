"""The columns of a probe: tables of means and of differences with their intervals, and figures of each.

One degradation or one network: one axis. Several of both: the longer list is vertical, the shorter one makes panels. Many dots: a heat map.
Differences have their own figures, one row per pair.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

import numpy as np

from xlli_ray.analyses.shared.worse_than_baseline import baselines, below_baseline
from xlli_ray.errors import counted
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.heat import Heat, grid_of
from xlli_ray.plots.view import View, to_svg
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_means import LEVEL, Asked, Summary, summarise
from xlli_ray.report.page_model import Figure, Line, Scalar, Section, Value, anchor_of
from xlli_ray.stats.intervals import FEW, FEWEST, SHARE, Interval, kind
from xlli_ray.store.records.manifest import NO_MODEL
from xlli_ray.store.tables.sql import photograph_of, quoted, text

DOTS = 160
"""More dots than this in one figure are shown as a heat map."""
SIGNIFICANT = -1
"""Instead of a number of decimals: three significant digits."""
_NUMBERS = ("float64", "int64", "bool")
_Key = tuple[str, str]


def add_scalars(context: Context, out: Section) -> None:
    """Fill `shown`, `lines`, `figures`, `notes` and `query` of a section whose probe has columns."""
    labels = list(context.families)
    counts = context.tables.rows(
        f"select count(*) filter (where status = 'ok') as good, count(*) as rows from {quoted(out.kind)} where stage = ?", [out.id]
    )[0]
    if not counts["good"]:
        out.notes.append(f"No sample has been measured yet ({counted(counts['rows'], 'row')}, none valid).")
        return
    numeric = [column for column in out.columns if not (column.place or column.detail) and column.dtype in _NUMBERS]
    limits = {column.name: SHARE if column.dtype == "bool" else column.limits for column in numeric}
    asked = Asked(out.kind, out.id, limits, [other.name for other in out.columns if other.place])
    apart = set(baselines(context.study.manifest))
    found = summarise(context.tables, asked, models=out.models, labels=labels, against=context.against, apart=apart)
    of_column = {summary.column: summary for summary in found}
    summaries: list[Summary] = []
    constant: list[str] = []
    for column in out.columns:
        if column.place or column.detail:
            continue
        if column.name not in of_column:
            _texts(context, out, column)
            continue
        summary = of_column[column.name]
        if not summary.values:
            out.notes.append(f"{column.name}: no value in {counts['good']} measured rows (perhaps there are no targets).")
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
    if kept := [column.name for column in out.columns if column.detail]:
        out.notes.append(f"In the table besides, not averaged here: {', '.join(kept)}.")
    if constant:
        out.notes.append(f"The same everywhere: {', '.join(constant)}.")
    out.summaries = summaries
    if not summaries:
        return
    present = [label for label in labels if any((model, label) in s.values for s in summaries for model in out.models)]
    out.lines = _lines(out.models, present, summaries)
    out.means = f"Mean over photographs, each weighing the same, with {kind(LEVEL)}."
    _differences(out, summaries, present)
    if out.kind == "restore":
        below = below_baseline(context.study.manifest, context.tables.arrow)
        out.notes[:0] = [f"Flag: {one.text}." for one in below if one.stage == out.id]
    _few(out, summaries)
    for column, summary in zip(out.shown, summaries):
        about = f"{column.name}: {column.words}" if column.words else column.name
        axis = f"{column.name}, {column.unit}" if column.unit else column.name
        for view, more in _draw(context, out.models, present, _told(summary), axis):
            place = anchor_of(out.id, column.name)
            anchor = "" if any(figure.anchor == place for figure in out.figures) else place
            out.figures.append(Figure(to_svg(view), f"{about.rstrip('.')}. {more}".strip(), view=view, anchor=anchor))
    names = [context.tables.name(column.name) for column in out.shown]
    finite = ", ".join(f"avg({name}) filter (where isfinite({name}::double)) as {name}" for name in names)
    what = f" and what = {text(_main(context, out))}" if len(out.models) else ""
    model = "" if out.without_model else "model, "
    out.query = (
        f"select {model}label, count(*) as photographs, {', '.join(f'avg({name})' for name in names)} from (select {model}label, "
        f"{photograph_of()} as photograph, {finite} from {context.tables.name(out.kind)} join samples using (sample_id) "
        f"where stage = {text(out.id)}{what} and status = 'ok' group by all) group by {model}label order by all"
    )


def _main(context: Context, out: Section) -> str:
    """The cell that is averaged: the first by name; the others are its controls."""
    return str(context.tables.rows(f"select min(what) as what from {quoted(out.kind)} where stage = ?", [out.id])[0]["what"])


def _few(out: Section, summaries: Sequence[Summary]) -> None:
    """Notes on means over few photographs."""
    over = [item.photographs for summary in summaries for item in summary.values.values()]
    if min(over) < FEWEST:
        out.notes.append(f"Means over fewer than {FEWEST} photographs have no interval.")
    if any(FEWEST <= count < FEW for count in over):
        fewest = min(count for count in over if count >= FEWEST)
        out.notes.append(
            f"Means over as few as {fewest} photograph{'' if fewest == 1 else 's'}: below {FEW}, coverage for skewed quantities is "
            "below their level (docs/decisions/009-intervals.md)."
        )


def _same(summary: Summary) -> float | None:
    """The common value of all means without spread, if there is one: a figure of it would be a column of equal dots."""
    means = [item.mean for item in summary.values.values()]
    near = 1e-12 * max(map(abs, means))
    spread = max(means) - min(means) > near or not all(
        min(item.mean - item.low, item.high - item.mean) <= near for item in summary.values.values() if np.isfinite(item.low)
    )
    return None if spread or len(means) < 2 else means[0]


def _texts(context: Context, out: Section, column: Scalar) -> None:
    """A column of words: the most frequent ones, as a note."""
    rows = context.tables.rows(
        f"select {quoted(column.name)} as text, count(*) as n from {quoted(out.kind)} where stage = ? and status = 'ok' "
        "group by all order by n desc, text limit 6",
        [out.id],
    )
    if rows:
        listed = ", ".join(f"{row['text'] or 'empty'} ({row['n']})" for row in rows[:5])
        out.notes.append(f"{column.name}: {listed}{', …' if len(rows) > 5 else ''}.")


def digits(values: Sequence[float]) -> int:
    """Number of decimals for numbers of this size: 32.25, 0.8948, 1234.5; SIGNIFICANT if none fits."""
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
            intervals_of_line = [summary.values.get((model, label)) for summary in summaries]
            if any(intervals_of_line):
                places = [digits([item.mean for item in summary.values.values()]) for summary in summaries]
                out.append(_line(model, label, intervals_of_line, places))
    return out


def _differences(out: Section, summaries: Sequence[Summary], labels: Sequence[str]) -> None:
    """One line per pair: `b − a`, value by value."""
    known = [summary for summary in summaries if summary.differences]
    if not known:
        return
    out.pairing = known[0].pairing or ""
    keys = dict.fromkeys((item.where, item.name) for summary in known for item in summary.differences)
    order = labels if out.pairing == "models" else out.models
    for where, name in sorted(keys, key=lambda key: order.index(key[0])):
        intervals_found, places = [], []
        for summary in summaries:
            at = {(item.where, item.name): item.interval for item in summary.differences}
            size = digits([item.mean for item in summary.values.values()])
            intervals_found.append(at.get((where, name)))
            places.append(size + (size == 2))  # networks differ by hundredths of a dB
        out.differences.append(_line(name, where, intervals_found, places, sign=True))
    what = "the second network minus the first" if out.pairing == "models" else "each degradation minus the first"
    out.apart = f"Differences, {what}, value by value, mean over photographs, with {kind(LEVEL, difference=True)}."


def _line(name: str, place: str, intervals: Sequence[Interval | None], places: Sequence[int], *, sign: bool = False) -> Line:
    photographs = max(item.photographs for item in intervals if item is not None)
    numbers = max(item.values for item in intervals if item is not None)
    values = [None if item is None else _value(item, size, photographs, sign=sign) for item, size in zip(intervals, places)]
    return Line(name, place, photographs, numbers, values)


def _value(item: Interval, places: int, photographs: int, *, sign: bool) -> Value:
    ends = f"{number(item.low, places, sign=sign)} … {number(item.high, places, sign=sign)}" if np.isfinite(item.low) else ""
    over = f"over {item.photographs} of {photographs}" if item.photographs < photographs else ""
    return Value(number(item.mean, places, sign=sign), ends, over)


def _told(summary: Summary) -> Summary:
    """With numbers of ten digits: DuckDB's threads add in any order, so the last ones of a sum differ from run to run; a figure may not."""

    def digits_of(value: float) -> float:
        return float(f"{value:.10g}")

    def told(item: Interval) -> Interval:
        return replace(item, mean=digits_of(item.mean), low=digits_of(item.low), high=digits_of(item.high))

    values = {key: told(item) for key, item in summary.values.items()}
    return replace(summary, values=values, differences=[replace(item, interval=told(item.interval)) for item in summary.differences])


def _draw(context: Context, models: Sequence[str], labels: Sequence[str], summary: Summary, axis: str) -> Iterator[tuple[View, str]]:
    """(view, addition to the column's caption): means, then differences. `axis`: the column with its unit."""
    name = summary.column
    means = f"Means over photographs with {kind(LEVEL)}."
    if len(labels) == len(models) == 1:
        pass  # one number: the table says it
    elif len(labels) == 1 or len(models) == 1:
        yield _one_axis(context, models, labels, summary, axis), means
    elif len(models) * len(labels) > DOTS:
        yield _heat(context, models, labels, summary.values, f"{name}: means"), "Means over photographs."
    else:
        # The longer list is vertical, the shorter one makes the panels: comparisons within a panel are easier.
        across, down = (models, labels) if len(labels) >= len(models) else (labels, models)
        parts = []
        for head in across:
            keys = [(head, row) if across is models else (row, head) for row in down]
            spans = [_span(summary.values, models, row) for row in down] if across is models else []
            values = tuple(summary.values.get(key) for key in keys)
            parts.append(Panel(head, axis, values, tuple(context.colour(label) for _, label in keys), tuple(spans)))
        bars = " Light bars: range of the means over all models." if across is models else ""
        yield Dots(f"{name}: means by degradation and model", tuple(down), tuple(parts)), f"{means}{bars}"
    if summary.differences:
        yield from _draw_differences(context, labels, summary, axis)


def _draw_differences(context: Context, labels: Sequence[str], summary: Summary, axis: str) -> Iterator[tuple[View, str]]:
    name, differences = summary.column, summary.differences
    rows = list(dict.fromkeys(item.name for item in differences))
    about = f"Differences, value by value, with {kind(LEVEL, difference=True)}; the line marks no difference. Unadjusted intervals."
    if summary.pairing == "labels":
        colours = tuple(context.colour(item.other) for item in differences)
        panel = Panel("", f"difference in {axis}", tuple(item.interval for item in differences), colours, zero=True)
        yield Dots(f"{name}: change from {differences[0].one}", tuple(rows), (panel,)), about
        return
    at = {(item.name, item.where): item.interval for item in differences}
    shown = [label for label in labels if any(item.where == label for item in differences)]
    if len(at) > DOTS:
        yield _heat(context, rows, shown, at, f"{name}: differences", diverging=True), "Differences, value by value, mean over photographs."
        return
    across, down = (rows, shown) if len(shown) > len(rows) else (shown, rows)
    parts = []
    for head in across:
        keys = [(head, row) if across is rows else (row, head) for row in down]
        colours = tuple(context.colour(label) for _, label in keys)
        title = head if len(shown) > 1 else ""
        parts.append(Panel(title, f"difference in {axis}", tuple(at.get(key) for key in keys), colours, zero=True))
    yield Dots(f"{name}: differences of models by degradation", tuple(down), tuple(parts)), about


def _one_axis(context: Context, models: Sequence[str], labels: Sequence[str], summary: Summary, axis: str) -> Dots:
    """One degradation, with the networks in their looks, or one network: means."""
    name, alone = summary.column, len(labels) == 1
    keys: list[_Key] = [(model, label) for label in labels for model in models]
    if alone:  # best on top is more useful than the recipe's order
        keys.sort(key=lambda key: -summary.values[key].mean if key in summary.values else np.inf)
    values = tuple(summary.values.get(key) for key in keys)
    own = list(models) == [NO_MODEL]
    if alone and not own:
        looks = [context.looks[model] for model, _ in keys]
        colours, markers = tuple(look.colour for look in looks), "".join(look.marker for look in looks)
        return Dots(f"{name} by model", tuple(model for model, _ in keys), (Panel("", axis, values, colours, markers=markers),))
    colours = tuple(context.colour(label) for _, label in keys)
    title = "" if own else models[0]
    return Dots(f"{name} by degradation", tuple(label for _, label in keys), (Panel(title, axis, values, colours),))


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
) -> Heat:
    grid = np.array([[values[m, label].mean if (m, label) in values else np.nan for label in labels] for m in models])
    places = min(max(digits(grid.ravel().tolist()), 0), 3)
    colours = tuple(context.colour(label) for label in labels)
    return Heat(title, tuple(models), tuple(labels), grid_of(grid), colours, diverging, places)
