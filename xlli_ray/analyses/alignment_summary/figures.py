"""The figures of `alignment_summary`: PSNR and differences of PSNR by motion, frames used, and where attribution is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from xlli_ray.analyses.analysis import Figure, figure
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.palette import LINES, MARKERS, NETWORKS
from xlli_ray.stats.intervals import Interval

PAIRS = 12
"""More pairs than this have no figure."""
_NAN = float("nan")
_Row = dict[str, Any]


def by_motion(motion: Sequence[_Row], differences: Sequence[_Row], windows: Sequence[float]) -> Iterator[Figure]:
    """Absolute PSNR a group, and differences a pair, over the bins of motion, of all pixels."""
    rows = [row for row in motion if _bin(row)]
    if not rows:
        return
    lows = sorted({row["motion_low"] for row in rows})
    place = {low: float(i) for i, low in enumerate(lows)}
    axis = Axis("motion, input pixels", places=tuple(place.values()), names=tuple(_named(low, rows) for low in lows))
    rule = tuple(place[low] - 0.5 for low in windows if low in place and place[low] > 0)
    named = [(row["group"], row) for row in rows]
    panel = CurvePanel("", _curves(named, "psnr", place), axis, Axis("PSNR, dB"), rule)
    yield figure(
        "psnr_by_motion", Curves("PSNR by motion", (panel,), band=True),
        "PSNR of the pooled squared error of the pixels of each bin, with intervals over clips (and trainings). Bins hold different "
        "content: compare curves, not places. Grey lines: windows.",
    )  # fmt: skip
    apart = [(f"{row['group']} − {row['other']}", row) for row in differences if _bin(row)]
    if apart and len({name for name, _ in apart}) <= PAIRS:
        panel = CurvePanel("", _curves(apart, "difference", place), axis, Axis("difference of PSNR, dB"), rule)
        yield figure("difference_by_motion", Curves("difference of PSNR by motion", (panel,), band=True),
                     "On the same pixels, pooled, with intervals over clips (and trainings). Above 0: the first is better.")  # fmt: skip
    yield from _strata(differences, place, axis, rule)


def _strata(differences: Sequence[_Row], place: dict[float, float], axis: Axis, rule: tuple[float, ...]) -> Iterator[Figure]:
    strata = [name for name in dict.fromkeys(row["stratum"] for row in differences) if name != "all"]
    pairs = list(dict.fromkeys((row["group"], row["other"]) for row in differences))
    if len(strata) < 2 or not 0 < len(pairs) <= 6:
        return
    panels = []
    for one, other in pairs:
        rows = [(row["stratum"], row) for row in differences
                if (row["group"], row["other"]) == (one, other) and row["stratum"] in strata and not _whole(row)]  # fmt: skip
        panels.append(CurvePanel(f"{one} − {other}", _curves(rows, "difference", place), axis, Axis("difference of PSNR, dB"), rule))
    yield figure("difference_by_content", Curves("difference of PSNR by motion and content", tuple(panels), band=True, columns=2),
                 "Pixels by the texture of the target (tertiles), and by whether a neighbouring frame hides them.")  # fmt: skip


def maps(rows: Sequence[_Row]) -> Iterator[Figure]:
    """Which frames are used, and whether attribution follows what moves."""
    if not rows:
        return
    names = tuple(row["group"] for row in rows)
    colours = tuple(NETWORKS[i % len(NETWORKS)] for i in range(len(rows)))

    def panel(title: str, unit: str, name: str) -> Panel:
        return Panel(title, unit, tuple(_interval(row, name) for row in rows), colours, share=name)

    panels = (
        panel("the frame itself", "share of the attribution", "centre_share"),
        panel("frames used", "effective number", "effective_frames"),
        panel("tracking error", "input pixels", "tracking_error"),
        panel("follows the motion", "0 stays, 1 follows", "follows"),
    )
    yield figure("maps", Dots("which frames are used, and where", names, panels, columns=4),
                 "Attribution maps of windows of the middle frame, with intervals over clips (and trainings).")  # fmt: skip


def _curves(named: Sequence[tuple[str, _Row]], column: str, place: dict[float, float]) -> tuple[Curve, ...]:
    out = []
    for i, name in enumerate(dict.fromkeys(name for name, _ in named)):
        rows = sorted((row for own, row in named if own == name), key=lambda row: row["motion_low"])
        out.append(Curve(
            name, NETWORKS[i % len(NETWORKS)], tuple(place[row["motion_low"]] for row in rows), tuple(row[column] for row in rows),
            tuple(row[f"{column}_low"] for row in rows), tuple(row[f"{column}_high"] for row in rows),
            LINES[i // len(NETWORKS) % len(LINES)], MARKERS[i % len(MARKERS)],
        ))  # fmt: skip
    return tuple(out)


def _whole(row: _Row) -> bool:
    return bool(row["motion_low"] == 0 and row["motion_high"] != row["motion_high"])


def _bin(row: _Row) -> bool:
    return row["stratum"] == "all" and not _whole(row)


def _named(low: float, rows: Sequence[_Row]) -> str:
    high = next(row["motion_high"] for row in rows if row["motion_low"] == low)
    return f"{low:g}–{high:g}" if high == high else f"≥ {low:g}"


def _interval(row: _Row, name: str) -> Interval:
    return Interval(row[name], row.get(f"{name}_low", _NAN), row.get(f"{name}_high", _NAN), 0)
