"""The flow that a stage has measured, for probes that need it: `needs = (stage,)`, then `measured_flow(batch, stage)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from xlli_ray.probes.measurement import Batch


@dataclass(frozen=True)
class MeasuredFlow:
    """Arrays of the stage `flow` for a batch (`probes.flow.probe`)."""

    next: NDArray[Any]
    """float16 (B, T − 1, 2, H, W): frame t → t + 1, x first."""
    previous: NDArray[Any]
    """The same, frame t + 1 → t."""
    occluded_next: NDArray[Any]
    """bool (B, T − 1, H, W): points of frame t without a counterpart in t + 1."""
    occluded_previous: NDArray[Any]
    """Points of frame t + 1 without one in t."""


def measured_flow(batch: Batch, stage: str) -> MeasuredFlow:
    """What the stage `stage` has measured of this batch. Raises ValueError for a stage of another kind."""
    arrays = batch.measured[stage].arrays if stage in batch.measured else {}
    names = ("next", "previous", "occluded_next", "occluded_previous")
    if missing := [name for name in names if name not in arrays]:
        raise ValueError(f"stage {stage} has no array {missing[0]!r}: expected the id of a stage of kind flow in `flow`")
    return MeasuredFlow(*(arrays[name] for name in names))
