"""Restore: clamp, round, cut, compare; by hand and against scikit-image."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from skimage.color import rgb2ycbcr
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torch import Tensor, nn

from xlli_ray.errors import PlanError
from xlli_ray.probes.measurement import Batch
from xlli_ray.probes.restore import Params, Restore, score

Make = Callable[..., Batch]


class Says(nn.Module):
    """Gives the same answer to everything."""

    def __init__(self, answer: np.ndarray) -> None:
        super().__init__()
        self.answer = torch.from_numpy(answer)

    def forward(self, x: Tensor) -> Tensor:
        return self.answer


def probe(save: bool = False) -> Restore:
    return Restore(Params(save=save), {})


def test_values_are_clamped_and_rounded_half_up_to_eight_bits(make_batch: Make, tools: Any) -> None:
    levels = np.array([-0.5, 0.0, 0.5 / 255, 0.499 / 255, 1.5 / 255, 2.5 / 255, 254.5 / 255, 1.0, 7.0], np.float32)
    answer = np.zeros((1, 3, 28, 36), np.float32)
    answer[0, 0, 0, :9] = levels
    measured = tools.measure(probe(save=True), tools.as_model(Says(answer)), make_batch(1))
    assert measured.arrays["output"].dtype == np.uint8
    # in float32, 0.5 / 255 * 255 and its like come back exactly or a rounding below: half up is of what float32 says
    wanted = np.floor(levels.clip(0, 1) * np.float32(255) + np.float32(0.5)).astype(np.uint8)
    assert measured.arrays["output"][0, 0, 0, :9].tolist() == wanted.tolist()
    assert wanted[[0, 1, 3, 7, 8]].tolist() == [0, 0, 0, 255, 255]


def test_rounding_may_truncate_and_only_then_enters_the_identity(make_batch: Make, tools: Any) -> None:
    answer = np.zeros((1, 3, 28, 36), np.float32)
    answer[0, 0, 0, :5] = np.array([-0.5, 0.4, 1.999, 254.75, 300.0], np.float32) / 255
    floor = Restore(Params(save=True, rounding="floor"), {})
    measured = tools.measure(floor, tools.as_model(Says(answer)), make_batch(1))
    assert measured.arrays["output"][0, 0, 0, :5].tolist() == [0, 0, 1, 254, 255]
    assert floor.identity() == {"save": True, "rounding": "floor"}
    assert Restore(Params(save=True), {}).identity() == {"save": True}


@pytest.mark.parametrize("border", [0, 2, 4])
def test_scores_are_scikit_images_on_luma_and_rgb_with_the_border_cut(border: int) -> None:
    rng = np.random.default_rng(3)
    image = rng.integers(0, 256, (3, 40, 44), np.uint8)
    target = np.clip(image / 255.0 + rng.normal(0, 0.05, image.shape), 0, 1).astype(np.float32)
    eight = np.floor(target.astype(np.float64) * 255 + 0.5).astype(np.uint8)
    cut = (slice(border, 40 - border), slice(border, 44 - border))
    a, b = (np.moveaxis(x, 0, 2)[cut] for x in (image, eight))
    ya, yb = rgb2ycbcr(a)[:, :, 0], rgb2ycbcr(b)[:, :, 0]
    psnr_y, ssim_y, psnr_rgb = score(image, target, border=border)
    assert psnr_y == pytest.approx(peak_signal_noise_ratio(ya, yb, data_range=255), abs=1e-9)
    assert psnr_rgb == pytest.approx(peak_signal_noise_ratio(a, b, data_range=255), abs=1e-9)
    reference = structural_similarity(
        ya, yb, win_size=11, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255
    )
    assert ssim_y == pytest.approx(reference, abs=1e-9)


def test_one_grey_level_everywhere_is_worked_out_by_hand() -> None:
    image, target = np.full((3, 20, 20), 101, np.uint8), np.full((3, 20, 20), 100 / 255, np.float32)
    psnr_y, _, psnr_rgb = score(image, target, border=0)
    assert psnr_rgb == pytest.approx(20 * math.log10(255))
    assert psnr_y == pytest.approx(20 * math.log10(255 / ((65.481 + 128.553 + 24.966) / 255)))


@pytest.mark.parametrize(("scale", "side", "good"), [(4, 2, False), (4, 3, True), (2, 2, False), (2, 3, True), (1, 1, True)])
def test_an_image_of_which_the_border_is_all_is_a_failed_row_and_not_infinitely_good(scale: int, side: int, good: bool, tools: Any) -> None:
    """D4: at most 2 × scale pixels had PSNR inf, and so had their model's mean."""
    answer = np.full((1, 3, scale * side, 40), 0.25, np.float32)
    batch = Batch([None], torch.zeros(1, 3, side, 40 // scale), [np.full(answer.shape[1:], 0.5, np.float32)], np.ones(1, bool))
    measured = tools.measure(probe(save=True), replace(tools.as_model(Says(answer)), scale=scale), batch)
    if good:
        assert not measured.failed
        assert measured.columns["psnr_rgb"][0] == pytest.approx(20 * math.log10(255 / 64))
    else:
        assert measured.failed == {0: f"too small to score: the target is 40×{scale * side} pixels, and {scale} are cut off on each side"}
        assert all(math.isnan(column[0]) for column in measured.columns.values())


def test_only_studies_with_such_images_are_of_another_version_than_before() -> None:
    assert probe().version_for(4, [(480, 320), (3, 9)]) == 1
    assert probe().version_for(4, [(480, 320), (9, 2)]) == 2
    assert probe().version_for(1, [(1, 1)]) == 1


def test_what_lies_in_the_border_does_not_count() -> None:
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (3, 30, 30), np.uint8)
    target = (image / 255).astype(np.float32)
    spoilt = image.copy()
    spoilt[:, :4], spoilt[:, :, -4:] = 0, 255
    assert score(spoilt, target, border=4) == score(image, target, border=4) == (math.inf, pytest.approx(1.0), math.inf)


def test_a_one_channel_network_is_scored_on_full_range_unrounded_luma() -> None:
    rng = np.random.default_rng(1)
    target = rng.uniform(0, 1, (3, 24, 24)).astype(np.float32)
    luma = 255 * np.tensordot([0.299, 0.587, 0.114], target.astype(np.float64), 1)
    grey = np.floor(luma + 0.5).astype(np.uint8)[None]
    psnr_y, ssim_y, psnr_rgb = score(grey, target, border=2)
    cut = (slice(2, -2), slice(2, -2))
    difference = grey[0][cut].astype(np.float64) - luma[cut]
    assert psnr_y == pytest.approx(10 * math.log10(255**2 / np.mean(difference**2)), abs=1e-9)
    assert 0.9999 < ssim_y < 1.0
    assert math.isnan(psnr_rgb)


@pytest.mark.parametrize(("scale", "border"), [(1, 0), (2, 2), (4, 4)])
def test_the_border_is_the_scale_and_none_at_scale_one(make_batch: Make, tools: Any, scale: int, border: int) -> None:
    batch = make_batch(1, 16, 20, scale=scale)
    answer = np.random.default_rng(5).uniform(0, 1, (1, 3, 16 * scale, 20 * scale)).astype(np.float32)
    measured = tools.measure(probe(save=True), tools.as_model(Says(answer), scale=scale), batch)
    wanted = score(measured.arrays["output"][0], batch.targets[0], border=border)
    assert tuple(measured.columns[name][0] for name in ("psnr_y", "ssim_y", "psnr_rgb")) == wanted


def test_without_a_target_the_numbers_are_nan_and_the_output_is_kept(make_batch: Make, model: Any, tools: Any) -> None:
    measured = tools.measure(probe(save=True), model, make_batch(2, targets=False))
    assert all(math.isnan(value) for column in measured.columns.values() for value in column)
    assert measured.failed == {}
    assert measured.arrays["output"].any()
    assert tools.measure(probe(), model, make_batch(2, targets=False)).arrays == {}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_output_that_is_not_finite_fails_its_sample_and_no_other(make_batch: Make, tools: Any, bad: float) -> None:
    answer = np.full((3, 3, 28, 36), 0.5, np.float32)
    answer[1, 2, 7, 9] = bad
    measured = tools.measure(probe(), tools.as_model(Says(answer)), make_batch(3))
    assert measured.failed == {1: "not finite: NaN or infinity in the output"}
    assert [math.isnan(value) for value in measured.columns["psnr_y"]] == [False, True, False]


def test_infinities_of_both_signs_do_not_cancel(make_batch: Make, tools: Any) -> None:
    answer = np.full((1, 3, 28, 36), 0.5, np.float32)
    answer[0, 0, 0, :2] = np.inf, -np.inf
    assert 0 in tools.measure(probe(), tools.as_model(Says(answer)), make_batch(1)).failed


def test_a_target_of_another_size_is_a_failed_row_that_names_both(make_batch: Make, model: Any, tools: Any) -> None:
    batch = make_batch(2)
    batch.targets[1] = np.zeros((3, 30, 36), np.float32)  # type: ignore[index]
    measured = tools.measure(probe(), model, batch)
    assert measured.failed == {1: "wrong scale: the output is 36×28 pixels, the target 36×30"}


def test_samples_of_another_scale_are_refused_when_planning(tools: Any) -> None:
    model = tools.as_model(nn.Identity(), scale=4)
    assert probe().refuses(model, [4]) is None
    assert probe().refuses(model, [0]) is None, "scale 0: inputs without a target"
    assert "enlarges ×4, the corpus holds ×2 samples" in (probe().refuses(model, [2, 4]) or "")


def test_a_network_without_an_image_cannot_be_scored(tools: Any) -> None:
    with pytest.raises(PlanError, match=r"`output: none`, it returns no image.*models: \[\.\.\.\]"):
        Restore.cells(Params(), tools.as_model(nn.Identity(), output="none"), torch.zeros(1, 3, 8, 8))
