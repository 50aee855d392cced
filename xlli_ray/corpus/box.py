"""The position of a patch in its image."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, order=True)
class Box:
    """A square of `size` pixels whose upper left pixel is (top, left), in pixels of the target (or of a lone input)."""

    top: int
    left: int
    size: int
