"""Sizes of text, and text broken into lines, without drawing anything.

Sizes are those of DejaVu Sans, as wide as any font that a page may show instead.
"""

from __future__ import annotations

from functools import lru_cache
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
                fits = next((i for i in range(len(lines[-1]) - 1, 1, -1) if text_width(lines[-1][:i], size, bold) <= room), 1)
                lines[-1:] = [lines[-1][:fits], lines[-1][fits:]]
        lines.append("")
    return "\n".join(line for line in lines if line)


@lru_cache(maxsize=32)
def _font(size: float, bold: bool) -> Any:
    from matplotlib.font_manager import FontProperties

    return FontProperties(family=[FONT], size=size, weight="bold" if bold else "normal")
