"""Maps of other stages, for probes that try them: which cell has a stage's own maps, and that all stages have the same windows.

A stage of maps may have several cells: the maps themselves, and controls with other weights or windows, whose names have a dot before that
of the control. Maps of different stages are tried on the same windows, so that their numbers can be compared pair by pair.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import NetworkError
from xlli_ray.probes.lam.cascade_cells import share_of
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.measurement import Batch, Measurement

CONTROL = "randomised_weights"


@dataclass(frozen=True)
class StageMaps:
    """What one stage measured for a batch: its maps, and those of its control with randomised weights, if it has one."""

    stage: str
    own: Measurement
    control: Measurement | None = None
    asked: Any = None
    """The stage's parameters, if known."""


def is_tried(what: str) -> bool:
    """Whether maps of the cell `what` are tried, or compared with; the depths of a cascade are not, and cost as much as the maps."""
    return share_of(what.rpartition(".")[2]) is None


def stage_maps(batch: Batch, stage: str, arrays: Sequence[str], otherwise: str) -> StageMaps:
    """The maps of `stage`, which must have one of `arrays`. Raises NetworkError with the text `otherwise`."""
    cells = {name.removeprefix(stage).removeprefix("/"): one for name, one in batch.measured.items()
             if name == stage or name.startswith(f"{stage}/")}  # fmt: skip
    own = next((one for what, one in cells.items() if "." not in what), None)
    asked = next((params for name, params in batch.asked.items() if name == stage or name.startswith(f"{stage}/")), None)
    if own is None or not set(arrays) & set(own.arrays):
        raise NetworkError(otherwise)
    return StageMaps(stage, own, next((one for what, one in cells.items() if what.endswith(f".{CONTROL}")), None), asked)


def rows_of(measured: Measurement, i: int, samples: int) -> dict[int, int]:
    """Index of each window of sample `i` → its row in the columns."""
    places = list(range(samples)) if measured.positions is None else list(measured.positions)
    return {int(measured.columns["window"][row]): row for row, position in enumerate(places) if position == i}


def shared_windows(stages: Sequence[StageMaps], i: int, samples: int, asked_by: str) -> dict[int, Window]:
    """The windows of sample `i`, by index, which all `stages` must have. Raises NetworkError naming two stages that differ."""
    first: dict[int, Window] | None = None
    for stage in stages:
        found = {j: Window(*(int(stage.own.columns[name][row]) for name in ("top", "left", "size")))
                 for j, row in rows_of(stage.own, i, samples).items()}  # fmt: skip
        if first is None:
            first = found
        elif found != first:
            raise NetworkError(
                f"{asked_by}: the stages {stages[0].stage} and {stage.stage} have different windows in this sample: "
                "give both the same `windows`"
            )
    return first or {}


def ranked_by(measured: Measurement, i: int, j: int, shape: tuple[int, ...], samples: int) -> NDArray[np.floating]:
    """What ranks the pixels of window `j` of sample `i`, of `shape` ([T,] H, W): a map, or |effect| of a block at each of its pixels."""
    if "map" in measured.arrays:
        return np.asarray(measured.arrays["map"][i, j])
    side = int(measured.columns["block"][rows_of(measured, i, samples)[j]])
    effect = np.abs(np.asarray(measured.arrays["effect"][i, j]))
    return np.repeat(np.repeat(effect, side, axis=-2), side, axis=-1)[..., : shape[-2], : shape[-1]]
