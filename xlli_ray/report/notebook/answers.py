"""What the explorer in a notebook asks the kernel, and what it is answered: plain values that a message can hold."""

from __future__ import annotations

from typing import Any

from xlli_ray.errors import XlliError
from xlli_ray.report.explorer.source import PartSource


def answer(source: PartSource, message: Any) -> dict[str, Any] | None:
    """`{"part": name}` → `{"part": name, "value": …}`, or `{"part": name, "error": why}`; None for a message of another form."""
    name = message.get("part") if isinstance(message, dict) else None
    if not isinstance(name, str):
        return None
    try:
        return {"part": name, "value": source.part(name)}
    except (XlliError, OSError, MemoryError) as error:
        return {"part": name, "error": str(error) or type(error).__name__}
