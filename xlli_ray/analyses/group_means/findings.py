"""What `group_means` found: the highest group of the first column, and in how many degradations it is that."""

from __future__ import annotations

from collections.abc import Iterator

from xlli_ray.analyses.shared.findings import Finding, Outcome, difference, group_named, named, over
from xlli_ray.errors import counted

COLUMN = "psnr_y"
"""The column that is quoted, or else the first one."""
_MEASURES = {"psnr_y": "PSNR on luma (PSNR-Y)"}
_UNITS = {"trainings": "training", "images": "photograph"}


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most one."""
    known = [row for row in outcome.rows("group_means") if row["mean"] is not None]
    if not known:
        return
    column = COLUMN if any(row["column_name"] == COLUMN for row in known) else known[0]["column_name"]
    rows = [row for row in known if row["column_name"] == column]
    labels = list(dict.fromkeys(row["label"] for row in rows))
    ranked = {label: sorted((row for row in rows if row["label"] == label), key=lambda row: -row["mean"]) for label in labels}
    top, *others = ranked[labels[0]]
    unit = "dB" if column.startswith("psnr") else ""
    said = outcome.estimate(top, "mean", "low", "high", over(top, **_UNITS), unit=unit)
    figure = outcome.figure(column)
    if not others:
        yield Finding(f"{_MEASURES.get(column, named(column))} of {group_named(top['group'])} on {named(labels[0])}: {said.text}.", figure)
        return
    text = f"{group_named(top['group'])} has the highest {_MEASURES.get(column, named(column))} on {named(labels[0])}, {said.text}"
    pairs = [row for row in outcome.rows("group_differences") if row["column_name"] == column and row["label"] == labels[0]]
    columns = ("difference", "low", "high")
    apart = difference(outcome, pairs, top["group"], others[0]["group"], columns, _UNITS, names=("group", "other"), unit=unit)
    if apart is not None:
        text += f"; {apart.against(group_named(others[0]['group']), 'the second' if len(others) > 1 else '', after=said)}"
    if len(labels) > 1:
        first = sum(some[0]["group"] == top["group"] for some in ranked.values())
        text += f". Its mean is the highest in {first} of {counted(len(labels), 'degradation')}, {named(labels[0])} included"
    yield Finding(f"{text}.", figure)
