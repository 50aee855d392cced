"""Each formula of the decoupled evaluation against a naive loop over pixels, and against networks of which everything is known."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from xlli_ray.stats import fidelity
from xlli_ray.stats.deraining import (
    corrupted,
    coverage,
    difference_mask,
    distance,
    inflated,
    masked_mean,
    mean_square,
    psnr_of,
    removal,
    squares,
    ssim_within,
)

Array = np.ndarray
SHAPE = (9, 7, 3)


def scene(seed: int = 0) -> tuple[Array, Array, Array, Array]:
    """(output of some network, rainy, clean, mask): rain on a third of the pixels, a faint drizzle beside the mask."""
    rng = np.random.default_rng(seed)
    clean = rng.uniform(0, 160, SHAPE)
    rain = np.where(rng.random(SHAPE[:2]) < 0.35, rng.uniform(55, 90, SHAPE[:2]), rng.uniform(0, 4, SHAPE[:2]))
    rainy = clean + rain[..., None]
    return clean + rng.normal(0, 12, SHAPE) + 0.3 * rain[..., None], rainy, clean, rain > 50


# -- naive loops ------------------------------------------------------------------------------------------------


def naive_square(one: Array, other: Array, mask: Array) -> float:
    total = weight = 0.0
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            for c in range(one.shape[2]):
                total += float(mask[y, x]) * (one[y, x, c] - other[y, x, c]) ** 2
                weight += float(mask[y, x])
    return total / weight


def naive_image_norm(one: Array, other: Array, mask: Array) -> float:
    """√ E[(one ⊙ M − other ⊙ M)²], the expectation over all pixels."""
    total, count = 0.0, 0
    for y in range(one.shape[0]):
        for x in range(one.shape[1]):
            for c in range(one.shape[2]):
                total += (one[y, x, c] * float(mask[y, x]) - other[y, x, c] * float(mask[y, x])) ** 2
                count += 1
    return math.sqrt(total / count)


def naive_removal(output: Array, rainy: Array, clean: Array, mask: Array) -> tuple[float, float]:
    above = below = 0.0
    places = [(y, x, c) for y in range(SHAPE[0]) for x in range(SHAPE[1]) for c in range(SHAPE[2]) if mask[y, x]]
    for place in places:
        above += (output[place] - rainy[place]) * (clean[place] - rainy[place])
        below += (clean[place] - rainy[place]) ** 2
    rho, left = above / below, 0.0
    for place in places:
        left += ((output[place] - rainy[place]) - rho * (clean[place] - rainy[place])) ** 2
    return rho, math.sqrt(left / len(places))


@pytest.mark.parametrize("seed", range(3))
def test_distances_agree_with_loops_over_pixels(seed: int) -> None:
    output, rainy, clean, mask = scene(seed)
    soft = np.abs(rainy - clean).max(axis=2) / 255
    for where in (mask, ~mask, soft, 1 - soft):
        for one, other in ((output, rainy), (output, clean), (clean, rainy)):
            assert mean_square(one, other, where) == pytest.approx(naive_square(one, other, where), rel=1e-12)
    for where in (mask, ~mask):
        assert distance(output, rainy, where) == pytest.approx(math.sqrt(naive_square(output, rainy, where)), rel=1e-12)
        assert distance(output, rainy, where, norm="image") == pytest.approx(naive_image_norm(output, rainy, where), rel=1e-12)
    assert removal(output, rainy, clean, mask) == pytest.approx(naive_removal(output, rainy, clean, mask), rel=1e-12)
    assert coverage(mask) == sum(map(bool, mask.ravel())) / mask.size


def test_psnr_of_masked_pixels_agrees_with_psnr_of_the_pixels_taken_out() -> None:
    output, _, clean, mask = scene()
    for where in (mask, ~mask, np.ones_like(mask)):
        found = psnr_of(masked_mean(squares(output[..., 0], clean[..., 0]), where))
        assert found == pytest.approx(fidelity.psnr(output[where][:, 0], clean[where][:, 0]))
    assert psnr_of(0.0) == math.inf


def test_ssim_within_is_the_mean_of_the_windows_whose_centre_is_masked() -> None:
    rng = np.random.default_rng(4)
    one, other = rng.uniform(0, 255, (24, 20)), rng.uniform(0, 255, (24, 20))
    mask = rng.random((24, 20)) < 0.4
    places = [(y, x) for y in range(5, 19) for x in range(5, 15) if mask[y, x]]
    loop = [fidelity.ssim(one[y - 5 : y + 6, x - 5 : x + 6], other[y - 5 : y + 6, x - 5 : x + 6]) for y, x in places]
    similarity = fidelity.ssim_map(one, other)
    assert ssim_within(similarity, mask) == pytest.approx(np.mean(loop), rel=1e-12)
    assert ssim_within(similarity, np.ones_like(mask)) == pytest.approx(fidelity.ssim(one, other), rel=1e-12)
    assert math.isnan(ssim_within(fidelity.ssim_map(one[:10], other[:10]), mask[:10]))
    border = np.zeros_like(mask)
    border[:5] = True
    assert math.isnan(ssim_within(similarity, border)), "no window has its centre there"


# -- networks of which everything is known ----------------------------------------------------------------------


def test_a_network_that_does_nothing_removes_nothing() -> None:
    _, rainy, clean, mask = scene()
    assert removal(rainy, rainy, clean, mask) == (0.0, 0.0)
    assert distance(rainy, rainy, mask) == 0.0
    assert not corrupted(distance(rainy, clean, mask), distance(clean, rainy, mask))


def test_a_perfect_network_removes_all_and_nothing_else() -> None:
    _, rainy, clean, mask = scene()
    rho, damage = removal(clean, rainy, clean, mask)
    assert rho == pytest.approx(1.0, abs=1e-14)
    assert damage == pytest.approx(0.0, abs=1e-12)
    assert distance(clean, clean, mask) == distance(clean, clean, ~mask) == 0.0


@pytest.mark.parametrize("share", [-0.5, 0.25, 1.0, 1.7])
def test_a_share_of_the_rain_is_read_off_exactly(share: float) -> None:
    _, rainy, clean, mask = scene()
    rho, damage = removal(rainy + share * (clean - rainy), rainy, clean, mask)
    assert rho == pytest.approx(share, abs=1e-13)
    assert damage == pytest.approx(0.0, abs=1e-11)


def test_noise_beside_the_mask_moves_the_background_error_only() -> None:
    output, rainy, clean, mask = scene()
    worse = output + np.where(mask[..., None], 0.0, np.random.default_rng(9).normal(0, 30, SHAPE))
    assert removal(worse, rainy, clean, mask) == removal(output, rainy, clean, mask)
    assert distance(worse, rainy, mask) == distance(output, rainy, mask)
    assert distance(worse, clean, ~mask) > distance(output, clean, ~mask) + 10


def test_change_and_error_in_the_rain_are_removal_and_damage_together() -> None:
    """E_R² = ρ² E_R*² + D⊥² and E_RB² = (1 − ρ)² E_R*² + D⊥²: nothing else is in them."""
    for seed in range(5):
        output, rainy, clean, mask = scene(seed)
        (rho, damage), perfect = removal(output, rainy, clean, mask), distance(clean, rainy, mask)
        assert distance(output, rainy, mask) ** 2 == pytest.approx(rho**2 * perfect**2 + damage**2)
        assert distance(output, clean, mask) ** 2 == pytest.approx((1 - rho) ** 2 * perfect**2 + damage**2)


def test_a_network_that_destroys_the_image_has_the_highest_change_and_is_flagged() -> None:
    _, rainy, clean, mask = scene()
    black, perfect = np.zeros(SHAPE), distance(clean, rainy, mask)
    (_, damage), change = removal(black, rainy, clean, mask), distance(black, rainy, mask)
    assert change > 1.5 * perfect, "by E_R alone it is better than a perfect network"
    assert corrupted(distance(black, clean, mask), perfect)
    scrambled = clean + np.random.default_rng(3).normal(0, 150, SHAPE)
    (_, damage), change = removal(scrambled, rainy, clean, mask), distance(scrambled, rainy, mask)
    assert inflated(change, damage)
    half = rainy + 0.5 * (clean - rainy)
    (_, damage), change = removal(half, rainy, clean, mask), distance(half, rainy, mask)
    assert not inflated(change, damage)
    assert not corrupted(distance(half, clean, mask), perfect)


# -- where nothing can be said ----------------------------------------------------------------------------------


def test_empty_masks_and_pairs_without_a_difference_are_undefined_and_no_crash() -> None:
    output, rainy, clean, mask = scene()
    none = np.zeros_like(mask)
    undefined: list[Callable[[], float]] = [
        lambda: removal(output, rainy, clean, none)[0], lambda: removal(output, rainy, clean, none)[1],
        lambda: removal(output, clean, clean, mask)[0], lambda: distance(output, rainy, none), lambda: mean_square(output, clean, none),
        lambda: distance(output, rainy, none, norm="image"), lambda: psnr_of(math.nan),
    ]  # fmt: skip
    with np.errstate(all="raise"):
        assert all(math.isnan(value()) for value in undefined)
    flat = np.full(SHAPE, 80.0)
    assert all(map(math.isnan, removal(flat, flat, flat, mask)))
    assert not corrupted(math.nan, math.nan)
    assert not inflated(math.nan, math.nan)


def test_the_mask_of_a_pair_looks_at_its_most_different_channel() -> None:
    clean = np.zeros((2, 2, 3))
    rainy = clean.copy()
    rainy[0, 0, 2], rainy[1, 1] = 51.0, 50.0
    assert difference_mask(rainy, clean, 50).tolist() == [[True, False], [False, False]]
    assert difference_mask(rainy[..., 2], clean[..., 2], 49).tolist() == [[True, False], [False, True]]
