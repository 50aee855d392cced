"""What `complexity_summary` found: which degradations are simpler than the images, by κ, and whether the measures agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xlli_ray.analyses.complexity_summary.tables import FITS, LEARNS, MEASURES
from xlli_ray.analyses.shared.findings import Finding, Outcome, named
from xlli_ray.errors import counted

_Row = dict[str, Any]
MEASURE = "k95"
"""The measure that is quoted, or else the first one."""
_EXPECTED = {FITS: "simpler than the images, so a network is expected to fit it",
             LEARNS: "more complex than the images, so a network is expected to learn these"}  # fmt: skip


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three."""
    known = [row for row in outcome.rows("complexity_kappa") if row["kappa"] is not None]
    whole = [row for row in known if row["set"] == "all"] or [row for row in known if row["set"] == known[-1]["set"]]
    if not whole:
        return
    measure = MEASURE if any(row["measure"] == MEASURE for row in whole) else whole[0]["measure"]
    rows = sorted((row for row in whole if row["measure"] == measure), key=lambda row: row["kappa"])
    for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
        yield _kappa(outcome, row, "" if len(rows) == 1 else "lowest" if row is rows[0] else "highest", len(rows))
    measures = list(dict.fromkeys(row["measure"] for row in whole))
    if len(measures) > 1:
        yield _agreement(outcome, whole, measure, measures)


def _unit(measure: str) -> str:
    return "training" if measure == "preq" else "photograph"


def _kappa(outcome: Outcome, row: _Row, which: str, count: int) -> Finding:
    said = outcome.estimate(row, "kappa", "kappa_low", "kappa_high", counted(row["n"], _unit(row["measure"]))).text
    words = MEASURES.get(row["measure"], named(row["measure"]))
    subset = "" if row["set"] == "all" else f", set {named(row['set'])}"
    of = f"{named(row['degradation'])}{f', the {which} of {count}' if which else ''}"
    expected = _EXPECTED.get(row["verdict"], "no difference between the complexity of the degradation and of the images is shown")
    return Finding(f"Relative complexity κ ({words}{subset}) of {of}: {said}; {expected}.", outcome.figure("kappa", "profiles"))


def _agreement(outcome: Outcome, rows: list[_Row], measure: str, measures: list[str]) -> Finding:
    """In how many degradations every measure has the verdict of the quoted one."""
    verdicts: dict[str, dict[str, str]] = {}
    for row in rows:
        verdicts.setdefault(row["degradation"], {})[row["measure"]] = row["verdict"]
    alike = sum(len(set(said.values())) == 1 for said in verdicts.values())
    text = f"All {len(measures)} measures have the same verdict on {alike} of {counted(len(verdicts), 'degradation')}"
    others = [one for one in measures if one != measure and any(
        {said.get(measure), said.get(one)} == {FITS, LEARNS} for said in verdicts.values())]  # fmt: skip
    words = MEASURES.get(measure, named(measure))
    flag = f"opposite to {words} on some degradation: {', '.join(MEASURES.get(one, named(one)) for one in others)}" if others else ""
    return Finding(f"{text}.", outcome.figure("kappa", "profiles"), flag)
