"""Means with intervals for the page: read through one SQL connection, resampled over contents.

A *content* is one picture or patch; its degraded copies share it, and so do all models. So the interval of a mean says what another
choice of pictures would have given, and a difference between two models is taken content by content before it is averaged: pictures
differ by many dB, models on the same picture by tenths.

Percentile bootstrap, 2.5 % and 97.5 % of 2,000 resamples of the contents (Efron and Tibshirani, 1993, ch. 13), one fixed seed, the same
draws for every model, degradation and column. Above 2,000 contents they are dealt into 2,000 groups that are resampled whole, which
estimates the same variance. With few contents the interval is a rough guide: the page says how many there were.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from types import TracebackType
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from xlli_ray.corpus.degradations import REAL, is_real
from xlli_ray.stats.bootstrap import Interval, bounds, resample, resampled_means
from xlli_ray.store.tables import connect
from xlli_ray.study import Study

RESAMPLES = 2000
UNITS = 2000
SEED = 0
FEW = 10
"""Below this many contents the page warns about intervals."""

Pairing = Literal["models", "labels"]


class Tables:
    """One connection for all the queries of a page; a study's own `sql` opens one each time."""

    def __init__(self, study: Study) -> None:
        self._connection = connect(study.objects, study.manifest)

    def __enter__(self) -> Tables:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._connection.close()

    def name(self, text: str) -> str:
        """`text` as an SQL name, in quotes only where it needs them."""
        plain = re.fullmatch(r"[a-z_][a-z0-9_]*", text) and text not in self._keywords
        return text if plain else f'"{text}"'

    @cached_property
    def _keywords(self) -> set[str]:
        rows = self.rows("select keyword_name as word from duckdb_keywords() where keyword_category <> 'unreserved'")
        return {row["word"] for row in rows}

    def arrow(self, sql: str, values: Sequence[Any] = ()) -> pa.Table:
        """The result of one statement; `values` stand for its `?`."""
        return self._connection.sql(sql, params=list(values)).to_arrow_table()

    def rows(self, sql: str, values: Sequence[Any] = ()) -> list[dict[str, Any]]:
        """As `arrow`, as dictionaries."""
        return self.arrow(sql, values).to_pylist()


@dataclass(frozen=True)
class Summary:
    """One scalar column of one stage. Keys are (model, degradation label); what was never measured has no key."""

    column: str
    values: dict[tuple[str, str], Interval]
    paired: dict[tuple[str, str], Interval]
    """`models`: difference from the mean over all models. `labels`: change from the first label. Same contents on both sides, so none for
    real sets."""
    pairing: Pairing | None
    missing: int
    """Rows measured without a number (NaN or null)."""
    infinite: int
    """Rows left out because they are infinite: PSNR of an exact copy."""


def summarise(tables: Tables, kind: str, stage: str, column: str, *, models: Sequence[str], labels: Sequence[str]) -> Summary:
    """Means and intervals of `column` (a number or a bool) of the SQL table `kind`, per model and label.

    Of a stage whose models have several cells with scalars, only the first by name is taken: the others are its controls.
    """
    alike = [label for label in labels if not is_real(label)]  # of these labels, and not of real sets, the contents are the same
    pairing: Pairing | None = "models" if len(models) > 1 else "labels" if len(alike) > 1 else None
    of = f" and not starts_with(label, '{REAL}')" if pairing == "labels" else ""
    value = f'cast(t."{column}" as double)'
    together, size = ("content, model", len(alike)) if pairing == "labels" else ("content, label", len(models))
    main = f'(select min(what) from "{kind}" where stage = ?)'
    table = tables.arrow(
        f"""
        with per as (
          select t.model, s.label, s.content, avg({value}) as v
          from "{kind}" t join samples s on t.row = s.row
          where t.stage = ? and t.what = {main} and t.status = 'ok' and isfinite({value}) group by all
        ),
        units as (
          select content, (row_number() over (order by content) - 1) % {UNITS} as unit from (select distinct content from per)
        ),
        counted as (select *, count(*) over (partition by {together}) = {size}{of} as whole from per)
        select model, label, unit, sum(v) as s, count(*) as n,
               coalesce(sum(v) filter (where whole), 0) as ps, count(*) filter (where whole) as pn
        from counted join units using (content) group by all order by all
        """,
        [stage, stage],
    )
    left_out = tables.rows(
        f"select count(*) filter (where {value} is null or isnan({value})) as missing, "
        f"count(*) filter (where isinf({value})) as infinite from \"{kind}\" t where stage = ? and what = {main} and status = 'ok'",
        [stage, stage],
    )[0]
    shape = (int(np.max(table["unit"].to_numpy(), initial=-1)) + 1, len(models), len(labels))
    cubes = _cubes(table, shape, models, labels)
    values = _intervals(cubes["s"], cubes["n"], models, labels)
    paired: dict[tuple[str, str], Interval] = {}
    if pairing is not None and shape[0]:
        sums = cubes["ps"]
        reference = sums.mean(axis=1, keepdims=True) if pairing == "models" else sums[:, :, :1]
        paired = _intervals(sums - reference, cubes["pn"], models, labels)
        size_of_values = max((abs(item.mean) for item in values.values()), default=0.0)
        if all(abs(item.mean) <= 1e-12 * size_of_values for item in paired.values()):
            paired = {}  # the same everywhere, but for the rounding of sums: nothing to compare
    return Summary(column, values, paired, pairing if paired else None, left_out["missing"], left_out["infinite"])


def _cubes(table: pa.Table, shape: tuple[int, int, int], models: Sequence[str], labels: Sequence[str]) -> dict[str, np.ndarray]:
    """float64 (units, models, labels) of each sum and count."""
    where = {name: {text: i for i, text in enumerate(texts)} for name, texts in (("model", models), ("label", labels))}
    places = (
        table["unit"].to_numpy(),
        np.array([where["model"].get(text, -1) for text in table["model"].to_pylist()], dtype=np.int64),
        np.array([where["label"].get(text, -1) for text in table["label"].to_pylist()], dtype=np.int64),
    )
    known = (places[1] >= 0) & (places[2] >= 0)
    out = {}
    for name in ("s", "n", "ps", "pn"):
        out[name] = np.zeros(shape)
        out[name][tuple(place[known] for place in places)] = table[name].to_numpy()[known]
    return out


def _intervals(sums: np.ndarray, counts: np.ndarray, models: Sequence[str], labels: Sequence[str]) -> dict[tuple[str, str], Interval]:
    units = len(sums)
    totals = counts.sum(axis=0)
    if not units or not totals.any():
        return {}
    low, high = bootstrap(sums.reshape(units, -1), counts.reshape(units, -1))
    with np.errstate(invalid="ignore", divide="ignore"):
        means = sums.sum(axis=0) / totals
    low, high = low.reshape(means.shape), high.reshape(means.shape)
    out = {}
    for i, model in enumerate(models):
        for k, label in enumerate(labels):
            if number := int(totals[i, k]):
                alone = number < 2
                ends = (float("nan"), float("nan")) if alone else (float(low[i, k]), float(high[i, k]))
                out[model, label] = Interval(float(means[i, k]), *ends, number)
    return out


def bootstrap(sums: np.ndarray, counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the mean of each column.

    `sums`, `counts`: float64 (units, groups), the sum and the number of values of each unit; units are drawn with replacement. Returns
    low and high, float64 (groups,); NaN for a group without values.
    """
    draws = resample(len(sums), RESAMPLES, np.random.default_rng(SEED))
    return bounds(resampled_means(sums, counts, draws))
