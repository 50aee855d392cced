"""What a page needs, loaded before there is anything to draw: modules, matplotlib's fonts, compiled templates.

Nearly a second, in which the driver of a short run would only wait for its workers.
"""

from __future__ import annotations


def load() -> None:
    """Load it all. Draws an empty figure, so nothing else may draw at the same time."""
    import pyarrow as pa
    import scipy.special  # noqa: F401

    from xlli_ray.plots.canvas import canvas, svg_text
    from xlli_ray.plots.panel_grid import Style, arrange, panels
    from xlli_ray.report.page import environment
    from xlli_ray.store.tables.sql import Database

    pa.array([""])  # imports pandas, to know whether it is one of its arrays
    Database().close()

    for name in (templates := environment()).list_templates("j2"):
        templates.get_template(name)
    with canvas(1.0, 1.0) as figure:
        arrange(figure, panels(figure, 1), 1, Style(1.0))
        svg_text(figure, "")
