"""The widget: the explorer's program of the package, and a source of its parts in the kernel."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from xlli_ray.errors import XlliError
from xlli_ray.report.explorer.source import PartSource
from xlli_ray.report.explorer.write import BUNDLE
from xlli_ray.report.notebook.answers import answer


def explorer_widget(source: PartSource, route: str = "") -> Any:
    """An anywidget that shows what `source` has. `route`: the view that is open first, as in a page's link (`#/sample?row=0`).

    Raises XlliError if anywidget is not installed.
    """
    return widget_class()(source, route)


@lru_cache(maxsize=1)
def widget_class() -> Any:
    """Defined when first used: its base is in an optional package."""
    try:
        import anywidget
        import traitlets
    except ImportError as error:
        raise XlliError('to explore in a notebook install the extra: pip install "xlli_ray[notebook]" (anywidget)') from error

    class ExplorerWidget(anywidget.AnyWidget):
        _esm = (BUNDLE / "widget.js").read_text(encoding="utf-8")
        _css = (BUNDLE / "widget.css").read_text(encoding="utf-8")
        study = traitlets.Dict().tag(sync=True)
        route = traitlets.Unicode().tag(sync=True)

        def __init__(self, source: PartSource, route: str) -> None:
            about = source.study([])
            figures = [{**figure, "anchor": ""} for figure in about["figures"]]  # there is no page below
            super().__init__(study={**about, "figures": figures, "served": True}, route=route)
            self.source = source
            self.on_msg(self._asked)

        def _asked(self, widget: Any, content: Any, buffers: Any) -> None:
            if (said := answer(self.source, content)) is not None:
                self.send(said)

    return ExplorerWidget
