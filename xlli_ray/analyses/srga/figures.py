"""The figures of `srga`: rows of its tables in, `Figure`s out."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.labels import Labels
from xlli_ray.analyses.srga.tables import ALL
from xlli_ray.plots import INK, MUTED, NETWORKS, RULE, WIDTH, Look, canvas, family_colour, heat_figure, svg_text
from xlli_ray.stats.ggd import Fit
from xlli_ray.store.tables.results import Figure

LINES = ("-", "--", "-.", ":")
"""Of the sets in the spectra."""
MODELS = len(NETWORKS)
"""More models than this become a heat map, and only so many are drawn elsewhere."""
_Row = dict[str, Any]


def levels(rows: Sequence[_Row], models: Sequence[str], looks: Mapping[str, Look], meaning: Labels) -> Iterator[Figure]:
    """The index against the level: a panel a degradation, mixtures and single levels by name, other contents apart."""
    shown = [row for row in rows if row["state"] in ("ok", "unpaired") and _finite(row["srga"])]
    if not shown:
        return
    if len(models) > MODELS:
        labels = list(dict.fromkeys(row["label"] for row in shown))
        at = {(row["model"], row["label"]): row["srga"] for row in shown}
        grid = np.array([[at.get((model, label), np.nan) for label in labels] for model in models])
        yield Figure("srga", heat_figure(models, labels, grid, title="SRGA by model and set", digits=1),
                     "SRGA of each model and set; lower: features more like the reference's.")  # fmt: skip
        return
    panels = _panels(shown, meaning)
    count = min(3, len(panels))
    lines = -(-len(panels) // count)
    beside = 0.085 * min(max(map(len, models)), 40) + 0.7
    width = min(WIDTH, beside + 3.4 * count)
    with canvas(width, 2.75 * lines + 0.1) as figure:
        figure.get_layout_engine().set(rect=(0, 0, 1 - beside / width, 1))
        axes = figure.subplots(lines, count, squeeze=False, sharey=True)
        for number, axis in enumerate(axes.flat):
            if number >= len(panels):
                axis.set_visible(False)
                continue
            _curves(axis, *panels[number], models, looks, meaning.falling(panels[number][0]))
            if number % count == 0:
                axis.set_ylabel("SRGA")
        axes.flat[0].set_ylim(0, 1.05 * max(_number(row[key]) for row in shown for key in ("srga", "high") if _finite(row[key])))
        _legend(figure, models, looks, 1 - (beside - 0.2) / width)
        svg = svg_text(figure, "SRGA against level")
    caption = (
        "SRGA with its interval; lower: features more like the reference's. Hollow: other contents than the reference, with the floor that "
        "these score for nothing as a tick. Rising curves alone say nothing: those of an untrained network rise, too."
    )
    yield Figure("srga", svg, caption)


def _panels(rows: Sequence[_Row], meaning: Labels) -> list[tuple[str, str, list[_Row], list[str] | None]]:
    """(title, x label, rows, names of the places on x or None for a numeric axis)."""
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
        out.append(("other contents: in no ranking", "", other, list(dict.fromkeys(row["label"] for row in other))))
    return out


def _curves(
    axis: Any, title: str, xlabel: str, rows: Sequence[_Row], names: list[str] | None, models: Sequence[str], looks: Mapping[str, Look],
    falling: bool,
) -> None:  # fmt: skip
    axis.grid(True, axis="both")
    axis.spines["left"].set_visible(True)
    axis.set_title(title, color=INK, fontweight="bold", pad=7)
    axis.set_xlabel(xlabel)
    places = sorted({row["level"] for row in rows}) if names is None else []
    # side by side, so that one model's interval does not hide another's
    apart = 0.012 * (places[-1] - places[0]) if places else 0.5 / max(2, len(models) - 1)
    for number, model in enumerate(models):
        mine = [row for row in rows if row["model"] == model]
        if not mine:
            continue
        step = apart * (number - (len(models) - 1) / 2)
        x = np.array([names.index(row["label"]) + step if names is not None else row["level"] + step for row in mine], float)
        order = np.argsort(x)
        y, low, high = (np.array([_number(row[key]) for row in mine])[order] for key in ("srga", "low", "high"))
        hollow = mine[0]["state"] == "unpaired"
        look = looks[model]
        if names is None:
            axis.plot(x[order], y, look.line, color=look.colour, linewidth=1.4, zorder=2)
        axis.vlines(x[order], low, high, color=look.colour, linewidth=1.2, alpha=0.7, zorder=2)
        face, edge, line = ("white", look.colour, 1.0) if hollow else (look.colour, "white", 0.6)
        style = {"markerfacecolor": face, "markeredgecolor": edge, "markeredgewidth": line, "markersize": 4.6}
        axis.plot(x[order], y, linestyle="none", marker=look.marker, zorder=3, **style)
        if hollow:
            axis.plot(x[order], [_number(mine[i]["floor"]) for i in order], "_", color=MUTED, markersize=7, zorder=3)
    if names is not None:
        upright = sum(map(len, names)) > 30  # slanted ones would reach into the panel to the left
        axis.set_xticks(range(len(names)), names, rotation=90 if upright else 0)
        axis.set_xlim(-0.6, len(names) - 0.4)
    else:
        if len(places) <= 9:
            axis.set_xticks(places, [f"{value:g}" for value in places])
        if falling:
            axis.invert_xaxis()


def _legend(figure: Any, models: Sequence[str], looks: Mapping[str, Look], left: float) -> None:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"linewidth": 1.4, "markersize": 5, "markeredgecolor": "white", "markeredgewidth": 0.6}
    shown = [looks[model] for model in models]
    handles = [Line2D([], [], **style, color=look.colour, marker=look.marker, linestyle=look.line) for look in shown]
    figure.legend(handles, list(models), loc="upper left", bbox_to_anchor=(left, 0.98), frameon=False, fontsize=8.5, borderaxespad=0)


def ranking(rows: Sequence[_Row], models: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """Mean index of each model and family with its interval and its place; overlapping places are ties."""
    families = list(dict.fromkeys(row["family"] for row in rows))
    if len(models) < 2 or not families:
        return
    key = ALL if ALL in families else families[0]
    order = [row["model"] for row in rows if row["family"] == key]
    at = {(row["model"], row["family"]): row for row in rows}
    families = [ALL, *(f for f in families if f != ALL)] if ALL in families else families
    count = min(3, len(families))
    lines = -(-len(families) // count)
    left = 0.3 + 0.072 * min(max(map(len, order)), 40)
    with canvas(min(WIDTH, left + 3.0 * count), lines * (0.3 * len(order) + 0.75) + 0.3) as figure:
        axes = figure.subplots(lines, count, sharey=True, sharex=True, squeeze=False)
        for axis, family in zip(axes.flat, families):
            for place, model in enumerate(order):
                _ranked(axis, place, at[model, family], looks[model])
            sets = at[order[0], family]["sets"]
            axis.set_title(f"{family} ({sets} {'set' if sets == 1 else 'sets'})", color=INK, fontweight="bold", pad=7)
            axis.set_yticks(range(len(order)), order)
            axis.set_ylim(len(order) - 0.4, -0.6)
            axis.margins(x=0.18)
        for number, axis in enumerate(axes.flat):
            axis.set_visible(number < len(families))
            axis.tick_params(labelbottom=number + count >= len(families))  # also above a place that stays empty
        figure.supxlabel("SRGA, mean over the sets", fontsize=8.5, color=MUTED)
        svg = svg_text(figure, "SRGA ranking")
    caption = (
        "Mean SRGA over the sets of each family, with its interval. The number is the model's place, 1 for the lowest index; overlapping "
        "places are ties: no paired difference sets these models apart."
    )
    yield Figure("ranking", svg, caption)


def _ranked(axis: Any, place: int, row: _Row, look: Look) -> None:
    low, high = _number(row["low"]), _number(row["high"])
    if math.isfinite(low):
        axis.plot([low, high], [place, place], color=look.colour, linewidth=1.8, alpha=0.75, zorder=2)
    edge = {"markeredgecolor": "white", "markeredgewidth": 0.7}
    axis.plot([row["srga"]], [place], look.marker, color=look.colour, markersize=5.2, **edge, zorder=3)
    text = str(row["first"]) if row["first"] == row["last"] else f"{row['first']}–{row['last']}"
    right = high if math.isfinite(high) else row["srga"]
    axis.annotate(text, (right, place), (6, 0), textcoords="offset points", fontsize=8.0, color=INK, va="center")


def set_colours(labels: Sequence[str], meaning: Labels) -> dict[str, str]:
    """The colour of each set's degradation; levels of one family share it. `labels`: all of the study."""
    family = {label: meaning.type(label) for label in labels}
    return {label: family_colour(family[label], list(dict.fromkeys(family.values())), meaning.colours) for label in labels}


def fits(drawn: Sequence[tuple[str, str, np.ndarray, np.ndarray, Fit]], colours: Mapping[str, str]) -> Iterator[Figure]:
    """Histogram of the scores and the fitted curve, logarithmic: a row a model, the reference first."""
    models = list(dict.fromkeys(model for model, *_ in drawn))[:MODELS]
    if not models:
        return
    columns = max(sum(model == item[0] for item in drawn) for model in models)
    with canvas(min(WIDTH, 2.6 * columns + 0.5), 1.95 * len(models) + 0.3) as figure:
        axes = figure.subplots(len(models), columns, squeeze=False, sharex=True, sharey=True)
        for line, model in zip(axes, models):
            mine = [item for item in drawn if item[0] == model]
            for axis in line[len(mine) :]:
                axis.set_visible(False)
            for axis, (_, label, centres, density, fit) in zip(line, mine):
                _fit(axis, centres, density, fit, colours[label])
                axis.set_title(f"{model}, {label}" if axis is line[0] else label, color=INK, fontweight="bold", pad=5)
            line[0].set_ylabel("density · σ")
        seen = np.concatenate([density[density > 0] * fit.sigma for _, _, _, density, fit in drawn])
        axes[0, 0].set_ylim(float(seen.min()) / 3, 10 * float(seen.max()))
        figure.supxlabel("PCA scores, pooled, in σ of each set", fontsize=8.5, color=MUTED)
        svg = svg_text(figure, "fits of generalized Gaussians")
    caption = (
        "Pooled scores as a histogram (dots) and the fitted generalized Gaussian (line), logarithmic, each set in units of its own σ. "
        "Shown: the reference and the sets of the highest index."
    )
    yield Figure("fits", svg, caption)


def _fit(axis: Any, centres: np.ndarray, density: np.ndarray, fit: Fit, colour: str) -> None:
    from matplotlib.ticker import MaxNLocator

    axis.set_yscale("log")
    axis.grid(True, axis="both")
    axis.spines["left"].set_visible(True)
    some = density > 0
    # even, so that zero lies between two points: for α ≤ 1 the peak there is a cusp, which no bin of the histogram shows
    x = np.linspace(-1.0, 1.0, 400) * centres[-1] / fit.sigma
    dots = {"color": colour, "markersize": 2.6, "markeredgewidth": 0}
    axis.plot(centres[some] / fit.sigma, density[some] * fit.sigma, "o", **dots, alpha=0.8, zorder=2)
    axis.plot(x, fit.ggd.density(x * fit.sigma) * fit.sigma, color=INK, linewidth=1.0, zorder=3)
    axis.set_xlim(x[0], x[-1])
    words = f"σ {fit.sigma:.3g}, α {fit.alpha:.3f}{', clipped' if fit.clipped else ''}"
    axis.text(0.5, 0.97, words, transform=axis.transAxes, va="top", ha="center", fontsize=8.0, color=INK,
              bbox={"facecolor": "white", "edgecolor": "none", "pad": 1.5})  # fmt: skip
    axis.tick_params(labelsize=7.5)
    axis.xaxis.set_major_locator(MaxNLocator(nbins=4))
    _decades(axis.yaxis, 4)


def _decades(axis: Any, count: int) -> None:
    """At most `count` ticks at powers of ten and no small ones: hundreds of these cost seconds of layout and say nothing."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axis.set_major_locator(LogLocator(numticks=count))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: _power(value)))


def _power(value: float) -> str:
    """1, 10, 100 or 0.1 as they are, else 10 with its exponent raised."""
    exponent = round(math.log10(value)) if value > 0 else 0
    if -1 <= exponent <= 3:
        return f"{10.0**exponent:g}"
    return "10" + str(exponent).translate(str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"))


def spectra(drawn: Sequence[tuple[str, str, np.ndarray]], components: int, colours: Mapping[str, str]) -> Iterator[Figure]:
    """Variance along the principal components, both axes logarithmic: a panel a model."""
    models = list(dict.fromkeys(model for model, *_ in drawn))[:MODELS]
    if not models:
        return
    count = min(3, len(models))
    lines = -(-len(models) // count)
    with canvas(min(WIDTH, 3.6 * count), 2.7 * lines + 0.15) as figure:
        axes = figure.subplots(lines, count, squeeze=False, sharex=True)
        for number, axis in enumerate(axes.flat):
            if number >= len(models):
                axis.set_visible(False)
                continue
            mine = [(label, values) for model, label, values in drawn if model == models[number]]
            axis.set_xscale("log")
            axis.set_yscale("log")
            axis.grid(True, axis="both")
            axis.spines["left"].set_visible(True)
            axis.axvline(components, color=RULE, linewidth=1.2, zorder=1)
            for i, (label, values) in enumerate(mine):
                some = values[:-1][values[:-1] > 0]
                colour = colours[label]
                axis.plot(np.arange(1, len(some) + 1), some, LINES[i % len(LINES)], color=colour, linewidth=1.4, label=label, zorder=2)
            _decades(axis.xaxis, 4)
            _decades(axis.yaxis, 6)
            axis.legend(frameon=False, fontsize=8.0, loc="lower left", handlelength=2.6)
            axis.set_title(models[number], color=INK, fontweight="bold", pad=6)
            if number % count == 0:
                axis.set_ylabel("variance")
        figure.supxlabel("principal component", fontsize=8.5, color=MUTED)
        svg = svg_text(figure, "spectra of the features")
    caption = (
        f"Variance of the features along each principal component. To the left of the grey line: the {components} that are pooled. "
        "The same sets as in the fits."
    )
    yield Figure("spectra", svg, caption)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)


def _finite(value: Any) -> bool:
    return value is not None and math.isfinite(value)
