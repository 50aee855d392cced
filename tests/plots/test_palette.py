"""Colours that stand together in a figure differ for the colour-blind as well; those that come nearest also differ in their markers.

Simulation: G. Machado, M. Oliveira and L. Fernandes, "A physiologically-based model for simulation of color vision deficiency", IEEE TVCG
15, 2009, severity 1.0, on linear RGB. Differences: CIE 1976, of which 2.3 can just be seen.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest

from xlli_ray.corpus.degradations.blur import Blur
from xlli_ray.corpus.degradations.jpeg import Jpeg
from xlli_ray.corpus.degradations.noise import Noise
from xlli_ray.corpus.degradations.rain import Rain
from xlli_ray.plots.palette import INK, MARKERS, NETWORKS, SPARE, UNDEGRADED, network_looks

VISION = {
    "normal": np.eye(3),
    "protan": np.array([[0.152286, 1.052583, -0.204868], [0.114503, 0.786281, 0.099216], [-0.003882, -0.048116, 1.051998]]),
    "deutan": np.array([[0.367322, 0.860646, -0.227968], [0.280085, 0.672501, 0.047413], [-0.011820, 0.042940, 0.968881]]),
    "tritan": np.array([[1.255528, -0.076749, -0.178779], [-0.078411, 0.930809, 0.147602], [0.004733, 0.691367, 0.303900]]),
}
TO_XYZ = np.array([[0.4124564, 0.3575761, 0.1804375], [0.2126729, 0.7151522, 0.0721750], [0.0193339, 0.1191920, 0.9503041]])
WHITE = np.array([0.95047, 1.0, 1.08883])
OWN = {name: str(kind.COLOUR) for name, kind in (("blur", Blur), ("noise", Noise), ("jpeg", Jpeg), ("rain", Rain))}


def lab(colour: str, vision: str) -> np.ndarray:
    """L*, a*, b* of `#rrggbb` as seen with this vision."""
    levels = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)
    share = TO_XYZ @ np.clip(VISION[vision] @ linear, 0, 1) / WHITE
    x, y, z = np.where(share > 216 / 24389, np.cbrt(share), share * 841 / 108 + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def nearest(colours: Sequence[str], vision: str) -> float:
    """The smallest difference of two of them."""
    return min(float(np.linalg.norm(lab(one, vision) - lab(other, vision))) for one, other in combinations(colours, 2))


def test_the_simulation_is_that_of_the_paper() -> None:
    """Greys stay as they are; red and green come together for two of the three, and not for the third."""
    for vision in VISION:
        assert np.abs(lab("#808080", vision)[1:]).max() < 0.1
    assert nearest(["#ff0000", "#00a000"], "normal") > 100
    assert nearest(["#c04000", "#608000"], "deutan") < 0.35 * nearest(["#c04000", "#608000"], "tritan")
    assert np.allclose(lab("#ffffff", "normal"), [100, 0, 0], atol=0.05)


@pytest.mark.parametrize("vision", VISION)
def test_networks_differ(vision: str) -> None:
    """Measured: 17.9 (tritan: fifth and eighth), 18.4 (protan), 19.5 (deutan), 34.7 (normal)."""
    assert nearest(NETWORKS, vision) > (34 if vision == "normal" else 17)


@pytest.mark.parametrize("vision", VISION)
def test_degradations_differ(vision: str) -> None:
    """Measured: 18.3 (deutan: noise and JPEG), 24.8, 24.8, 26.4; with spare colours 15.8 (protan)."""
    assert nearest([UNDEGRADED, *OWN.values()], vision) > 18
    assert nearest([UNDEGRADED, *SPARE], vision) > 15


def test_networks_differ_in_their_markers_too() -> None:
    """A network and a degradation may come near (protan: 8), but do not stand for the same thing in one figure."""
    looks = network_looks([f"n{i}" for i in range(len(NETWORKS))]).values()
    assert len({look.marker for look in looks}) == len(MARKERS) == len(NETWORKS)


def test_the_explorer_has_the_same_colours() -> None:
    charts = Path(__file__).parents[2] / "xlli_ray/report/explorer/web/src/charts"
    found = re.search(r"export const WORDS = \[(.*?)\]", (charts / "colours.ts").read_text("utf-8"), re.DOTALL)
    assert found is not None
    words = re.findall(r"#\w{6}", found[1])
    assert len(words) > len(MARKERS)
    assert set(words) <= {*SPARE, *NETWORKS}
    assert f'INK = "{INK}"' in (charts / "kind.ts").read_text("utf-8")
    assert f'MARKS = "{MARKERS}"' in (charts / "marks.ts").read_text("utf-8")
    same = [(one, other) for i, one in enumerate(words) for other in words[i + len(MARKERS) :: len(MARKERS)]]
    for vision in VISION:  # words with the same marker
        assert min(nearest(pair, vision) for pair in same) > 20
