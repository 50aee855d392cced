"""Validation of views when they are created, also from a file: ValueError says what is wrong.

Colours and images are inserted into pages unchanged, so only colours and small PNG files are allowed; lists that belong together must have
equal lengths; and the size of what is drawn is limited.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sized

LINE_STYLES = ("-", "--", "-.", ":")
MARKS = "os^DvPX*x."
LONGEST = 2000
"""Maximum number of characters of a string."""
EDGE = 1024
"""Longest side of an image, pixels."""
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
_PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"


def check_colours(colours: Iterable[str]) -> None:
    """Raise ValueError unless each is #rrggbb."""
    for colour in colours:
        if not isinstance(colour, str) or not _COLOUR.fullmatch(colour):
            raise ValueError(f"{str(colour)[:40]!r} is not a colour: expected #rrggbb")


def check_length(field: str, items: Sized, expected: int, *, optional: bool = False) -> None:
    """Raise ValueError unless `items` has the length `expected`, or is empty if `optional`."""
    if len(items) != expected and not (optional and not len(items)):
        raise ValueError(f"{field} has {len(items)} entries, expected {expected}{' or none' if optional else ''}")


def check_choice(field: str, value: str, choices: Iterable[str]) -> None:
    """Raise ValueError unless `value` is one of `choices`."""
    listed = list(choices)
    if value not in listed:
        raise ValueError(f"{field} is {value[:40]!r}, expected one of {' '.join(listed)}")


def check_range(field: str, value: float, low: float, high: float) -> None:
    """Raise ValueError unless low ≤ `value` ≤ high."""
    if not low <= value <= high:
        raise ValueError(f"{field} is {value}, expected {low} to {high}")


def check_png(text: str) -> None:
    """Raise ValueError unless `text` is the base64 of a PNG file of at most EDGE pixels a side."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ValueError(f"an image is not base64: {error}") from error
    if not data.startswith(_PNG) or len(data) < 33:
        raise ValueError("an image is not a PNG file")
    width, height = (int.from_bytes(data[i : i + 4], "big") for i in (16, 20))
    if not (1 <= width <= EDGE and 1 <= height <= EDGE):
        raise ValueError(f"an image is {width} × {height} pixels, expected at most {EDGE} a side")
