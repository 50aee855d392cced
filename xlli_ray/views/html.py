"""Small HTML for notebooks: no scripts, all text escaped, since names come from other people's files and studies."""

from __future__ import annotations

import base64
import html
from collections.abc import Sequence

from xlli_ray.views.pixels import Pixels, png_bytes

LINES = 12
"""Maximum number of lines of a card."""


def card(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """A title over lines of a label and a value; lines after the first LINES are counted, not shown."""
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in lines[:LINES])
    more = f"<tr><th></th><td>… and {len(lines) - LINES} more</td></tr>" if len(lines) > LINES else ""
    return f"<table><caption>{html.escape(title)}</caption>{rows}{more}</table>"


def picture(image: Pixels, caption: str) -> str:
    """An image, pixel for pixel, above its caption."""
    return image_tag(png_bytes(image), caption) + f"<br>{html.escape(caption)}"


def image_tag(png: bytes, about: str) -> str:
    """A PNG file in an `<img>`; `about` is the alternative text."""
    data = base64.b64encode(png).decode()
    return f'<img alt="{html.escape(about, quote=True)}" style="image-rendering: pixelated" src="data:image/png;base64,{data}">'


def grid(title: str, rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are already HTML, below a plain-text title."""
    lines = ["".join(f'<td style="text-align: left; vertical-align: top">{cell}</td>' for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div><b>{html.escape(title)}</b><table>{body}</table></div>"
