"""What `derain_summary` found: how much of a degradation that was not trained on remains, and whether κ predicts it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xlli_ray.analyses.shared.findings import Finding, Outcome, fixed, flags, named, over
from xlli_ray.errors import counted

_Row = dict[str, Any]
_OVER = {"trainings": "training", "backgrounds": "photograph"}
_VERDICTS = {
    "fits the rain": "it fits the degradation of its training",
    "generalizes": "it generalizes",
    "not learned": "it did not learn to remove the degradation of its training",
    "undecided": "undecided whether it generalizes",
}
MEASURE = "k95"
"""Measure of complexity that is quoted, or else the first one."""


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three."""
    gaps = [row for row in outcome.rows("derain_gaps") if row["gap"] is not None]
    if gaps:
        yield from _gaps(outcome, gaps)
    else:
        yield from _removal(outcome)
    yield from _kappa(outcome)


def _gaps(outcome: Outcome, gaps: Sequence[_Row]) -> Iterator[Finding]:
    rows = sorted(gaps, key=lambda row: -row["gap"])
    counts = {verdict: sum(row["verdict"] == verdict for row in rows) for verdict in _VERDICTS}
    tally = ", ".join(f"{verdict.replace('the rain', 'the degradation')} {number}" for verdict, number in counts.items() if number)
    for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
        gap = outcome.estimate(row, "gap", "gap_low", "gap_high", over(row, **_OVER))
        which = "" if len(rows) == 1 else f"The {'largest' if row is rows[0] else 'smallest'} of {len(rows)} gaps (verdicts: {tally}): "
        if row is rows[-1] and len(rows) > 1:
            which = "The smallest: "
        text = f"{which}{named(row['group'])} removes ρ = {fixed(row['rho_seen'])} of what it was trained on ({named(row['seen'])}) and "
        text += f"{fixed(row['rho_unseen'])} of {named(row['unseen'])}; "
        text += f"gap {gap.text}" if gap.shown else f"no gap is shown: {gap.text}"
        yield Finding(f"{text}; {_VERDICTS.get(row['verdict'], named(row['verdict']))}.", outcome.figure("gaps", "along", "removal"),
                      flags(_alternative(row), _inflated(outcome, row), _alone(row)))  # fmt: skip


def _alternative(row: _Row) -> str:
    return f"another explanation: {named(row['alternative'])}" if row["alternative"] else ""


def _inflated(outcome: Outcome, row: _Row) -> str:
    """What the samples of the unseen degradation say against reading E_R as removal."""
    found = next((one for one in outcome.rows("derain_summary") if (one["group"], one["label"]) == (row["group"], row["unseen"])), None)
    if found is None or not (found["corrupted"] or 0) > 0.5:
        return ""
    return f"{100 * found['corrupted']:.0f} % of the samples of {named(row['unseen'])} are further from the clean image than the input"


def _alone(row: _Row) -> str:
    return "the interval is for these trainings only" if row["over"] == "photographs" else ""


def _removal(outcome: Outcome) -> Iterator[Finding]:
    """Without gaps: what was removed of the first degradation."""
    rows = [row for row in outcome.rows("derain_summary") if row["rho"] is not None]
    if not rows:
        return
    mine = [row for row in rows if row["label"] == rows[0]["label"]]
    top = max(mine, key=lambda row: row["rho"])
    rho = outcome.estimate(top, "rho", "rho_low", "rho_high", over(top, **_OVER)).text
    which = "removes" if len(mine) == 1 else f"removes, of {counted(len(mine), 'group')}, the largest share"
    text = f"{named(top['group'])} {which} of {named(top['label'])}: ρ = {rho}, with damage D⊥ {fixed(top['d_perp'])}"
    text += f" and error beside it E_B {fixed(top['e_background'])} grey levels." if top["e_background"] is not None else " grey levels."
    flag = flags("no gap: there is no pair of a degradation that was trained on and one that was not", _alone(top))
    yield Finding(text, outcome.figure("removal"), flag)


def _kappa(outcome: Outcome) -> Iterator[Finding]:
    rows = [row for row in outcome.rows("derain_kappa_tests") if row["rho"] is not None and row["p"] is not None]
    if not rows:
        return
    row = next((row for row in rows if row["measure"] == MEASURE), rows[0])
    measure = f" of {named(row['measure'])}" if row["measure"] else ""
    numbers = f"Spearman's ρ {fixed(row['rho'])}, p = {row['p']:.2g}, no interval; {counted(row['points'], 'group')}, on "
    numbers += named(row["unseen"])
    more = f"; one of {len(rows)} tests, not adjusted for their number" if len(rows) > 1 else ""
    if row["p"] <= 0.05:
        way = "smaller" if row["rho"] < 0 else "larger"
        text = f"The gap is {way} where the relative complexity κ{measure} is higher: {numbers}{more}."
    else:
        text = f"No association of the relative complexity κ{measure} with the gap is shown: {numbers}{more}."
    yield Finding(text, outcome.figure("kappa"))
