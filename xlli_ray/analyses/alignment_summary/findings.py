"""What `alignment_summary` found: which networks have the higher PSNR, whether that changes with motion, and what their maps follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xlli_ray.analyses.shared.findings import Estimate, Finding, Outcome, difference, fixed, flags, group_named, listed, named, over

_Row = dict[str, Any]
_OVER = {"trainings": "training", "clips": "clip"}
_ENDS = ("difference", "difference_low", "difference_high")
FEW = 0.01
"""Share of the values beyond a window below which they are few."""


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three."""
    pairs = [row for row in outcome.rows("alignment_differences") if _whole(row) and row["difference"] is not None]
    yield from _ranking(outcome, pairs)
    yield from _windows(outcome)
    yield from _maps(outcome) if outcome.rows("alignment_maps") else _control(outcome, pairs)


def _whole(row: _Row) -> bool:
    """All pixels of all motions."""
    return bool(row["stratum"] == "all" and row["motion_low"] == 0 and row["motion_high"] is None)


def _single(outcome: Outcome, groups: Sequence[str]) -> str:
    """The group of the control that sees one frame, "" where there is none."""
    single = outcome.params.get("single")
    having = [name for name in groups if single in (name, *(part.partition("=")[2] for part in name.split(", ")))]
    return having[0] if single is not None and len(having) == 1 else ""


def _ranking(outcome: Outcome, pairs: Sequence[_Row]) -> Iterator[Finding]:
    rows = [row for row in outcome.rows("alignment_motion") if _whole(row) and row["psnr"] is not None]
    rows.sort(key=lambda row: -row["psnr"])
    if not rows:
        return
    top = rows[0]
    said = outcome.estimate(top, "psnr", "psnr_low", "psnr_high", over(top, **_OVER), unit="dB")
    if len(rows) == 1:
        yield Finding(f"{group_named(top['group'])} has a PSNR of {said.text} over all pixels.", outcome.figure("psnr_by_motion"))
        return
    text, lost = f"{group_named(top['group'])} has the highest PSNR over all pixels, {said.text}", _lost(outcome, pairs)
    for role, other in (("the second", rows[1]), ("the lowest", rows[-1])) if len(rows) > 2 else (("", rows[1]),):
        apart = difference(outcome, pairs, top["group"], other["group"], _ENDS, _OVER, names=("group", "other"), unit="dB")
        if apart is not None:
            text += f"; {apart.against(group_named(other['group']), role, after=said)}"
    yield Finding(f"{text}.", outcome.figure("psnr_by_motion"), lost)


def _against_single(outcome: Outcome, pairs: Sequence[_Row]) -> list[tuple[str, Estimate]]:
    single = _single(outcome, list(dict.fromkeys(name for row in pairs for name in (row["group"], row["other"]))))
    others = dict.fromkeys(name for row in pairs for name in (row["group"], row["other"]) if name != single)
    some = [(name, difference(outcome, pairs, name, single, _ENDS, _OVER, names=("group", "other"), unit="dB")) for name in others]
    return [(name, apart) for name, apart in some if apart is not None] if single else []


def _lost(outcome: Outcome, pairs: Sequence[_Row]) -> str:
    lost = [name for name, apart in _against_single(outcome, pairs) if apart.shown and apart.value < 0]
    return f"worse than the control that sees one frame only: {listed(map(group_named, lost))}" if lost else ""


def _control(outcome: Outcome, pairs: Sequence[_Row]) -> Iterator[Finding]:
    apart = _against_single(outcome, pairs)
    if not apart:
        return
    least = min(apart, key=lambda item: item[1].value)
    gained = [name for name, one in apart if one.shown and one.value > 0]
    single = _single(outcome, list(dict.fromkeys(name for row in pairs for name in (row["group"], row["other"]))))
    many = f"{len(gained)} of {len(apart)} multi-frame variants have" if len(apart) > 1 else f"{group_named(least[0])} has"
    if len(gained) == len(apart):
        many = f"All {len(apart)} multi-frame variants have" if len(apart) > 1 else many
        least_ = f"; the least gain is {least[1].text}, of {group_named(least[0])}" if len(apart) > 1 else f": by {least[1].text}"
    else:
        many = many if gained else "No multi-frame variant is shown to have"
        least_ = f"; the least, {group_named(least[0])}: {least[1].against(group_named(single))}"
    yield Finding(f"{many} a higher PSNR than {group_named(single)}, which sees one frame{least_}.", outcome.figure("psnr_by_motion"))


def _windows(outcome: Outcome) -> Iterator[Finding]:
    rows = [row for row in outcome.rows("alignment_windows") if row["change"] is not None]
    if not rows:
        return
    changes = [(row, outcome.estimate(row, "change", "change_low", "change_high", over(row, **_OVER), unit="dB")) for row in rows]
    shown = [item for item in changes if item[1].shown]
    row, change = max(shown or changes, key=lambda item: abs(item[1].value))
    values = row["values_inside"] + row["values_beyond"]
    few = f"{100 * row['values_beyond'] / values:.2g} % of the values move so far" if values and row["values_beyond"] < FEW * values else ""
    inside, beyond, one, other = row["inside"], row["beyond"], row["group"], row["other"]
    if beyond < 0:  # told of the one with the higher PSNR there
        inside, beyond, one, other, change = -inside, -beyond, other, one, change.flipped()
    where = f"{row['window']:g} input pixels (a vertical line of the figure)"
    numbers = f"{fixed(beyond)} dB beyond, {fixed(inside)} dB up to there; change {change.text}"
    lead = f"The lead of {group_named(one)} over {group_named(other)} in PSNR"
    if shown:
        text = f"{lead} {'grows' if change.value > 0 else 'shrinks'} where motion is beyond {where}: {numbers}."
        count = f"{len(shown)} of {len(rows)} comparisons show a change, this is the largest; not adjusted for their number"
        flag = flags(few, count if len(rows) > 1 else "")
    else:
        text = f"{lead} is not shown to change where motion is beyond {where}: {numbers}."
        text = text if len(rows) == 1 else f"None of {len(rows)} comparisons shows a change of PSNR beyond a window. {text}"
        flag = flags(few, f"the largest of {len(rows)} comparisons" if len(rows) > 1 else "")
    yield Finding(text, outcome.figure("difference_by_motion", "psnr_by_motion"), flag)


def _maps(outcome: Outcome) -> Iterator[Finding]:
    rows = [row for row in outcome.rows("alignment_maps") if row["follows"] is not None]
    if not rows:
        return
    rows.sort(key=lambda row: -row["follows"])
    parts = []
    for row in (rows[0], rows[-1]) if len(rows) > 1 else rows:
        share = outcome.estimate(row, "follows", "follows_low", "follows_high", over(row, **_OVER))
        parts.append(f"{group_named(row['group'])} {share.text}, {named(row['verdict'])}")
    text = f"Share of the motion that attribution follows (1: with the object, 0: stays at the place): {'; '.join(parts)}"
    yield Finding(f"{text}{f'; the highest and the lowest of {len(rows)}' if len(rows) > 2 else ''}.", outcome.figure("maps"))
