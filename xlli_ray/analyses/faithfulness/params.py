"""Parameters of a `faithfulness` stage in a recipe."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class Params(BaseModel):
    """Fields of a `faithfulness` stage."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    deletion: str = Field(default="deletion", description="id of the deletion stage; its maps are those that are judged")
    cem: str | None = Field(default="auto", description="id of the cem stage that maps are compared with; auto: the only one; null: none")
    infidelity: str | None = Field(default="auto", description="id of the infidelity stage; auto: the only one; null: none")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="confidence level of the intervals")
    examples: int = Field(default=3, ge=0, le=12, description="windows shown on which the maps of different methods agree least")
