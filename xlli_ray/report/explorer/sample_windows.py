"""The windows of a sample, with the numbers of their maps: `WindowData` of `web/src/data.ts`."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from xlli_ray.report.explorer.effect_planes import EFFECT
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_parts.stage import ordered, scalars_of
from xlli_ray.store.tables.sql import quoted
from xlli_ray.views.cem import bound_of

WINDOWS = 64
"""Windows of one stage and network."""
MAPS = {"lam": "map", "cem": EFFECT}
"""Kinds of stages with windows, and the array that is one map a window."""


def windows_of(context: Context, row: int) -> Iterator[dict[str, Any]]:
    """Those of all stages of MAPS; controls are left out."""
    manifest = context.study.manifest
    cells = [cell for cell in ordered(manifest) if cell.kind in MAPS and "." not in cell.what]
    lines: dict[tuple[str, ...], list[dict[str, Any]]] = {}
    for kind in dict.fromkeys(cell.kind for cell in cells):  # one statement for all networks of a kind: each goes through the table's files
        rows = context.tables.rows(f"select * from {quoted(kind)} where row = ? and status = 'ok' order by \"window\"", [row])
        for line in rows:
            lines.setdefault((kind, line["stage"], line["model"], line["what"]), []).append(line)
    for cell in cells:
        array, scale = MAPS[cell.kind], manifest.model(cell.model).scale
        stored = any(meta.name == array for bucket in cell.sizes for meta in bucket.arrays)
        names = [c.name for c in scalars_of([cell], manifest.kinds) if not c.place and c.dtype in ("float64", "int64", "bool")]
        for line in lines.get((cell.kind, cell.stage, cell.model, cell.what), [])[:WINDOWS]:
            yield {
                "stage": cell.stage, "model": cell.model, "key": f"{cell.id}:{array}" if stored else "", "place": line["window"],
                "top": line["top"], "left": line["left"], "size": line["size"], "scale": scale,
                "values": {name: finite(line[name]) for name in names},
                **(blocks_of(line["block"], scale, str(context.samples.row(row)["label"])) if array == EFFECT else {}),
            }  # fmt: skip


def blocks_of(side: int, scale: int, label: str) -> dict[str, Any]:
    """Of a causal effect map: the side of its blocks, and where its colours end at most (`views.cem`)."""
    return {"block": side, "bound": bound_of(scale, label)}


def finite(value: Any) -> float | None:
    """As a number of JSON."""
    return float(value) if value is not None and math.isfinite(float(value)) else None
