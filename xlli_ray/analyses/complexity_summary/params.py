"""What a `complexity_summary` stage may say in a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Prequential(BaseModel):
    """Learning curves of a small network (`stats.prequential`)."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    steps: int = Field(default=200, ge=20, le=100_000, description="of each training, 16 crops of 32 × 32 each")
    seeds: int = Field(default=3, ge=1, le=100, description="trainings of each set; the interval takes 3")


class Params(BaseModel):
    """Fields of a `complexity_summary` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    of: str = Field(default="complexity", description="id of the complexity stage")
    counts: list[int] = Field(default_factory=list, description="subsets of so many images, as `corpus.count` of a training takes them")
    seeds: list[int] = Field(default=[0], min_length=1, description="seeds of the trainings whose subsets are measured")
    points: int = Field(default=4096, ge=64, le=20_000, description="patches of a set, at most; both sides have equally many")
    features: list[str] = Field(default_factory=list, description="stored layers to measure, STAGE.LAYER, patterns as `features.trunk.*`")
    prequential: Prequential | None = Field(default=None, description="learning curves as well; null: none")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="of the intervals")

    @field_validator("features", mode="before")
    @classmethod
    def _listed(cls, value: object) -> object:
        return [value] if isinstance(value, str) else value

    @field_validator("features")
    @classmethod
    def _named(cls, value: list[str]) -> list[str]:
        for one in value:
            if not all(one.partition(".")[::2]):
                raise ValueError(f"features: expected STAGE.LAYER, as `features.trunk.*`, got {one!r}")
        return value

    @field_validator("counts", "seeds")
    @classmethod
    def _once(cls, value: list[int]) -> list[int]:
        if len(set(value)) < len(value):
            raise ValueError(f"each value once, got {value}")
        return value

    @field_validator("counts")
    @classmethod
    def _positive(cls, value: list[int]) -> list[int]:
        if any(one < 1 for one in value):
            raise ValueError(f"counts are integers ≥ 1, got {value}")
        return value
