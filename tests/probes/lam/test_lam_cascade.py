"""The cascade: weights drawn from the output down, by shares of the layers."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from lam_models import as_model, convolutions
from torch import Tensor, nn

from xlli_ray.errors import RecipeError
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.cascade import layers_in_order, top_parameters
from xlli_ray.probes.lam.cascade_cells import cascade_cell, share_of
from xlli_ray.probes.lam.controls import randomised
from xlli_ray.probes.lam.params import Params
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.recipe import parse_recipe


class Backwards(nn.Module):
    """Modules in the opposite order of their use; one runs twice, one is never called, one is drawn from within, one number is no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.last = nn.Conv2d(4, 3, 3, padding=1)
        self.twice = nn.Conv2d(4, 4, 3, padding=1)
        self.block = nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU())
        self.block.register_parameter("shift", nn.Parameter(torch.rand(4, 1, 1)))
        self.held = Held()
        self.first = torch.nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3, padding=1))
        self.gain = nn.Parameter(torch.ones(1))

    def forward(self, x: Tensor) -> Tensor:
        x = self.twice(self.first(x) * self.gain)
        x = self.held(self.block(x) + self.block.shift)
        return self.last(self.twice(x))


class Held(nn.Module):
    """Uses the weights of a part that it never calls."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Conv2d(4, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.inner.weight, self.inner.bias)


ORDER = [
    ["first.bias", "first.parametrizations.weight.original0", "first.parametrizations.weight.original1"],
    ["block.0.weight", "block.0.bias"], ["block.shift"],
    ["held.inner.weight", "held.inner.bias"], ["twice.weight", "twice.bias"], ["last.weight", "last.bias"],
]  # fmt: skip


@pytest.fixture
def backwards() -> Model:
    torch.manual_seed(0)
    return as_model(Backwards())


def changed(model: Model, other: Model) -> set[str]:
    mine, theirs = dict(model.module.named_parameters()), dict(other.module.named_parameters())
    return {name for name in mine if not torch.equal(mine[name], theirs[name])}


def test_layers_are_ordered_by_when_they_last_run(backwards: Model) -> None:
    assert [sorted(layer) for layer in layers_in_order(backwards)] == [sorted(layer) for layer in ORDER]
    assert not any(module._forward_hooks for module in backwards.module.modules())


@pytest.mark.parametrize(("share", "layers"), [(0.01, 1), (0.25, 2), (0.4, 2), (0.5, 3), (0.75, 5), (0.99, 6)])
def test_a_share_is_of_the_layers_from_the_output_on(backwards: Model, share: float, layers: int) -> None:
    assert top_parameters(backwards, share) == {name for layer in ORDER[-layers:] for name in layer}


def test_a_deeper_cascade_keeps_what_a_shallower_one_drew_and_all_layers_are_randomised_weights(backwards: Model) -> None:
    before = copy.deepcopy(backwards.module.state_dict())
    whole = randomised(backwards)
    for share in (0.25, 0.5, 0.75):
        names = top_parameters(backwards, share)
        drawn = randomised(backwards, only=names)
        assert changed(backwards, drawn) == names
        found, wanted = (dict(one.module.named_parameters()) for one in (drawn, whole))
        assert all(torch.equal(found[name], wanted[name]) for name in names)
    every = randomised(backwards, only={name for layer in layers_in_order(backwards) for name in layer})
    assert changed(every, whole) == set()
    assert changed(backwards, whole) == {name for layer in ORDER for name in layer}, "a single number has no distribution"
    assert all(torch.equal(value, before[name]) for name, value in backwards.module.state_dict().items())


def test_maps_of_each_depth_are_cells_of_their_own(make_batch: Any) -> None:
    controls = {"controls": ["randomised_weights", "cascade"], "cascade": [0.25, 0.5, 0.8]}
    params = Params(windows=[{"top": 4, "left": 4, "size": 6}], nodes=3, **controls)
    model, batch = as_model(convolutions()), make_batch(2, 20, 20, scale=1)
    probes = [Lam(params, spec) for spec in Lam.cells(params, model, batch.input)]
    names = ("randomised_weights", "cascade_25", "cascade_50", "cascade_80")
    assert [one.what for one in probes] == ["accurate", *(f"accurate.{name}" for name in names)]
    own, whole, *depths = [one.measure(model, batch, None) for one in probes]
    assert [one.columns["control"][0] for one in depths] == ["cascade_25", "cascade_50", "cascade_80"]
    maps = [one.arrays["map"].tobytes() for one in (own, whole, *depths)]
    assert len(set(maps)) == 5
    by_hand = randomised(model, only={name for layer in layers_in_order(model)[-2:] for name in layer})
    again = Lam(params, {}).measure(by_hand, batch, None)
    assert again.arrays["map"].tobytes() == depths[1].arrays["map"].tobytes()
    assert np.isfinite(depths[2].columns["di"]).all()
    assert probes[2].max_rows == params.control_samples


def test_a_cell_is_the_same_whichever_depths_stand_beside_it() -> None:
    spec = {"control": "cascade_50"}
    few, many = (Lam(Params(controls=["cascade"], cascade=shares), spec).identity() for shares in ([0.5], [0.1, 0.5, 0.9]))
    assert few == many
    assert few["control"] == "cascade_50"
    assert "cascade" not in few


def test_names_and_shares() -> None:
    for share in (0.01, 0.07, 0.29, 0.5, 0.99):
        assert share_of(cascade_cell(share)) == pytest.approx(share)
    assert cascade_cell(0.29) == "cascade_29"
    assert share_of("randomised_weights") is share_of("cascade") is share_of("my_cascade_5") is None


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"controls": ["cascade"], "cascade": [0.5, 1.0]}, "a share of 1 is the control randomised_weights"),
        ({"controls": ["cascade"], "cascade": [0]}, r"cascade.*: expected whole percents between 0 and 1, such as 0\.25, got 0"),
        ({"controls": ["cascade"], "cascade": [0.125]}, "expected whole percents .* got 0.125"),
        ({"controls": ["cascade"], "cascade": [0.5, 0.25, 0.5]}, "0.5 is listed twice"),
        ({"controls": ["cascade"], "cascade": []}, "at least 1 item"),
        ({"cascade": [0.5]}, r"add it, as controls: \[cascade\]"),
        ({"controls": ["cascades"]}, "cascade"),
    ],
)
def test_what_makes_no_sense_is_refused_in_words(params: dict[str, Any], words: str, tmp_path: Path) -> None:
    data = {"name": "own", "corpus": {"inputs": ["0.png"]}, "models": [{"id": "a", "weights": "builtin:srresnet-gr-clean"}],
            "stages": [{"lam": params}]}  # fmt: skip
    with pytest.raises(RecipeError, match=words):
        parse_recipe(data, base=tmp_path)
