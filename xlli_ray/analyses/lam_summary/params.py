"""Parameters of a `lam_summary` stage in a recipe."""

from __future__ import annotations

from pydantic import Field

from xlli_ray.analyses.shared.replicates import Grouped


class Params(Grouped):
    """Fields of a `lam_summary` stage."""

    of: str = Field(default="lam", description="id of the lam stage")
    restore: str | None = Field(default="auto", description="id of the restore stage with the PSNR; auto: the only one; null: none")
    resamples: int = Field(default=4000, ge=200, le=100_000, description="bootstrap resamples of the images, for ρ across models")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="confidence level of the intervals")
    survives: float = Field(default=0.7, gt=0, le=1, description="rank correlation beyond position at or above which a map survives")
    follows: float = Field(default=0.25, ge=0, le=1, description="share of the window's shift below which a map does not follow")
    error_limit: float = Field(default=0.2, gt=0, description="error estimate above which a map counts as inexact")
