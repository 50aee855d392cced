"""The page's colours: one for each degradation family, everywhere (Okabe and Ito's palette). How figures are drawn: `xlli_ray.drawing`."""

from __future__ import annotations

from collections.abc import Sequence

from xlli_ray.drawing import MUTED, Panel, dot_figure, heat_figure

__all__ = ["FAMILIES", "SPARE", "Panel", "dot_figure", "family_colour", "heat_figure"]

# Okabe and Ito, 2008: black (as ink), blue, vermillion, orange, sky blue, bluish green, reddish purple; no yellow on white.
FAMILIES: dict[str, str] = {
    "clean": "#3d4450",
    "given": "#3d4450",
    "blur": "#0072B2",
    "noise": "#D55E00",
    "jpeg": "#E69F00",
    "blur+noise": "#CC79A7",
    "blur+jpeg": "#56B4E9",
    "noise+jpeg": "#009E73",
    "blur+noise+jpeg": "#8C6D31",
}
SPARE = ("#009E73", "#56B4E9", "#CC79A7", "#8C6D31", "#E69F00", "#0072B2", "#D55E00")


def family_colour(family: str, known: Sequence[str] = ()) -> str:
    """Colour of a degradation family (`clean`, `blur`, `blur+noise`, …). `known`: all families of the study, in order."""
    if family in FAMILIES:
        return FAMILIES[family]
    others = [name for name in known if name not in FAMILIES]
    return SPARE[others.index(family) % len(SPARE)] if family in others else MUTED
