"""The figures of `srga`: rows of its tables in, `Figure`s out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.analysis import figure
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.analyses.srga.tables import ALL
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.heat import Heat, grid_of
from xlli_ray.plots.histograms import Histogram, Histograms
from xlli_ray.plots.palette import NETWORKS, Look
from xlli_ray.stats.ggd import Fit
from xlli_ray.stats.intervals import Interval
from xlli_ray.store.tables.results import Figure

LINES = ("-", "--", "-.", ":")
"""Line styles of the sets in the spectra."""
MODELS = len(NETWORKS)
"""More models than this are shown as a heat map; other figures show only so many."""
_Row = dict[str, Any]


def levels(rows: Sequence[_Row], models: Sequence[str], looks: Mapping[str, Look], meaning: Labels) -> Iterator[Figure]:
    """The index against the level: a panel per degradation; mixtures and single levels by name; other contents in a panel of their own."""
    shown = [row for row in rows if row["state"] in ("ok", "unpaired") and _finite(row["srga"])]
    if not shown:
        return
    if len(models) > MODELS:
        labels = list(dict.fromkeys(row["label"] for row in shown))
        at = {(row["model"], row["label"]): row["srga"] for row in shown}
        grid = np.array([[at.get((model, label), np.nan) for label in labels] for model in models])
        heat = Heat("SRGA by model and set", tuple(models), tuple(labels), grid_of(grid), digits=1)
        yield figure("srga", heat, "SRGA of each model and set; lower: features more like the reference's.")
        return
    panels = []
    for title, xlabel, some, names in _panels(shown, meaning):
        places = sorted({row["level"] for row in some}) if names is None else range(len(names))
        x = Axis(xlabel, falling=meaning.falling(title), places=tuple(map(float, places)), names=tuple(names or ()))
        curves = [_curve([row for row in some if row["model"] == model], model, looks[model], names) for model in models]
        panels.append(CurvePanel(title, tuple(curve for curve in curves if curve.x), x, Axis("SRGA", zero=True)))
    caption = (
        "SRGA with its interval; lower: features more like the reference's. Hollow: other contents than the reference, with the floor that "
        "they score without degradation as a tick. A rising curve alone shows nothing: that of an untrained network rises, too."
    )
    yield figure("srga", Curves("SRGA against level", tuple(panels), apart=True, share_y=True), caption)


def _panels(rows: Sequence[_Row], meaning: Labels) -> list[tuple[str, str, list[_Row], list[str] | None]]:
    """(title, x label, rows, names of the positions on x, or None for a numeric axis)."""
    paired = [row for row in rows if row["state"] == "ok"]
    families = list(dict.fromkeys(row["family"] for row in paired))
    out: list[tuple[str, str, list[_Row], list[str] | None]] = []
    rest: list[_Row] = []
    for family in families:
        mine = [row for row in paired if row["family"] == family]
        names = list(dict.fromkeys(row["label"] for row in mine))
        if len(names) > 1 and all(_finite(row["level"]) for row in mine):
            out.append((family, meaning.axis(family), mine, None))
        elif len(names) > 2:
            out.append((family, "", mine, names))
        else:
            rest += mine
    if rest:
        alone = {row["family"] for row in rest}
        title = rest[0]["family"] if len(alone) == 1 else "others" if out else ""
        out.append((title, "", rest, list(dict.fromkeys(row["label"] for row in rest))))
    if other := [row for row in rows if row["state"] == "unpaired"]:
        out.append(("other contents: not ranked", "", other, list(dict.fromkeys(row["label"] for row in other))))
    return out


def _curve(rows: Sequence[_Row], model: str, look: Look, names: list[str] | None) -> Curve:
    """`names`: of the positions on x, which are not joined by lines; None for levels."""
    x = tuple(float(row["level"] if names is None else names.index(row["label"])) for row in rows)
    y, low, high = (tuple(_number(row[key]) for row in rows) for key in ("srga", "low", "high"))
    line = look.line if names is None else ""
    if not any(row["state"] == "unpaired" for row in rows):
        return Curve(model, look.colour, x, y, low, high, line, look.marker)
    floor = tuple(_number(row["floor"]) for row in rows)
    return Curve(model, look.colour, x, y, low, high, line, look.marker, (True,) * len(rows), floor)


def ranking(rows: Sequence[_Row], models: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """Mean index of each model and family with its interval and rank; overlapping ranks are ties."""
    families = list(dict.fromkeys(row["family"] for row in rows))
    if len(models) < 2 or not families:
        return
    key = ALL if ALL in families else families[0]
    order = [row["model"] for row in rows if row["family"] == key]
    at = {(row["model"], row["family"]): row for row in rows}
    families = [ALL, *(f for f in families if f != ALL)] if ALL in families else families
    colours, markers = tuple(looks[model].colour for model in order), "".join(looks[model].marker for model in order)
    panels = []
    for family in families:
        mine = [at[model, family] for model in order]
        sets = mine[0]["sets"]
        values = tuple(Interval(row["srga"], _number(row["low"]), _number(row["high"]), 0) for row in mine)
        title = f"{family} ({sets} {'set' if sets == 1 else 'sets'})"
        panels.append(Panel(title, "SRGA, mean over the sets", values, colours, markers=markers, notes=tuple(map(_place, mine))))
    caption = (
        "Mean SRGA over the sets of each family, with its interval. The number is the model's rank, 1 for the lowest index; overlapping "
        "ranks are ties: no paired difference separates these models."
    )
    yield figure("ranking", Dots("SRGA ranking", tuple(order), tuple(panels), columns=3), caption)


def _place(row: _Row) -> str:
    return str(row["first"]) if row["first"] == row["last"] else f"{row['first']}–{row['last']}"


def fits(drawn: Sequence[tuple[str, str, np.ndarray, np.ndarray, Fit]], meaning: Labels) -> Iterator[Figure]:
    """Histogram of the scores and the fitted curve, logarithmic: a row per model, the reference first."""
    models = list(dict.fromkeys(model for model, *_ in drawn))[:MODELS]
    if not models:
        return
    lines = []
    for model in models:
        mine = [item for item in drawn if item[0] == model]
        titles = [f"{model}, {label}" if i == 0 else label for i, (_, label, *_) in enumerate(mine)]
        lines.append(tuple(_histogram(title, meaning.colour(label), centres, density, fit)
                           for title, (_, label, centres, density, fit) in zip(titles, mine)))  # fmt: skip
    view = Histograms("fits of generalized Gaussians", "pooled PCA scores, in units of each set's σ", "density · σ", tuple(lines))
    caption = (
        "Pooled scores as a histogram (dots) and the fitted generalized Gaussian (line), logarithmic, each set in units of its own σ. "
        "Shown: the reference and the sets with the highest index."
    )
    yield figure("fits", view, caption)


def _histogram(title: str, colour: str, centres: np.ndarray, density: np.ndarray, fit: Fit) -> Histogram:
    """In units of σ."""
    reach = float(centres[-1] / fit.sigma)
    # even, so that zero is between two points: for α ≤ 1 the density has a cusp there, which no bin of the histogram can show
    curve = fit.ggd.density(np.linspace(-reach, reach, 400) * fit.sigma) * fit.sigma
    words = f"σ {fit.sigma:.3g}, α {fit.alpha:.3f}{', clipped' if fit.clipped else ''}"
    return Histogram(title, colour, _digits(centres / fit.sigma), _digits(density * fit.sigma), _digits(curve), reach, words)


def spectra(drawn: Sequence[tuple[str, str, np.ndarray]], components: int, meaning: Labels) -> Iterator[Figure]:
    """Variance along the principal components, both axes logarithmic: a panel per model."""
    models = list(dict.fromkeys(model for model, *_ in drawn))[:MODELS]
    if not models:
        return
    used = {label for _, label, _ in drawn}
    labels = [*(label for label in meaning.records if label in used), *sorted(used - set(meaning.records))]
    panels = []
    for model in models:
        curves = []
        for label, values in ((label, values) for name, label, values in drawn if name == model):
            some = values[:-1][values[:-1] > 0]
            line = LINES[labels.index(label) % len(LINES)]
            curves.append(Curve(label, meaning.colour(label), tuple(float(i + 1) for i in range(len(some))), _digits(some), line=line))
        x, y = Axis("principal component", log=True), Axis("variance", log=True)
        panels.append(CurvePanel(model, tuple(curves), x, y, rule=(float(components),)))
    caption = (
        f"Variance of the features along each principal component. Left of the grey line: the {components} components that are pooled. "
        "The same sets as in the fits."
    )
    yield figure("spectra", Curves("spectra of the features", tuple(panels), share_x=True, order=tuple(labels)), caption)


def _digits(values: np.ndarray) -> tuple[float, ...]:
    """Six digits: more than a figure shows; the tables hold the numbers."""
    return tuple(float(f"{value:.6g}") for value in values.tolist())


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
