"""The figures of `derain_summary`: removal beside damage, gaps, curves against the number of backgrounds, κ against the gap."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.analysis import Figure, figure
from xlli_ray.analyses.derain_summary.measures import Measures
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.palette import INK, LINES, MARKERS, NETWORKS
from xlli_ray.plots.scatter import Point, Scatter, ScatterPanel
from xlli_ray.stats.intervals import Interval

ROWS = 40
"""More rows than this have no figure of dots."""
SPAN = 4
"""From this ratio of the largest to the smallest number of backgrounds the axis is logarithmic."""
_NAN = float("nan")
_Row = Mapping[str, Any]


def removal(measures: Measures, summary: Sequence[_Row]) -> Iterator[Figure]:
    """ρ, D⊥, E_B, E_R and PSNR of each group under each rain."""
    rows = [row for row in summary if np.isfinite(row["rho"])]
    if not 0 < len(rows) <= ROWS:
        return
    names = tuple(f"{row['group']} · {row['label']}" + (f" ({row['rain']})" if row["rain"] else "") for row in rows)
    colours = tuple(measures.view.meaning.colour(row["label"]) for row in rows)

    marks = "".join("D" if row["rain"] == "unseen" else "o" for row in rows)

    def panel(title: str, unit: str, name: str) -> Panel:
        return Panel(title, unit, tuple(_interval(row, name) for row in rows), colours, share=name, markers=marks)

    shares = tuple(_point(row["e_rain_input"] / row["e_rain_perfect"]) for row in rows)
    change = Panel("E_R / E_R*", "1: as a perfect network", shares, colours, share="e_rain", markers=marks)
    panels = (panel("removal ρ", "share of the rain", "rho"), panel("damage D⊥", "grey levels", "d_perp"),
              panel("background E_B", "grey levels", "e_background"), change, panel("PSNR-Y", "dB", "psnr_y"))  # fmt: skip
    caption = "Share of the rain removed, damage under it, error beside it; E_R only with them. Diamonds: unseen rain; bars: intervals."
    yield figure("removal", Dots("removal and damage by group and rain", names, panels, columns=5), caption)


def gaps(measures: Measures, rows: Sequence[_Row]) -> Iterator[Figure]:
    """Δρ and the ratio for each group and unseen rain."""
    if not 0 < len(rows) <= ROWS:
        return
    names = tuple(f"{row['group']} · {row['unseen']}" for row in rows)
    colours = tuple(measures.view.meaning.colour(row["unseen"]) for row in rows)
    panels = (
        Panel("gap Δρ", "ρ seen − ρ unseen", tuple(_interval(row, "gap") for row in rows), colours, zero=True, share="gap"),
        Panel("ρ unseen / ρ seen", "ratio", tuple(_interval(row, "ratio") for row in rows), colours, share="ratio"),
        Panel("E_B on unseen rain", "grey levels", tuple(_point(row["e_background_unseen"]) for row in rows), colours, share="e"),
    )
    caption = "Right of 0: less of the unseen rain is removed than of the seen."
    yield figure("gaps", Dots("what is lost on unseen rain", names, panels), caption)


def along(measures: Measures, summary: Sequence[_Row], found: Sequence[_Row]) -> Iterator[Figure]:
    """Curves against a numeric tag: one line for each value of the other tags and each unseen rain."""
    tag = axis_tag(measures)
    if tag is None or not found:
        return
    lines: dict[str, list[tuple[float, _Row, _Row]]] = {}
    several = len({row["unseen"] for row in found}) > 1
    by_place = {(row["group"], row["label"]): row for row in summary}
    for row in found:
        tags = measures.tags[row["group"]]
        parts = [f"{name} {value}" for name, value in tags.items() if name != tag] + ([str(row["unseen"])] if several else [])
        lines.setdefault(", ".join(parts) or "networks", []).append((float(tags[tag]), row, by_place[row["group"], row["unseen"]]))
    xs = sorted({x for line in lines.values() for x, _, _ in line})
    axis = Axis(tag, log=xs[0] > 0 and xs[-1] >= SPAN * xs[0], places=tuple(xs), names=tuple(f"{x:g}" for x in xs))

    def curves(name: str, which: int) -> tuple[Curve, ...]:
        out = []
        for i, (label, points) in enumerate(lines.items()):
            items = [(x, pair[which]) for x, *pair in sorted(points, key=lambda point: point[0])]
            values = [_interval(row, name) for _, row in items]
            out.append(Curve(label, NETWORKS[i % len(NETWORKS)], tuple(x for x, _ in items), tuple(v.mean for v in values),
                             tuple(v.low for v in values), tuple(v.high for v in values), LINES[i // len(NETWORKS) % len(LINES)],
                             MARKERS[i % len(MARKERS)]))  # fmt: skip
        return tuple(out)

    panels = tuple(
        CurvePanel(title, curves(name, which), axis, Axis(label))
        for title, name, which, label in (
            ("removal, unseen rain", "rho", 1, "ρ"), ("unseen / seen", "ratio", 0, "ratio of ρ"), ("gap Δρ", "gap", 0, "ρ seen − ρ unseen"),
            ("damage D⊥, unseen", "d_perp", 1, "grey levels"), ("background E_B, unseen", "e_background", 1, "grey levels"),
            ("PSNR-Y, unseen", "psnr_y", 1, "dB"),
        )
    )  # fmt: skip
    caption = f"Against {tag}: less removed of unseen rain may go with less background error, and PSNR with the latter. Bars: intervals."
    yield figure("along", Curves(f"removal and damage against {tag}", panels, apart=False), caption)


def axis_tag(measures: Measures) -> str | None:
    """The tag that curves run along: the one asked for, or the first of `by` with two numbers or more."""
    wanted = [measures.params.along] if measures.params.along else measures.params.by
    for tag in wanted:
        values = [tags.get(tag) for tags in measures.tags.values()]
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values) and len(set(values)) > 1:
            return tag
    return None


def kappa(rows: Sequence[_Row]) -> Iterator[Figure]:
    """κ against Δρ, a panel for each unseen rain."""
    if not rows:
        return
    kinds = list(dict.fromkeys(row["measure"] for row in rows))
    drawn = [kind for kind in ("k95", "eff_rank", "preq") if kind in kinds] or kinds[:3]
    places = [(label, kind) for label in dict.fromkeys(row["unseen"] for row in rows) for kind in drawn]
    panels = tuple(
        ScatterPanel(f"{label}, {kind}" if kind else label,
                     tuple(Point(row["group"], INK, _interval(row, "kappa"), _interval(row, "gap"))
                           for row in rows if (row["unseen"], row["measure"]) == (label, kind)))
        for label, kind in places
    )  # fmt: skip
    caption = "Relative complexity κ of the training set against the gap. The thesis: falling, and above 0 left of κ = 0."
    yield figure("kappa", Scatter("does relative complexity predict the gap?", "κ", "Δρ", panels), caption)


def _interval(row: _Row, name: str) -> Interval:
    low, high = (row.get(f"{name}_{end}") for end in ("low", "high"))
    return Interval(row[name], _NAN if low is None else low, _NAN if high is None else high, 0)


def _point(value: float) -> Interval:
    return Interval(value, _NAN, _NAN, 0)
