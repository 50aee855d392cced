"""The numeric figures of `ddr`: depth curves, ratios, pairs of degradations. Rows of its tables in, `Figure`s out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.analysis import figure
from xlli_ray.analyses.ddr.tables import FULL, LAST
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.heat import Heat, brackets_of, grid_of
from xlli_ray.plots.matrices import Matrices, Matrix
from xlli_ray.plots.palette import INK, MUTED, Look
from xlli_ray.stats.intervals import Interval
from xlli_ray.store.tables.results import Figure

DOTS = 24
"""More pairs of models than this are shown as a matrix."""
_Row = dict[str, Any]


def headline(rows: Sequence[_Row]) -> list[_Row]:
    """The rows for the space of the scores."""
    return [row for row in rows if row["space"] != FULL]


def depth_curves(rows: Sequence[_Row], models: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """CHI against layer: a curve with its band per model, a panel per labelling."""
    mine = [row for row in headline(rows) if math.isfinite(row["chi"]) and row["chi"] > 0]
    labellings = list(dict.fromkeys(row["labels"] for row in mine))
    order = {model: [] for model in models}  # type: dict[str, list[str]]
    for row in sorted(mine, key=lambda row: row["depth"]):
        if row["layer"] not in order[row["model"]]:
            order[row["model"]].append(row["layer"])
    if not labellings or max(map(len, order.values())) < 2:
        return
    longest = max(models, key=lambda model: len(order[model]))
    x = Axis(places=tuple(_positions(len(order[longest]))), names=tuple(order[longest]))
    panels = []
    for labelling in labellings:
        some = [row for row in mine if row["labels"] == labelling]
        curves = [_curve([row for row in some if row["model"] == model], model, layers, looks[model]) for model, layers in order.items()]
        panels.append(CurvePanel(f"by {labelling}", tuple(curve for curve in curves if curve.x), x, Axis("CHI", log=True)))
    space = mine[0]["space"]
    odd = [model for model in models if order[model] and order[model] != order[longest]]
    more = f" Layers of {', '.join(odd)} are placed by relative depth." if odd else ""
    yield figure(
        "depth", Curves("CHI against depth", tuple(panels), band=True),
        f"CHI of each layer in the space of {space}, first layer to last, with its interval. Open marks: not above 95 % of the null, with "
        f"meaningless labels. Logarithmic; each panel has its own scale.{more}",
    )  # fmt: skip


def _positions(count: int) -> list[float]:
    return [i / max(1, count - 1) for i in range(count)]


def _curve(rows: Sequence[_Row], model: str, layers: Sequence[str], look: Look) -> Curve:
    """Whether x is the relative depth in the model."""
    by_layer = {row["layer"]: row for row in rows}
    points = [(place, by_layer[layer]) for place, layer in zip(_positions(len(layers)), layers) if layer in by_layer]
    y, low, high = (tuple(_number(row[name]) for _, row in points) for name in ("chi", "low", "high"))
    hollow = tuple(row["chi"] <= _number(row["null_high"]) for _, row in points)
    return Curve(model, look.colour, tuple(place for place, _ in points), y, low, high, look.line, look.marker, hollow)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _log_ratio(row: _Row) -> Interval:
    values = [row["ratio"], row["low"], row["high"]]
    mean, low, high = (math.log10(value) if value and math.isfinite(value) and value > 0 else math.nan for value in values)
    return Interval(mean, low, high, int(row["images"]))


def contrasts(rows: Sequence[_Row], models: Sequence[str]) -> Iterator[Figure]:
    """Ratios with their intervals: models at their last layers, depth, type against content, and levels."""
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
            ratios = {_name(row): _log_ratio(row) for row in mine if row["space"] == space}
            colours = tuple(INK if name in ratios and (ratios[name].low > 0 or ratios[name].high < 0) else MUTED for name in names)
            values = tuple(ratios.get(name) for name in names)
            panels.append(Panel(space, "log10 of the ratio of two CHI", values, colours, zero=True))
        dots = Dots(about[kind], tuple(names), tuple(panel for panel in panels if any(panel.values)))
        more = "0: no difference; 1: ten times. Pale: the interval contains 0. Intervals are not adjusted for multiple comparisons."
        yield figure(f"ratio_{kind}", dots, f"{about[kind]}. {more}")


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
    names = tuple(models)
    heat = Heat(about, names, names, grid_of(grid), diverging=True, digits=1, brackets=brackets_of(unsure))
    return figure("ratio_models", heat, f"{about}: log10, row over column. In brackets: the interval (unadjusted) contains 0.")


def pairs(rows: Sequence[_Row], models: Sequence[str], labels: Sequence[str], meaning: Labels) -> Iterator[Figure]:
    """CHI of each pair of degradations, one matrix per model, at its last layer."""
    mine = headline(rows)
    shown = [model for model in models if any(row["model"] == model and _positive(row["chi"]) for row in mine)]
    if not shown or len(labels) < 2:
        return
    panels = []
    for model in shown:
        last = max(row["depth"] for row in mine if row["model"] == model)
        here = [row for row in mine if row["model"] == model and row["depth"] == last and _positive(row["chi"])]
        grid = np.full((len(labels) - 1, len(labels) - 1), np.nan)  # the lower triangle: second label down, first across
        for row in here:
            first, second = sorted((labels.index(row["label"]), labels.index(row["other"])))
            grid[second - 1, first] = row["chi"]
        panels.append(Matrix(f"{model}\n{here[0]['layer']}" if here else model, grid_of(grid)))
    view = Matrices("CHI of each pair of degradations", tuple(labels), tuple(map(meaning.colour, labels)), tuple(panels))
    space = mine[0]["space"]
    about = f"CHI of each pair of degradations in the space of {space}, last layer of each model"
    yield figure("pairs", view, f"{about}; one logarithmic colour scale.")


def _positive(value: float) -> bool:
    return value is not None and math.isfinite(value) and value > 0
