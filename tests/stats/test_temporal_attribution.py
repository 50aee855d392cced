"""Frame shares, effective frames and centroids of a map of a clip, where the answer is known."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.stats.temporal_attribution import centroids, effective_frames, frame_shares


def test_shares_are_those_of_the_sums_and_add_up_to_one() -> None:
    maps = np.random.default_rng(0).uniform(0, 1, (5, 7, 9)) * np.array([1, 2, 4, 0, 3.0])[:, None, None]
    shares = frame_shares(maps)
    assert shares.sum() == pytest.approx(1, abs=1e-15)
    np.testing.assert_allclose(shares, [frame.sum() / maps.sum() for frame in maps], rtol=1e-12)
    assert np.isnan(frame_shares(np.zeros((3, 4, 4)))).all()
    assert np.isnan(frame_shares(np.full((3, 4, 4), np.nan))).all()


def test_effective_frames_count_frames_of_equal_share() -> None:
    assert effective_frames(np.array([0.0, 0, 1, 0])) == pytest.approx(1)
    assert effective_frames(np.full(7, 1 / 7)) == pytest.approx(7)
    assert effective_frames(np.array([0.5, 0, 0.5, 0])) == pytest.approx(2)
    assert np.isnan(effective_frames(np.full(3, np.nan)))


def test_the_plain_centroid_is_that_of_a_naive_loop() -> None:
    frame = np.random.default_rng(1).uniform(0, 1, (6, 8))
    y = sum(frame[r, c] * r for r in range(6) for c in range(8)) / frame.sum()
    x = sum(frame[r, c] * c for r in range(6) for c in range(8)) / frame.sum()
    np.testing.assert_allclose(centroids(frame[None], top=1.0), [[y, x]], rtol=1e-12)


def test_weak_attribution_all_over_the_image_draws_the_plain_centroid_to_its_middle_and_not_the_usual_one() -> None:
    """An object at (40, 10) with 60 % of the frame's attribution; the rest is spread evenly over 64 × 64 pixels."""
    frame = np.full((64, 64), 0.4 / 64**2)
    frame[38:43, 8:13] += 0.6 / 25
    (plain,), (usual,) = centroids(frame[None], top=1.0), centroids(frame[None])
    assert plain == pytest.approx([0.6 * 40 + 0.4 * 31.5, 0.6 * 10 + 0.4 * 31.5])
    assert usual == pytest.approx([40, 10])


def test_pixels_as_strong_as_the_last_one_count_too_and_an_empty_frame_has_no_centroid() -> None:
    frame = np.zeros((9, 9))
    frame[2, 3] = frame[6, 5] = 1.0  # half is either of them
    assert centroids(frame[None])[0] == pytest.approx([4, 4])
    assert np.isnan(centroids(np.zeros((2, 5, 5)))).all()
