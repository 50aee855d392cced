"""The columns of table `cem`, and the row of one map."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.probes.measurement import Column

if TYPE_CHECKING:
    from xlli_ray.probes.cem.effects import WindowEffects
    from xlli_ray.probes.lam.window import Window


def _count(name: str, about: str) -> Column:
    return Column(name, "int64", about, limits=(0.0, None), unit="blocks")


COLUMNS: tuple[Column, ...] = (
    Column("window", "int64", "index of the window within its sample, as in the array", place=True),
    Column("top", "int64", "first row of the window", place=True, unit="output pixels"),
    Column("left", "int64", "first column of the window", place=True, unit="output pixels"),
    Column("size", "int64", "side of the window", place=True, unit="output pixels"),
    Column("block", "int64", "side of a block", place=True, unit="input pixels"),
    Column("frame", "int64", "frame of the output in which the window is, from 0", place=True, clips=True),
    Column("psnr", "float64", "PSNR of the window, all channels, with the input as it is; infinite: perfect, so no effect", unit="dB",
           better="higher"),
    _count("helping", "blocks whose content improves the window by more than the tolerance"),
    _count("harming", "blocks without whose content the window would be better, by more than the tolerance"),
    _count("neutral", "blocks whose effect is within the tolerance, those that the window cannot depend on included"),
    _count("undecided", "blocks whose interval still contains the tolerance after the most draws"),
    Column("area", "float64", "helping and harming blocks as a share of all, 0..1", limits=(0.0, 1.0)),
    Column("range", "float64", "distance from the window to the middle of the farthest helping or harming block; 0 without any",
           limits=(0.0, None), unit="input pixels"),
    Column("strongest", "float64", "largest effect of a block beside the window", unit="dB"),
    Column("most_harmful", "float64", "smallest effect of a block beside the window", unit="dB"),
    Column("harm_share", "float64", "effects of harming blocks as a share of all decided effects, in magnitude; NaN without any",
           limits=(0.0, 1.0)),
    Column("mean_error", "float64", "mean standard error over the blocks that were tried", limits=(0.0, None), unit="dB"),
    Column("draws", "int64", "interventions, over all blocks", limits=(0.0, None)),
    Column("corruption", "string", "none; pool: patches are degraded as the input; kept: they get the input's own corruption"),
    Column("undefined", "bool", "true: the window was perfect, and PSNR has no change"),
)  # fmt: skip


def map_row(found: WindowEffects, *, index: int, side: int, scale: int, corruption: str) -> dict[str, Any]:
    """The row of one map. `side`: of a block, input pixels."""
    window, effect = found.window, found.effect
    undefined = not np.isfinite(found.psnr)
    helping, harming = found.decided == 1, found.decided == -1
    felt = helping | harming
    away = distances(window, side, scale, effect.shape)
    beside = away > 0
    strength = np.abs(effect[felt]).sum()
    tried = found.draws > 0
    nan = float("nan")
    return {
        "window": index, "top": window.top, "left": window.left, "size": window.size, "block": side, "psnr": found.psnr,
        "helping": int(helping.sum()), "harming": int(harming.sum()), "neutral": 0 if undefined else int((found.decided == 0).sum()),
        "undecided": int((found.decided == 2).sum()), "area": nan if undefined else float(felt.mean()),
        "range": nan if undefined else float(away[felt].max(initial=0.0)),
        "strongest": float(effect[beside].max()) if beside.any() else nan,
        "most_harmful": float(effect[beside].min()) if beside.any() else nan,
        "harm_share": float(np.abs(effect[harming]).sum() / strength) if strength > 0 else nan,
        "mean_error": float(found.error[tried].mean()) if tried.any() else nan, "draws": int(found.draws.sum()),
        "corruption": corruption, "undefined": undefined,
    }  # fmt: skip


def distances(window: Window, side: int, scale: int, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Input pixels from the window to the middle of each block, of a map's shape; 0 where the middle is inside."""
    def along(start: int, count: int) -> NDArray[np.float64]:
        low, high = start / scale, (start + window.size) / scale
        middles = side * (np.arange(count) + 0.5)
        return np.maximum(0.0, np.maximum(low - middles, middles - high))

    away = np.hypot(along(window.top, shape[-2])[:, None], along(window.left, shape[-1])[None, :])
    return np.broadcast_to(away, shape)
