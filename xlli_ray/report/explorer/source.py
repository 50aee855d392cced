"""What the explorer is given parts by: a study (`parts`), two of them (`joined_parts`), maps without a study (`map_parts`)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

from xlli_ray.errors import StudyError
from xlli_ray.report.explorer.columns import ExplorerColumn

FORMAT = 1


class MissingPart(StudyError):
    """There is no part of this name."""


class PartSource(Protocol):
    """See `web/src/data.ts`. Not for several threads at once."""

    @property
    def columns(self) -> Sequence[ExplorerColumn]:
        """All columns, with their values."""

    def study(self, held: Sequence[int]) -> dict[str, Any]:
        """Part `study`. `held`: rows whose samples are written beside a page."""

    def part(self, name: str) -> dict[str, Any]:
        """Any other part. Raises MissingPart if there is none of this name, another XlliError if it cannot be made."""
