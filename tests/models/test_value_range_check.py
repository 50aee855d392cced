"""A range that cannot be right is named before anything is computed, and no right one is suspected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from xlli_ray.errors import NetworkError
from xlli_ray.models import Model, ModelSpec, load_model, read_state_dict
from xlli_ray.models.builtin_weights import builtin_path
from xlli_ray.models.model import Range
from xlli_ray.models.model_spec import builtin_names
from xlli_ray.models.value_range_check import RANGES, range_remark, span_fault, synthetic_image

SMALL = [
    ("imdn/imdn_x4.pth", {"network": "imdn"}), ("rfdn/rfdn_x4.pth", {"network": "rfdn"}), ("rlfn/rlfn_x4.pth", {"network": "rlfn"}),
    ("rlfn/rlfn_x2.pth", {"network": "rlfn"}), ("carn_m/carn_m.pth", {"network": "carn_m", "scale": 3}),
    ("compact/realesr-animevideov3-x4.pth", {}), ("ffdnet/ffdnet_color.pth", {"network": "ffdnet", "args": {"sigma": 25}}),
]  # fmt: skip
UNTELLABLE = [("fast_srgan/fast_srgan_x4.pt", {"network": "toy_networks:srgan", "range": (-1.0, 1.0)}), ("dncnn/dncnn_gray_s25.pth", {})]


@pytest.mark.parametrize(("file", "spec"), SMALL, ids=[f"{file.split('/')[1]}" for file, _ in SMALL])
def test_each_wrong_range_of_a_public_network_is_named_with_the_right_one(file: str, spec: dict, load: Callable[..., Model]) -> None:
    """A7: RLFN with `range: [0, 1]` scored 25.33 dB instead of 26.82 without a word."""
    model = load(file, **spec)
    assert range_remark(model) == ""
    for wrong in RANGES:
        if wrong != model.range:
            said = range_remark(replace(model, range=wrong))
            assert said.startswith(f"is `range: [{wrong.lo:g}, {wrong.hi:g}]` right?")
            assert f"`range: [{model.range.lo:g}, {model.range.hi:g}]`" in said


@pytest.mark.parametrize(("file", "spec"), UNTELLABLE, ids=["adversarial", "grey denoiser"])
def test_right_ranges_are_quiet_where_networks_do_not_beat_the_baseline(file: str, spec: dict, load: Callable[..., Model]) -> None:
    model = load(file, **spec)
    assert range_remark(model) == ""
    assert range_remark(replace(model, range=Range(0.0, 255.0))) != ""


@pytest.mark.parametrize("name", builtin_names())
def test_networks_of_ours_are_quiet_the_classifier_and_the_adversarial_ones_too(name: str) -> None:
    output = "none" if name.startswith("classifier") else "image"
    model = load_model(ModelSpec(name, weights=f"builtin:{name}", output=output), read_state_dict(builtin_path(name), name=name).tensors)
    assert range_remark(model) == ""


def test_an_untrained_network_is_not_suspected_of_anything(load: Callable[..., Model]) -> None:
    model = load("imdn/imdn_x4.pth", network="imdn")
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.05)
    assert range_remark(model) == ""


@pytest.mark.parametrize("values", [(0, 300), (0, 3), (-100, 100), (0, 0.5), (0, 1e9)])
def test_a_span_that_no_image_has_is_refused(values: tuple[float, float], load: Callable[..., Model]) -> None:
    with pytest.raises(NetworkError, match=r"images do not have such values; expected \[0, 1\].*Built\(module, range="):
        load("imdn/imdn_x4.pth", network="imdn", range=values)


@pytest.mark.parametrize("values", [(0, 1), (-1, 1), (0, 255), (-0.5, 0.5), (-127.5, 127.5), (0, 65535), (0, 1023), (-0.4488, 0.5512)])
def test_spans_that_images_have_are_not(values: tuple[float, float]) -> None:
    assert span_fault(*map(float, values)) == ""


def test_the_image_is_the_same_each_time_and_has_what_photographs_have() -> None:
    image = synthetic_image(128, 0)
    assert np.array_equal(image, synthetic_image.__wrapped__(128, 0))
    assert image.dtype == np.float32
    assert 0.01 < float(image.min()) < 0.1
    assert 0.9 < float(image.max()) < 0.99
    steps = np.abs(np.diff(image, axis=1)).mean(axis=2)
    assert np.quantile(steps, 0.99) > 5 * np.median(steps), "edges"
