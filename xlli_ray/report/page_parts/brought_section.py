"""Third-party sections (`report.section`) of a report: where they are looked up, and how their parts are shown.

A page is often made of a study that came from elsewhere, so code is used only when this process has it anyway: a class or function that a
registry names (one of ours, or an entry point of an installed package), or a place that a recipe of the user's own has allowed here
(`user_code.allow`). What a study says of itself allows nothing. A section that fails costs its parts, never the page.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.plots.checks import EDGE
from xlli_ray.plots.image_panels import ImagePanel, ImagePanels, PanelRow
from xlli_ray.plots.kinds import KINDS
from xlli_ray.plots.panel_values import Read, image_layer
from xlli_ray.plots.view import to_svg
from xlli_ray.registry import SECTIONS
from xlli_ray.report.image_strip import moving_strip, strip_of
from xlli_ray.report.page_model import Figure, Piece
from xlli_ray.report.page_parts.table_text import shown_rows
from xlli_ray.report.section import Animation, Drawing, Image, Images, Part, Rows, SectionContext, Text
from xlli_ray.user_code import said


def pieces_of(cls: type | None, context: SectionContext) -> tuple[list[Piece], list[str]]:
    """(pieces, notes) of the section that `cls` brings, or else that a registry names for its kind; no pieces where there is none.

    `cls`: the class of the probe or analysis, None where its code is not here or may not run.
    """
    out: list[Piece] = []
    try:
        for part in _parts(cls, context):
            out.append(_piece(part, context.page.samples.read))
    except EnvironmentFailure:  # an outage is not the section's fault
        raise
    except StudyError as error:  # a damaged shard
        return out, [f"Not all arrays can be read: {error}"]
    except Exception as error:  # an error in a third-party section must not affect the report
        return out, [f"The section that {context.kind} brings ended with {said(error)}"]
    return out, []


def _parts(cls: type | None, context: SectionContext) -> Iterator[Part]:
    own, given = getattr(cls, "section", None), False
    for part in own(context) if own is not None else ():
        given = True
        yield part
    if given:
        return
    SECTIONS.check_form(context.kind)
    if context.kind in SECTIONS:
        yield from SECTIONS.load(context.kind)(context)


def _piece(part: Any, read: Read) -> Piece:
    """Raises TypeError for anything that is not a part."""
    if isinstance(part, Text):
        return Piece("text", part.text)
    if isinstance(part, Drawing) and type(part.view) is ImagePanels:
        return Piece("strip", strip_of(part.view, part.caption, read))
    if isinstance(part, Animation):
        return Piece("strip", moving_strip(part.view, part.caption, read, part.milliseconds))
    if isinstance(part, Drawing):
        foreign = type(part.view) not in KINDS.values()  # draws for itself: shown as an image, in which nothing runs
        return Piece("figure", Figure(to_svg(part.view), part.caption, foreign=foreign, view=part.view))
    if isinstance(part, Rows):
        return Piece("table", shown_rows(part))
    if isinstance(part, Images):
        rows = tuple(PanelRow(name, tuple(None if image is None else _panel(image) for image in images)) for name, images in part.lines)
        if not any(row.panels for row in rows):
            return Piece("text", part.note or part.title)
        return Piece("strip", strip_of(ImagePanels(part.title, rows), part.note, read))
    raise TypeError(f"expected Text, Drawing, Animation, Rows or Images (xlli_ray.report.section), got {part!r:.80}")


def _panel(image: Image) -> ImagePanel:
    return ImagePanel(image.caption, (image_layer(image.pixels, side=EDGE),), image.note, side=EDGE)


def foreign_line(noun: str, kind: str, code: str) -> str:
    """For the page, of a stage whose code is not used: what is missing, and how to have it."""
    return (
        f"The code of the {noun} {kind!r} lies outside of xlli_ray ({code}) and is not run here. What every {noun} has is shown; a section "
        "of its own, if it brings one, is there once a recipe of yours that names this code is run again."
    )
