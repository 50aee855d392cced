"""Findings of a `restore` stage from the means on the page: the best network against the next and the baseline, the worst degradation."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from xlli_ray.analyses.shared.findings import Behind, Estimate, Finding, named
from xlli_ray.analyses.shared.worse_than_baseline import baselines
from xlli_ray.errors import counted
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_means import LEVEL, Asked, Difference, Summary, summarise
from xlli_ray.report.page_model import Section
from xlli_ray.stats.intervals import Interval

COLUMN = "psnr_y"


def restore_findings(context: Context, section: Section) -> list[Finding]:
    """At most three; none without PSNR."""
    summary = next((one for one in section.summaries if one.column == COLUMN), None)
    if section.kind != "restore" or summary is None:
        return []
    labels = [label for label in context.families if any(key[1] == label for key in summary.values)]
    known = [model for model in section.models if any(key[0] == model for key in summary.values)]
    base = [model for model in known if model in baselines(context.study.manifest)]
    networks = [model for model in known if model not in base] or known
    return [*_best(context, section, summary, networks, base, labels), *_worst(section, summary, networks, labels)]


def _best(
    context: Context, section: Section, summary: Summary, networks: Sequence[str], base: Sequence[str], labels: Sequence[str]
) -> Iterator[Finding]:
    """On the first degradation that any network has."""
    label = next(label for label in labels if any((model, label) in summary.values for model in networks))
    mine = [model for model in networks if (model, label) in summary.values]
    ranked = sorted(mine, key=lambda model: -summary.values[model, label].mean)
    best = ranked[0]
    said = _estimate(summary.values[best, label])
    where = f"On {named(label)}, " if len(labels) > 1 else ""
    text = f"{where}{named(best)} has the highest PSNR on luma (PSNR-Y), {said.text}"
    if len(ranked) == 1:
        text = f"{where}{named(best)} has a PSNR on luma (PSNR-Y) of {said.text}"
    if len(ranked) > 1 and (apart := _difference(summary.differences, best, ranked[1], label)) is not None:
        text += f"; {apart.against(named(ranked[1]), 'the second' if len(ranked) > 2 else '', after=said)}"
    for model in base:
        if model == best:
            continue
        column = next(column for column in section.columns if column.name == COLUMN)
        asked = Asked(section.kind, section.id, {COLUMN: column.limits}, [one.name for one in section.columns if one.place])
        (paired,) = summarise(context.tables, asked, models=[model, best], labels=labels, against=model)
        if (apart := _difference(paired.differences, best, model, label)) is not None:
            text += f"; {apart.against(named(model), 'the baseline', after=said)}"
    other = ranked[1] if len(ranked) > 1 else next((model for model in base if model != best), "")
    yield Finding(f"{text}.", COLUMN, behind=Behind(section.id, COLUMN, best, other, label if len(labels) > 1 else ""))
    if len(labels) > 1 and len(ranked) > 1:
        first = sum(max((other for other in networks if (other, one) in summary.values),
                        key=lambda other: summary.values[other, one].mean, default="") == best for one in labels)  # fmt: skip
        yield Finding(f"The mean PSNR-Y of {named(best)} is the highest in {first} of {counted(len(labels), 'degradation')}, "
                      f"{named(labels[0])} included.", COLUMN)


def _worst(section: Section, summary: Summary, networks: Sequence[str], labels: Sequence[str]) -> Iterator[Finding]:
    """Of one network: the degradation with the largest loss against the first."""
    if summary.pairing != "labels" or len(networks) != 1:
        return
    some = [one for one in summary.differences if one.where == networks[0]]
    if some:
        most = min(some, key=lambda one: one.interval.mean)
        apart = _estimate(most.interval)
        if apart.shown and apart.value < 0:
            lead = f"{named(networks[0])} loses most on {named(most.other)}, of {len(some)} degradations" if len(some) > 1 else (
                f"{named(networks[0])} loses on {named(most.other)}")  # fmt: skip
            text = f"{lead}: {apart.flipped().text} of PSNR-Y against {named(most.one)}."
        else:
            text = f"{named(networks[0])} is not shown to lose PSNR-Y on any degradation; on {named(most.other)}: "
            text += f"{apart.against(named(most.one))}."
        yield Finding(text, COLUMN, behind=Behind(section.id, COLUMN, networks[0], label=most.other))


def _difference(differences: Sequence[Difference], one: str, other: str, label: str) -> Estimate | None:
    """`one` minus `other`."""
    for item in differences:
        if item.where == label and (item.other, item.one) == (one, other):
            return _estimate(item.interval)
        if item.where == label and (item.one, item.other) == (one, other):
            return _estimate(item.interval).flipped()
    return None


def _estimate(item: Interval) -> Estimate:
    low, high = (end if math.isfinite(end) else None for end in (item.low, item.high))
    return Estimate(item.mean, low, high, counted(item.photographs, "photograph"), "dB", 0.0, LEVEL)
