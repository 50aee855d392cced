"""A window of the output: what an objective reads. Known without torch, since every plan, also of a finished study, asks what fits."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from torch import Tensor


@dataclass(frozen=True)
class Window:
    """A square of output pixels: rows top … top + size − 1, columns left … left + size − 1."""

    top: int
    left: int
    size: int

    def problem(self, height: int, width: int) -> str:
        """Why the window cannot be used in an output of this size, '' if it can. The objective reads one more pixel."""
        if self.size < 1:
            return f"window size must be an integer ≥ 1, got {self.size}"
        if self.top < 0 or self.left < 0 or self.top + self.size >= height or self.left + self.size >= width:
            return (
                f"window (top {self.top}, left {self.left}, size {self.size}) is outside the output of {height} rows × {width} columns: "
                f"top + size must be below {height} and left + size below {width}"
            )
        return ""

    def cut(self, image: Tensor, margin: int = 0) -> Tensor:
        """The window of (…, H, W), extended by `margin` rows and columns at the bottom and right."""
        return image[..., self.top : self.top + self.size + margin, self.left : self.left + self.size + margin]
