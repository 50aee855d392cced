"""What a `derain_summary` stage may say in a recipe."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, field_validator

from xlli_ray.analyses.shared.replicates import Grouped
from xlli_ray.errors import RecipeError

TRAINED_ON = "trained_on"
"""The tag that is looked for where `seen` says nothing."""
Scalar = str | int | float | bool | None


class Kappa(BaseModel):
    """Relative complexity of rain and backgrounds of one training set, as the table `complexity_kappa` has it."""

    model_config = ConfigDict(extra="allow", frozen=True)
    kappa: float = Field(description="log(complexity of the rain / complexity of the backgrounds)")
    kappa_low: float | None = Field(default=None, description="lower end of its interval")
    kappa_high: float | None = Field(default=None, description="upper end of it")
    set: str = Field(default="", description="name of the training set: a group's name, or the value of one of its tags")

    @field_validator("kappa_low", "kappa_high")
    @classmethod
    def _end(cls, value: float | None) -> float | None:
        return None if value is None or not math.isfinite(value) else value


class Params(Grouped):
    """Fields of a `derain_summary` stage."""

    of: str = Field(default="derain", description="id of the derain stage")
    seen: str | list[str] | dict[str, dict[str, list[str]]] | None = Field(
        default=None, description="labels of the rain that a network was trained on: a tag that names the label, labels for all networks, "
        "or {tag: {value: [labels]}}; null: the tag trained_on, where there is one",
    )  # fmt: skip
    unseen: list[str] | None = Field(default=None, description="labels of rain that no network has seen; null: all others but clean")
    along: str | None = Field(default=None, description="numeric tag of `by` for curves, as the number of backgrounds; null: the first")
    learned: float = Field(default=0.8, gt=0, le=1, description="ρ on seen rain below which a network counts as under-fitted")
    fits: float = Field(default=0.05, gt=0, lt=1, description="gap of ρ above which a network has fitted the rain")
    kappa: str | list[Kappa] | None = Field(
        default=None, description="κ of the training sets: Parquet file of a table complexity_kappa, or its rows; null: none"
    )
    level: float = Field(default=0.95, gt=0.5, lt=1, description="of the intervals")

    @field_validator("seen")
    @classmethod
    def _one_tag(cls, value: Any) -> Any:
        if isinstance(value, dict) and len(value) != 1:
            raise ValueError(f"{len(value)} tags; expected one, as {{rain: {{small: [small-test]}}}}")
        return value

    @classmethod
    def inlined(cls, params: Mapping[str, Any], resolve: Callable[[str], str]) -> dict[str, Any]:
        """`params` with the rows of a file of κ in them, so that a result says which they were. Raises RecipeError."""
        if not isinstance(params.get("kappa"), str):
            return dict(params)
        return {**params, "kappa": read_kappa(Path(resolve(params["kappa"])))}


def read_kappa(path: Path) -> list[dict[str, Scalar]]:
    """Rows of a Parquet file with a column `kappa`; columns of numbers and texts are kept. Raises RecipeError."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        table.validate(full=True)
    except (OSError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0][:200]
        raise RecipeError(
            f"kappa: {path} cannot be read: {reason}. Give the Parquet file of a table complexity_kappa (results/complexity_summary/…)."
        ) from error
    if "kappa" not in table.column_names:
        raise RecipeError(f"kappa: {path} has no column kappa; its columns: {', '.join(table.column_names)}")
    kept = [name for name in table.column_names if name != "stage" and not pa.types.is_nested(table.schema.field(name).type)]
    rows = [{name: value for name, value in row.items() if _said(value)} for row in table.select(kept).to_pylist()]
    return [row for row in rows if "kappa" in row]


def _said(value: Scalar) -> bool:
    return value is not None and not (isinstance(value, float) and not math.isfinite(value))
