"""Small HTML for notebooks: no scripts, every word escaped, since names come from files and studies of other people."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from xlli_ray.views.pixels import Pixels, png_bytes

LINES = 12
"""Lines that a card shows."""


def card(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """A title over lines of a word and a value; the lines after the first LINES are counted, not shown."""
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in lines[:LINES])
    more = f"<tr><th></th><td>… and {len(lines) - LINES} more</td></tr>" if len(lines) > LINES else ""
    return f"<table><caption>{html.escape(title)}</caption>{rows}{more}</table>"


def picture(image: Pixels, caption: str) -> str:
    """A picture, pixel for pixel, over its caption."""
    return image_tag(png_bytes(image), caption) + f"<br>{html.escape(caption)}"


def image_tag(png: bytes, about: str) -> str:
    """A PNG file inside an `<img>`; `about` for readers that do not see it."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(about, quote=True)}" style="image-rendering: pixelated" src="data:image/png;base64,{data}">'


def grid(title: str, rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already, under a title that is not."""
    lines = ["".join(f'<td style="text-align: left; vertical-align: top">{cell}</td>' for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div><b>{html.escape(title)}</b><table>{body}</table></div>"
