"""What `srga` found: whose features on degraded inputs are most and least like those on the reference."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xlli_ray.analyses.shared.findings import Finding, Outcome, difference, fixed, flags, listed, named, over
from xlli_ray.analyses.srga.tables import ALL
from xlli_ray.errors import counted

_Row = dict[str, Any]
_ENDS = ("difference", "low", "high")


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most two."""
    sets = outcome.rows("srga")
    if groups := outcome.rows("srga_groups"):
        yield from _groups(outcome, groups, sets)
        return
    families = outcome.rows("srga_families")
    family = _family(families)
    rows = sorted((row for row in families if row["family"] == family and row["srga"] is not None), key=lambda row: row["srga"])
    if not rows:
        if sets:
            yield Finding("No set can be compared for every network: there is no ranking.", outcome.figure("srga"), _doubts(outcome, sets))
        return
    best, worst = rows[0], rows[-1]
    reference = named(outcome.params.get("reference", "the reference"))
    said = outcome.estimate(best, "srga", "low", "high", _over(outcome, sets, best["model"]))
    where = f"mean SRGA over {counted(best['sets'], 'set')}{'' if family == ALL else f' of {named(family)}'}"
    flag = _doubts(outcome, sets, best["model"])
    if len(rows) == 1:
        most = max((row for row in sets if row["state"] == "ok" and row["srga"] is not None), key=lambda row: row["srga"])
        text = f"{named(best['model'])}: {where} {said.text}, 0 being the distribution of features on {reference}; the highest is on "
        highest = outcome.estimate(most, "srga", "low", "high", _over(outcome, sets, best["model"])).text
        yield Finding(f"{text}{named(most['label'])}, {highest}.", outcome.figure("srga"), flag)
        return
    text = f"The features of {named(best['model'])} on degraded inputs differ least from those on {reference}: {where} {said.text}"
    tied = [row["model"] for row in rows[1:] if row["first"] is not None and best["last"] is not None and row["first"] <= best["last"]]
    if tied:
        text += f"; no difference from {listed(tied)} is shown"
    elif (apart := _apart(outcome, best, rows[1])) is not None:
        text += f"; {apart.against(named(rows[1]['model']), 'the second' if len(rows) > 2 else '', after=said)}"
    yield Finding(f"{text}.", outcome.figure("ranking", "srga"), flag)
    if len(rows) > 2 and (apart := _apart(outcome, worst, best)) is not None:
        value = outcome.estimate(worst, "srga", "low", "high", _over(outcome, sets, worst["model"]))
        text = f"Those of {named(worst['model'])} differ most: {value.text}; {apart.against(named(best['model']), after=value)}."
        yield Finding(text, outcome.figure("srga", "ranking"), _doubts(outcome, sets, worst["model"]))


def _family(rows: Sequence[_Row]) -> str:
    families = [row["family"] for row in rows]
    return ALL if ALL in families else str(next(iter(families), ""))


def _over(outcome: Outcome, sets: Sequence[_Row], model: str) -> str:
    row = next(row for row in sets if row["model"] == model)
    if outcome.params.get("draw") == "samples":
        return f"{over(row, n='sample')}, these photographs only"
    return over(row, images="photograph")


def _apart(outcome: Outcome, one: _Row, other: _Row) -> Any:
    pairs = [{**row, **_images(outcome, row["model"])} for row in outcome.rows("srga_pairs")
             if row["family"] == one["family"] and row["label"] is None]  # fmt: skip
    return difference(outcome, pairs, one["model"], other["model"], _ENDS, {"images": "photograph"})


def _images(outcome: Outcome, model: str) -> Mapping[str, Any]:
    return next(({"images": row["images"]} for row in outcome.rows("srga") if row["model"] == model), {})


def _doubts(outcome: Outcome, sets: Sequence[_Row], model: str = "") -> str:
    """What speaks against the index of `model`; of any network if it is empty."""
    mine = [row for row in sets if model in ("", row["model"])]
    reference = {row["model"]: row["psnr_y"] for row in sets if row["state"] == "reference" and row["psnr_y"] is not None}
    gate, low = float(outcome.params.get("gate", 3.0)), ""
    if model in reference and reference[model] < max(reference.values()) - gate:
        low = f"{named(model)} has {fixed(reference[model], 1)} dB on the reference, the best network "
        low += f"{fixed(max(reference.values()), 1)} dB: a low index is no merit"
    broken = listed(dict.fromkeys(row["label"] for row in mine if row["state"] in ("degenerate", "refused")))
    clipped = listed(row["label"] for row in mine if row["clipped"])
    chance = listed(row["label"] for row in mine if row["under_floor"] and row["state"] == "ok")
    return flags(
        low, f"no index on {broken}" if broken else "", f"alpha clipped, index not to be relied on: {clipped}" if clipped else "",
        f"not distinguishable from chance: {chance}" if chance else "",
    )  # fmt: skip


def _groups(outcome: Outcome, groups: Sequence[_Row], sets: Sequence[_Row]) -> Iterator[Finding]:
    family = _family(groups)
    rows = [row for row in groups if row["family"] == family and row["label"] is None and row["srga"] is not None]
    rows.sort(key=lambda row: row["srga"])
    if not rows:
        return
    best, units = rows[0], {"trainings": "training"}
    said = outcome.estimate(best, "srga", "low", "high", counted(best["trainings"], "training"))
    reference = named(outcome.params.get("reference", "the reference"))
    text = f"The features of {named(best['group'])} on degraded inputs differ least from those on {reference}: mean SRGA {said.text}"
    if len(rows) > 1:
        pairs = [row for row in outcome.rows("srga_group_pairs") if row["family"] == family and row["label"] is None]
        apart = difference(outcome, pairs, best["group"], rows[1]["group"], _ENDS, units, names=("group", "other"))
        text += f"; {apart.against(named(rows[1]['group']), after=said)}" if apart is not None else ""
    yield Finding(f"{text}.", outcome.figure("srga"), _doubts(outcome, sets))
