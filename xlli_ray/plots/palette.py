"""Assignment of colours: a network, and a degradation, look the same in every figure.

Networks get theirs in the study's order (`network_looks`). Degradations have their own (`Degradation.COLOUR`, stored in the sample table);
mixtures and those without a colour get the spare ones in the study's order (`family_colour`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

INK = "#1f2328"
MUTED = "#6b7280"
RULE = "#d9dde2"
BLUE = "#0072B2"
"""For markers on images; in figures it is the colour of blur."""

# Okabe and Ito, 2008: black (as ink), blue, vermillion, orange, sky blue, bluish green, reddish purple; no yellow on white.
# Blue, vermillion and orange belong to degradations; the others are assigned here.
UNDEGRADED = "#3d4450"
SPARE = ("#CC79A7", "#56B4E9", "#009E73", "#8C6D31", "#E69F00", "#0072B2", "#D55E00")
NETWORKS = ("#332288", "#E7298A", "#117733", "#9B8CFF", "#661100", "#00CFC8", "#999933", "#882255")
"""Colours of networks. All differ clearly from those of degradations (CIE 1976 differences of at least 20). With MARKERS, for print."""
MARKERS = "os^DvPX*"
LINES = ("-", "--", ":")


@dataclass(frozen=True)
class Look:
    """Colour, marker and line of a network."""

    colour: str
    marker: str
    line: str


def network_looks(models: Sequence[str]) -> dict[str, Look]:
    """The look of each network. `models`: all models of the study in its order, so that each has the same look in every figure."""
    return {
        model: Look(NETWORKS[i % len(NETWORKS)], MARKERS[i % len(MARKERS)], LINES[i // len(NETWORKS) % len(LINES)])
        for i, model in enumerate(models)
    }


def family_colour(family: str, known: Sequence[str] = (), colours: Mapping[str, str] | None = None) -> str:
    """Colour of a degradation family (`clean`, `blur`, `blur+noise`, …).

    `known`: all families of the study, in order: mixtures and those without their own colour get spare ones in turn, none that another has.
    `colours`: the degradations' own.
    """
    own = {"clean": UNDEGRADED, "given": UNDEGRADED}
    for name, colour in (colours or {}).items():
        if colour not in own.values():  # two packages may have chosen the same colour: the second degradation gets a spare one
            own[name] = colour
    if family in own:
        return own[family]
    others = [name for name in known if name not in own]
    free = [colour for colour in SPARE if colour not in own.values()]
    return free[others.index(family) % len(free)] if family in others else MUTED


def paler(colour: str, share: float) -> str:
    """`colour`, #rrggbb, mixed with white: `share` 0 leaves it, 1 is white."""
    if share == 0:
        return colour
    return "#" + "".join(f"{round(int(colour[i : i + 2], 16) * (1 - share) + 255 * share):02x}" for i in (1, 3, 5))


def edge_of(marker: str, colour: str) -> str:
    """The colour of a marker's edge: white, so that markers stand out from each other; of `x`, which is nothing but an edge, its own."""
    return colour if marker == "x" else "white"
