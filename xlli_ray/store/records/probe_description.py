"""The descriptions of probes that a study stores, for readers that do not have their code, or must not run it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from xlli_ray.store.records.strict_types import STRICT, Positive


@dataclass(frozen=True)
class ColumnRecord:
    """A column of a probe's table as declared by the probe."""

    __pydantic_config__ = STRICT

    name: str
    dtype: str
    about: str
    place: bool = False
    limits: tuple[float | None, float | None] = (None, None)
    unit: str = ""
    better: Literal["higher", "lower"] | None = None
    detail: bool = False


@dataclass(frozen=True)
class KindRecord:
    """A probe's description of itself, for readers that do not have its code, or must not run it."""

    __pydantic_config__ = STRICT

    kind: str
    code: str
    """Its location as given in a recipe; "" for one in a registry."""
    version: Positive
    reference: str
    prose: tuple[str, ...]
    columns: tuple[ColumnRecord, ...]
