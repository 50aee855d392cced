"""Rows of `derain_summary`, `derain_gaps` and `derain_differences`, and what must be seen first: verdicts with their alternatives.

A gap of ρ alone does not say that a network fitted the rain. Three things look like it or hide it, and each is looked at: the network may
not have learned the seen rain either (under-fitting: ρ on it is low), it may destroy the image (corruption: the output is further from the
clean image in the rain than the input was), or its E_R may be damage (inflation: more than half of E_R² is D⊥²).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.derain_summary.measures import Measures
from xlli_ray.analyses.shared.replicates import Group, compared_groups
from xlli_ray.errors import counted
from xlli_ray.stats import crossed
from xlli_ray.stats.crossed import Crossed

WITH_ENDS = ("rho", "d_perp", "e_background", "psnr_y")
COMPARED = WITH_ENDS
FITS, CARRIES, OPEN, UNLEARNED = "fits the rain", "generalizes", "undecided", "not learned"
MOST_NAMED = 3
"""Groups that a flag names; the table has all."""
MOST = 0.5
"""Share of the samples from which corruption and inflation are said."""
_Row = dict[str, Any]


def ends(name: str, found: Crossed) -> _Row:
    """A number with the ends of its interval, as columns."""
    return {name: found.mean, f"{name}_low": found.low, f"{name}_high": found.high}


def _about(found: Crossed) -> _Row:
    return {"trainings": found.trainings, "backgrounds": found.photographs, "over": found.over, "reason": found.reason}


def summary_rows(measures: Measures) -> list[_Row]:
    """Rows of `derain_summary`: every group under every label that it was measured on."""
    out = []
    for group in measures.groups:
        for label in measures.labels:
            found = {name: measures.mean(group, name, label) for name in measures.cube}
            best = max((found[name] for name in WITH_ENDS), key=lambda item: item.photographs)
            if not best.photographs:
                continue
            lead = found["rho"] if found["rho"].photographs else best
            row = {"group": group.name, "label": label, "rain": measures.rain[group.name].of(label), **_about(lead)}
            row |= {name: item.mean for name, item in found.items()}
            for name in WITH_ENDS:
                row |= ends(name, found[name])
            row |= {name: measures.share(group, name, [label]) for name in ("corrupted", "inflated")}
            out.append(row)
    return out


def gap_rows(measures: Measures) -> list[_Row]:
    """Rows of `derain_gaps`: every group whose seen rain is known, under every rain that it has not seen."""
    return [row for group in measures.groups for label in measures.rain[group.name].unseen if (row := _gap(measures, group, label))]


def _gap(measures: Measures, group: Group, label: str) -> _Row | None:
    seen, level = measures.rain[group.name].seen, measures.params.level
    one, other, paired = measures.pair(group, "rho", seen, [label])
    if not one.size or not other.size:
        return None
    gap = crossed.difference(one, other, common_photographs=paired, level=level)
    share = crossed.ratio(other, one, common_photographs=paired, level=level)
    first, second, _ = measures.pair(group, "psnr_y", seen, [label])
    row = {
        "group": group.name, "seen": ", ".join(seen), "unseen": label, "rho_seen": float(one.mean()), "rho_unseen": float(other.mean()),
        **ends("gap", gap), **ends("ratio", share), "d_perp_unseen": measures.mean(group, "d_perp", label).mean,
        "e_background_unseen": measures.mean(group, "e_background", label).mean,
        "psnr_y_change": float(second.mean() - first.mean()) if first.size and second.size else float("nan"), "paired": paired,
        **_about(gap),
    }  # fmt: skip
    learned = row["rho_seen"] >= measures.params.learned
    found = verdict(gap, measures.params.fits) if learned else UNLEARNED
    return row | {"verdict": found, "alternative": "; ".join(alternatives(measures, group, row, label))}


def verdict(gap: Crossed, fits: float) -> str:
    """What the interval of a gap says of a network that removes the rain that it has seen."""
    if gap.low > fits:
        return FITS
    return CARRIES if gap.high < fits else OPEN


def alternatives(measures: Measures, group: Group, row: Mapping[str, Any], label: str) -> list[str]:
    """What else would explain a gap, or hide one."""
    out = []
    if row["rho_seen"] < measures.params.learned:
        out.append(f"under-fitted (ρ on seen rain {row['rho_seen']:.2f})")
    for name, word in (("corrupted", "corrupted"), ("inflated", "E_R inflated")):
        shares = {rain: measures.share(group, name, labels) for rain, labels in
                  (("seen", measures.rain[group.name].seen), ("unseen", (label,)))}  # fmt: skip
        if said := [f"{100 * share:.0f} % of {rain}" for rain, share in shares.items() if share > MOST]:
            out.append(f"{word} ({', '.join(said)})")
    return out


def difference_rows(measures: Measures) -> list[_Row]:
    """Rows of `derain_differences`: pairs of groups on the same backgrounds."""
    out = []
    for one, other in compared_groups(measures.groups):
        for label in measures.labels:
            for name in COMPARED:
                found, paired = measures.between(one, other, name, label)
                if found.photographs:
                    about = {"group": one.name, "other": other.name, "label": label, "measure": name}
                    out.append({**about, **ends("difference", found), "paired": paired, **_about(found)})
    return out


def flags(measures: Measures, summary: Sequence[_Row], gaps: Sequence[_Row]) -> list[str]:
    """What must be seen before any number."""
    out = []
    for name, text in (("corrupted", "further from the clean image in the rain than the input was; its E_R is no removal"),
                       ("inflated", "more than half of E_R² is D⊥²; E_R tells of damage")):  # fmt: skip
        bad = [f"{row['group']} on {row['label']} ({100 * row[name]:.0f} % of the samples, E_R {row['e_rain_input']:.1f} where a perfect "
               f"network has {row['e_rain_perfect']:.1f}, ρ {row['rho']:.2f}, D⊥ {row['d_perp']:.1f}, E_B {row['e_background']:.1f})"
               for row in summary if row[name] > MOST]  # fmt: skip
        if bad:
            more = f" and {len(bad) - MOST_NAMED} more, see the column {name} of derain_summary" if len(bad) > MOST_NAMED else ""
            out.append(f"{text}: {', '.join(bad[:MOST_NAMED])}{more}")
    under = dict.fromkeys(f"{row['group']} ({row['rho_seen']:.2f})" for row in gaps if row["rho_seen"] < measures.params.learned)
    if under:
        out.append(f"ρ on seen rain is below {measures.params.learned:g}, so a gap says little: {', '.join(under)}")
    return out


def notes(measures: Measures, summary: Sequence[_Row]) -> list[str]:
    """What one should know of the numbers."""
    samples, number = counted(measures.samples, "sample"), counted(measures.backgrounds, "background")
    out = [
        f"{samples} of {number}: files of one clean image, under however many rains, are one background.",
        f"Intervals, {100 * measures.params.level:g} %: over trainings and photographs where a group has three trainings, else over "
        "photographs, for these trainings (`stats.crossed`).",
    ]
    if measures.left:
        out.append(f"In no group, for want of a tag: {', '.join(measures.left)}.")
    undefined = [row["label"] for row in summary if not np.isfinite(row["rho"])]
    if undefined:
        out.append(f"No ρ: there is no rain in the mask of {', '.join(dict.fromkeys(undefined))}; the table derain has the reasons.")
    return [*out, *measures.notes]
