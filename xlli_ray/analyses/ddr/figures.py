"""The figures of `ddr` that show numbers: depth curves, ratios, pairs of degradations. Rows of its tables in, `Figure`s out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.ddr.tables import FULL, LAST
from xlli_ray.analyses.labels import Labels
from xlli_ray.plots import (
    INK,
    MUTED,
    RULE,
    WIDTH,
    Look,
    Panel,
    canvas,
    dot_figure,
    family_colour,
    heat_figure,
    svg_text,
)
from xlli_ray.stats.intervals import Interval
from xlli_ray.store.tables.results import Figure

DOTS = 24
"""More pairs of models than this become a matrix."""
_Row = dict[str, Any]


def headline(rows: Sequence[_Row]) -> list[_Row]:
    """Rows in the space of the scores."""
    return [row for row in rows if row["space"] != FULL]


def depth_curves(rows: Sequence[_Row], models: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """CHI against layer, a line a model with its band, a panel a labelling."""
    mine = [row for row in headline(rows) if math.isfinite(row["chi"]) and row["chi"] > 0]
    labellings = list(dict.fromkeys(row["labels"] for row in mine))
    order = {model: [] for model in models}  # type: dict[str, list[str]]
    for row in sorted(mine, key=lambda row: row["depth"]):
        if row["layer"] not in order[row["model"]]:
            order[row["model"]].append(row["layer"])
    if not labellings or max(map(len, order.values())) < 2:
        return
    longest = max(models, key=lambda model: len(order[model]))
    count = min(3, len(labellings))
    lines = -(-len(labellings) // count)
    beside = 0.45 + 0.072 * max(map(len, models))
    with canvas(WIDTH, 3.5 * lines + 0.2) as figure:
        axes = figure.subplots(lines, count, squeeze=False)
        for number, axis in enumerate(axes.flat):
            if number >= len(labellings):
                axis.set_visible(False)
                continue
            some = [row for row in mine if row["labels"] == labellings[number]]
            _curves(axis, some, order, looks)
            axis.set_title(f"by {labellings[number]}", color=INK, fontweight="bold", pad=7)
            axis.set_xticks(_positions(len(order[longest])), order[longest], rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
            if number % count == 0:
                axis.set_ylabel("CHI")
        handles = [axes.flat[0].plot([], [], marker=look.marker, color=look.colour, linestyle=look.line, markersize=5, label=model)[0]
                   for model in models for look in [looks[model]]]  # fmt: skip
        figure.get_layout_engine().set(rect=(0, 0, 1 - beside / WIDTH, 1))
        figure.legend(handles=handles, loc="center left", bbox_to_anchor=(1 - beside / WIDTH, 0.55), frameon=False, fontsize=8)
        svg = svg_text(figure, "CHI against depth")
    space = mine[0]["space"]
    odd = [model for model in models if order[model] and order[model] != order[longest]]
    more = f" Layers of {', '.join(odd)} are placed by their share of the depth." if odd else ""
    yield Figure(
        "depth", svg,
        f"CHI of each layer in the space of {space}, first layer to last, with its interval. Open marks: not above 95 % of the null, in "
        f"which labels mean nothing. Logarithmic; panels have scales of their own.{more}",
    )  # fmt: skip


def _positions(count: int) -> list[float]:
    return [i / max(1, count - 1) for i in range(count)]


def _curves(axis: Any, rows: Sequence[_Row], order: Mapping[str, list[str]], looks: Mapping[str, Look]) -> None:
    axis.set_yscale("log")
    axis.grid(True, axis="y")
    axis.grid(False, axis="x")
    for model, layers in order.items():
        found = {row["layer"]: row for row in rows if row["model"] == model}
        some = [(place, found[layer]) for place, layer in zip(_positions(len(layers)), layers) if layer in found]
        if not some:
            continue
        x = [place for place, _ in some]
        y, low, high = (np.array([row[name] for _, row in some], float) for name in ("chi", "low", "high"))
        look, colour = looks[model], looks[model].colour
        ends = np.where(np.isfinite(low), low, y), np.where(np.isfinite(high), high, y)
        axis.fill_between(x, *ends, color=colour, alpha=0.13, linewidth=0)
        axis.plot(x, y, look.line, color=colour, linewidth=1.4)
        for place, row in some:
            null = row["null_high"]
            open_mark = null is not None and math.isfinite(null) and row["chi"] <= null
            axis.plot([place], [row["chi"]], look.marker, color=colour, markersize=5, markerfacecolor="white" if open_mark else colour,
                      markeredgewidth=1.1 if open_mark else 0.5, markeredgecolor=colour if open_mark else "white")  # fmt: skip
    from matplotlib.ticker import LogLocator, NullLocator

    low, high = axis.get_ylim()
    axis.yaxis.set_major_locator(LogLocator(subs=(1.0,) if high / low > 100 else (1.0, 2.0, 5.0)))
    axis.yaxis.set_minor_locator(NullLocator())
    axis.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
    axis.spines["left"].set_visible(True)
    axis.tick_params(axis="y", labelsize=8, labelcolor=MUTED)


def _log_ratio(row: _Row) -> Interval:
    values = [row["ratio"], row["low"], row["high"]]
    mean, low, high = (math.log10(value) if value and math.isfinite(value) and value > 0 else math.nan for value in values)
    return Interval(mean, low, high, int(row["images"]))


def contrasts(rows: Sequence[_Row], models: Sequence[str]) -> Iterator[Figure]:
    """Ratios with their intervals: models at their last common layer, depth, type against content, and levels."""
    last = {model: max((row["depth"] for row in rows if row["model"] == model and row["depth"] is not None), default=0) for model in models}
    spaces = sorted({row["space"] for row in rows}, key=lambda space: space == FULL)
    chosen = {
        "models": [row for row in rows if row["kind"] == "models" and row["layer"] == LAST and row["labels"] == "type"],
        "depth": [row for row in rows if row["kind"] == "depth" and row["labels"] == "type"],
        "labels": [row for row in rows if row["kind"] == "labels" and row["against"] == "content" and row["depth"] == last[row["model"]]],
        "levels": [row for row in rows if row["kind"] == "levels" and row["depth"] == last[row["model"]]],
    }
    about = {
        "models": "CHI by type of the first model over that of the second, each at its last layer",
        "depth": "CHI by type in the last third of the layers over that in the first third (geometric means)",
        "labels": "CHI by type over CHI by content, last layer",
        "levels": "CHI of clean and the stronger degradation over CHI of clean and the next weaker one, last layer",
    }
    for kind, mine in chosen.items():
        names = list(dict.fromkeys(_name(row) for row in mine))
        if not names:
            continue
        if kind == "models" and len(names) > DOTS:
            yield _matrix(headline(mine), models, about[kind])
            continue
        panels = []
        for space in spaces:
            found = {_name(row): _log_ratio(row) for row in mine if row["space"] == space}
            colours = [INK if name in found and (found[name].low > 0 or found[name].high < 0) else MUTED for name in names]
            panels.append(Panel(space, "log10 of the ratio of two CHI", [found.get(name) for name in names], colours, zero=True))
        panels = [panel for panel in panels if any(panel.values)]
        svg = dot_figure(names, panels, title=about[kind])
        more = "0: no difference; 1: ten times. Pale: the interval holds 0. Each interval is for itself."
        yield Figure(f"ratio_{kind}", svg, f"{about[kind]}. {more}")


def _name(row: _Row) -> str:
    subject = f"{row['subject']} / {row['against']}"
    return subject if row["kind"] == "models" else row["model"] if row["kind"] == "labels" else f"{row['model']}: {subject}"


def _matrix(rows: Sequence[_Row], models: Sequence[str], about: str) -> Figure:
    place = {model: i for i, model in enumerate(models)}
    grid = np.full((len(models), len(models)), np.nan)
    unsure = np.zeros(grid.shape, bool)
    for row in rows:
        i, k = place[row["model"]], place[row["other"]]
        value = _log_ratio(row)
        grid[i, k], grid[k, i] = value.mean, -value.mean
        unsure[i, k] = unsure[k, i] = not (value.low > 0 or value.high < 0)
    svg = heat_figure(models, models, grid, title=about, diverging=True, digits=1, brackets=unsure)
    return Figure("ratio_models", svg, f"{about}: log10, row over column. In brackets: the interval holds 0. Each interval is for itself.")


def pairs(rows: Sequence[_Row], models: Sequence[str], labels: Sequence[str], meaning: Labels) -> Iterator[Figure]:
    """CHI of each pair of degradations, one matrix a model, at its last layer."""
    mine = headline(rows)
    shown = [model for model in models if any(row["model"] == model and _positive(row["chi"]) for row in mine)]
    if not shown or len(labels) < 2:
        return
    count = min(4, len(shown))
    lines = -(-len(shown) // count)
    side = min(2.55, max(1.6, 0.42 * len(labels) + 0.9))
    values = [math.log10(row["chi"]) for row in mine if _positive(row["chi"])]
    low, high = min(values), max(values)
    small = 7 if len(labels) <= 8 else 5
    families = list(dict.fromkeys(map(meaning.type, labels)))
    with canvas(min(WIDTH, side * count + 0.9), side * lines + 0.6) as figure:
        axes = figure.subplots(lines, count, squeeze=False, sharex=True, sharey=True)
        mesh: Any = None
        for number, axis in enumerate(axes.flat):
            if number >= len(shown):
                axis.set_visible(False)
                continue
            model = shown[number]
            last = max(row["depth"] for row in mine if row["model"] == model)
            here = [row for row in mine if row["model"] == model and row["depth"] == last and _positive(row["chi"])]
            edges = np.arange(len(labels)) - 0.5
            grid = np.full((len(labels) - 1, len(labels) - 1), np.nan)  # the lower triangle: second label down, first across
            for row in here:
                first, second = sorted((labels.index(row["label"]), labels.index(row["other"])))
                grid[second - 1, first] = math.log10(row["chi"])
            mesh = axis.pcolormesh(edges, edges, np.ma.masked_invalid(grid), cmap="cividis", vmin=low, vmax=high, edgecolors="white",
                                   linewidth=0.6)  # fmt: skip
            for (i, k), value in np.ndenumerate(grid):
                if np.isfinite(value):
                    dark = (value - low) / ((high - low) or 1) < 0.55
                    text = {"ha": "center", "va": "center", "fontsize": small, "color": "white" if dark else INK}
                    axis.text(k, i, _short(value), **text)
            axis.set_ylim(len(labels) - 1.5, -0.5)
            axis.set_aspect("equal")
            axis.grid(False)
            axis.spines["bottom"].set_visible(False)
            axis.set_title(f"{model}\n{here[0]['layer']}" if here else model, color=INK, fontsize=8, pad=4)
            axis.set_xticks(range(len(labels) - 1), list(labels[:-1]), rotation=60, ha="right", rotation_mode="anchor", fontsize=7.5)
            axis.set_yticks(range(len(labels) - 1), list(labels[1:]), fontsize=7.5)
            axis.tick_params(labelbottom=True, labelleft=number % count == 0)
            for tick in (*axis.get_xticklabels(), *axis.get_yticklabels()):
                tick.set_color(family_colour(meaning.type(tick.get_text()), families, meaning.colours))
        bar = figure.colorbar(mesh, ax=axes, shrink=0.6, pad=0.02, format=lambda value, _: _short(value))
        bar.outline.set_edgecolor(RULE)
        bar.ax.tick_params(labelsize=7.5, colors=MUTED)
        svg = svg_text(figure, "CHI of each pair of degradations")
    space = mine[0]["space"]
    about = f"CHI of each pair of degradations in the space of {space}, last layer of each model"
    yield Figure("pairs", svg, f"{about}; one logarithmic colour scale.")


def _short(log: float) -> str:
    """10**log with two digits, or one with an exponent where it is small."""
    if log < -2:
        return f"{10**log:.0e}".replace("e-0", "e−")
    return f"{float(f'{10**log:.2g}'):g}"


def _positive(value: float) -> bool:
    return value is not None and math.isfinite(value) and value > 0
