"""The arithmetic of sanity checks on maps whose likeness is known."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.stats.map_controls import alike, alike_beyond_place, followed, places

WINDOW = (24, 16, 16)


def blob(top: float, left: float, seed: int, size: int = 32, spread: float = 3.0) -> np.ndarray:
    """Noise under an envelope around (top, left) in input pixels."""
    y, x = np.indices((size, size))
    return np.exp(-np.hypot(y - top, x - left) / spread) * np.random.default_rng(seed).random((size, size))


def test_mirror_images_share_a_place_and_nothing_else_does() -> None:
    found = places((16, 16), (24, 24, 16), 4)  # input pixels 6…9 both ways: in the middle
    assert (found == found[::-1]).all()
    assert (found == found[:, ::-1]).all()
    assert (found == found.T).all()
    assert (found == found[7, 7]).sum() == 16, "the window itself"
    assert (found == found[5, 6]).sum() == 16, "beside it, on four sides"
    assert (found == found[5, 5]).sum() == 4
    assert (found == found[4, 5]).sum() == 8
    aside = places((8, 12), (0, 20, 4), 4)
    assert aside.shape == (8, 12)
    assert aside[0, 5] == 0
    assert aside[3, 7] == aside[3, 3] == aside[2, 8]


def test_the_same_map_is_alike_in_every_way() -> None:
    one = blob(14, 10, 0)
    assert alike(one, 3 * one) == 1.0
    assert alike_beyond_place(one, one**2, WINDOW, 2) == pytest.approx(1.0)


def test_maps_that_share_only_their_place_are_alike_over_all_pixels_and_not_beyond_it() -> None:
    pairs = [(blob(16, 12, i), blob(16, 12, 50 + i)) for i in range(20)]
    found = np.array([(alike(a, b), alike_beyond_place(a, b, WINDOW, 2)) for a, b in pairs])
    assert found[:, 0].min() > 0.7
    assert abs(found[:, 1].mean()) < 0.15


def test_a_shared_zero_border_does_not_make_maps_alike_beyond_place() -> None:
    a, b = np.zeros((2, 64, 64))
    a[24:40, 24:40], b[24:40, 24:40] = np.random.default_rng(0).random((2, 16, 16))
    assert alike(a, b) > 0.9
    assert abs(alike_beyond_place(a, b, (24, 24, 16), 1)) < 0.2


def test_following_is_the_share_of_the_way() -> None:
    one = np.zeros((32, 32))
    one[8:12, 8:12] = 1
    assert followed(one, np.roll(one, 8, 1), (16, 16, 8), (16, 32, 8), 2) == pytest.approx(1)
    assert followed(one, one, (16, 16, 8), (16, 32, 8), 2) == 0
    assert followed(one, np.roll(one, 4, 1), (16, 16, 8), (16, 32, 8), 2) == pytest.approx(0.5)
    assert followed(one, np.roll(one, -8, 1), (16, 16, 8), (16, 32, 8), 2) == pytest.approx(-1)
    assert np.isnan(followed(one, one, (16, 16, 8), (16, 16, 8), 2)), "the window did not move"


def test_undefined_maps_are_undefined() -> None:
    one, nothing, broken = blob(5, 5, 0), np.zeros((32, 32)), np.full((32, 32), np.nan)
    for other in (nothing, broken):
        assert np.isnan(alike(one, other))
        assert np.isnan(alike_beyond_place(one, other, WINDOW, 2))
        assert np.isnan(followed(one, other, WINDOW, (0, 0, 16), 2))
