"""What `xlli plan` promises of causal effect maps: the passes that are made, times what a pass was measured to take."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xlli_ray.models.model import ImageModel, Model, Range, frame_by_frame
from xlli_ray.probes.cem.params import Params
from xlli_ray.probes.cem.probe import Cem
from xlli_ray.probes.cem.sample_map import sample_maps
from xlli_ray.probes.cem.timing import EffectTime, expected_draws, time_effects
from xlli_ray.probes.lam.window import Window

PLACES = [{"top": 6, "left": 10, "size": 8}, {"top": 28, "left": 4, "size": 8}]


class Counting(nn.Module):
    """A filter of reach 2 that counts the input pixels it is given."""

    def __init__(self, reach: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.filter = nn.Conv2d(3, 3, 2 * reach + 1, padding=reach, groups=3)
        self.pixels = 0

    def forward(self, x: Tensor) -> Tensor:
        self.pixels += x.shape[0] * x.shape[-2] * x.shape[-1]
        return self.filter(x)


def network(module: nn.Module) -> Model:
    return ImageModel(
        id="toy", module=module.eval().requires_grad_(False), network="toy:toy", network_version=1, scale=1, channels=3,
        range=Range(0.0, 1.0), multiple=1, minimum=1, output="image", weights_sha256="0" * 64,
    )  # fmt: skip


def params(**more: Any) -> Params:
    return Params(**{"windows": PLACES, "block": 4, "pool_size": 64, "draws": {"first": 4, "most": 4}, **more})


@pytest.mark.parametrize(
    ("reach", "more"),
    [(2, {}), (2, {"crop": "never"}), (16, {}), (2, {"windows": PLACES[:1], "block": 3}), (8, {"block": 5})],
    ids=["crops", "whole", "too far for crops", "one window", "one pass for both"],
)
def test_the_passes_of_a_map_are_those_that_are_made(reach: int, more: dict[str, Any]) -> None:
    module = Counting(reach)
    model, asked = network(module), params(**more)
    timing = time_effects(model, asked, 0)
    assert timing.pixel > 0
    assert timing.once > 0
    image = torch.rand(3, 40, 28, generator=torch.Generator().manual_seed(1))
    windows = [Window(place.top, place.left, place.size) for place in asked.windows]  # type: ignore[union-attr]
    clean = (image + 0.1 * torch.randn(image.shape, generator=torch.Generator().manual_seed(2))).clamp(0, 1).numpy()
    sample_maps(model, image, clean, windows, asked, label="clean", key="warm")  # what is found out once
    module.pixels = 0
    sample_maps(model, image, clean, windows, asked, label="clean", key="key")
    promised = replace(timing, pixel=1.0).sample(40, 28)
    assert promised == pytest.approx(module.pixels, rel=0.1), "and the pass over the input as it is"


def test_draws_are_between_the_fewest_and_the_most_and_windows_that_do_not_fit_cost_nothing() -> None:
    asked = params(draws={"first": 4, "most": 64})
    assert expected_draws(asked.draws) == 16
    free = EffectTime(network(Counting()), params(windows={"size": 64}), None, 0.0, 1.0)
    assert free.sample(60, 200) == 0
    assert free.sample(80, 80) == 400 * 4 * 6400


def test_clips_cost_the_blocks_of_every_frame_over_all_frames() -> None:
    one = EffectTime(network(Counting()), params(), None, 0.0, 1.0)
    assert one.sample(80, 48, 3) == 9 * one.sample(80, 48)
    model = frame_by_frame(network(Counting()))
    assert Cem(params(), {}).timing(model).pixel > 0


def test_the_projection_of_a_map_does_not_promise_what_was_never_measured() -> None:
    """Twelve draws of 1024 blocks were assumed whatever the parameters: four draws of 64 cost a fiftieth."""
    many, few = (
        EffectTime(network(Counting()), params(block=side, draws={"first": most, "most": most}), None, 0.0, 1.0).sample(64, 64)
        for side, most in ((2, 12), (8, 4))
    )
    assert many / few == pytest.approx(48)
