"""Sizes of text, and text broken into lines, without drawing anything.

Sizes are those of DejaVu Sans, as wide as any font that a page may show instead.
"""

from __future__ import annotations

from bisect import bisect_right
from functools import lru_cache, partial
from typing import Any

FONT = "DejaVu Sans"
ASCENT = 0.76
"""Height of letters above the line that they stand on, as a share of the font's size."""
PITCH = 1.2
"""Distance of two lines of text, as a share of the font's size."""


@lru_cache(maxsize=1 << 13)
def text_width(text: str, size: float, bold: bool = False) -> float:
    """Width in points of the widest line of `text` in a font of `size` points."""
    from matplotlib.textpath import text_to_path

    font = _font(size, bold)
    return max((float(text_to_path.get_text_width_height_descent(line, font, False)[0]) for line in text.split("\n") if line), default=0.0)


def text_height(text: str, size: float) -> float:
    """Height in points of the lines of `text`, from the top of the first to the foot of the last."""
    return size * (1 + PITCH * text.count("\n")) if text else 0.0


@lru_cache(maxsize=1 << 12)
def wrapped(text: str, size: float, room: float, bold: bool = False) -> str:
    """`text` with line breaks between words, and within words that are wider than `room` points, so that no line is wider."""
    if text_width(text, size, bold) <= room:
        return text
    lines = [""]
    for paragraph in text.split("\n"):
        for word in paragraph.split(" "):
            longer = f"{lines[-1]} {word}".lstrip()
            if not lines[-1] or text_width(longer, size, bold) <= room:
                lines[-1] = longer
            else:
                lines.append(word)
            while len(lines[-1]) > 1 and text_width(lines[-1], size, bold) > room:
                fits = max(1, bisect_right(range(1, len(lines[-1])), room, key=partial(_width_to, lines[-1], size, bold)))
                lines[-1:] = [lines[-1][:fits], lines[-1][fits:]]
        lines.append("")
    return "\n".join(line for line in lines if line)


def _width_to(word: str, size: float, bold: bool, end: int) -> float:
    """Width of the first `end` letters; these are not worth remembering."""
    return text_width.__wrapped__(word[:end], size, bold)


@lru_cache(maxsize=32)
def _font(size: float, bold: bool) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=[FONT], size=size, weight="bold" if bold else "normal")
