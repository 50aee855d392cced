"""Means with intervals for the page: moments over photographs by SQL, ends by `stats.intervals`.

The photograph is the unit, as in every analysis: the mean of its values (patches, windows) is taken first, photographs weigh the same. A
network's copies of a photograph under several degradations are averaged apart. A difference of two networks is taken value by value, where
both have one, then averaged over each photograph: photographs differ by many dB, networks on the same photograph by tenths.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
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
    """What is summarised: a numeric or bool column of the SQL table `kind`, of one stage."""

    kind: str
    stage: str
    column: str
    limits: Limits = UNLIMITED
    places: Sequence[str] = ()
    """Columns that tell several rows of a sample apart, as the number of a window."""


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
) -> Summary:
    """Means, intervals and differences of a column, per model and label.

    Of a stage whose models have several cells with scalars, only the first by name is taken: the others are its controls. `against`: the
    model that each other is compared with; None: every pair of a few models, the first with each other of many.
    `apart`: models without differences, unless `against` is one of them.
    """
    value, source = f"cast(t.{quoted(asked.column)} as double)", quoted(asked.kind)
    main = f"(select min(what) from {source} where stage = ?)"
    of = f"{source} t where t.stage = ? and t.what = {main} and t.status = 'ok'"
    own = ", ".join(["s.content", *(f"coalesce(cast(t.{quoted(name)} as varchar), '')" for name in asked.places)])
    measured = f"""
        measured as (
          select coalesce(t.model, {text(NO_MODEL)}) as model, s.label, s.photograph, hash({own}) as own, avg({value}) as v, count(*) as n
          from (select * from {of}) t join {PHOTOGRAPHS} s on t.row = s.row where isfinite({value}) group by all
        )"""
    stage = [asked.stage, asked.stage]
    per = "per as (select model, label, photograph, sum(v * n) / sum(n) as m, sum(n) as n from measured group by all)"
    moments = tables.arrow(f"with {measured}, {per} {_MOMENTS.format(by='model, label')}", stage)
    values = {(model, label): item for (model, label), item in _intervals(moments, ("model", "label"), asked.limits).items()
              if model in models and label in labels}  # fmt: skip
    left_out = tables.rows(
        f"select count(*) filter (where {value} is null or isnan({value})) as missing, count(*) filter (where isinf({value})) as infinite "
        f"from {of}", stage
    )[0]  # fmt: skip

    alike = [label for label in labels if not is_real(label)]  # of these, and not of real sets, the contents are the same
    others = [model for model in models if model not in apart or model == against]
    pairing: Pairing | None = "models" if len(others) > 1 else "labels" if len(alike) > 1 else None
    differences: list[Difference] = []
    if pairing is not None and values:
        pairs = compared(others, against if against in models else None) if pairing == "models" else [(alike[0], x) for x in alike[1:]]
        same, fixed = ("model", "label") if pairing == "models" else ("label", "model")
        listed = ", ".join("(?, ?)" for _ in pairs)
        per = f"""
            pairs(one, other) as (values {listed}),
            per as (
              select p.one, p.other, a.{fixed} as place, a.photograph, avg(b.v - a.v) as m, count(*) as n
              from pairs p join measured a on a.{same} = p.one
              join measured b on b.{same} = p.other and b.{fixed} = a.{fixed} and b.own = a.own group by all
            )"""
        moments = tables.arrow(f"with {measured}, {per} {_MOMENTS.format(by='one, other, place')}",
                             [*stage, *(name for pair in pairs for name in pair)])  # fmt: skip
        between = _intervals(moments, ("one", "other", "place"), UNLIMITED, difference=True)
        places = labels if pairing == "models" else others
        differences = [Difference(*pair, place, between[*pair, place]) for place in places for pair in pairs if (*pair, place) in between]
        size = max(abs(item.mean) for item in values.values())
        if all(abs(item.interval.mean) <= 1e-12 * size for item in differences):
            differences = []  # the same everywhere, but for the rounding of sums: nothing to compare
    return Summary(asked.column, values, differences, pairing if differences else None, left_out["missing"], left_out["infinite"])


def _intervals(table: pa.Table, keys: Sequence[str], limits: Limits, *, difference: bool = False) -> dict[tuple[str, ...], Interval]:
    """By the values of `keys`: the interval of each row of moments."""
    if not table.num_rows:
        return {}
    moments = ("mean", "spread", "third", "photographs")
    mean, spread, third, number = (np.array(table[name].to_pylist(), dtype=np.float64) for name in moments)  # `to_numpy` loads pandas
    low, high = ends(mean, spread, third, number, level=LEVEL, limits=limits, difference=difference)
    named = zip(*(table[name].to_pylist() for name in keys))
    counts = zip(table["photographs"].to_pylist(), table["n"].to_pylist())
    return {key: Interval(float(m), float(a), float(b), n, int(v), refusal(n))
            for key, m, a, b, (n, v) in zip(named, mean, low, high, counts)}  # fmt: skip
