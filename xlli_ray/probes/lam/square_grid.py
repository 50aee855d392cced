"""The squares that `occlusion` covers, and the map that their drops make. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SquareGrid:
    """Squares of `size` input pixels, `stride` apart, over an input of (height, width), in each of `frames` (0: an image).

    They begin at stride − size, so that every pixel lies in as many (if stride divides size), and are cut at the border.
    """

    size: int
    stride: int
    height: int
    width: int
    frames: int = 0

    @cached_property
    def boxes(self) -> NDArray[np.int64]:
        """(n, 5): frame (0 for an image), top, bottom, left, right; bottom and right are exclusive. Row by row, frame by frame."""
        def along(length: int) -> list[tuple[int, int]]:
            return [(max(0, start), min(length, start + self.size)) for start in range(self.stride - self.size, length, self.stride)]

        rows, columns = along(self.height), along(self.width)
        each = [(t, *row, *column) for t in range(max(1, self.frames)) for row in rows for column in columns]
        return np.array(each, np.int64)

    @property
    def count(self) -> int:
        """Number of squares."""
        def along(length: int) -> int:
            return len(range(self.stride - self.size, length, self.stride))

        return max(1, self.frames) * along(self.height) * along(self.width)

    def touching(self, top: int, bottom: int, left: int, right: int) -> NDArray[np.int64]:
        """Indices of the squares with a pixel in these rows and columns, in any frame."""
        _, first, last, start, stop = self.boxes.T
        return np.flatnonzero((first < bottom) & (last > top) & (start < right) & (stop > left))

    def spread(self, drops: NDArray[np.float64]) -> NDArray[np.float64]:
        """(n,) drops → ([T,] height, width): each divided by its square's pixels, averaged over the squares that cover a pixel."""
        shape = (max(1, self.frames), self.height, self.width)
        total, covered = np.zeros(shape), np.zeros(shape)
        for (t, top, bottom, left, right), drop in zip(self.boxes.tolist(), drops.tolist()):
            total[t, top:bottom, left:right] += drop / ((bottom - top) * (right - left))
            covered[t, top:bottom, left:right] += 1
        values = total / covered
        return values if self.frames else values[0]
