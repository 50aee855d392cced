"""What `ddr` found: how well the last layers separate types of degradation, whether depth adds to it, and degradation against content."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xlli_ray.analyses.ddr.tables import FULL, LAST
from xlli_ray.analyses.shared.findings import Estimate, Finding, Outcome, difference, fixed, listed, named, over
from xlli_ray.errors import counted

_Row = dict[str, Any]
_RATIO = ("ratio", "low", "high")
_IMAGES = {"images": "photograph"}


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three, in the space of the scores."""
    rows = outcome.rows("ddr")
    space = next((row["space"] for row in rows if row["space"] != FULL), FULL)
    last: dict[str, _Row] = {}
    for row in rows:
        if row["labels"] == "type" and row["space"] == space and row["depth"] >= last.get(row["model"], row)["depth"]:
            last[row["model"]] = row
    contrasts = [row for row in outcome.rows("ddr_contrasts") if row["space"] == space]
    ranked = sorted((row for row in last.values() if row["chi"] is not None), key=lambda row: -row["chi"])
    if not ranked:
        return
    yield _separation(outcome, ranked, contrasts)
    yield from _depth(outcome, contrasts)
    yield from _content(outcome, ranked[0], contrasts)


def _above(row: _Row) -> bool:
    return row["null_high"] is None or row["chi"] > row["null_high"]


def _separation(outcome: Outcome, ranked: Sequence[_Row], contrasts: Sequence[_Row]) -> Finding:
    top, least = ranked[0], ranked[-1]
    where = f"The last layer of {named(top['model'])} ({named(top['layer'])})"
    value = outcome.estimate(top, "chi", "low", "high", over(top, **_IMAGES))
    chi = f"CHI {value.text}"
    if not _above(top):
        return Finding(f"{where} is not shown to separate the types of degradation: {chi}, where meaningless labels reach "
                       f"{fixed(top['null_high'])} (95 % quantile).", outcome.figure("depth"))  # fmt: skip
    null = f", above the {fixed(top['null_high'])} of meaningless labels (95 % quantile)" if top["null_high"] is not None else ""
    text = f"{where} separates the types of degradation{' most' if len(ranked) > 1 else ''}: {chi}{null}"
    if len(ranked) > 1:
        pairs = [row for row in contrasts if row["kind"] == "models" and row["layer"] == LAST and row["labels"] == "type"]
        ratio = difference(outcome, pairs, top["model"], least["model"], _RATIO, _IMAGES, neutral=1.0)
        if ratio is not None:
            text += f"; {ratio.times(named(least['model']), 'the lowest' if len(ranked) > 2 else '', after=value)}"
    below = [row["model"] for row in ranked if not _above(row)]
    return Finding(f"{text}.", outcome.figure("depth", "ratio_models"), f"not above meaningless labels: {listed(below)}" if below else "")


def _depth(outcome: Outcome, contrasts: Sequence[_Row]) -> Iterator[Finding]:
    ratios = [(row["model"], _ratio(outcome, row)) for row in contrasts
              if row["kind"] == "depth" and row["labels"] == "type" and row["ratio"] is not None]  # fmt: skip
    if not ratios:
        return
    up, down = ([(model, ratio) for model, ratio in ratios if ratio.shown and (ratio.value > 1) == way] for way in (True, False))
    what = "from the first third of the layers to the last"
    if not up and not down:
        model, ratio = max(ratios, key=lambda item: item[1].value)
        text = "No change of the separation with depth is shown in any network; the largest ratio of the last third of the layers to the "
        text += f"first is {ratio.text}, of {named(model)}"
    else:
        model, ratio = max(up, key=lambda item: item[1].value) if up else min(down, key=lambda item: item[1].value)
        of = "" if len(ratios) == 1 else f" in {len(up) if up else len(down)} of {counted(len(ratios), 'network')}"
        text = f"The separation {'grows' if up else 'falls'} with depth{of}: CHI by type {what} by a factor of {ratio.text}"
        text += f" in {named(model)}" if len(ratios) > 1 else ""
        if up and down:
            text += f"; it falls in {listed(model for model, _ in down)}"
        if unsure := [model for model, ratio in ratios if not ratio.shown]:
            text += f"; no change is shown in {listed(unsure)}"
    yield Finding(f"{text}.", outcome.figure("ratio_depth", "depth"))


def _content(outcome: Outcome, top: _Row, contrasts: Sequence[_Row]) -> Iterator[Finding]:
    row = next((row for row in contrasts if row["kind"] == "labels" and row["against"] == "content" and row["subject"] == "type"
                and row["model"] == top["model"] and row["depth"] == top["depth"] and row["ratio"] is not None), None)  # fmt: skip
    if row is None:
        return
    ratio = _ratio(outcome, row)
    where = f"At the last layer of {named(top['model'])}"
    if not ratio.shown:
        text = f"{where}, no difference between separation by type of degradation and by content is shown: ratio of CHI {ratio.text}."
    else:
        more = "more" if ratio.value > 1 else "less"
        text = f"{where}, samples are separated {more} by type of degradation than by content: ratio of CHI {ratio.text}."
    yield Finding(text, outcome.figure("ratio_labels", "depth"))


def _ratio(outcome: Outcome, row: _Row) -> Estimate:
    return outcome.estimate(row, *_RATIO, over(row, **_IMAGES), neutral=1.0)
