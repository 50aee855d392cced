"""A tap: the place in a network where a layer is read, and the axes of what is read there. Imports no torch."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

Side = Literal["input", "output"]
Frames = Literal["", "axis", "inner", "folded", "calls", "backward"]
Shape = tuple[int, ...]


def dims_of(place: Frames, shape: Shape) -> tuple[str, ...]:
    """Names of the axes of one sample of a layer, of `shape` as returned by `frame_axis.arranged_shape`."""
    rest = len(shape) - bool(place)
    known: dict[int, tuple[str, ...]] = {1: ("channel",), 2: ("token", "channel"), 3: ("channel", "y", "x")}
    return (*(("frame",) if place else ()), *known.get(rest, tuple(f"axis{i}" for i in range(rest))))


@dataclass(frozen=True)
class Tap:
    """One place to read: `side` of `module`, at its `call`-th call (0-based), its "last", or (None) its only one; for a clip, `frames` is
    the position of its frames (`frame_axis`)."""

    module: str
    side: Side = "output"
    call: int | Literal["last"] | None = None
    frames: Frames = ""

    @property
    def name(self) -> str:
        """The tap's name in stores, `[A-Za-z0-9_.-]+`: "model.2.in", "b1.b1.out_call0", "b1.b1.out_last"."""
        module = re.sub(r"[^A-Za-z0-9_.-]", lambda match: f"-x{ord(match.group()):x}-", self.module)
        call = "" if self.call is None else "_last" if self.call == "last" else f"_call{self.call}"
        return f"{module}.{'in' if self.side == 'input' else 'out'}{call}"

    def spec(self) -> dict[str, Any]:
        """JSON-able: `Tap(**spec)` is the same tap. Without `frames` for images."""
        given = asdict(self)
        return given if self.frames else {key: value for key, value in given.items() if key != "frames"}

    def dims(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Names of the axes of one sample of this layer: those of frame, channel, y, x that it has."""
        return dims_of(self.frames, shape)
