"""What `view()` of studies, results and maps shows (`registry.VIEWERS`)."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any

from xlli_ray.errors import StudyError
from xlli_ray.report.explorer.cem_parts import CemParts
from xlli_ray.report.explorer.lam_parts import LamParts, Mapped
from xlli_ray.report.notebook.widget import explorer_widget
from xlli_ray.report.snapshot import open_parts
from xlli_ray.study import Study
from xlli_ray.views.cem import Effects


def view_study(study: Study, section: str = "") -> Any:
    """The study as it is now. `section`: id of an analysis whose figures are shown first. Raises StudyError without a sample table,
    XlliError without anywidget."""
    place = study.objects.url
    held = ExitStack()
    parts = held.enter_context(open_parts(study.as_it_is(), place))[1]
    if parts is None:
        raise StudyError(f"{place}: the corpus was never scanned; run `xlli run` again")
    figures = [i for i, figure in enumerate(parts.figures) if figure.section == section]
    widget = explorer_widget(parts, f"#/figures?figure={figures[0]}" if figures else "")
    widget.held = held  # the parts' connection, as long as the widget lives
    return widget


def view_lam(results: Sequence[Mapped]) -> Any:
    """Maps of one window under one or several networks. Raises XlliError without anywidget."""
    return explorer_widget(LamParts(results), "#/sample?row=0")


def view_cem(results: Sequence[Effects]) -> Any:
    """Causal effects on one window under one or several networks. Raises XlliError if they are not comparable, or without anywidget."""
    return explorer_widget(CemParts(results), "#/sample?row=0")
