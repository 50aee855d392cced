"""What `faithfulness` found: which maps say more than distance, whether they agree with causal effects, and what depends on the weights."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xlli_ray.analyses.faithfulness.figures import chosen
from xlli_ray.analyses.faithfulness.tables import MORE, NO_MORE, OPEN
from xlli_ray.analyses.shared.findings import Finding, Outcome, Row, fixed, flags, listed, named, over
from xlli_ray.errors import counted

_Row = dict[str, Any]
ALIKE = 0.5**0.5
"""Rank correlation beyond position from which half of the variance of a map's ranks is what a network with drawn weights gives."""


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three."""
    rows = [row for row in chosen(outcome.rows("faithfulness")) if row["model"] not in outcome.untrained]
    yield from _distance(outcome, rows)
    yield from _causal(outcome, rows)
    yield from _weights(outcome)


def _name(row: Row) -> str:
    return f"{named(row['method'])} of {named(row['model'])}"


def _distance(outcome: Outcome, rows: Sequence[_Row]) -> Iterator[Finding]:
    rows = [row for row in rows if row["deletion_gain"] is not None]
    if not rows:
        return
    best = max(rows, key=lambda row: row["deletion_gain"])
    images = over(best, images="photograph")
    deletion = outcome.estimate(best, "deletion_gain", "deletion_low", "deletion_high", images)
    insertion = outcome.estimate(best, "insertion_gain", "insertion_low", "insertion_high", images)
    largest = f"the largest gain on deletion is that of {_name(best)}, {deletion.text}, on insertion {insertion.text}"
    told = [row for row in rows if row["verdict"] != OPEN]
    more, none = ([row for row in told if row["verdict"] == verdict] for verdict in (MORE, NO_MORE))
    if not told:
        text = f"Whether a map says more than distance from the window cannot be told: {largest}"
    elif not more:
        text = "No map is shown to say more than distance from the window, on deletion and on insertion: against the order nearest first, "
        text += largest
    else:
        verb = "says" if len(more) == 1 else "say"
        text = f"{len(more)} of {counted(len(told), 'map')} (each a method on a network) {verb} more than distance from the window: pixels "
        text += f"in their order change it more than nearest first, as they go and as they come back; {largest}"
    left = f"no more than distance is shown: {listed(_name(row) for row in none)}" if none and more else ""
    few = "" if told else "an interval takes 3 photographs"
    yield Finding(f"{text}.", outcome.figure("gain"), flags(few, left, *_mixed(told)))


def _mixed(rows: Sequence[_Row]) -> Iterator[str]:
    if some := [f"{_name(row)} ({row['verdict']})" for row in rows if row["verdict"] not in (MORE, NO_MORE)]:
        yield f"better on one of both curves: {listed(some)}"


def _causal(outcome: Outcome, rows: Sequence[_Row]) -> Iterator[Finding]:
    ranked = sorted((row for row in rows if row["beyond"] is not None), key=lambda row: -row["beyond"])
    if not ranked:
        return
    best, last = ranked[0], ranked[-1]
    said = outcome.estimate(best, "beyond", "beyond_low", "beyond_high", over(best, images="photograph"))
    if said.shown and said.value > 0:
        text = "Maps rank the blocks of the input as their causal effects do, beyond what distance from the window explains: the highest "
        text += "rank "
    else:
        text = "That maps rank the blocks of the input as their causal effects do, beyond distance from the window, is not shown: the "
        text += "highest rank "
    text += f"correlation (Spearman's ρ) is that of {_name(best)}, {said.text}"
    if best["rho"] is not None:
        text += f", with distance {fixed(best['rho'])}"
    if last is not best:
        text += f"; the lowest that of {_name(last)}, {fixed(last['beyond'])}"
    yield Finding(f"{text}.", outcome.figure("gain"))


def _weights(outcome: Outcome) -> Iterator[Finding]:
    rows = [row for row in outcome.rows("faithfulness_weights") if row["drawn"] == 1 and row["beyond"] is not None]
    rows = [row for row in rows if row["model"] not in outcome.untrained]
    if not rows:
        return
    most = max(rows, key=lambda row: row["beyond"])
    said = outcome.estimate(most, "beyond", "beyond_low", "beyond_high", over(most, images="photograph"))
    if stays := [f"{_name(row)} ({fixed(row['beyond'])})" for row in rows if row["beyond"] >= ALIKE]:
        text = f"With all weights drawn anew the maps stay much the same for {listed(stays)}: rank correlation beyond position, of which "
        text += "half of the variance of a map's ranks is √½"
    else:
        text = "With all weights drawn anew no map keeps half of the variance of its ranks beyond position; the most alike is that of "
        text += f"{_name(most)}, rank correlation {said.text}"
    yield Finding(f"{text}.", outcome.figure("weights"))
