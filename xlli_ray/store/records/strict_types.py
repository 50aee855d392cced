"""Strict validation of a study's documents: no extra fields, no values of other types, no negative counts."""

from __future__ import annotations

from typing import Annotated

from pydantic import ConfigDict, Field

STRICT = ConfigDict(extra="forbid", strict=True)
Natural = Annotated[int, Field(ge=0, le=1 << 52)]
Positive = Annotated[int, Field(ge=1, le=1 << 52)]
