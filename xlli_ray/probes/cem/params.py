"""Fields of a `cem` stage. Does not import torch, since the recipe's schema reads this file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from xlli_ray.probes.cem.own_pool import OwnPool, found_files
from xlli_ray.probes.lam.params import Chosen, Frame, Listed, Place
from xlli_ray.probes.lam.params import Params as LamParams

_STRICT = ConfigDict(extra="forbid", frozen=True)
PHOTOGRAPHS = "photographs"
WINDOW = 32
"""Side of the authors' window, output pixels."""


FIRST, MOST, LEAST = 8, 16, 4


class Draws(BaseModel):
    """How many patches a block is replaced by: `first`, then twice as many until its effect is decided and precise, at most `most`.

    The defaults have less error than the authors' 50 independent patches, on average over blocks (docs/log.md): strong blocks are precise
    relative to their effect after very few draws, but large in error, so `first` is not 4; weak ones gain little from more than 16. Blocks
    that 8 draws show to be neutral have up to twice the error of 50, far below the tolerance."""

    model_config = _STRICT
    first: int = Field(default=FIRST, ge=LEAST, le=1024, description="draws of each block")
    most: int = Field(default=MOST, ge=LEAST, le=4096, description="draws of a block whose effect is still undecided")
    precision: float = Field(default=0.25, gt=0, description="half width of a block's interval, relative to its effect, at which it stops")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="of the interval that decides")

    @model_validator(mode="before")
    @classmethod
    def _one_of_both(cls, given: Any) -> Any:
        """Where one of both is given, the other one's default gives way."""
        if isinstance(given, dict):
            first, most = given.get("first"), given.get("most")
            if first is None and isinstance(most, int):
                return {**given, "first": min(FIRST, max(most, LEAST))}
            if most is None and isinstance(first, int):
                return {**given, "most": max(MOST, first)}
        return given

    @model_validator(mode="after")
    def _ordered(self) -> Draws:
        if self.most < self.first:
            raise ValueError(f"draws: most {self.most} is below first {self.first}")
        return self


class Params(BaseModel):
    """Fields of a `cem` stage."""

    model_config = _STRICT
    windows: Chosen | Listed | list[Place] = Field(default_factory=lambda: Chosen(size=WINDOW, per_sample=1))
    block: int = Field(default=8, ge=1, description="side of a block, output pixels; rounded to whole input pixels, at least one")
    tolerance: float = Field(default=0.01, gt=0, description="dB: an effect within ± this is none")
    draws: Draws = Field(default_factory=Draws)
    pool: Literal["photographs"] | OwnPool = Field(
        default="photographs", description="where patches are from: photographs (scikit-image's), or a list of files, globs or addresses"
    )
    pool_size: int = Field(default=10_000, ge=64, description="number of patches")
    rounded: bool = Field(default=True, description="PSNR of outputs rounded to 8 bits, as it is published")
    crop: Literal["auto", "never"] = Field(default="auto", description="auto: crop inputs if the receptive field is finite")
    frame: Literal["centre"] | Frame = Field(default="centre", description="of clips: the frame of the output in which the windows are")
    max_rows: int | None = Field(default=None, ge=1, description="maximum number of samples with maps, evenly spread over degradations")

    @field_validator("pool", mode="before")
    @classmethod
    def _listed(cls, given: Any) -> Any:
        """One pattern, or a list of them, as an `OwnPool`."""
        if isinstance(given, str) and given != PHOTOGRAPHS:
            given = [given]
        return {"files": given} if isinstance(given, list) else given

    @model_validator(mode="after")
    def _consistent(self) -> Params:
        if isinstance(self.windows, list) and not self.windows:
            raise ValueError("windows: the list is empty; give at least one {top:, left:, size:}")
        if self.draws.most > self.pool_size:
            raise ValueError(f"pool_size: {self.pool_size} patches for up to {self.draws.most} draws of a block; give at least as many")
        return self

    @classmethod
    def inlined(cls, params: Mapping[str, Any], resolve: Callable[[str], str]) -> dict[str, Any]:
        """`params` with the windows of a CSV file (as those of `lam`) and the sha256 of the pool's files. Raises RecipeError."""
        out = LamParams.inlined(params, resolve)
        pool = cls._listed(out.get("pool", PHOTOGRAPHS))
        return out if pool == PHOTOGRAPHS or pool.get("found") else {**out, "pool": found_files(pool["files"], resolve)}

    @property
    def own(self) -> OwnPool | None:
        """The pool of one's own files, if it is one."""
        return self.pool if isinstance(self.pool, OwnPool) else None


