"""Counts of float16 values against sorting them."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.stats.motion import EDGES
from xlli_ray.stats.motion_sizes import SIZE_VALUES, SIZES, by_bin, size_counts, size_quantile


@pytest.mark.parametrize("number", [1, 2, 7, 1000])
def test_mean_quantiles_and_histogram_are_those_of_the_values(number: int) -> None:
    values = (np.random.default_rng(number).exponential(6, number)).astype(np.float16)
    counts = size_counts(values)
    exact = values.astype(np.float64)
    assert counts.sum() == number
    assert counts @ SIZE_VALUES / number == pytest.approx(exact.mean(), rel=1e-12)
    for share in (0.0, 0.1, 0.5, 0.9, 0.99, 1.0):
        assert size_quantile(counts, share) == pytest.approx(np.quantile(exact, share), rel=1e-12, abs=1e-12)
    assert by_bin(counts).tolist() == np.histogram(exact, [*EDGES, np.inf])[0].tolist()


def test_each_value_has_its_place_and_an_edge_begins_its_bin() -> None:
    assert (size_counts(SIZE_VALUES.astype(np.float16)) == 1).all()
    assert SIZE_VALUES[-1] == 65504
    assert (np.diff(SIZE_VALUES) > 0).all()
    assert by_bin(size_counts(np.array(EDGES, np.float16))).tolist() == [1] * 11
    assert len(size_counts(np.zeros((2, 3), np.float16))) == SIZES
