"""The figures of `complexity_summary`: both profiles, κ, and layers. Of several numbers of images curves over them, else dots."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import cycle
from typing import Any

from xlli_ray.analyses.analysis import figure
from xlli_ray.analyses.complexity_summary.pairs import by_measure
from xlli_ray.analyses.complexity_summary.tables import IMAGE, MEASURES, RESIDUAL
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.palette import INK, MARKERS
from xlli_ray.stats.intervals import Interval
from xlli_ray.store.tables.results import Figure

SHOWN = ("eff_rank", "k95", "id_twonn", "id_mle", "k95_normalised", "preq")
"""Measures of the figures; the tables have all."""
COLUMNS = 3
_ENDS = ("value", "low", "high")
_Row = dict[str, Any]
_IMAGES = "images"


def profiles(sets: Sequence[_Row], meaning: Labels) -> Iterator[Figure]:
    """Complexity of images and of each degradation: the images as they are matched with the first one, for all are nearly the same."""
    rows = [row for row in sets if row["measure"] in SHOWN]
    labels = list(dict.fromkeys(row["degradation"] for row in rows if row["side"] == RESIDUAL))
    first = labels[0] if labels else next(iter(row["degradation"] for row in rows), "")
    named = [({**row, "name": _IMAGES if row["side"] == IMAGE else row["degradation"]}) for row in rows
             if row["side"] == RESIDUAL or row["degradation"] == first]  # fmt: skip
    about = (
        "Complexity of the clean images and of what each degradation adds, equally many patches at the same places, with intervals over "
        "photographs (prequential: over trainings)."
    )
    yield from _drawn("profiles", "complexity of images and degradations", named, _ENDS, meaning, about, zero=False)


def kappas(rows: Sequence[_Row], meaning: Labels) -> Iterator[Figure]:
    """κ of each degradation."""
    named = [{**row, "name": row["degradation"], "images": row["n"]} for row in rows if row["measure"] in SHOWN]
    about = "κ = log(C of the degradation / C of the images). Below 0 with its interval: the degradation is simpler, expected to be fitted."
    yield from _drawn("kappa", "kappa by degradation", named, ("kappa", "kappa_low", "kappa_high"), meaning, about, zero=True)


def _drawn(
    name: str, title: str, rows: list[_Row], keys: tuple[str, str, str], meaning: Labels, about: str, *, zero: bool
) -> Iterator[Figure]:  # fmt: skip
    if not rows:
        return
    names = list(dict.fromkeys(row["name"] for row in rows))
    counts = sorted({row["count"] for row in rows if row["count"] is not None})
    colours = {one: INK if one == _IMAGES else meaning.colour(one) for one in names}
    if len(counts) > 1:
        panels = [_curves(measure, mine, names, colours, keys, zero=zero) for measure, mine in by_measure(rows).items()]
        against = "Against the number of images; mean over seeds of the subset, intervals of the first seed."
        yield figure(name, Curves(title, tuple(panels), columns=COLUMNS), f"{about} {against}")
        return
    whole = [row for row in rows if row["set"] == "all"]
    dots = []
    for measure, mine in by_measure(whole).items():
        found = {row["name"]: _interval(row, keys) for row in mine}
        values = tuple(found.get(one) for one in names)
        share = "" if zero else measure  # κ of all measures on one axis, complexities each on its own
        dots.append(Panel(MEASURES[measure], "κ" if zero else "", values, tuple(colours[one] for one in names), zero=zero, share=share))
    yield figure(name, Dots(title, tuple(names), tuple(dots), columns=COLUMNS), about)


def _curves(
    measure: str, rows: list[_Row], names: list[str], colours: dict[str, str], keys: tuple[str, str, str], *, zero: bool
) -> CurvePanel:
    """One panel: a curve a name over the number of images."""
    curves = []
    marks = dict(zip((name for name in names if name != _IMAGES), cycle(MARKERS)))
    for name in names:
        mine = [row for row in rows if row["name"] == name and row["count"] is not None]
        x = sorted({row["count"] for row in mine})
        by_count = {count: [row for row in mine if row["count"] == count] for count in x}
        middle = tuple(sum(_number(row.get(keys[0])) for row in some) / len(some) for some in by_count.values())
        low, high = (tuple(_number(some[0].get(key)) for some in by_count.values()) for key in keys[1:])
        line = "-" if name == _IMAGES else "--"
        curves.append(Curve(name, colours[name], tuple(map(float, x)), middle, low, high, line=line, marker=marks.get(name, "o")))
    return CurvePanel(MEASURES[measure], tuple(curves), Axis("images", log=True), Axis("κ" if zero else ""))


def layers(rows: Sequence[_Row], view: View) -> Iterator[Figure]:
    """Dimension and rank of each layer under each degradation."""
    if not rows:
        return
    names = list(dict.fromkeys((row["model"], row["layer"]) for row in rows))
    labels = [label for label in view.labels if any(row["degradation"] == label for row in rows)]
    panels = []
    for measure, mine in by_measure(list(rows)).items():
        curves = []
        for label in labels:
            found = {(row["model"], row["layer"]): row for row in mine if row["degradation"] == label}
            value, low, high = (tuple(_number(found[one][key]) if one in found else math.nan for one in names) for key in _ENDS)
            x = tuple(map(float, range(len(names))))
            curves.append(Curve(label, view.meaning.colour(label), x, value, low, high, line="", marker="o"))
        places = Axis("", places=tuple(map(float, range(len(names)))), names=tuple(f"{model} {layer}" for model, layer in names))
        panels.append(CurvePanel(MEASURES[measure], tuple(curves), places))
    yield figure("layers", Curves("complexity of layers", tuple(panels), apart=True, columns=2),
                 "Vectors over positions, standardised; with intervals over photographs. Compare degradations within a layer.")  # fmt: skip


def _interval(row: _Row, keys: tuple[str, str, str]) -> Interval:
    value, low, high = (_number(row.get(key)) for key in keys)
    return Interval(value, low, high, int(row["images"]))


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)

