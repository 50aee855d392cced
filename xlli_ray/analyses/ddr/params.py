"""What a `ddr` stage may say in a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Params(BaseModel):
    """Fields of a `ddr` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    source: str = Field(default="features", alias="from", description="id of the features stage")
    layers: Literal["all"] | list[str] = Field(default="all", description="patterns over its layers, as `trunk.*`; in the recipe's order")
    labels: list[Literal["type", "level", "content", "image"]] = Field(
        default=["type", "level", "content"], min_length=1, description="what the classes are"
    )
    degradations: list[str] | None = Field(default=None, description="only samples with these labels, as `blur2`; null: all")
    components: int = Field(default=50, ge=2, le=1000, description="of the PCA that the headline is computed on")
    depth: Literal["all"] | list[str] = Field(default="all", description="layers whose last third is compared with the first, as `trunk.*`")
    embed: list[Literal["pca", "tsne", "umap"]] = Field(default=["pca", "tsne", "umap"], description="pictures; []: none")
    embed_layers: Literal["last", "all"] | list[str] = Field(default="last", description="of which layers: last of each model, or patterns")
    seeds: int = Field(default=5, ge=1, le=100, description="runs of t-SNE and UMAP; the first is drawn")
    thumbnails: bool = Field(default=True, description="small pictures of the inputs, read from the corpus again")
    resamples: int | None = Field(
        default=None, ge=200, le=100_000, exclude=True, description="no longer has an effect: leave it out; old recipes may have it"
    )
    permutations: int = Field(default=500, ge=0, le=100_000, description="of the null; 0: none")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="of the intervals")
