"""What `ddr` found: how well the last layers separate types of degradation, whether depth adds to it, and degradation against content.

Networks are ranked and counted without those that were never trained, whose numbers stand beside as what the inputs alone give.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xlli_ray.analyses.ddr.tables import FULL, LAST
from xlli_ray.analyses.shared.findings import Estimate, Finding, Outcome, difference, fixed, listed, named, over
from xlli_ray.errors import counted

_Row = dict[str, Any]
_RATIO = ("ratio", "low", "high")
_IMAGES = {"images": "photograph"}
_WHERE = "In the deep degradation representations (DDR) of its last layer"
LARGEST = 100
"""A larger factor says that its denominator is near nothing: both numbers are given instead."""


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three, in the space of the scores."""
    rows = outcome.rows("ddr")
    space = next((row["space"] for row in rows if row["space"] != FULL), FULL)
    last: dict[str, _Row] = {}
    for row in rows:
        if row["labels"] == "type" and row["space"] == space and row["depth"] >= last.get(row["model"], row)["depth"]:
            last[row["model"]] = row
    contrasts = [row for row in outcome.rows("ddr_contrasts") if row["space"] == space]
    known = sorted((row for row in last.values() if row["chi"] is not None), key=lambda row: -row["chi"])
    ranked = [row for row in known if row["model"] not in outcome.untrained] or known
    if not ranked:
        return
    yield _separation(outcome, ranked, [row for row in known if row not in ranked], contrasts, space)
    mine = {row["model"]: row for row in ranked}
    yield from _depth(outcome, mine, contrasts)
    yield from _content(outcome, mine, contrasts)


def _above(row: _Row) -> bool:
    return row["null_high"] is None or row["chi"] > row["null_high"]


def _space(space: str) -> str:
    number = space.removeprefix("pca")
    return f", {number} principal components" if space != FULL and number.isdigit() else ""


def _finding(outcome: Outcome, text: str, *figures: str, flag: str = "") -> Finding:
    return Finding(f"{text}.", outcome.figure(*figures), flag, points=outcome.figure("embedding"))


def _separation(outcome: Outcome, ranked: Sequence[_Row], untrained: Sequence[_Row], contrasts: Sequence[_Row], space: str) -> Finding:
    top = ranked[0]
    value = outcome.estimate(top, "chi", "low", "high", over(top, **_IMAGES))
    index = f"Calinski–Harabasz index (CHI{_space(space)}) {value.text}"
    if not _above(top):
        text = f"{_WHERE}, {named(top['model'])} is not shown to separate the types of degradation: {index}, where random labels "
        return _finding(outcome, f"{text}reach {fixed(top['null_high'])} (95 % quantile)", "depth")
    text = f"{_WHERE}, {named(top['model'])} separates the types of degradation{' most' if len(ranked) > 1 else ''}: {index}"
    against = [f"{fixed(top['null_high'])} of random labels"] if top["null_high"] is not None else []
    against += [f"{fixed(row['chi'])} of the untrained network" for row in untrained[:1]]
    text += f", against {' and '.join(against)}" if against else ""
    if len(ranked) > 1:
        pairs = [row for row in contrasts if row["kind"] == "models" and row["layer"] == LAST and row["labels"] == "type"]
        ratio = difference(outcome, pairs, top["model"], ranked[1]["model"], _RATIO, _IMAGES, neutral=1.0)
        role = f"the second of {counted(len(ranked), 'trained network' if untrained else 'network')}"
        if ratio is not None and ratio.value < LARGEST:
            said = ratio.times(named(ranked[1]["model"]), role, after=value)
            text += f". It is {said}" if ratio.shown else f". {said[0].upper()}{said[1:]}"
    below = [row["model"] for row in ranked if not _above(row)]
    flag = f"separated no better than random labels: {listed(below)}" if below else ""
    return _finding(outcome, text, "depth", "ratio_models", flag=flag)


def _depth(outcome: Outcome, mine: Mapping[str, _Row], contrasts: Sequence[_Row]) -> Iterator[Finding]:
    rows = {row["model"]: row for row in contrasts if row["kind"] == "depth" and row["labels"] == "type" and row["ratio"] is not None}
    ratios = [(model, _ratio(outcome, row)) for model, row in rows.items() if model in mine]
    if not ratios:
        return
    up, down = ([(model, ratio) for model, ratio in ratios if ratio.shown and (ratio.value > 1) == way] for way in (True, False))
    if not up and not down:
        model, ratio = max(ratios, key=lambda item: item[1].value)
        text = f"No change of that separation with depth is shown in any network; the largest, of {named(model)}: "
        text += _factor(rows[model], ratio)
    else:
        model, ratio = max(up, key=lambda item: item[1].value) if up else min(down, key=lambda item: item[1].value)
        where = _share(outcome, len(up) if up else len(down), len(ratios))
        text = f"That separation {'grows' if up else 'falls'} with depth in {where if len(ratios) > 1 else named(model)}"
        text += _others(falling=len(down) if up else 0, unsure=sum(not ratio.shown for _, ratio in ratios), word="it falls in")
        text += f", most in {named(model)}" if len(up or down) > 1 else f", {named(model)}" if len(ratios) > 1 else ""
        text += f": from the first third of the layers to the last, {_factor(rows[model], ratio)}"
    yield _finding(outcome, text, "ratio_depth", "depth")


def _share(outcome: Outcome, some: int, of: int) -> str:
    networks = counted(of, "trained network" if outcome.untrained else "network")
    return f"all {networks}" if some == of else f"{some} of {networks}"


def _others(*, falling: int, unsure: int, word: str) -> str:
    said = [f"{word} {falling}"] if falling else []
    said += [f"no difference is shown in {unsure}"] if unsure else []
    return f" ({', '.join(said)})" if said else ""


def _factor(row: _Row, ratio: Estimate) -> str:
    """`CHI by a factor of 24.08 (…; 1.38 on the figure's axis)`; both values where the denominator is near nothing."""
    if not 1 / LARGEST < ratio.value < LARGEST:
        return f"CHI {fixed(row['other_chi'])} to {fixed(row['chi'])} ({ratio.over})"
    return f"CHI by a factor of {ratio.text[:-1]}; {fixed(math.log10(ratio.value))} on the figure's axis)"


def _content(outcome: Outcome, mine: Mapping[str, _Row], contrasts: Sequence[_Row]) -> Iterator[Finding]:
    rows = {row["model"]: row for row in contrasts if row["kind"] == "labels" and row["against"] == "content" and row["subject"] == "type"
            and row["model"] in mine and row["depth"] == mine[row["model"]]["depth"] and row["ratio"] is not None}  # fmt: skip
    ratios = {model: _ratio(outcome, row) for model, row in rows.items()}
    more, less = ([model for model, ratio in ratios.items() if ratio.shown and (ratio.value > 1) == way] for way in (True, False))
    if not ratios:
        return
    if not more and not less:
        model = max(ratios, key=lambda model: ratios[model].value)
        text = "In the last layer, no difference between separation by type of degradation and by content is shown"
        text += f"{' in any network' if len(ratios) > 1 else ''}; {named(model)}: {_factor(rows[model], ratios[model])}"
    else:
        some = more or less
        most = (max if more else min)(some, key=lambda model: ratios[model].value)
        where = _share(outcome, len(some), len(ratios)) if len(ratios) > 1 else named(most)
        text = f"In the last layer, type of degradation separates {'more' if more else 'less'} than content in {where}"
        text += _others(falling=len(less) if more else 0, unsure=sum(not ratio.shown for ratio in ratios.values()), word="less in")
        text += f", most in {named(most)}" if len(some) > 1 else f", {named(most)}" if len(ratios) > 1 else ""
        text += f": {_factor(rows[most], ratios[most])}"
    yield _finding(outcome, text, "ratio_labels", "depth")


def _ratio(outcome: Outcome, row: _Row) -> Estimate:
    return outcome.estimate(row, *_RATIO, over(row, **_IMAGES), neutral=1.0)
