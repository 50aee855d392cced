"""What `srga` found: whose features change least and most with degradation, and whether networks that restore badly do as well.

Networks that were never trained are not ranked: they are what makes a low index no merit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from xlli_ray.analyses.shared.findings import Finding, Outcome, difference, fixed, flags, group_named, listed, named, over
from xlli_ray.analyses.srga.tables import ALL
from xlli_ray.errors import counted

_Row = dict[str, Any]
_ENDS = ("difference", "low", "high")
_INDEX = "generalization assessment index"


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three."""
    sets = outcome.rows("srga")
    if groups := outcome.rows("srga_groups"):
        yield from _groups(outcome, groups, sets)
        return
    families = outcome.rows("srga_families")
    family = _family(families)
    rows = sorted((row for row in families if row["family"] == family and row["srga"] is not None), key=lambda row: row["srga"])
    if not rows:
        if sets:
            text = "There is no ranking: on no degradation do all networks have an index (SRGA)."
            yield Finding(text, outcome.figure("srga"), _doubts(outcome, sets))
        return
    trained = [row for row in rows if row["model"] not in outcome.untrained] or rows
    best, worst = trained[0], trained[-1]
    reference = named(outcome.params.get("reference", "the reference"))
    said = outcome.estimate(best, "srga", "low", "high", _over(outcome, sets, best["model"]))
    number = counted(best["sets"], "degradation") if family == ALL else f"{best['sets']} of {named(family)}"
    index = f"mean {_INDEX} (SRGA, 0: as on {reference}) {replace(said, over=f'{number}, {said.over}').text}"
    flag = _doubts(outcome, sets, best["model"])
    if len(rows) == 1:
        most = max((row for row in sets if row["state"] == "ok" and row["srga"] is not None), key=lambda row: row["srga"])
        highest = outcome.estimate(most, "srga", "low", "high", _over(outcome, sets, best["model"])).text
        text = f"The features of {named(best['model'])} change with degradation: {index}, most on {named(most['label'])}: "
        yield Finding(f"{text}{highest}.", outcome.figure("srga"), flag)
        return
    of = f"Of {counted(len(trained), 'trained network')}, " if len(trained) < len(rows) else ""
    if len(trained) > 1:
        text = f"{of}{named(best['model'])} has the features that change least with degradation: {index}"
    else:
        text = f"The features of {named(best['model'])} change with degradation: {index}"
    tied = [row["model"] for row in trained[1:] if row["first"] is not None and best["last"] is not None and row["first"] <= best["last"]]
    if tied:
        text += f"; no difference from {listed(tied)} is shown"
    elif len(trained) > 1 and (apart := _apart(outcome, best, trained[1])) is not None:
        text += f"; {apart.against(named(trained[1]['model']), 'the second' if len(trained) > 2 else '', after=said)}"
    yield Finding(f"{text}.", outcome.figure("ranking", "srga"), flag)
    yield from _no_merit(outcome, rows, sets)
    if len(trained) > 2 and (apart := _apart(outcome, worst, best)) is not None:
        value = outcome.estimate(worst, "srga", "low", "high", _over(outcome, sets, worst["model"]))
        text = f"The features of {named(worst['model'])} change most: SRGA {value.text}; "
        text += f"{apart.against(named(best['model']), after=value)}."
        yield Finding(text, outcome.figure("srga", "ranking"), _doubts(outcome, sets, worst["model"]))


def _no_merit(outcome: Outcome, rows: Sequence[_Row], sets: Sequence[_Row]) -> Iterator[Finding]:
    """That networks which restore badly, or learned nothing, have a lower index than others."""
    psnr = _reference_psnr(sets)
    bad = [row for row in rows if row["model"] in outcome.untrained or _gated(outcome, psnr, row["model"])]
    good = [row for row in rows if row not in bad]
    lowest = min(bad, key=lambda row: row["srga"], default=None)
    if lowest is None or not (above := [row for row in good if row["srga"] > lowest["srga"]]):
        return
    what = "untrained" if lowest["model"] in outcome.untrained else "a poor network"
    about = f", {fixed(psnr[lowest['model']], 1)} dB on {named(outcome.params.get('reference', 'the reference'))}"
    about = about if lowest["model"] in psnr else ""
    text = f"A low SRGA is not quality: {named(lowest['model'])} ({what}{about}) has {fixed(lowest['srga'])}, less than {len(above)} of "
    text += f"{counted(len(good), 'trained network' if what == 'untrained' else 'better network')}"
    best = max((row["model"] for row in good if row["model"] in psnr), key=lambda model: psnr[model], default="")
    if about and best:
        text += f" (the best, {named(best)}, {fixed(psnr[best], 1)} dB)"
    value = outcome.estimate(lowest, "srga", "low", "high", _over(outcome, sets, lowest["model"]))
    text = text.replace(f"has {fixed(lowest['srga'])}", f"has {value.text}", 1)
    yield Finding(f"{text}.", outcome.figure("ranking", "srga"))


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
    broken = listed(dict.fromkeys(row["label"] for row in mine if row["state"] in ("degenerate", "refused")))
    clipped = listed(row["label"] for row in mine if row["clipped"])
    chance = listed(row["label"] for row in mine if row["under_floor"] and row["state"] == "ok")
    whose = f" of {named(model)}" if model else ""
    return flags(
        f"the index{whose} is missing on {broken}" if broken else "",
        f"the index{whose} cannot be relied on for {clipped} (alpha clipped)" if clipped else "",
        f"on {chance}, the index{whose} cannot be told from chance" if chance else "",
    )  # fmt: skip


def _reference_psnr(sets: Sequence[_Row]) -> dict[str, float]:
    return {row["model"]: row["psnr_y"] for row in sets if row["state"] == "reference" and row["psnr_y"] is not None}


def _gated(outcome: Outcome, psnr: Mapping[str, float], model: str) -> bool:
    return model in psnr and psnr[model] < max(psnr.values()) - float(outcome.params.get("gate", 3.0))


def _groups(outcome: Outcome, groups: Sequence[_Row], sets: Sequence[_Row]) -> Iterator[Finding]:
    family = _family(groups)
    rows = [row for row in groups if row["family"] == family and row["label"] is None and row["srga"] is not None]
    rows.sort(key=lambda row: row["srga"])
    if not rows:
        return
    best, units = rows[0], {"trainings": "training"}
    said = outcome.estimate(best, "srga", "low", "high", counted(best["trainings"], "training"))
    reference = named(outcome.params.get("reference", "the reference"))
    text = f"The features of {group_named(best['group'])} change least with degradation: "
    text += f"mean {_INDEX} (SRGA, 0: as on {reference}) {said.text}"
    if len(rows) > 1:
        pairs = [row for row in outcome.rows("srga_group_pairs") if row["family"] == family and row["label"] is None]
        apart = difference(outcome, pairs, best["group"], rows[1]["group"], _ENDS, units, names=("group", "other"))
        text += f"; {apart.against(group_named(rows[1]['group']), after=said)}" if apart is not None else ""
    yield Finding(f"{text}.", outcome.figure("srga"), _doubts(outcome, sets))
