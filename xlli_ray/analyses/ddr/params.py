"""Parameters of a `ddr` stage in a recipe."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class Params(BaseModel):
    """Fields of a `ddr` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True, populate_by_name=True)
    source: str = Field(default="features", alias="from", description="id of the features stage")
    layers: Literal["all"] | list[str] = Field(default="all", description="patterns of its layers, e.g. `trunk.*`; in the recipe's order")
    labels: list[Literal["type", "level", "content", "image"]] = Field(
        default=["type", "level", "content"], min_length=1, description="labellings: what the classes are"
    )
    degradations: list[str] | None = Field(default=None, description="only samples with these labels, e.g. `blur2`; null: all")
    components: int = Field(default=50, ge=2, le=1000, description="number of PCA components that the main CHI is computed on")
    depth: Literal["all"] | list[str] = Field(default="all", description="the last third of these layers is compared with the first")
    embed: list[Literal["pca", "tsne", "umap"]] = Field(default=["pca", "tsne", "umap"], description="methods of 2-D embedding; []: none")
    embed_layers: Literal["last", "all"] | list[str] = Field(default="last", description="layers to embed; last: of each model")
    seeds: int = Field(default=5, ge=1, le=100, description="runs of t-SNE and UMAP; the first is drawn")
    thumbnails: bool = Field(default=True, description="thumbnails of the inputs, read from the corpus")
    resamples: int | None = Field(
        default=None, ge=200, le=100_000, exclude=True, description="no longer has an effect; accepted because old recipes have it"
    )
    permutations: int = Field(default=500, ge=0, le=100_000, description="permutations for the null; 0: none")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="confidence level of the intervals")
