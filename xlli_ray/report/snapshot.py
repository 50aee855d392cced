"""Page and explorer of a study at one moment, made without writing anything: for a server and for notebooks."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from xlli_ray.report.explorer.parts import Parts, SeenFigure
from xlli_ray.report.page import Page, gather
from xlli_ray.report.page_context import open_context
from xlli_ray.study import Study


@contextmanager
def open_parts(study: Study, place: str) -> Iterator[tuple[Page, Parts | None]]:
    """The page of `study` (as `Study.as_it_is` gives it), and the parts, which can be asked for within the context; None where the corpus
    was not scanned. `place`: as in `gather`."""
    figures: list[SeenFigure] = []

    def explore(parts: Parts) -> str:
        figures.extend(parts.figures)
        return "served"

    page = gather(study, place, explore=explore)
    table = study.manifest.samples
    if table is None:
        yield page, None
        return
    with open_context(study, table) as context:
        yield page, Parts(context, place, figures)
