"""TwoNN and MLE: clouds of known dimension, naive loops, and another library."""

from __future__ import annotations

import math

import numpy as np
import pytest

from xlli_ray.stats.intrinsic_dimension import dimension, distinct_neighbours, mle_inverse, neighbours, twonn_inverse


def sphere(dimensions: int, *, inside: int = 20, points: int = 2000, seed: int = 0) -> np.ndarray:
    """Evenly over the surface of a sphere of so many dimensions, in a space of `inside`, turned."""
    rng = np.random.default_rng((seed, dimensions))
    way = rng.standard_normal((points, dimensions + 1))
    turned = np.linalg.qr(rng.standard_normal((inside, inside)))[0][: dimensions + 1]
    return np.asarray(way / np.linalg.norm(way, axis=1, keepdims=True) @ turned)


def swiss_roll(points: int = 2000, seed: int = 0) -> np.ndarray:
    """Two dimensions, rolled up in three; evenly over its length, so that the density is constant."""
    rng = np.random.default_rng(seed)
    angle = 1.5 * math.pi * np.sqrt(1 + 8 * rng.random(points))
    return np.stack([angle * np.cos(angle), 21 * rng.random(points), angle * np.sin(angle)], axis=1)


@pytest.mark.parametrize("dimensions", [1, 2, 4, 7])
def test_a_sphere_has_its_dimension_within_a_tenth(dimensions: int) -> None:
    distances = neighbours(sphere(dimensions))
    assert dimension(twonn_inverse(distances)) == pytest.approx(dimensions, rel=0.1)
    assert dimension(mle_inverse(distances)) == pytest.approx(dimensions, rel=0.1)


def test_a_swiss_roll_has_two_dimensions_within_a_tenth() -> None:
    distances = neighbours(swiss_roll())
    assert dimension(twonn_inverse(distances)) == pytest.approx(2, rel=0.1)
    assert dimension(mle_inverse(distances)) == pytest.approx(2, rel=0.1)


def test_both_are_what_loops_over_the_papers_formulas_give() -> None:
    points = np.random.default_rng(0).standard_normal((60, 5))
    distances = neighbours(points, 20)
    ratios, inverses = [], []
    for i in range(60):
        far = sorted(math.dist(points[i], points[j]) for j in range(60) if j != i)
        ratios.append(math.log(far[1] / far[0]))
        inverses.append(sum(math.log(far[19] / far[j]) for j in range(19)) / 19)
    np.testing.assert_allclose(twonn_inverse(distances), ratios, rtol=1e-6)
    np.testing.assert_allclose(mle_inverse(distances), inverses, rtol=1e-6)
    assert dimension(twonn_inverse(distances)) == pytest.approx(60 / sum(ratios))


def test_they_agree_with_scikit_dimension() -> None:
    skdim = pytest.importorskip("skdim")
    points = sphere(4, points=800)
    distances = neighbours(points)
    assert dimension(twonn_inverse(distances)) == pytest.approx(skdim.id.TwoNN(discard_fraction=0.1).fit(points).dimension_, rel=0.1)
    local = skdim.id.MLE(K=20).fit_transform_pw(points, n_neighbors=20)
    np.testing.assert_allclose(1 / mle_inverse(distances), local, rtol=1e-4)


def test_a_copy_that_differs_by_rounding_is_no_neighbour_at_a_tiny_distance() -> None:
    points = np.random.default_rng(0).standard_normal((400, 3))
    with_copies = np.concatenate([points, points[:40] * (1 + 1e-15)])
    _, distances = distinct_neighbours(with_copies)
    assert len(distances) >= 360
    assert dimension(twonn_inverse(distances)) == pytest.approx(3, rel=0.15)


def test_points_that_occur_twice_count_once_and_too_few_have_no_dimension() -> None:
    points = np.random.default_rng(0).standard_normal((50, 3))
    places, distances = distinct_neighbours(np.concatenate([points, points[:7]]))
    assert places.tolist() == list(range(50))
    np.testing.assert_array_equal(distances, neighbours(points))
    assert [len(part) for part in distinct_neighbours(points[:20])] == [0, 0]
    assert math.isnan(dimension(np.empty(0)))
    assert math.isnan(dimension(np.zeros(4)))
