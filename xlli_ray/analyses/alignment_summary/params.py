"""What an `alignment_summary` stage may say in a recipe."""

from __future__ import annotations

from pydantic import Field, field_validator

from xlli_ray.analyses.shared.replicates import Grouped
from xlli_ray.stats.motion import EDGES


class Params(Grouped):
    """Fields of an `alignment_summary` stage."""

    of: str = Field(default="auto", description="id of the motion_error stage; auto: the only one")
    lam: str | None = Field(default="auto", description="id of the lam stage; auto: the only one, if there is one; null: none")
    flow: str = Field(default="auto", description="id of the flow stage that trajectories follow; auto: the only one")
    single: str | None = Field(
        default=None, description="group (or network, without `by`) that sees one frame only: the others' gain over it is the use of the "
        "other frames; null: none",
    )  # fmt: skip
    windows: list[float] = Field(
        default=[8.0, 16.0], min_length=1, description="motion in input pixels up to which an attention window would still hold the content"
    )
    level: float = Field(default=0.95, gt=0.5, lt=1, description="of the intervals")

    @field_validator("windows")
    @classmethod
    def _edges(cls, windows: list[float]) -> list[float]:
        for window in windows:
            if window not in EDGES[1:]:
                edges = ", ".join(f"{edge:g}" for edge in EDGES[1:])
                raise ValueError(f"windows: {window:g} is not an edge of the bins of motion: {edges}")
        return sorted(set(windows))
