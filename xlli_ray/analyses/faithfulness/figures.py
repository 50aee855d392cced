"""The figures of `faithfulness`: rows of its tables in, `Figure`s out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from xlli_ray.analyses.analysis import figure
from xlli_ray.analyses.faithfulness.tables import ALL
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.palette import INK, LINES, MUTED, SPARE, Look
from xlli_ray.stats.intervals import Interval
from xlli_ray.store.tables.results import Figure

PANELS = 6
"""Networks whose curves are drawn at most."""
ROWS = 60
"""Rows of dots at most."""
_Row = dict[str, Any]


def method_looks(methods: Sequence[str]) -> dict[str, tuple[str, str]]:
    """(colour, line) of each method, of nearest and of random."""
    looks = {method: (SPARE[i % len(SPARE)], LINES[i // len(SPARE) % len(LINES)]) for i, method in enumerate(methods)}
    return {**looks, "nearest": (INK, "--"), "random": (MUTED, ":")}


def chosen(rows: Sequence[_Row]) -> list[_Row]:
    """The rows of all degradations together."""
    label = ALL if any(row["label"] == ALL for row in rows) else next((row["label"] for row in rows), "")
    return [row for row in rows if row["label"] == label]


def gains(summary: Sequence[_Row], models: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """Gain over nearest first, and agreement with the causal effect map, network by network."""
    order = {model: i for i, model in enumerate(models)}
    rows = sorted(chosen(summary), key=lambda row: order[row["model"]])[:ROWS]
    if not rows:
        return
    single = len({row["model"] for row in rows}) == 1
    names = tuple(row["method"] if single else f"{row['model']} · {row['method']}" for row in rows)
    panels = []
    for title, label, mean, ends in (
        ("deletion", "gain over nearest first", "deletion_gain", "deletion"),
        ("insertion", "gain over nearest first", "insertion_gain", "insertion"),
        ("causal effects", "Spearman's ρ", "rho", "rho"), ("causal effects, beyond position", "Spearman's ρ", "beyond", "beyond"),
    ):  # fmt: skip
        values = tuple(_interval(row, mean, ends) for row in rows)
        if any(value is not None for value in values):
            colours, markers = tuple(looks[row["model"]].colour for row in rows), "".join(looks[row["model"]].marker for row in rows)
            panels.append(Panel(title, label, values, colours, zero=True, share="gain" if "gain" in label else "rho", markers=markers))
    view = Dots("gain of maps over nearest first, and agreement with causal effects", names, tuple(panels), columns=len(panels))
    yield figure("gain", view, "Mean over images with its interval. Above 0: the map orders pixels better than their distance from the "
                               "window does; ρ: agreement with the causal effect map over blocks.")  # fmt: skip


def curves(rows: Sequence[_Row], models: Sequence[str], methods: Sequence[str]) -> Iterator[Figure]:
    """Mean deletion and insertion curves, a line of panels for each network."""
    looks = method_looks(methods)
    panels = []
    known = [model for model in models if any(row["model"] == model for row in rows)]
    for model in known[:PANELS]:
        for way in ("deletion", "insertion"):
            lines = []
            for order in [*methods, "nearest", "random"]:
                mine = [row for row in rows if (row["model"], row["order"]) == (model, order)]
                if mine:
                    colour, line = looks[order]
                    shares = tuple(row["percent"] / 100 for row in mine)
                    lines.append(Curve(order, colour, shares, tuple(row[way] for row in mine), line=line))
            done = "gone" if way == "deletion" else "restored"
            panels.append(CurvePanel(f"{model}: {way}", tuple(lines), Axis(f"share of the pixels {done}"),
                                     Axis("distance / that at the baseline", zero=True)))  # fmt: skip
    if panels:
        more = f" The first {PANELS} networks." if len(known) > PANELS else ""
        view = Curves("deletion and insertion curves", tuple(panels), columns=2)
        yield figure("curves", view, "Distance of the window from its unchanged output as pixels go (deletion; higher is better) or come "
                                     f"back (insertion; lower is better), mean over images.{more}")  # fmt: skip


def weights(rows: Sequence[_Row], models: Sequence[str], methods: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """What is left of the maps as weights are drawn, a panel for each method."""
    panels = []
    for method in methods:
        lines = []
        for model in models:
            mine = [row for row in rows if (row["model"], row["method"]) == (model, method)]
            if mine:
                intervals = [_interval(row, "beyond", "beyond") or Interval(math.nan, math.nan, math.nan, 0) for row in mine]
                lines.append(
                    Curve(model, looks[model].colour, (0.0, *(row["drawn"] for row in mine)), (1.0, *(one.mean for one in intervals)),
                          low=(1.0, *(one.low for one in intervals)), high=(1.0, *(one.high for one in intervals)),
                          line=looks[model].line, marker=looks[model].marker)
                )  # fmt: skip
        if lines:
            panels.append(CurvePanel(method, tuple(lines), Axis("share of the layers drawn anew"),
                                     Axis("ρ with the map, beyond position")))  # fmt: skip
    if panels:
        view = Curves("maps as weights are randomised", tuple(panels), apart=True)
        caption = "Spearman's ρ of the map with that of the network with weights drawn from the output down, beyond what position "
        yield figure("weights", view, f"{caption}explains, mean over images with its interval. A map that stays shows the input.")


def _interval(row: _Row, mean: str, ends: str) -> Interval | None:
    if row[mean] is None or not math.isfinite(row[mean]):
        return None
    low, high = (math.nan if row[f"{ends}_{end}"] is None else float(row[f"{ends}_{end}"]) for end in ("low", "high"))
    return Interval(float(row[mean]), low, high, int(row["images"]))
