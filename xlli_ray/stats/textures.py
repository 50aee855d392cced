"""Textures of nobody's photographs: dead leaves, as unrelated content that is the same for every study.

Discs of random radius, place and grey level that cover each other (G. Matheron, 1968; A. Lee, D. Mumford, J. Huang, IJCV 41, 2001): with
radii distributed as r⁻³ their edges, occlusions and spectrum are those of photographs, and any number of them can be drawn.

>>> import numpy as np
>>> leaves = dead_leaves(2, 32, np.random.default_rng(0))
>>> leaves.shape, bool(leaves.min() >= 0), bool(leaves.max() <= 255)
((2, 32, 32), True, True)
"""

from __future__ import annotations

import numpy as np

LEAVES = 400
"""Discs of an image: at the smallest radius and 64² pixels, all pixels but a few in a thousand are covered."""
SMALLEST, LARGEST = 2.0, 32.0
"""Radii, pixels."""


def dead_leaves(count: int, side: int, rng: np.random.Generator) -> np.ndarray:
    """float32 (count, side, side) in 0..255; what no disc covers is mid-grey."""
    out = np.full((count, side, side), 127.5, np.float32)
    place = np.arange(side)
    for image in out:
        # the inverse of the cumulated density of r^-3 between both radii
        low, high = SMALLEST**-2, LARGEST**-2
        radius = (low - rng.random(LEAVES) * (low - high)) ** -0.5
        y, x = rng.uniform(-LARGEST / 2, side + LARGEST / 2, (2, LEAVES))
        grey = rng.uniform(0, 255, LEAVES)
        for r, top, left, level in zip(radius, y, x, grey):
            rows = slice(max(0, int(top - r)), max(0, int(top + r) + 2))
            columns = slice(max(0, int(left - r)), max(0, int(left + r) + 2))
            inside = (place[rows, None] - top) ** 2 + (place[columns] - left) ** 2 <= r * r
            image[rows, columns][inside] = level
    return out
