"""Causal effect maps for the explorer: effects in dB, and beside them what their colour cannot tell.

Of each block the standard error, the draws (0: the window cannot depend on it, which is not the same as a measured effect near 0) and what
was decided. Draws and verdicts have few values and take a byte a block before compression.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import StudyError
from xlli_ray.plots.image_panels import Source
from xlli_ray.probes.cem.verdicts import decided_again
from xlli_ray.report.explorer.encoding import coded_planes, number_planes
from xlli_ray.report.page_context import Context
from xlli_ray.report.shown_samples import ROW_BYTES

EFFECT = "effect"
STORED = (EFFECT, "error", "draws")
"""Arrays of a `cem` stage."""


def effect_planes(found: Mapping[str, NDArray[Any]], places: Sequence[Sequence[int]], total: int) -> dict[str, Any]:
    """`EffectPlanes` of `web/src/data.ts`. `found`: `effect`, `error`, `draws` and `decided`, (n, rows, columns) each."""
    beside = {name: coded_planes(found[name], places, total) for name in ("draws", "decided")}
    error = number_planes(found["error"].astype(np.float32), places, total)
    return {**number_planes(found[EFFECT].astype(np.float32), places, total), "beside": {"error": error, **beside}}


def stored_effects(context: Context, row: int, cell: str, most: int | None) -> dict[str, Any] | None:
    """Those of a cell for the sample in `row`, of windows that have an effect, `most` of them; None where this sample has none.

    Raises StudyError for a damaged array."""
    stored = {name: context.samples.read.stored(Source(row, name, cell)) for name in STORED}
    found = {name: values for name, values in stored.items() if values is not None and values.nbytes <= ROW_BYTES}
    if len(found) < len(STORED):
        return None
    shape = found[EFFECT].shape
    if any(values.shape != shape for values in found.values()):
        raise StudyError(f"{cell}: effect, error and draws differ in shape")
    stacks = {name: values.reshape(-1, *shape[-2:]) for name, values in found.items()}
    used = np.flatnonzero(np.isfinite(stacks[EFFECT]).any(axis=(1, 2)))[:most]
    if not len(used):
        return None
    kept = {name: stack[used] for name, stack in stacks.items()}
    params = next(one.params for one in context.study.manifest.cells if one.id == cell)
    places = [[int(i) for i in np.unravel_index(k, shape[:-2])] for k in used]
    return effect_planes({**kept, "decided": decided_again(kept, params)}, places, int(np.prod(shape[:-2])))
