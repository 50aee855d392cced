"""Costs: the counts of convolutions in closed form, the same on the meta device and on real zeros."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from toy_networks import LooksAtValues, Upscaler, as_model

from xlli_ray.corpus.size import Size
from xlli_ray.models import Model, activation_bytes, cost, dryrun, multiply_adds
from xlli_ray.models.layers import capture
from xlli_ray.models.tap import Tap


def test_multiply_adds_are_those_of_the_convolutions() -> None:
    model = as_model(Upscaler(width=8, scale=2), scale=2)
    per_pixel = 9 * (3 * 8 + 8 * 8 + 8 * 12)
    assert multiply_adds(model, 10, 12) == per_pixel * 120
    grouped = as_model(nn.Conv2d(6, 3, 1, groups=3), channels=6, output="none")
    assert multiply_adds(grouped, 4, 4) == 2 * 3 * 16


def test_what_is_padded_is_paid_for() -> None:
    model = as_model(nn.Conv2d(3, 3, 1), multiple=8)
    assert multiply_adds(model, 9, 8) == 9 * 16 * 8


def test_activations_are_the_outputs_of_the_leaves() -> None:
    model = as_model(Upscaler(width=8, scale=2), scale=2)
    assert activation_bytes(model, 10, 12) == 4 * 120 * (8 + 8 + 8 + 12 + 12)
    assert activation_bytes(model, 20, 12) == 2 * activation_bytes(model, 10, 12)
    assert not any(m._forward_hooks for m in model.module.modules())


def test_a_network_that_cannot_run_on_the_meta_device_is_counted_too() -> None:
    model = as_model(LooksAtValues())
    assert multiply_adds(model, 8, 8) == 81 * 64
    assert activation_bytes(model, 8, 8) == 3 * 4 * 64


@pytest.mark.parametrize(
    ("file", "spec"),
    [
        ("imdn/imdn_x4.pth", {"network": "imdn"}),
        ("rfdn/rfdn_x4.pth", {"network": "rfdn"}),
        ("carn_m/carn_m.pth", {"network": "carn_m", "scale": 4}),
        ("compact/realesr-animevideov3-x4.pth", {}),
        ("ffdnet/ffdnet_color.pth", {"network": "ffdnet"}),
    ],
)
def test_counts_do_not_depend_on_where_the_network_ran(
    file: str, spec: dict, load: Callable[..., Model], monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load(file, **spec)
    meta = multiply_adds(model, 20, 18), activation_bytes(model, 20, 18)
    ran: list[Any] = []

    def on_zeros(model: Model, visit: Callable[..., Any], *, shape: tuple[int, ...]) -> Any:
        x = torch.zeros(shape)
        ran.append(x.device.type)
        return visit(model.module, x), True

    monkeypatch.setattr(cost, "dry_run", on_zeros)
    assert (multiply_adds(model, 20, 18), activation_bytes(model, 20, 18)) == meta
    assert ran == ["cpu", "cpu"]


def test_the_twin_has_no_numbers_and_leaves_the_module_alone(load: Callable[..., Model]) -> None:
    model = load("imdn/imdn_x4.pth", network="imdn")
    twin = dryrun.twin(model.module)
    assert {tensor.device.type for tensor in twin.state_dict().values()} == {"meta"}
    assert {tensor.device.type for tensor in model.module.state_dict().values()} == {"cpu"}
    assert twin is not model.module


def test_the_surveyed_shapes_are_those_that_a_real_pass_captures() -> None:
    model = as_model(Upscaler(width=8, scale=2), scale=2, multiple=4)
    taps = (Tap("head"), Tap("body.1"), Tap("tail", "input"), Tap("shuffle", call="last"))
    seen = cost.survey(model, taps, Size(9, 14))
    with torch.no_grad(), capture(model, taps) as found:
        model.forward(torch.zeros(1, 3, 9, 14))
    assert {tap.name: shape for tap, shape in seen.shapes.items()} == {n: tuple(t.shape[1:]) for n, t in found.items()}
