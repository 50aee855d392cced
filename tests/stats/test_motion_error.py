"""Sums of errors by motion: against naive loops, exact in any division, and the PSNR that they give."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.stats.fidelity import luma_studio
from xlli_ray.stats.fidelity import psnr as plain_psnr
from xlli_ray.stats.motion import EDGES, between
from xlli_ray.stats.motion_error import (
    AXES,
    ErrorSums,
    delta_psnr,
    error_sums,
    hidden_of,
    motion_of,
    psnr,
    stepped,
    texture_of,
)

SCALE, HEIGHT, WIDTH = 3, 7, 9


def frame(seed: int) -> tuple[np.ndarray, ...]:
    """Output, target (3, sH, sW), motion (2, H, W), hidden and texture (H, W)."""
    rng = np.random.default_rng(seed)
    images = [rng.integers(0, 256, (3, SCALE * HEIGHT, SCALE * WIDTH)) for _ in range(2)]
    largest = rng.choice([0.0, 0.3, 0.5, 5.9, 8.0, 40.0], (HEIGHT, WIDTH)).astype(np.float32)
    motion = np.stack([largest, largest * np.float32(0.6)])
    return (*images, motion, rng.random((HEIGHT, WIDTH)) < 0.3, rng.integers(0, 3, (HEIGHT, WIDTH)))


def total(parts: list[ErrorSums], name: str) -> np.ndarray:
    return np.sum([getattr(part, name) for part in parts], axis=0)


@pytest.mark.parametrize("border", [0, 2, 4])
def test_sums_are_those_of_a_loop_over_pixels(border: int) -> None:
    output, target, motion, hidden, texture = frame(0)
    found = error_sums(output, target, motion, hidden, texture, border=border)
    wanted = {name: np.zeros(AXES, np.int64) for name in ("squared", "absolute", "count", "moved")}
    for by in range(2):
        for y in range(border, SCALE * HEIGHT - border):
            for x in range(border, SCALE * WIDTH - border):
                cell = (y // SCALE, x // SCALE)
                far = float(motion[by][cell])
                group = (by, int(hidden[cell]), texture[cell], max(i for i, edge in enumerate(EDGES) if far >= edge))
                for channel in range(3):
                    error = int(output[channel, y, x]) - int(target[channel, y, x])
                    for name, value in (("squared", error**2), ("absolute", abs(error)), ("count", 1), ("moved", round(far * 256))):
                        wanted[name][group] += value
    for name, value in wanted.items():
        assert (getattr(found, name) == value).all(), name


def test_sums_merged_in_any_split_equal_one_pass_to_the_last_bit() -> None:
    frames = [frame(seed) for seed in range(6)]
    parts = [error_sums(*one) for one in frames]
    wide = [np.concatenate([one[i] for one in frames], axis=-1) for i in range(5)]
    whole = error_sums(*wide)
    rng = np.random.default_rng(1)
    for name in ("squared", "absolute", "count", "moved"):
        once = getattr(whole, name)
        for _ in range(5):
            order = rng.permutation(6)
            cut = int(rng.integers(1, 5))
            split = total([parts[i] for i in order[:cut]], name) + total([parts[i] for i in order[cut:]], name)
            assert split.dtype == np.int64
            assert split.tobytes() == once.tobytes()
    squared, count = whole.squared[0].sum((0, 1)), whole.count[0].sum((0, 1))
    assert psnr(squared, count).tobytes() == psnr(total(parts, "squared")[0].sum((0, 1)), total(parts, "count")[0].sum((0, 1))).tobytes()


def test_a_network_does_not_differ_from_itself_and_a_constant_factor_is_the_same_everywhere() -> None:
    squared, count = np.array([7, 0, 0, 1 << 60]), np.array([3, 5, 0, 9])
    assert delta_psnr(squared, squared, count).tolist() == pytest.approx([0, 0, np.nan, 0], nan_ok=True, abs=0)
    assert delta_psnr(np.array([10]), np.array([100]), np.array([4])).tolist() == [10.0]
    assert delta_psnr(np.array([0, 5]), np.array([5, 0]), np.array([1, 1])).tolist() == [np.inf, -np.inf]


def test_psnr_of_the_sums_of_all_bins_is_the_usual_psnr() -> None:
    rng = np.random.default_rng(3)
    target = rng.integers(0, 256, (3, SCALE * HEIGHT, SCALE * WIDTH)).astype(np.uint8)
    output = (target + rng.integers(-3, 4, target.shape)).clip(0, 255).astype(np.uint8)
    _, _, motion, hidden, texture = frame(2)
    for colour, steps, tolerance in (("rgb", 1, 1e-12), ("y", 256, 1e-3)):
        pair = (stepped(image, colour) for image in (output, target))  # type: ignore[arg-type]
        sums = error_sums(*pair, motion, hidden, texture, border=3)
        images = [np.moveaxis(image, 0, 2)[3:-3, 3:-3] for image in (output, target)]
        wanted = plain_psnr(*(images if colour == "rgb" else map(luma_studio, images)))
        for by in range(2):
            assert float(psnr(sums.squared[by].sum(), sums.count[by].sum(), steps=steps)) == pytest.approx(wanted, abs=tolerance)


def test_luma_is_counted_to_half_a_step() -> None:
    image = np.random.default_rng(4).integers(0, 256, (3, 20, 20)).astype(np.uint8)
    exact = (luma_studio(np.moveaxis(image, 0, 2)) - 16) * 256
    assert np.abs(stepped(image, "y")[0] - exact).max() <= 0.5 + 1e-9


def test_the_motion_of_a_pixel_is_to_the_frame_to_which_it_moves_furthest() -> None:
    rng = np.random.default_rng(5)
    following, preceding = (rng.normal(0, 2, (4, 2, HEIGHT, WIDTH)).astype(np.float32) for _ in range(2))
    for current in range(5):
        far = np.stack([np.hypot(*between(following, preceding, current, s).astype(np.float64)) for s in range(5) if s != current])
        np.testing.assert_allclose(motion_of(following, preceding, current), [far.max(0), far.mean(0)], rtol=1e-5)
        near = np.stack(
            [np.hypot(*between(following, preceding, current, s).astype(np.float64)) for s in (current - 1, current + 1) if 0 <= s < 5]
        )
        np.testing.assert_allclose(motion_of(following, preceding, current, 1), [near.max(0), near.mean(0)], rtol=1e-5)


def test_a_pixel_is_hidden_that_either_neighbour_does_not_show() -> None:
    ahead, back = (np.zeros((3, 1, 4), bool) for _ in range(2))
    ahead[1, 0, 0] = back[0, 0, 1] = ahead[2, 0, 2] = back[2, 0, 3] = True
    assert [np.flatnonzero(hidden_of(ahead, back, current)).tolist() for current in range(4)] == [[], [0, 1], [2], [3]]


def test_texture_divides_a_frame_in_thirds_and_a_flat_one_not_at_all() -> None:
    rng = np.random.default_rng(6)
    ramp = np.linspace(0.0, 0.3, 48)
    target = (0.5 + ramp * rng.normal(0, 1, (3, 36, 48))).clip(0, 1).astype(np.float32)
    tertile = texture_of(target, SCALE)
    assert tertile.shape == (12, 16)
    assert [int((tertile == i).sum()) for i in range(3)] == [64, 64, 64]
    assert tertile[:, 1].mean() < 0.5
    assert tertile[:, -2].mean() > 1.5
    assert not texture_of(np.full((3, 36, 48), 0.7, np.float32), SCALE).any()
    brighter = texture_of((target * 0.5).astype(np.float32), SCALE)
    assert (brighter == tertile).mean() > 0.95, "of a darker frame, the same parts are the most textured"
