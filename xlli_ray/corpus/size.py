"""The size of a sample's input with its named axes, and the name of its bucket, the group of all inputs of one size."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_BUCKET = re.compile(r"(?:t([0-9]{4,9}))?h([0-9]{4,9})w([0-9]{4,9})")


@dataclass(frozen=True, order=True)
class Size:
    """Height and width in pixels. `frames`: of a clip; 0 for a single image, which has no axis `frame`.

    >>> Size(64, 86).bucket, Size(64, 86, 7).bucket
    ('h0064w0086', 't0007h0064w0086')
    >>> Size.of_bucket("t0007h0064w0086").shape()
    (7, 3, 64, 86)
    """

    height: int
    width: int
    frames: int = 0

    @property
    def bucket(self) -> str:
        """Name of the group of all inputs of this size."""
        clip = f"t{self.frames:04d}" if self.frames else ""
        return f"{clip}h{self.height:04d}w{self.width:04d}"

    @classmethod
    def of_bucket(cls, name: str) -> Self:
        """Inverse of `bucket`. Raises ValueError for an invalid name."""
        match = _BUCKET.fullmatch(name)
        size = cls(int(match[2]), int(match[3]), int(match[1] or 0)) if match else None
        if size is None or size.bucket != name:
            raise ValueError(f"{name!r} is not a bucket; expected a name such as h0064w0086, or t0007h0064w0086 for clips")
        return size

    @property
    def axes(self) -> tuple[str, ...]:
        """Names of the axes of one input: (channel, y, x) or (frame, channel, y, x)."""
        return ("frame", "channel", "y", "x") if self.frames else ("channel", "y", "x")

    def shape(self, channels: int = 3) -> tuple[int, ...]:
        """Shape of one input, in the order of `axes`."""
        image = (channels, self.height, self.width)
        return (self.frames, *image) if self.frames else image

    def times(self, scale: int) -> Size:
        """The size of a target `scale` times as high and wide, with the same number of frames."""
        return Size(self.height * scale, self.width * scale, self.frames)
