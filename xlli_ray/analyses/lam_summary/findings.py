"""What `lam_summary` found: the networks by DI, DI against PSNR, and the controls of the maps."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xlli_ray.analyses.lam_summary.tables import ALL
from xlli_ray.analyses.shared.findings import Behind, Finding, Outcome, difference, fixed, flags, group_named, listed, named, over

_Row = dict[str, Any]
_ENDS = ("difference", "low", "high")
_MIXED = "DI falls with the size of the input, and several sizes are averaged: compare it between these networks only"
_INDEX = "The diffusion index (DI, 0 to 100) of the local attribution maps (LAM) of {}"
_MOST = "The attribution of {} is the most spread: the diffusion index (DI, 0 to 100) of its local attribution maps (LAM) is"
_FAILS = {"randomised_weights": "survive randomised weights", "shifted_window": "do not follow their window"}


def findings(outcome: Outcome) -> Iterator[Finding]:
    """At most three."""
    yield from _groups(outcome) if outcome.rows("lam_groups") else _networks(outcome)
    yield from _psnr(outcome)
    yield from _controls(outcome)


def _label(rows: Sequence[_Row]) -> str:
    labels = [row["label"] for row in rows]
    return ALL if ALL in labels else str(next(iter(labels), ""))


def _networks(outcome: Outcome) -> Iterator[Finding]:
    summary = outcome.rows("lam_summary")
    mixed = any(row["height"] is None for row in summary)
    mine = [row for row in summary if row["label"] == _label(summary) and (row["height"] is None) == mixed]
    rows = sorted((row for row in mine if row["di"] is not None), key=lambda row: -row["di"])
    flag = flags(*_doubts(mine), _MIXED if mixed else "", *_untested(outcome))
    if not rows:
        if mine:
            yield Finding("No network has a map with a diffusion index (DI).", flag=flag)
        return
    top, *others = rows
    said = outcome.estimate(top, "di", "di_low", "di_high", over(top, images="photograph"))
    stage = str(outcome.params.get("of", ""))
    if not others:
        text = f"{_INDEX.format(named(top['model']))} is {said.text}."
        yield Finding(text, outcome.figure("di"), flag, Behind(stage, "di", top["model"]))
        return
    text = f"{_MOST.format(named(top['model']))} {said.text}"
    pairs = [row for row in outcome.rows("lam_pairs") if row["label"] == top["label"]]
    for other in others[:1] if len(others) == 1 else (others[0], others[-1]):
        apart = difference(outcome, pairs, top["model"], other["model"], _ENDS, {"images": "photograph"})
        role = "" if len(others) == 1 else "the second" if other is others[0] else "the lowest"
        name = named(other["model"])
        text += f"; {apart.against(name, role, after=said)}" if apart is not None else f"; {name} was not compared on the same windows"
        if apart is not None and apart.shown:
            break  # the rest are lower still
    yield Finding(f"{text}.", outcome.figure("di", "pairs"), flag, Behind(stage, "di", top["model"], other["model"]))


def _groups(outcome: Outcome) -> Iterator[Finding]:
    groups = outcome.rows("lam_groups")
    rows = sorted((row for row in groups if row["label"] == _label(groups) and row["di"] is not None), key=lambda row: -row["di"])
    summary = outcome.rows("lam_summary")
    flag = flags(*_doubts([row for row in summary if row["label"] == _label(summary)]), *_untested(outcome))
    if not rows:
        return
    top = rows[0]
    units = {"trainings": "training", "images": "photograph"}
    said = outcome.estimate(top, "di", "low", "high", over(top, **units))
    text = f"{_MOST.format(group_named(top['group']))} {said.text}"
    if len(rows) > 1:
        pairs = [row for row in outcome.rows("lam_group_pairs") if row["label"] == top["label"]]
        apart = difference(outcome, pairs, top["group"], rows[1]["group"], _ENDS, units, names=("group", "other"))
        text += f"; {apart.against(group_named(rows[1]['group']), after=said)}" if apart is not None else ""
    yield Finding(f"{text}.", outcome.figure("di"), flag)


def _doubts(rows: Sequence[_Row]) -> Iterator[str]:
    """Maps without DI, or with large errors, in the numbers of these rows."""
    for column, about in (("undefined", "without a DI"), ("inexact", "with a large estimated error")):
        total: dict[str, tuple[int, int]] = {}
        for row in rows:
            bad, maps = total.get(row["model"], (0, 0))
            total[row["model"]] = (bad + row[column], maps + row["windows"] + row["undefined"])
        if some := [f"{named(model)} ({bad} of {maps})" for model, (bad, maps) in total.items() if bad]:
            yield f"maps {about}: {listed(some)}"


def _untested(outcome: Outcome) -> Iterator[str]:
    """Controls that failed, or that nobody made."""
    controls = outcome.rows("lam_controls")
    if not controls:
        yield "whether the maps depend on the networks was not tested (no controls)"
    for control, fails in _FAILS.items():
        if bad := [row["model"] for row in controls if row["control"] == control and row["flag"]]:
            yield f"most maps of {listed(bad)} {fails}"


def _psnr(outcome: Outcome) -> Iterator[Finding]:
    rows = outcome.rows("lam_psnr")
    label = _label(rows)
    within = next((row for row in rows if row["label"] == label and row["scope"] == "within images"), None)
    across = next((row for row in rows if row["label"] == label and row["scope"] == "across models"), None)
    if within is None or within["rho"] is None:
        return
    rho = outcome.estimate(within, "rho", "low", "high", over(within, images="photograph"))
    if rho.shown:
        way = "higher" if rho.value > 0 else "lower"
        text = f"Within a photograph, a higher DI goes with a {way} PSNR: mean rank correlation (Spearman's ρ) of the "
        text += f"{within['models']} networks "
        text += rho.text
    else:
        text = "Within a photograph, no rank correlation of DI and PSNR over the "
        text += f"{within['models']} networks is shown: ρ {rho.text}"
    if across is not None and across["rho"] is not None and across["p"] is not None:
        text += f". Between the networks' means (figure) it is {fixed(across['rho'])}, "
        text += f"more than chance gives (p = {across['p']:.2g})" if across["p"] <= 0.05 else (
            f"which over {across['models']} networks shows no relation (p = {across['p']:.2g})")  # fmt: skip
    yield Finding(f"{text}.", outcome.figure("psnr"))


def _controls(outcome: Outcome) -> Iterator[Finding]:
    rows = [row for row in outcome.rows("lam_controls") if row["maps"]]
    if not rows:
        return
    if bad := [row for row in rows if row["flag"]]:
        some = [f"{named(row['model'])} ({row['alike']} of {row['maps']} maps {_FAILS.get(row['control'], 'fail')})" for row in bad]
        yield Finding(f"The maps of {listed(some)} fail a control: they show the input, not the network.", outcome.figure("controls"))
        return
    worst = max(rows, key=lambda row: row["alike"] / row["maps"])
    text = f"No network has more than half of its maps fail a control; the most are {worst['alike']} of {worst['maps']} maps"
    what = f"{named(worst['model'])}, {worst['control'].replace('_', ' ')}; {over(worst, images='photograph')}"
    yield Finding(f"{text} ({what}).", outcome.figure("controls"))
