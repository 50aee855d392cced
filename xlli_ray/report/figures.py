"""The page's colours: one for each degradation family, everywhere (Okabe and Ito's palette). They and all drawing: `xlli_ray.plots`."""

from __future__ import annotations

from xlli_ray.plots import SPARE, Panel, dot_figure, family_colour, heat_figure

__all__ = ["SPARE", "Panel", "dot_figure", "family_colour", "heat_figure"]
