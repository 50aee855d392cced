"""Clips: scores are of the centre frame with the mean over frames beside them, features have their frames, hashes go frame after frame."""

from __future__ import annotations

from collections.abc import Callable
from hashlib import sha256
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from xlli_ray.corpus.size import Size
from xlli_ray.models.model import ClipModel, Range, frame_by_frame
from xlli_ray.probes.features import Features
from xlli_ray.probes.features import Params as FeatureParams
from xlli_ray.probes.inputs import Inputs, input_sha256
from xlli_ray.probes.inputs import Params as InputParams
from xlli_ray.probes.measurement import Batch
from xlli_ray.probes.restore import Params, Restore, score
from xlli_ray.stats.fidelity import ssim

Make = Callable[..., Batch]


class Enlarged(nn.Module):
    """Each frame twice as large; `centre`: the middle one alone."""

    def __init__(self, centre: bool = False) -> None:
        super().__init__()
        self.centre = centre

    def forward(self, x: Tensor) -> Tensor:
        y = x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        return y[:, x.shape[1] // 2] if self.centre else y


def clip_model(module: nn.Module, **known: Any) -> ClipModel:
    return ClipModel("toy", module.eval(), "toy", 1, 2, 3, Range(0.0, 1.0), 1, 1, "image", "", **known)


def test_a_clip_is_scored_by_its_centre_frame_and_by_the_mean_over_its_frames(make_batch: Make, tools: Any) -> None:
    batch = make_batch(2, frames=5)
    measured = tools.measure(Restore(Params(save=True), {}), clip_model(Enlarged()), batch)
    assert measured.arrays["output"].shape == (2, 5, 3, 28, 36)
    for i, target in enumerate(batch.targets):
        assert target is not None
        each = [score(measured.arrays["output"][i, t], target[t], border=2) for t in range(5)]
        assert (measured.columns["psnr_y"][i], measured.columns["ssim_y"][i], measured.columns["psnr_rgb"][i]) == each[2]
        assert measured.columns["psnr_y_frames"][i] == pytest.approx(np.mean([one[0] for one in each]), rel=1e-12)
        assert measured.columns["ssim_y_frames"][i] == pytest.approx(np.mean([one[1] for one in each]), rel=1e-12)


@pytest.mark.parametrize("name", ["reds4", "vimeo90k", "vid4"])
def test_a_benchmark_is_scored_in_its_colour_on_its_frames_without_a_border(make_batch: Make, tools: Any, name: Any) -> None:
    batch = make_batch(2, frames=5)
    measured = tools.measure(Restore(Params(save=True, benchmark=name), {}), clip_model(Enlarged()), batch)
    plain = tools.measure(Restore(Params(), {}), clip_model(Enlarged()), batch)
    assert measured.columns["psnr_y"] == plain.columns["psnr_y"]
    assert "psnr_benchmark" not in plain.columns
    for i, target in enumerate(batch.targets):
        assert target is not None
        psnrs, ssims = [], []
        for t in range(5) if name != "vimeo90k" else (2,):
            out = measured.arrays["output"][i, t].astype(np.float64)
            clean = np.floor(target[t].astype(np.float64) * 255 + 0.5)
            if name == "reds4":
                psnrs.append(10 * np.log10(255**2 / np.mean((out - clean) ** 2)))
                ssims.append(np.mean([ssim(one, wanted) for one, wanted in zip(out, clean)]))
            else:
                one, wanted = (np.tensordot(np.array([65.481, 128.553, 24.966]) / 255, image, axes=1) + 16 for image in (out, clean))
                psnrs.append(10 * np.log10(255**2 / np.mean((one - wanted) ** 2)))
                ssims.append(ssim(one, wanted))
        assert measured.columns["psnr_benchmark"][i] == pytest.approx(np.mean(psnrs), rel=1e-9)
        assert measured.columns["ssim_benchmark"][i] == pytest.approx(np.mean(ssims), rel=1e-9)


def test_a_network_of_the_centre_frame_has_no_score_of_a_benchmark_of_all_frames(make_batch: Make, tools: Any) -> None:
    model, batch = clip_model(Enlarged(centre=True), gives="centre"), make_batch(1, frames=5)
    assert np.isnan(tools.measure(Restore(Params(benchmark="vid4"), {}), model, batch).columns["psnr_benchmark"]).all()
    assert np.isfinite(tools.measure(Restore(Params(benchmark="vimeo90k"), {}), model, batch).columns["psnr_benchmark"]).all()


def test_a_network_of_the_centre_frame_has_the_same_score_and_no_mean(make_batch: Make, tools: Any) -> None:
    batch = make_batch(2, frames=5)
    whole = tools.measure(Restore(Params(), {}), clip_model(Enlarged()), batch)
    alone = tools.measure(Restore(Params(save=True), {}), clip_model(Enlarged(centre=True), gives="centre"), batch)
    assert alone.columns["psnr_y"] == whole.columns["psnr_y"]
    assert np.isnan(alone.columns["psnr_y_frames"]).all()
    assert alone.arrays["output"].shape == (2, 3, 28, 36)
    (plan,) = Restore(Params(save=True), {}).arrays(tools.shapes_of(clip_model(Enlarged(True), gives="centre"), Size(14, 18, 5), ()))
    assert (plan.shape, plan.dims) == ((3, 28, 36), ("channel", "y", "x"))
    assert np.isnan(alone.columns["ssim_y_frames"]).all()


@pytest.mark.parametrize("pool", [None, "mean", "moments", {"stride": 3}])
def test_the_layers_of_a_network_of_images_are_those_of_each_frame(pool: Any, model: Any, make_batch: Make, tools: Any) -> None:
    params = FeatureParams(layers=["head", "flat", "down"], dtype="float32", pool=pool)
    over = frame_by_frame(model)
    batch = make_batch(2, frames=4)
    example = torch.zeros(1, 4, 3, 14, 18)
    for own, spec in zip(Features.cells(params, model, example[:, 0]), Features.cells(params, over, example), strict=True):
        assert own["stride"] == spec["stride"]
        assert "frames" not in own["tap"]
        probe = Features(params, spec)
        found = tools.measure(probe, over, batch).arrays["features"]
        (plan,) = probe.arrays(tools.shapes_of(over, Size(14, 18, 4), probe.taps()))
        assert plan.dims[0] == "frame"
        assert found.shape == (2, *plan.shape)
        single = Features(params, own)
        for t in range(4):
            frame = Batch(batch.samples, batch.input[:, t], [None, None], batch.ok)
            np.testing.assert_allclose(found[:, t], tools.measure(single, model, frame).arrays["features"], rtol=1e-4, atol=1e-5)


def test_a_clip_is_hashed_frame_after_frame(make_batch: Make, tools: Any) -> None:
    batch = make_batch(1, frames=3, seed=5)
    eight = np.floor(batch.input[0].numpy() * 255 + 0.5).astype(np.uint8)
    exact = eight.astype(np.float32) / np.float32(255)
    assert input_sha256(exact) == (sha256(b"".join(np.moveaxis(frame, 0, 2).tobytes() for frame in eight)).hexdigest(), 8)
    kept = Inputs(InputParams(save=["input"]), {}).arrays(tools.shapes_of(clip_model(Enlarged()), Size(14, 18, 3), ()))
    assert [plan.dims for plan in kept[:1]] == [("frame", "channel", "y", "x")]
