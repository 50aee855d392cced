"""The figures of `lam_summary`: rows of its tables in, `Figure`s out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.lam_summary.tables import ALL
from xlli_ray.plots import INK, MUTED, RULE, Look, Panel, canvas, dot_figure, heat_figure, limits_of, svg_text
from xlli_ray.stats.intervals import Interval
from xlli_ray.store.tables.results import Figure

PANELS = 8
"""More degradations than this become a heat map."""
DOTS = 16
"""More pairs than this become a matrix."""
SWARM = 120
"""Dots of one line of the controls; more are thinned to evenly spaced quantiles."""
_Row = dict[str, Any]


def _interval(row: _Row, name: str, low: str, high: str) -> Interval:
    mean, lower, upper = (math.nan if row[key] is None else float(row[key]) for key in (name, low, high))
    return Interval(mean, lower, upper, int(row["images"]))


def indices(summary: Sequence[_Row], models: Sequence[str], labels: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """DI of each model: one panel a degradation; of all sizes together where there are several."""
    mixed = any(row["height"] is None for row in summary)
    rows = [row for row in summary if (row["height"] is None) == mixed and row["windows"]]
    shown = list(labels)
    found = {(row["model"], row["label"]): _interval(row, "di", "di_low", "di_high") for row in rows}
    sizes = " Of several input sizes together: compare models, not numbers." if mixed else ""
    caption = f"Diffusion index, mean over images with its interval; larger: more of the input counts.{sizes}"
    if len(shown) > PANELS:
        grid = np.array([[found[m, label].mean if (m, label) in found else np.nan for label in shown] for m in models])
        yield Figure("di", heat_figure(models, shown, grid, title="diffusion index by model and degradation", digits=1), caption)
        return
    whole = {(row["model"], row["label"]): row for row in rows}
    label = ALL if len(shown) > 1 else shown[0]
    order = sorted(models, key=lambda m: -(whole[m, label]["di"] if (m, label) in whole else -math.inf))
    panels = [Panel(label if len(shown) > 1 else "", "DI", [found.get((m, label)) for m in order], [looks[m].colour for m in order])
              for label in shown]  # fmt: skip
    yield Figure("di", dot_figure(order, panels, title="diffusion index by model"), f"{caption} Sorted by the mean.")


def pairs(rows: Sequence[_Row], models: Sequence[str]) -> Iterator[Figure]:
    """Paired differences: dots for a few pairs, a matrix for many. Of all degradations together."""
    labels = {row["label"] for row in rows}
    label = ALL if ALL in labels else next(iter(sorted(labels)), None)
    mine = [row for row in rows if row["label"] == label]
    if not mine:
        return
    about = "Difference in DI on the same windows, mean over images"
    if len(mine) <= DOTS:
        order = sorted(mine, key=lambda row: -abs(row["difference"]))
        values = [_interval(row, "difference", "low", "high") for row in order]
        names = [f"{row['model']} − {row['other']}" for row in order]
        colours = [INK if item.low > 0 or item.high < 0 else MUTED for item in values]
        svg = dot_figure(names, [Panel("", "difference in DI", values, colours, zero=True)], title="paired differences in DI")
        yield Figure("pairs", svg, f"{about}, with its interval. Grey: the interval holds 0. Each interval is for itself.")
        return
    place = {model: i for i, model in enumerate(models)}
    grid = np.full((len(models), len(models)), np.nan)
    unsure = np.zeros(grid.shape, bool)
    for row in mine:
        i, k = place[row["model"]], place[row["other"]]
        grid[i, k], grid[k, i] = row["difference"], -row["difference"]
        unsure[i, k] = unsure[k, i] = not (row["low"] > 0 or row["high"] < 0)
    svg = heat_figure(models, models, grid, title="paired differences in DI", diverging=True, digits=1, brackets=unsure)
    yield Figure("pairs", svg, f"{about}: row minus column. In brackets: the interval holds 0. Each interval is for itself.")


def against_psnr(
    points: Sequence[tuple[str, str, Interval, Interval]], rows: Sequence[_Row], looks: Mapping[str, Look]
) -> Iterator[Figure]:
    """DI against PSNR: one point a model with both intervals, one panel a degradation (at most PANELS)."""
    labels = list(dict.fromkeys(label for label, *_ in points))[:PANELS]
    if len({model for _, model, *_ in points}) < 2:
        return
    count = min(3, len(labels))
    lines = -(-len(labels) // count)
    rho = {row["label"]: row for row in rows if row["scope"] == "across models"}
    models = list(dict.fromkeys(model for _, model, *_ in points))
    numbered = len(models) > 5 or len(labels) > 1
    beside = 0.1 * min(max(map(len, models)), 40) + 0.5 if numbered else 0.0
    width = 4.2 if count == 1 else 3.1
    with canvas(width * count + beside, 2.9 * lines + 0.2) as figure:
        axes = figure.subplots(lines, count, squeeze=False)
        for number, axis in enumerate(axes.flat):
            if number >= len(labels):
                axis.set_visible(False)
                continue
            mine = [point for point in points if point[0] == labels[number]]
            _scatter(axis, mine, models, looks, numbered=numbered)
            row = rho.get(labels[number])
            text = f"ρ = {row['rho']:+.2f}, n = {row['models']}".replace("-", "−") if row and np.isfinite(row["rho"]) else "ρ undefined"
            axis.set_title(f"{labels[number]}: {text}" if len(labels) > 1 else text, color=INK, fontweight="bold", pad=7)
            if number % count == 0:
                axis.set_ylabel("PSNR-Y, dB")
        figure.supxlabel("diffusion index", fontsize=8.5, color=MUTED)
        if numbered:
            text = "\n".join(f"{i + 1}  {model}" for i, model in enumerate(models))
            figure.get_layout_engine().set(rect=(0, 0, 1 - beside / (width * count + beside), 1))
            figure.text(1 - (beside - 0.15) / (width * count + beside), 0.92, text, va="top", fontsize=8.5, linespacing=1.5)
        svg = svg_text(figure, "DI against PSNR")
    more = f" The first {PANELS} degradations." if len({label for label, *_ in points}) > PANELS else ""
    yield Figure("psnr", svg, "Means over the same images. Bars: interval of the deviation from the mean over the models, image by image. "
                              f"ρ: Spearman's, across the models' means; with few models it says little.{more}")  # fmt: skip


def _scatter(
    axis: Any, points: Sequence[tuple[str, str, Interval, Interval]], models: Sequence[str], looks: Mapping[str, Look], *, numbered: bool
) -> None:
    axis.grid(True, axis="both")
    axis.tick_params(axis="y", labelsize=8.0, labelcolor=MUTED)
    axis.spines["left"].set_visible(True)
    for _, model, x, y in points:
        colour = looks[model].colour
        if np.isfinite(x.low) and np.isfinite(y.low):
            axis.plot([x.low, x.high], [y.mean, y.mean], color=colour, linewidth=1.0, alpha=0.45, zorder=2)
            axis.plot([x.mean, x.mean], [y.low, y.high], color=colour, linewidth=1.0, alpha=0.45, zorder=2)
    for _, model, x, y in points:
        axis.plot([x.mean], [y.mean], "o", color=looks[model].colour, markersize=10 if numbered else 6, markeredgecolor="white", zorder=3)
        if numbered:
            middle = {"color": "white", "fontsize": 6.5, "ha": "center", "va": "center_baseline", "zorder": 4}
            axis.text(x.mean, y.mean, str(models.index(model) + 1), **middle)
        else:
            axis.annotate(model, (x.mean, y.mean), (6, 5), textcoords="offset points", fontsize=8.5, color=INK, zorder=4)
    axis.margins(x=0.12 if numbered else 0.22, y=0.12)


def controls(
    maps: Sequence[_Row], models: Sequence[str], survives: float, follows: float, looks: Mapping[str, Look]
) -> Iterator[Figure]:
    """One dot a map for each control, with the median and the limit."""
    panels = []
    for control, name, label, limit, below in (
        ("randomised_weights", "beyond", "ρ with the map of random weights, beyond place", survives, False),
        ("shifted_window", "follows", "share of the window's way that the map went", follows, True),
    ):
        found = {model: [item[name] for item in maps if item["model"] == model and item["control"] == control] for model in models}
        values = {model: np.array([value for value in some if np.isfinite(value)]) for model, some in found.items()}
        if any(len(some) for some in values.values()):
            panels.append((control.replace("_", " "), label, values, limit, below))
    if not panels:
        return
    rows = [model for model in models if any(len(values[model]) for _, _, values, _, _ in panels)]
    left = 0.25 + 0.072 * min(max(map(len, rows)), 40)
    with canvas(left + 4.6 * len(panels), 0.3 * len(rows) + 1.1) as figure:
        axes = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
        for axis, (title, label, values, limit, below) in zip(axes, panels):
            _strip(axis, rows, values, limit, looks, below=below)
            axis.set_title(title, color=INK, fontweight="bold", pad=7)
            axis.set_xlabel(label)
        svg = svg_text(figure, "controls of the maps")
    yield Figure("controls", svg, "One dot a map; the tick is the median. Shaded: where a map fails. "
                                  "Crosses: a model of which more than half of the maps fail.")  # fmt: skip


def _strip(
    axis: Any, rows: Sequence[str], values: dict[str, np.ndarray], limit: float, looks: Mapping[str, Look], *, below: bool
) -> None:
    some = np.concatenate([values[model] for model in rows])
    low, high = limits_of([*np.quantile(some, [0.01, 0.99]).tolist(), 0.0, 1.0])
    axis.axvspan(*((low, limit) if below else (limit, high)), color="#f3f4f6", zorder=0)
    axis.axvline(limit, color=RULE, linewidth=1.2, zorder=1)
    for place, model in enumerate(rows):
        mine = np.sort(values[model])
        if not len(mine):
            continue
        failing = float(np.mean(mine < limit if below else mine >= limit)) > 0.5
        colour = looks[model].colour
        shown = mine if len(mine) <= SWARM else np.quantile(mine, np.linspace(0, 1, SWARM))
        # golden-ratio steps: spread without a draw, neighbours apart
        offsets = ((np.arange(len(shown)) * 0.618034) % 1 - 0.5) * 0.5
        axis.plot(shown.clip(low, high), place + offsets, "x" if failing else "o", color=colour, markersize=2.6, alpha=0.55,
                  markeredgewidth=0.8 if failing else 0, zorder=2)  # fmt: skip
        axis.plot([np.median(mine)] * 2, [place - 0.33, place + 0.33], color=INK, linewidth=1.8, zorder=3)
    axis.set_yticks(range(len(rows)), list(rows))
    axis.set_ylim(len(rows) - 0.4, -0.6)
    axis.set_xlim(low, high)
