"""The matched family of small Transformers for video: cards, switches, and that they differ in alignment alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from xlli_ray.corpus.resize import downscale
from xlli_ray.models import ModelSpec, load_model, read_state_dict
from xlli_ray.models.blocks.motion import Motion
from xlli_ray.models.builtin_weights import builtin_card, builtin_path
from xlli_ray.models.model import ClipModel
from xlli_ray.training.identity import flat_recipe

FAMILY = {
    "none": {"alignment": "none"}, "patch": {"alignment": {"patch": {"size": 4}}}, "bilinear": {"alignment": "bilinear"},
    "single": {"alignment": "none", "support": "current"},
}  # fmt: skip


def loaded(name: str, **args: Any) -> ClipModel:
    state = read_state_dict(builtin_path(f"builtin:psrt-{name}"))
    model = load_model(ModelSpec(name, weights=f"builtin:psrt-{name}", network="psrt_sliding", args=args), state.tensors)
    assert isinstance(model, ClipModel)
    return model


def test_cards_differ_in_alignment_alone_and_the_family_is_small() -> None:
    cards = {name: builtin_card(f"psrt-{name}") for name in FAMILY}
    assert sum(builtin_path(f"psrt-{name}").stat().st_size for name in FAMILY) < 4_000_000
    for name, card in cards.items():
        assert card["network"] == "psrt_sliding"
        assert {key: card["args"][key] for key in FAMILY[name]} == FAMILY[name]
        assert len(card["images"]) == 114
        recipe = flat_recipe(card["recipe"])
        recipe.pop("train.args")
        other = flat_recipe(cards["none"]["recipe"])
        other.pop("train.args")
        assert recipe == other


@pytest.mark.parametrize("name", list(FAMILY))
def test_the_switches_are_those_of_the_training_and_the_flow_is_asked_for(name: str) -> None:
    net: Any = loaded(name).module
    assert (net.support, net.flow) == (FAMILY[name].get("support", "neighbours"), "none")
    assert loaded(name, flow="known").module.flow == "known"  # type: ignore[union-attr]


def test_on_a_noisy_pan_alignment_gains_over_none() -> None:
    """A textured plane that moves by 3 input pixels a frame: mean squared error of the centre frame, away from its border."""
    y, x = np.mgrid[:120, :160].astype(float)
    waves = sum(np.sin(x / a + y / b) for a, b in ((3.1, 4.7), (-2.2, 5.9), (6.3, -2.7), (1.9, 9.1)))
    image = np.repeat(((waves + 4) / 8)[..., None], 3, 2).astype(np.float32)
    rng = np.random.default_rng(0)
    frames = [image[20:100, 30 - 6 * k : 110 - 6 * k] for k in (-1, 0, 1)]
    small = np.stack([downscale(frame, 2) + rng.normal(0, 10, (40, 40, 3)) for frame in frames]).clip(0, 255) / 255
    clip = torch.from_numpy(small.astype(np.float32).transpose(0, 3, 1, 2))[None]
    velocity = torch.tensor([3.0, 0.0]).reshape(1, 1, 2, 1, 1).expand(1, 2, 2, 40, 40)
    errors = {}
    for name in FAMILY:
        with torch.no_grad():
            output = loaded(name).module(clip, Motion(velocity, -velocity))[0].numpy().transpose(1, 2, 0)
        errors[name] = float(np.mean((output - frames[1])[16:-16, 16:-16] ** 2))
    assert errors["patch"] < 0.9 * errors["none"]
    assert errors["bilinear"] < 0.95 * errors["none"]
