"""What an `srga` stage may say in a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from xlli_ray.analyses.shared.replicates import Grouped


class Params(Grouped):
    """Fields of an `srga` stage."""

    layer: str = Field(default="*:last_conv_input", description="pattern of the layer, one for each model")
    reference: str = Field(default="clean", description="label of the set that the others are compared with")
    components: int | None = Field(
        default=None, ge=1, le=1_000_000,
        description="principal components, fewer than the samples of a set; null: 300, or half of the samples where that is fewer",
    )  # fmt: skip
    solver: Literal["exact", "authors"] = Field(default="exact", description="exact PCA, or the randomized one of the authors' program")
    store_features: bool = Field(default=False, description="keep the features in the study, and read them; else only the Gram matrices")
    of: str | None = Field(default=None, description="id of a gram or features stage to read; null: one is added")
    restore: str | None = Field(default="auto", description="id of the restore stage that gives PSNR; auto: the only one; null: none")
    resamples: int = Field(default=40, ge=0, le=1000, description="splits into halves for the intervals; 0: none")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="of the intervals and floors")
    draw: Literal["images", "samples"] = Field(default="images", description="what is drawn: pictures with all their patches, or patches")
    refine: bool = Field(default=False, description="solve for alpha; false: the authors' grid of 0.001")
    gate: float = Field(default=3.0, gt=0, description="dB under the best model's PSNR on the reference from which a model is flagged")
    allow_float16: bool = Field(default=False, description="take stored float16 features, whose rounding lifts the spectrum's tail")


AUTHORS = 300
"""Components of the authors' program, of 800 patches."""


def default_components(samples: int) -> int:
    """How many components a set of so many samples gets when the recipe says nothing: 300, or half of the samples."""
    return max(1, min(AUTHORS, samples // 2))
