"""Findings: the one to three sentences that say what an analysis found, made from its stored tables when a page is written.

They are the first thing on the page of a study. An analysis that has them defines `findings` (`analyses.analysis.Telling`), a pure function
of an `Outcome`; nothing of them is stored, so they can be had of results computed before there were any.

Rules. A sentence has the number, its interval, and how many of which unit it is over. It says no more than the number: an interval that
contains "no difference" shows none, and without an interval (fewer than three photographs, clips or trainings) nothing is shown either.
A warning that would change how the sentence is read is its `flag`. The largest of many comparisons is called that, with their number.
A sentence is for readers who know the field and not this program: abbreviations are expanded where they first stand on the screen, tags and
columns are said in words, and networks that were never trained are no competitors. What is about all sentences (that a result is out of
date) is said once above them, not here.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa

from xlli_ray.errors import counted

LONGEST = 80
"""Characters of a name in a sentence; the tables have the whole name."""
NAMED = 4
"""Names in one enumeration; of the others, their number."""
Row = Mapping[str, Any]


@dataclass(frozen=True)
class Behind:
    """The samples behind a sentence: those of a stage, sorted by a column of one network, or by the difference of two."""

    stage: str
    column: str
    model: str = ""
    minus: str = ""
    """Subtracted; "" for none."""
    label: str = ""
    """Only this degradation; "" for all."""


@dataclass(frozen=True)
class Finding:
    """One sentence or two about one figure. All of it is plain text."""

    text: str
    figure: str = ""
    """Name of the figure of the result that shows it; "" for none."""
    flag: str = ""
    """What would change the reading; "" for nothing."""
    behind: Behind | None = None
    """None: the samples of the stages that the analysis read."""
    points: str = ""
    """Name of a figure whose points are the samples behind it, where those stages have no numbers; "" for none."""


@dataclass(frozen=True)
class Outcome:
    """A stored result: its parameters, tables by name, and the names of its figures. `untrained`: ids of networks that learned nothing."""

    params: Mapping[str, Any]
    tables: Mapping[str, pa.Table]
    figures: Sequence[str] = ()
    untrained: Collection[str] = ()

    def rows(self, table: str) -> list[dict[str, Any]]:
        """The rows of a table; none where an older result has no such table."""
        return self.tables[table].to_pylist() if table in self.tables else []

    def figure(self, *names: str) -> str:
        """The first of `names` that the result has, "" if it has none of them."""
        return next((name for name in names if name in self.figures), "")

    def estimate(self, row: Row, value: str, low: str, high: str, over: str, *, unit: str = "", neutral: float = 0.0) -> Estimate:
        """The number in the columns `value`, `low`, `high` of a row; the level is that of the analysis."""
        return Estimate(row[value], row[low], row[high], over, unit, neutral, float(self.params.get("level", 0.95)))


@dataclass(frozen=True)
class Estimate:
    """A number with its interval. `over`: what it is over, as `15 photographs`. `neutral`: no difference; 0, or 1 of a ratio. `digits`:
    decimals, if they keep the interval's ends off `neutral` and each other."""

    value: float
    low: float | None
    high: float | None
    over: str
    unit: str = ""
    neutral: float = 0.0
    level: float = 0.95
    digits: int = 2

    @property
    def shown(self) -> bool:
        """Whether there is an interval, and it does not contain `neutral`."""
        return self.low is not None and self.high is not None and not self.low <= self.neutral <= self.high

    @property
    def text(self) -> str:
        """`0.43 dB (95 % interval 0.32 to 0.53; 37 clips)`."""
        return f"{self._said(self.value)} ({self._about()})"

    def flipped(self) -> Estimate:
        """Of the opposite difference, or of the inverse ratio."""
        low, high = (None if self.low is None else self._opposite(self.low)), (None if self.high is None else self._opposite(self.high))
        return replace(self, value=self._opposite(self.value), low=high, high=low)

    def percent(self, unit: str = "%") -> Estimate:
        """Of a share, in per cent; of a difference of shares, with `unit="percentage points"`."""
        low, high = (None if end is None else 100 * end for end in (self.low, self.high))
        return replace(self, value=100 * self.value, low=low, high=high, unit=unit, digits=0)

    def against(self, other: str, role: str = "", *, after: Estimate | None = None) -> str:
        """A difference: `0.43 dB more than b, the second (…)`, or that none is shown.

        `role`: what `other` is. `after`: stands before this in the sentence; what it is over is not repeated.
        """
        if not self.shown:
            return f"no difference from {other}{f', {role},' if role else ''} is shown ({self._said(self.value)}, {self._about(after)})"
        size = self if self.value > 0 else self.flipped()
        more = "more" if self.value > 0 else "less"
        return f"{size._said(size.value)} {more} than {other}{f', {role}' if role else ''} ({size._about(after)})"

    def times(self, other: str, role: str = "", *, after: Estimate | None = None) -> str:
        """A ratio, likewise: `2.10 times that of b (…)`, or that no difference is shown."""
        if not self.shown:
            name = f"{other}, {role}," if role else other
            return f"no difference from {name} is shown (ratio {self._fixed(self.value)}, {self._about(after)})"
        return f"{self._fixed(self.value)} times that of {other}{f', {role}' if role else ''} ({self._about(after)})"

    def _about(self, after: Estimate | None = None) -> str:
        """Interval and number, as they stand in parentheses."""
        number = "" if after is not None and after.over == self.over else f"; {self.over}"
        if self.low is None or self.high is None or not (math.isfinite(self.low) and math.isfinite(self.high)):
            return f"no interval{number}"
        level = "" if after is not None and after.low is not None and after.level == self.level else f"{100 * self.level:g} % "
        return f"{level}interval {self._fixed(self.low)} to {self._fixed(self.high)}{number}"

    def _opposite(self, number: float) -> float:
        return (1 / number if number else math.inf) if self.neutral else -number

    def _said(self, number: float) -> str:
        return f"{self._fixed(number)} {self.unit}".rstrip()

    def _fixed(self, number: float) -> str:
        """With as many decimals as keep the interval's ends off `neutral`, and off each other."""
        given = [one for one in (self.value, self.low, self.high) if one is not None and math.isfinite(one)]
        first = min(1 if max(map(abs, given), default=0) >= 100 else 2, self.digits)
        off = [one - self.neutral for one in given if one != self.neutral]
        told = (digits for digits in range(first, 4) if all(abs(one) >= 0.5 * 10**-digits for one in off) and _apart(given, digits))
        digits = next(told, 4)
        return fixed(number, digits)


def _apart(numbers: Sequence[float], digits: int) -> bool:
    """Whether numbers that differ are written differently."""
    return len({fixed(one, digits) for one in numbers}) == len(set(numbers))


def fixed(number: float, digits: int = 2) -> str:
    """With a true minus, and none before a zero."""
    return format(number, f"z.{digits}f").replace("-", "−")


def over(row: Row, **units: str) -> str:
    """`3 trainings, 37 clips`: `trainings="training", clips="clip"`, columns and what they count. One training is not said."""
    some = [(row.get(column), noun) for column, noun in units.items()]
    return ", ".join(counted(int(number), noun) for number, noun in some if number is not None and (number != 1 or noun != "training"))


def named(name: object) -> str:
    """A name from the study: no characters that cannot be seen or that turn the text, and not longer than LONGEST."""
    text = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in str(name))
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def group_named(name: object) -> str:
    """A group of networks in words: `args=patch` is “patch”, `count=8` is count 8; several tags keep their names."""
    tags = [part.partition("=") for part in str(name).split(", ")]
    if not all(equals and value for _, equals, value in tags):
        return named(name)
    if len(tags) == 1 and re.fullmatch(r"[^\d\W]\w*", tags[0][2]) and tags[0][2].lower() not in ("true", "false"):
        return named(f"“{tags[0][2]}”")
    return named(", ".join(f"{tag} {value}" for tag, _, value in tags))


def listed(names: Iterable[object]) -> str:
    """`a, b and c`; the first NAMED of many."""
    known = [named(name) for name in names]
    if len(known) > NAMED:
        return f"{', '.join(known[:NAMED])} and {len(known) - NAMED} more"
    return " and ".join([", ".join(known[:-1]), known[-1]] if len(known) > 1 else known)


def pair_of(rows: Iterable[Row], one: str, other: str, names: tuple[str, str] = ("model", "other")) -> tuple[Row, bool] | None:
    """(the row about this pair, whether it has the pair the other way round); None where there is none."""
    for row in rows:
        if (row[names[0]], row[names[1]]) == (one, other):
            return row, False
        if (row[names[0]], row[names[1]]) == (other, one):
            return row, True
    return None


def difference(
    outcome: Outcome, rows: Iterable[Row], one: str, other: str, columns: tuple[str, str, str], units: Mapping[str, str], *,
    names: tuple[str, str] = ("model", "other"), unit: str = "", neutral: float = 0.0,
) -> Estimate | None:  # fmt: skip
    """`one` minus `other` (or their ratio, with `neutral=1`) from a table of pairs, whichever way round the table has it."""
    found = pair_of(rows, one, other, names)
    if found is None or found[0][columns[0]] is None:
        return None
    made = outcome.estimate(found[0], *columns, over(found[0], **units), unit=unit, neutral=neutral)
    return made.flipped() if found[1] else made


def flags(*said: str) -> str:
    """Those that are not empty, as one."""
    return "; ".join(dict.fromkeys(one for one in said if one))
