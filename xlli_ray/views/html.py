"""Small HTML for notebooks: no scripts, all text escaped, since names come from other people's files and studies."""

from __future__ import annotations

import html
from collections.abc import Sequence

from xlli_ray.plots.image_panels import ImagePanel, ImagePanels
from xlli_ray.plots.panel_pixels import data_uri

LINES = 12
"""Maximum number of lines of a card."""


def card(title: str, lines: Sequence[tuple[str, str]]) -> str:
    """A title over lines of a label and a value; lines after the first LINES are counted, not shown."""
    rows = "".join(f"<tr><th>{html.escape(name)}</th><td>{html.escape(value)}</td></tr>" for name, value in lines[:LINES])
    more = f"<tr><th></th><td>… and {len(lines) - LINES} more</td></tr>" if len(lines) > LINES else ""
    return f"<table><caption>{html.escape(title)}</caption>{rows}{more}</table>"


def panels_html(view: ImagePanels) -> str:
    """Image panels that have their pixels: a table for each row that has a label of its own."""
    parts: list[tuple[str, list[list[str]]]] = []
    for row in view.rows:
        if row.label or not parts:
            parts.append((row.label, []))
        parts[-1][1].append(["" if panel is None else _panel(panel) for panel in row.panels])
    return "".join(grid(label, rows) for label, rows in parts)


def _panel(panel: ImagePanel) -> str:
    words = "<br>".join(html.escape(text) for text in (panel.caption, panel.note) if text)
    about = html.escape(panel.caption, quote=True)
    return f'<img alt="{about}" style="image-rendering: pixelated" src="{data_uri(panel)}"><br>{words}'


def grid(title: str, rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are already HTML, below a plain-text title."""
    lines = ["".join(f'<td style="text-align: left; vertical-align: top">{cell}</td>' for cell in row) for row in rows]
    body = "".join(f"<tr>{line}</tr>" for line in lines)
    return f"<div><b>{html.escape(title)}</b><table>{body}</table></div>"
