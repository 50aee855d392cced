"""Pictures made for tests."""

from __future__ import annotations

import numpy as np


def textured(height: int, width: int, seed: int) -> np.ndarray:
    """uint8 (H, W, 3) with edges and waves: something that a crop can learn from."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(float)
    image = np.zeros((height, width, 3))
    for _ in range(6):
        angle, period = rng.uniform(0, np.pi), rng.uniform(6, 40)
        wave = np.sin(2 * np.pi * (x * np.cos(angle) + y * np.sin(angle)) / period + rng.uniform(0, 6))
        image += (wave > rng.uniform(-0.5, 0.5))[:, :, None] * rng.uniform(-1, 1, 3)
    image = (image - image.min()) / np.ptp(image)
    return np.floor(image * 255 + 0.5).astype(np.uint8)
