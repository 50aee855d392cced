"""What `derain_summary` found: how much less of unseen rain is removed, whether the groups of networks differ in it, whether κ predicts it.

ρ, the share of the rain that was removed, is said in per cent; in this analysis a rank correlation has the same letter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from xlli_ray.analyses.shared.findings import Behind, Estimate, Finding, Outcome, fixed, flags, group_named, named, over
from xlli_ray.errors import counted

_Row = dict[str, Any]
_OVER = {"trainings": "training", "backgrounds": "photograph"}
_VERDICTS = {
    "fits the rain": "overfitting to the training rain",
    "generalizes": "generalization",
    "not learned": "too little learned to tell",
    "undecided": "undecided",
}
MEASURE = "k95"
"""Measure of complexity that is quoted, or else the first one."""
_COUNT = "count"
"""Tag with the number of images of a training recipe."""


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three."""
    gaps = sorted((row for row in outcome.rows("derain_gaps") if row["gap"] is not None), key=lambda row: -row["gap"])
    told = [_gap(outcome, gaps, gaps[0])] if gaps else list(_removal(outcome))
    told += [*_groups(outcome, gaps), *_kappa(outcome)]
    told += [_gap(outcome, gaps, gaps[-1])] if len(gaps) > 1 else []
    yield from told[:3]


def _rain(label: object) -> str:
    name = named(label)
    return name if "rain" in name.lower() else f"{name} rain"


def _images(group: str) -> str:
    """`8` of `count=8`, the images of a training; "" where that is not what the group is."""
    tag, equals, value = group.partition("=")
    return value if equals and tag == _COUNT and value.isdigit() else ""


def _gap(outcome: Outcome, gaps: Sequence[_Row], row: _Row) -> Finding:
    """Of the largest gap, with what all of them say, or of the smallest."""
    gap = outcome.estimate(row, "gap", "gap_low", "gap_high", over(row, **_OVER)).percent("percentage points")
    images = _images(row["group"])
    text = f"Trained on {f'{images} images of ' if images else ''}{_rain(row['seen'])}, "
    text += f"{'networks remove' if images else group_named(row['group']) + ' removes'} {_percent(row['rho_seen'])} of it"
    if gap.shown and gap.value > 0:
        text += f", but {_percent(row['rho_unseen'])} of {_rain(row['unseen'])}: a gap (Δρ in the figure) of {gap.text}"
    else:
        text += f" and {_percent(row['rho_unseen'])} of {_rain(row['unseen'])}; no gap is shown: {gap.text}"
    if len(gaps) > 1 and row is gaps[-1]:
        text += f", the smallest of {len(gaps)}"
    elif len(gaps) > 1:
        text += f", the largest of {len(gaps)}. {_verdicts(gaps)}"
    else:
        text += f". Verdict: {_VERDICTS.get(row['verdict'], named(row['verdict']))}"
    behind = Behind(str(outcome.params.get("of", "")), "rho", label=row["unseen"])
    flag = flags(*_alternatives(row), _corrupted(outcome, row), _alone(row))
    return Finding(f"{text}.", outcome.figure("gaps", "along", "removal"), flag, behind)


def _verdicts(gaps: Sequence[_Row]) -> str:
    counts = {words: sum(row["verdict"] == verdict for row in gaps) for verdict, words in _VERDICTS.items()}
    some = {words: number for words, number in counts.items() if number}
    if len(some) == 1 and len(gaps) > 1:
        return f"All {len(gaps)} gaps are read as {next(iter(some))}"
    return f"Verdicts: {', '.join(f'{words} {number}' for words, number in some.items())}"


def _percent(share: float) -> str:
    return f"{fixed(100 * share, 0)} %"


def _alternatives(row: _Row) -> Iterator[str]:
    """Other explanations in words: `derain_summary.gaps.alternatives`."""
    for one in filter(None, (row["alternative"] or "").split("; ")):
        match = re.fullmatch(r"(E_R inflated|corrupted|under-fitted) \((.*)\)", one)
        if match is None:
            yield f"another explanation: {named(one)}"
        elif match[1] == "under-fitted":
            yield "even the rain of the training is removed in part only, which could explain the gap"
        else:
            what = {"E_R inflated": "more than half of the change in the rain is damage, not removal",
                    "corrupted": "the rain region is further from the clean image than before"}[match[1]]  # fmt: skip
            where = match[2].replace("of unseen", f"of the images with {_rain(row['unseen'])}")
            where = where.replace("of seen", f"of those with {_rain(row['seen'])}")
            yield f"in {where}, {what}, which could also explain the gap"


def _corrupted(outcome: Outcome, row: _Row) -> str:
    """What the samples of the unseen degradation say against reading the change as removal, where the row does not say it."""
    found = next((one for one in outcome.rows("derain_summary") if (one["group"], one["label"]) == (row["group"], row["unseen"])), None)
    if found is None or not (found["corrupted"] or 0) > 0.5 or "corrupted" in (row["alternative"] or ""):
        return ""
    where = f"in {_percent(found['corrupted'])} of the images with {_rain(row['unseen'])}"
    return f"{where}, the result is further from the clean image than the input"


def _alone(row: _Row) -> str:
    return "the interval is for these trainings only" if row["over"] == "photographs" else ""


def _groups(outcome: Outcome, gaps: Sequence[_Row]) -> Iterator[Finding]:
    """The first and the last group of networks on the rain that neither was trained on."""
    rows = [row for row in outcome.rows("derain_differences") if row["measure"] == "rho" and row["difference"] is not None]
    some = [row["other"] for row in rows if row["group"] == rows[0]["group"]]
    unseen = {(row["group"], row["unseen"]) for row in gaps}
    mine = [row for row in rows if (row["group"], row["other"]) == (rows[0]["group"], some[-1])
            and {(row["group"], row["label"]), (row["other"], row["label"])} <= unseen]  # fmt: skip
    ends = ("difference", "difference_low", "difference_high")
    apart = [(row, outcome.estimate(row, *ends, over(row, **_OVER)).percent("percentage points")) for row in mine]
    if not apart:
        return
    up, down = ([item for item in apart if item[1].shown and (item[1].value > 0) == way] for way in (True, False))
    stage, both = str(outcome.params.get("of", "")), (mine[0]["group"], mine[0]["other"])
    one, other = map(_images, both) if all(map(_images, both)) else map(group_named, both)
    what = " training images" if all(map(_images, both)) else ""
    if not up and not down:
        row, most = max(apart, key=lambda item: abs(item[1].value))
        text = f"No difference between {one} and {other}{what} is shown in the removal of unseen rain; the largest is on "
        text += f"{_rain(row['label'])}: {most.text}"
        yield Finding(f"{text}.", outcome.figure("along", "removal"), behind=Behind(stage, "rho"))
        return
    more, less, shown = (one, other, up) if len(up) >= len(down) else (other, one, down)
    row, most = max(shown, key=lambda item: abs(item[1].value))
    size: Estimate = most if most.value > 0 else most.flipped()
    of = f"{len(shown)} of {counted(len(apart), 'kind')} of unseen rain" if len(apart) > 1 else _rain(row["label"])
    of = of if len(shown) < len(apart) or len(shown) == 1 else f"all {len(apart)} kinds of unseen rain"
    most_on = f", most of {_rain(row['label'])}" if len(apart) > 1 else ""
    rest = f"; less of {_rain((down if shown is up else up)[0][0]['label'])}" if up and down else ""
    text = f"With {more}{what}, networks remove more of {of} than with {less}{most_on}: by {size.text}{rest}."
    yield Finding(text, outcome.figure("along", "removal"), behind=Behind(stage, "rho", label=row["label"]))


def _removal(outcome: Outcome) -> Iterator[Finding]:
    """Without gaps: what was removed of the first degradation."""
    rows = [row for row in outcome.rows("derain_summary") if row["rho"] is not None]
    if not rows:
        return
    mine = [row for row in rows if row["label"] == rows[0]["label"]]
    top = max(mine, key=lambda row: row["rho"])
    removed = outcome.estimate(top, "rho", "rho_low", "rho_high", over(top, **_OVER)).percent().text
    text = f"{group_named(top['group'])} removes {removed} of {_rain(top['label'])}"
    text += f", the most of {counted(len(mine), 'group')}" if len(mine) > 1 else ""
    text += f"; damage in the rain is {fixed(top['d_perp'])} grey levels" if top["d_perp"] is not None else ""
    text += f", error beside it {fixed(top['e_background'])}" if top["e_background"] is not None else ""
    flag = flags("there is no comparison of rain that was trained on with rain that was not", _alone(top))
    yield Finding(f"{text}.", outcome.figure("removal"), flag, Behind(str(outcome.params.get("of", "")), "rho", label=top["label"]))


def _kappa(outcome: Outcome) -> Iterator[Finding]:
    rows = [row for row in outcome.rows("derain_kappa_tests") if row["rho"] is not None and row["p"] is not None]
    if not rows:
        return
    row = next((row for row in rows if row["measure"] == MEASURE), rows[0])
    measure = f" by {named(row['measure'])}" if row["measure"] else ""
    numbers = f"rank correlation {fixed(row['rho'])}, p = {row['p']:.2g}, no interval; {counted(row['points'], 'group')}, on "
    numbers += _rain(row["unseen"])
    flag = f"one of {len(rows)} tests, not adjusted for their number" if len(rows) > 1 else ""
    kappa = f"the complexity of the rain relative to the images (κ{measure})"
    if row["p"] <= 0.05:
        text = f"The gap is {'smaller' if row['rho'] < 0 else 'larger'} where {kappa} is higher: {numbers}."
    else:
        text = f"No association of the gap with {kappa} is shown: {numbers}."
    yield Finding(text, outcome.figure("kappa"), flag)
