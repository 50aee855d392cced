"""The contribution area against SciPy's `gaussian_kde`, pixel by pixel, which the authors use."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import gaussian_kde

from xlli_ray.probes.lam.area import contribution_area


def exact(values: np.ndarray) -> np.ndarray:
    rows, columns = np.mgrid[: values.shape[0], : values.shape[1]]
    places = np.stack([columns.ravel(), rows.ravel()])
    density = gaussian_kde(places, weights=values.ravel().astype(np.float64))(places).reshape(values.shape)
    return np.asarray(density / density.max())


@pytest.mark.parametrize("shape", [(24, 24), (17, 40)])
@pytest.mark.parametrize("kind", ["spread", "narrow", "slanted", "at the border"])
def test_it_is_the_kernel_density_of_the_pixels_to_rounding(shape: tuple[int, int], kind: str) -> None:
    y, x = np.mgrid[: shape[0], : shape[1]].astype(np.float64)
    noise = np.random.default_rng(0).uniform(0, 1, shape)
    values = {
        "spread": noise,
        "narrow": noise * np.exp(-((y - 8) ** 2 + (x - 9) ** 2) / 6),
        "slanted": np.exp(-((y - x / 2 - 4) ** 2)) * noise,
        "at the border": noise * (x < 3),
    }[kind]
    np.testing.assert_allclose(contribution_area(values.astype(np.float32)), exact(values.astype(np.float32)), atol=1e-9)


def test_a_map_without_spread_has_no_area() -> None:
    line = np.zeros((9, 9))
    line[4] = 1
    for values in (np.zeros((9, 9)), np.full((9, 9), np.nan), np.eye(9)[:1], line):
        assert not contribution_area(values).any()
