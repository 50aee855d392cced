"""The section of `alignment_error`: registration error against detail kept, one point and one line for each operator."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from xlli_ray.plots.palette import INK
from xlli_ray.plots.scatter import Point, Scatter, ScatterPanel
from xlli_ray.report.section import Column, Drawing, Part, Rows, SectionContext
from xlli_ray.stats.intervals import intervals

COLUMNS = (
    Column("operator", "string", "the alignment operator"),
    Column("gap", "int64", "how many frames away the support is", unit="frames"),
    Column("clips", "int64", "clips measured"),
    Column("rmse", "float64", "difference to the current frame, of pixels with a counterpart", unit="grey levels", better="lower"),
    Column("hf_kept", "float64", "energy of high frequencies over that of the support"),
    Column("seam", "float64", "difference of neighbours across borders of patches minus that elsewhere", unit="grey levels"),
    Column("hidden", "float64", "share of pixels without a counterpart"),
)
MEASURES = tuple(column.name for column in COLUMNS[3:])


def operator_section(context: SectionContext) -> Iterable[Part]:
    """One panel per gap, and a table; empty if nothing was measured."""
    found = context.rows(
        "select operator, gap, s.clip as clip, avg(rmse) as rmse, avg(hf_kept) as hf_kept, avg(seam) as seam, avg(hidden) as hidden "
        "from alignment_error join samples s using (sample_id) where stage = ? and status = 'ok' group by all order by all",
        [context.stage],
    )
    groups: dict[tuple[str, int], list[Mapping[str, Any]]] = {}
    for row in found:
        groups.setdefault((row["operator"], row["gap"]), []).append(row)
    if not groups:
        return
    panels = []
    for gap in sorted({gap for _, gap in groups}):
        points = []
        for (operator, at), rows in sorted(groups.items()):
            if at == gap:
                x, y = intervals(np.array([[row["rmse"], row["hf_kept"]] for row in rows], np.float64))
                points.append(Point(operator, INK, x, y))
        panels.append(ScatterPanel(f"{gap} frame{'s' if gap > 1 else ''} apart", tuple(points)))
    view = Scatter("what operators keep and lose", "rmse, grey levels", "energy of high frequencies kept", tuple(panels))
    yield Drawing(view, "To the left: registers better. At 1: keeps all detail. Means over clips with 95 % intervals, from three clips on.")
    rows = [
        {
            "operator": operator,
            "gap": gap,
            "clips": len(some),
            **{name: float(np.nanmean([row[name] for row in some])) for name in MEASURES},
        }
        for (operator, gap), some in sorted(groups.items(), key=lambda item: (item[0][1], item[0][0]))
    ]
    yield Rows("operators", COLUMNS, rows, "Means over clips. The arrays have the sums by motion and by position between pixels")
