"""Parameters of an `srga` stage in a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xlli_ray.analyses.shared.replicates import Grouped


class Params(Grouped):
    """Fields of an `srga` stage."""

    layer: str = Field(default="*:last_conv_input", description="pattern that matches one layer of each model")
    reference: str = Field(default="clean", description="label of the reference set")
    components: int | None = Field(
        default=None, ge=1, le=1_000_000,
        description="number of principal components, less than the samples of a set; null: 300, or half of the samples if that is less",
    )  # fmt: skip
    solver: Literal["exact", "authors"] = Field(default="exact", description="exact PCA, or the randomized one of the authors' program")
    store_features: bool = Field(default=False, description="store the features in the study; false: only their Gram matrices")
    of: str | None = Field(default=None, description="id of a gram or features stage to read; null: a gram stage is added")
    restore: str | None = Field(default="auto", description="id of the restore stage with the PSNR; auto: the only one; null: none")
    resamples: int = Field(default=40, ge=0, le=1000, description="splits into halves for the intervals; 0: none")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="confidence level of the intervals and floors")
    draw: Literal["images", "samples"] = Field(default="images", description="resampling unit: whole images or single patches")
    refine: bool = Field(default=False, description="solve for alpha; false: the authors' grid with step 0.001")
    gate: float = Field(default=3.0, gt=0, description="a model whose PSNR on the reference is so many dB below the best one's is flagged")
    allow_float16: bool = Field(default=False, description="accept stored float16 features, whose rounding raises the tail of the spectrum")


AUTHORS = 300
"""Number of components in the authors' program, for 800 patches."""


def default_components(samples: int) -> int:
    """Default number of components for a set of so many samples: 300, or half of the samples."""
    return max(1, min(AUTHORS, samples // 2))
