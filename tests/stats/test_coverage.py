"""Intervals hold the truth as often as they say: short, seeded versions of `tests/benchmarks/coverage.py`, which has the figures."""

from __future__ import annotations

import numpy as np
import pytest
from quantities import QUANTITIES, differences, means

from xlli_ray.stats.intervals import intervals

STUDIES = 1500
ERROR = (0.95 * 0.05 / STUDIES) ** 0.5
"""Standard error of a share of so many studies."""


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize(("photographs", "patches"), [(20, 1), (20, 4), (40, 0)])
def test_intervals_of_twenty_photographs_hold_the_mean_in_93_to_97_of_100_studies(name: str, photographs: int, patches: int) -> None:
    quantity = QUANTITIES[name]
    values = means(np.random.default_rng([photographs, patches]), quantity, STUDIES, photographs, patches, 0.45)
    found = intervals(values, limits=quantity.limits)
    truth = quantity.mean
    held = np.mean([item.low <= truth <= item.high for item in found])
    assert 0.93 - 2 * ERROR < held < 0.97 + 2 * ERROR
    least, most = quantity.limits
    assert all((least is None or item.low >= least) and (most is None or item.high <= most) for item in found)


@pytest.mark.parametrize("name", ["psnr", "di, skewed", "ssim"])
@pytest.mark.parametrize("photographs", [5, 8, 20])
@pytest.mark.parametrize(("patches", "alike"), [(1, 0.5), (8, 0.6)])
def test_two_equal_networks_are_told_apart_in_at_most_7_of_100_studies(name: str, photographs: int, patches: int, alike: float) -> None:
    """Taken as independent, eight patches a photograph told equal networks apart in 24 to 41 of 100."""
    rng = np.random.default_rng([photographs, patches])
    found = intervals(differences(rng, QUANTITIES[name], STUDIES, photographs, patches, alike), difference=True)
    assert np.mean([item.low > 0 or item.high < 0 for item in found]) < 0.07 + 2 * ERROR


def test_patches_taken_for_photographs_would_be_too_sure() -> None:
    """The test above can fail: the same eight patches as 160 independent values."""
    rng, quantity = np.random.default_rng(3), QUANTITIES["di, skewed"]
    common, one, other = (np.sqrt(0.6) * rng.normal(size=(300, 20, 1)) + np.sqrt(0.4) * rng.normal(size=(300, 20, 8)) for _ in range(3))
    values = quantity.of(0.8 * common + 0.6 * one) - quantity.of(0.8 * common + 0.6 * other)
    found = intervals(values.reshape(300, 160).T, difference=True)
    assert np.mean([item.low > 0 or item.high < 0 for item in found]) > 0.2
