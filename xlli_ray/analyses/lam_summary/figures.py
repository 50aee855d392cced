"""The figures of `lam_summary`: rows of its tables in, `Figure`s out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.analysis import figure
from xlli_ray.analyses.lam_summary.tables import ALL
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.heat import Heat, brackets_of, grid_of
from xlli_ray.plots.palette import INK, MUTED, Look
from xlli_ray.plots.scatter import Point, Scatter, ScatterPanel
from xlli_ray.plots.strips import Strip, Strips
from xlli_ray.stats.intervals import Interval
from xlli_ray.store.tables.results import Figure

PANELS = 8
"""More degradations than this are shown as a heat map."""
DOTS = 16
"""More pairs than this are shown as a matrix."""
_Row = dict[str, Any]


def _interval(row: _Row, name: str, low: str, high: str) -> Interval:
    mean, lower, upper = (math.nan if row[key] is None else float(row[key]) for key in (name, low, high))
    return Interval(mean, lower, upper, int(row["images"]))


def indices(summary: Sequence[_Row], models: Sequence[str], labels: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """DI of each model: one panel per degradation; several sizes together."""
    mixed = any(row["height"] is None for row in summary)
    rows = [row for row in summary if (row["height"] is None) == mixed and row["windows"]]
    shown = list(labels)
    by_cell = {(row["model"], row["label"]): _interval(row, "di", "di_low", "di_high") for row in rows}
    sizes = " Several input sizes together: compare models, not absolute values." if mixed else ""
    caption = f"Diffusion index, mean over images with its interval; larger: more of the input matters.{sizes}"
    if len(shown) > PANELS:
        grid = np.array([[by_cell[m, label].mean if (m, label) in by_cell else np.nan for label in shown] for m in models])
        heat = Heat("diffusion index by model and degradation", tuple(models), tuple(shown), grid_of(grid), digits=1)
        yield figure("di", heat, caption)
        return
    whole = {(row["model"], row["label"]): row for row in rows}
    label = ALL if len(shown) > 1 else shown[0]
    order = sorted(models, key=lambda m: -(whole[m, label]["di"] if (m, label) in whole else -math.inf))
    colours, markers = tuple(looks[m].colour for m in order), "".join(looks[m].marker for m in order)
    panels = [
        Panel(label if len(shown) > 1 else "", "DI", tuple(by_cell.get((m, label)) for m in order), colours, markers=markers)
        for label in shown
    ]
    yield figure("di", Dots("diffusion index by model", tuple(order), tuple(panels)), f"{caption} Sorted by the mean.")


def pairs(rows: Sequence[_Row], models: Sequence[str]) -> Iterator[Figure]:
    """Paired differences: dots for a few pairs, a matrix for many. All degradations together."""
    labels = {row["label"] for row in rows}
    label = ALL if ALL in labels else next(iter(sorted(labels)), None)
    mine = [row for row in rows if row["label"] == label]
    if not mine:
        return
    about = "Difference in DI on the same windows, mean over images"
    if len(mine) <= DOTS:
        order = sorted(mine, key=lambda row: -abs(row["difference"]))
        values = tuple(_interval(row, "difference", "low", "high") for row in order)
        names = tuple(f"{row['model']} − {row['other']}" for row in order)
        colours = tuple(INK if item.low > 0 or item.high < 0 else MUTED for item in values)
        dots = Dots("paired differences in DI", names, (Panel("", "difference in DI", values, colours, zero=True),))
        yield figure("pairs", dots, f"{about}, with its interval. Grey: the interval (unadjusted) contains 0.")
        return
    place = {model: i for i, model in enumerate(models)}
    grid = np.full((len(models), len(models)), np.nan)
    unsure = np.zeros(grid.shape, bool)
    for row in mine:
        i, k = place[row["model"]], place[row["other"]]
        grid[i, k], grid[k, i] = row["difference"], -row["difference"]
        unsure[i, k] = unsure[k, i] = not (row["low"] > 0 or row["high"] < 0)
    names = tuple(models)
    heat = Heat("paired differences in DI", names, names, grid_of(grid), diverging=True, digits=1, brackets=brackets_of(unsure))
    yield figure("pairs", heat, f"{about}: row minus column. In brackets: the interval (unadjusted) contains 0.")


def against_psnr(
    points: Sequence[tuple[str, str, Interval, Interval]], rows: Sequence[_Row], looks: Mapping[str, Look]
) -> Iterator[Figure]:
    """DI against PSNR: one point per model with both intervals, one panel per degradation (at most PANELS)."""
    labels = list(dict.fromkeys(label for label, *_ in points))[:PANELS]
    if len({model for _, model, *_ in points}) < 2:
        return
    rho = {row["label"]: row for row in rows if row["scope"] == "across models"}
    panels = []
    for label in labels:
        row = rho.get(label)
        text = f"ρ = {row['rho']:+.2f}, n = {row['models']}".replace("-", "−") if row and np.isfinite(row["rho"]) else "ρ undefined"
        some = tuple(Point(model, looks[model].colour, x, y, looks[model].marker) for where, model, x, y in points if where == label)
        panels.append(ScatterPanel(f"{label}: {text}" if len(labels) > 1 else text, some))
    view = Scatter("DI against PSNR", "diffusion index", "PSNR-Y, dB", tuple(panels))
    more = f" The first {PANELS} degradations." if len({label for label, *_ in points}) > PANELS else ""
    yield figure("psnr", view, "Means over the same images. Bars: interval of the deviation from the mean over the models, image by image. "
                              f"ρ: Spearman's, across the models' means; weak evidence for few models.{more}")  # fmt: skip


def controls(
    maps: Sequence[_Row], models: Sequence[str], survives: float, follows: float, looks: Mapping[str, Look]
) -> Iterator[Figure]:
    """One dot per map for each control, with the median and the limit."""
    panels: list[tuple[str, str, dict[str, tuple[float, ...]], float, bool]] = []
    for control, name, label, limit, below in (
        ("randomised_weights", "beyond", "ρ with the map of randomised weights, beyond position", survives, False),
        ("shifted_window", "follows", "share of the window's shift by which the map moved", follows, True),
    ):
        by_model = {model: [item[name] for item in maps if item["model"] == model and item["control"] == control] for model in models}
        values = {model: tuple(float(value) for value in numbers if np.isfinite(value)) for model, numbers in by_model.items()}
        if any(values.values()):
            panels.append((control.replace("_", " "), label, values, limit, below))
    if not panels:
        return
    rows = tuple(model for model in models if any(values[model] for _, _, values, _, _ in panels))
    strips = tuple(Strip(title, label, tuple(values[m] for m in rows), limit, below) for title, label, values, limit, below in panels)
    colours, markers = tuple(looks[model].colour for model in rows), "".join(looks[model].marker for model in rows)
    view = Strips("controls of the maps", rows, colours, strips, markers)
    yield figure("controls", view, "One mark per map; the tick is the median. Shaded: the map fails. "
                                   "Hollow: a model of which more than half of the maps fail.")  # fmt: skip
