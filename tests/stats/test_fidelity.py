"""PSNR and SSIM against scikit-image's and against values worked out by hand."""

from __future__ import annotations

import doctest
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity

from xlli_ray.stats import fidelity
from xlli_ray.stats.fidelity import crop_border, luma_studio, psnr, ssim


def textures(seed: int, height: int = 40, width: int = 56) -> tuple[np.ndarray, np.ndarray]:
    """A smooth image with an edge, 0..255 float64, and a disturbed copy."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    image = 120 + 60 * np.sin(x / 5 + seed) * np.cos(y / 7) + 40 * (x > width // 2)
    return image.clip(0, 255), (image + rng.normal(0, 12, image.shape)).clip(0, 255)


def reference_ssim(x: np.ndarray, y: np.ndarray) -> float:
    """scikit-image as the paper has it: Gaussian window of 11, population covariance, borders left out."""
    return float(
        structural_similarity(x, y, win_size=11, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255)
    )


@pytest.mark.parametrize("seed", range(4))
def test_ssim_is_scikit_images(seed: int) -> None:
    x, y = textures(seed)
    assert ssim(x, y) == pytest.approx(reference_ssim(x, y), abs=1e-12)


def test_ssim_of_eight_bit_images_is_scikit_images() -> None:
    x, y = (a.round().astype(np.uint8) for a in textures(9))
    assert ssim(x, y) == pytest.approx(reference_ssim(x.astype(np.float64), y.astype(np.float64)), abs=1e-12)


@pytest.mark.parametrize("seed", range(4))
def test_psnr_is_scikit_images(seed: int) -> None:
    x, y = textures(seed)
    assert psnr(x, y) == pytest.approx(peak_signal_noise_ratio(x, y, data_range=255), abs=1e-10)


def test_luma_is_scikit_images_and_matlabs_before_rounding() -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (12, 15, 3), np.uint8)
    assert np.abs(luma_studio(rgb) - rgb2ycbcr(rgb)[:, :, 0]).max() < 1e-9
    ends = luma_studio(np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0]]], np.uint8))
    assert ends[0] == pytest.approx([16.0, 235.0, 16 + 65.481])


def test_psnr_of_a_constant_difference_is_known() -> None:
    a = np.full((7, 9), 100.0)
    assert psnr(a, a + 1) == pytest.approx(20 * math.log10(255))
    assert psnr(a, a + 255) == pytest.approx(0.0)
    assert psnr(a, a) == math.inf
    assert psnr(np.uint8([[0]]), np.uint8([[255]])) == pytest.approx(0.0), "8-bit values are widened before they are subtracted"


def test_ssim_of_constants_is_the_luminance_term_alone() -> None:
    a, b = np.full((20, 20), 100.0), np.full((20, 20), 150.0)
    c1 = (0.01 * 255) ** 2
    assert ssim(a, b) == pytest.approx((2 * 100 * 150 + c1) / (100**2 + 150**2 + c1), abs=1e-9)
    assert ssim(a, a) == pytest.approx(1.0)


def test_ssim_needs_a_whole_window() -> None:
    assert math.isnan(ssim(np.zeros((10, 30)), np.zeros((10, 30))))
    assert math.isnan(ssim(np.zeros((30, 10)), np.zeros((30, 10))))
    x, y = textures(1, 11, 11)
    window = np.exp(-(np.arange(-5, 6) ** 2) / (2 * 1.5**2))
    window = np.outer(window, window) / window.sum() ** 2
    mx, my = (window * x).sum(), (window * y).sum()
    vx, vy, cov = (window * x * x).sum() - mx**2, (window * y * y).sum() - my**2, (window * x * y).sum() - mx * my
    c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
    by_hand = (2 * mx * my + c1) * (2 * cov + c2) / ((mx**2 + my**2 + c1) * (vx + vy + c2))
    assert ssim(x, y) == pytest.approx(by_hand, abs=1e-10), "one window fits exactly once"


def test_the_border_is_cut_on_all_sides_and_none_at_zero() -> None:
    image = np.arange(48).reshape(6, 8)
    assert (crop_border(image, 2) == image[2:4, 2:6]).all()
    assert crop_border(image, 0) is image
    assert crop_border(np.zeros((6, 8, 3)), 1).shape == (4, 6, 3)


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), level=st.floats(1.0, 40.0))
def test_both_are_symmetric_and_fall_as_the_disturbance_grows(seed: int, level: float) -> None:
    rng = np.random.default_rng(seed)
    x = rng.uniform(60, 190, (16, 18))
    noise = rng.normal(0, 1, x.shape)
    a, b = x + noise * level, x + noise * level * 1.5
    assert ssim(x, a) == pytest.approx(ssim(a, x), abs=1e-12)
    assert psnr(x, a) == pytest.approx(psnr(a, x))
    assert psnr(x, b) < psnr(x, a)
    assert ssim(x, b) < ssim(x, a) <= 1.0


def test_the_docstrings_example_runs() -> None:
    assert doctest.testmod(fidelity).failed == 0


def test_no_pixels_have_no_psnr() -> None:
    with pytest.raises(ValueError, match="larger than the border"):
        psnr(np.zeros((0, 5)), np.zeros((0, 5)))
