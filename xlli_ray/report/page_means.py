"""Means with intervals for the page: moments over photographs by SQL, ends by `stats.intervals`.

The photograph is the unit, as in every analysis: the mean of its values (patches, windows) is taken first, photographs weigh the same. A
network's copies of a photograph under several degradations are averaged apart. A difference of two networks is taken value by value, where
both have one, then averaged over each photograph: photographs differ by many dB, networks on the same photograph by tenths.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from xlli_ray.corpus.degradations import is_real
from xlli_ray.stats.intervals import UNLIMITED, Interval, Limits, ends, refusal
from xlli_ray.stats.network_pairs import compared
from xlli_ray.store.records.manifest import NO_MODEL
from xlli_ray.store.tables.sql import PHOTOGRAPHS, quoted, text
from xlli_ray.store.tables.study_tables import connect
from xlli_ray.study import Study

LEVEL = 0.95

Pairing = Literal["models", "labels"]


class Tables:
    """One connection for all the queries of a page; a study's own `sql` opens one each time."""

    def __init__(self, study: Study) -> None:
        self._connection = connect(study.archive)

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def name(self, text: str) -> str:
        """`text` as an SQL name, in quotes only where it needs them."""
        plain = re.fullmatch(r"[a-z_][a-z0-9_]*", text) and text not in self._keywords
        return text if plain else quoted(text)

    @cached_property
    def _keywords(self) -> set[str]:
        rows = self.rows("select keyword_name as word from duckdb_keywords() where keyword_category <> 'unreserved'")
        return {row["word"] for row in rows}

    def arrow(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        """The result of one statement; `values` stand for its `?`."""
        return self._connection.query(sql, values)

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """As `arrow`, as dictionaries."""
        return self.arrow(sql, values).to_pylist()


@dataclass(frozen=True)
class Difference:
    """`other` minus `one`, on the same values."""

    one: str
    other: str
    where: str
    """The degradation that both networks saw; of two degradations, the network that saw both."""
    interval: Interval

    @property
    def name(self) -> str:
        """`b − a`."""
        return f"{self.other} − {self.one}"


@dataclass(frozen=True)
class Summary:
    """One scalar column of one stage. Keys are (model or NO_MODEL, degradation label); what was never measured has no key."""

    column: str
    values: dict[tuple[str, str], Interval]
    differences: list[Difference]
    """`models`: pairs of networks under each degradation. `labels`: each degradation minus the first, of the only network; none for real
    sets, which hold other contents."""
    pairing: Pairing | None
    missing: int
    """Rows measured without a number (NaN or null)."""
    infinite: int
    """Rows left out because they are infinite: PSNR of an exact copy."""


@dataclass(frozen=True)
class Asked:
    """What is summarised: numeric or bool columns of the SQL table `kind`, of one stage."""

    kind: str
    stage: str
    columns: Mapping[str, Limits]
    """Name → the limits of its values."""
    places: Sequence[str] = ()
    """Columns that tell several rows of a sample apart, as the number of a window."""

    @property
    def source(self) -> str:
        """SQL for the measured rows, with two `?` for the stage. Of a stage whose models have several cells with scalars, only the first
        by name is taken: the others are its controls."""
        table = quoted(self.kind)
        return f"{table} t where t.stage = ? and t.what = (select min(what) from {table} where stage = ?) and t.status = 'ok'"


HELD = 4_000_000
"""Values that one query takes up: columns of small tables are summarised together, of large ones one at a time."""
_MEASURED = """
picked as (select t.row, t.model{places}, {columns} from {source}),
numbered as (from picked unpivot (v for number in ({numbers}))),
measured as (
  select number::integer as number, coalesce(p.model, {no_model}) as model, s.label, s.photograph, hash(s.content{own}) as own,
         avg(p.v) as v, count(*) as n
  from numbered p join {photographs} s on p.row = s.row where isfinite(p.v) group by all
)"""
"""Each column's value of a content, in long form: `number` is the place of the column among those asked."""
_MOMENTS = """
select {by}, count(*) as photographs, sum(n) as n, min(least) + avg(m - least) as mean,
       sqrt(sum(d * d) / greatest(count(*) - 1, 1)) as spread, avg(d * d * d) as third
from (
  select *, m - least - avg(m - least) over (partition by {by}) as d
  from (select *, min(m) over (partition by {by}) as least from per)
) group by {by} order by all
"""
"""About the least photograph's mean: photographs that are all alike then have exactly their value, and no spread."""


def summarise(
    tables: Tables, asked: Asked, *, models: Sequence[str], labels: Sequence[str], against: str | None = None, apart: Collection[str] = ()
) -> list[Summary]:
    """Means, intervals and differences of each column asked, per model and label.

    `against`: the model that each other is compared with; None: every pair of a few models, the first with each other of many.
    `apart`: models without differences, unless `against` is one of them.
    """
    alike = [label for label in labels if not is_real(label)]  # of these, and not of real sets, the contents are the same
    others = [model for model in models if model not in apart or model == against]
    pairing: Pairing | None = "models" if len(others) > 1 else "labels" if len(alike) > 1 else None
    pairs: list[tuple[str, str]] = []
    if pairing is not None:
        pairs = compared(others, against if against in models else None) if pairing == "models" else [(alike[0], x) for x in alike[1:]]
    rows, left_out = _left_out(tables, asked)
    at_once = max(1, HELD // max(rows, 1))
    names, out = list(asked.columns), list[Summary]()
    for first in range(0, len(names), at_once):
        some = names[first : first + at_once]
        measured, stage = _measured(asked, some), [asked.stage, asked.stage]
        means = _means(tables, measured, stage, [asked.columns[name] for name in some])
        between = _between(tables, measured, stage, pairing, pairs) if pairing is not None and means else {}
        for number, name in enumerate(some):
            values = {(model, label): item for (which, model, label), item in means.items()
                      if which == number and model in models and label in labels}  # fmt: skip
            places = labels if pairing == "models" else others
            differences = [Difference(*pair, place, between[number, *pair, place])
                           for place in places for pair in pairs if (number, *pair, place) in between]  # fmt: skip
            size = max((abs(item.mean) for item in values.values()), default=0.0)
            if not values or all(abs(item.interval.mean) <= 1e-12 * size for item in differences):
                differences = []  # the same everywhere, but for the rounding of sums: nothing to compare
            out.append(Summary(name, values, differences, pairing if differences else None, *left_out[name]))
    return out


def _left_out(tables: Tables, asked: Asked) -> tuple[int, dict[str, tuple[int, int]]]:
    """Measured rows; of each column, how many of them have no number, and how many an infinite one."""
    counts = "".join(
        f", count(*) filter (where {value} is null or isnan({value})) as missing{i}, count(*) filter (where isinf({value})) as infinite{i}"
        for i, value in enumerate(map(_value, asked.columns))
    )
    (found,) = tables.rows(f"select count(*) as rows{counts} from {asked.source}", [asked.stage, asked.stage])
    return found["rows"], {name: (found[f"missing{i}"], found[f"infinite{i}"]) for i, name in enumerate(asked.columns)}


def _value(column: str) -> str:
    return f"cast(t.{quoted(column)} as double)"


def _measured(asked: Asked, columns: Sequence[str]) -> str:
    """See `_MEASURED`."""
    places = [(f"place{i}", f"coalesce(cast(t.{quoted(name)} as varchar), '')") for i, name in enumerate(asked.places)]
    numbers = [quoted(str(number)) for number in range(len(columns))]
    return _MEASURED.format(
        places="".join(f", {value} as {name}" for name, value in places), own="".join(f", p.{name}" for name, _ in places),
        columns=", ".join(f"{_value(name)} as {number}" for name, number in zip(columns, numbers)), numbers=", ".join(numbers),
        source=asked.source, no_model=text(NO_MODEL), photographs=PHOTOGRAPHS,
    )  # fmt: skip


def _means(tables: Tables, measured: str, stage: Sequence[str], limits: Sequence[Limits]) -> dict[tuple[Any, ...], Interval]:
    """(number, model, label) → mean over photographs."""
    per = "per as (select number, model, label, photograph, sum(v * n) / sum(n) as m, sum(n) as n from measured group by all)"
    moments = tables.arrow(f"with {measured}, {per} {_MOMENTS.format(by='number, model, label')}", stage)
    return _intervals(moments, ("number", "model", "label"), limits)


def _between(
    tables: Tables, measured: str, stage: Sequence[str], pairing: Pairing, pairs: Sequence[tuple[str, str]]
) -> dict[tuple[Any, ...], Interval]:
    """(number, one, other, where) → mean over photographs of other minus one."""
    same, fixed = ("model", "label") if pairing == "models" else ("label", "model")
    per = f"""
        pairs(one, other) as (values {", ".join("(?, ?)" for _ in pairs)}),
        per as (
          select a.number, p.one, p.other, a.{fixed} as place, a.photograph, avg(b.v - a.v) as m, count(*) as n
          from pairs p join measured a on a.{same} = p.one
          join measured b on b.{same} = p.other and b.{fixed} = a.{fixed} and b.own = a.own and b.number = a.number group by all
        )"""
    by = "number, one, other, place"
    moments = tables.arrow(f"with {measured}, {per} {_MOMENTS.format(by=by)}", [*stage, *(name for pair in pairs for name in pair)])
    return _intervals(moments, by.split(", "), [], difference=True)


def _intervals(
    table: pa.Table, keys: Sequence[str], limits: Sequence[Limits], *, difference: bool = False
) -> dict[tuple[Any, ...], Interval]:
    """By the values of `keys`, the first of which is the number of a column: the interval of each row of moments. `limits`: of each
    column; empty: none has any."""
    if not table.num_rows:
        return {}
    out: dict[tuple[Any, ...], Interval] = {}
    numbers = np.array(table["number"].to_pylist())
    # `to_numpy` loads pandas
    moments = [np.array(table[name].to_pylist(), dtype=np.float64) for name in ("mean", "spread", "third", "photographs")]
    named = list(zip(*(table[name].to_pylist() for name in keys)))
    counts = list(zip(table["photographs"].to_pylist(), table["n"].to_pylist()))
    for number in np.unique(numbers).tolist():
        (mine,) = np.nonzero(numbers == number)
        own = limits[number] if limits else UNLIMITED
        low, high = ends(*(moment[mine] for moment in moments), level=LEVEL, limits=own, difference=difference)
        for place, a, b in zip(mine.tolist(), low, high):
            n, v = counts[place]
            out[named[place]] = Interval(float(moments[0][place]), float(a), float(b), n, int(v), refusal(n))
    return out
