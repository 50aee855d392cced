"""The classifier and the untrained network: what DDR contrasts restoration networks with."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models import ModelSpec, load_model
from xlli_ray.models.builtin_weights import builtin_card, builtin_path
from xlli_ray.models.checkpoint import read_state_dict
from xlli_ray.models.layers import resolve
from xlli_ray.models.networks import classifier, srresnet
from xlli_ray.training.recipe import load_recipe

NAME = "classifier-photo-clean"


def test_it_gives_one_logit_a_class_for_any_size_and_halves_twice() -> None:
    net = classifier.create({"classes": 7}, generator=torch.Generator().manual_seed(0))
    assert net(torch.rand(2, 3, 32, 24)).shape == (2, 7)
    assert net.trunk(net.head(torch.rand(1, 3, 32, 24))).shape == (1, 32, 8, 6)
    again = classifier.create({"classes": 7}, generator=torch.Generator().manual_seed(0))
    assert all((one == other).all() for one, other in zip(net.state_dict().values(), again.state_dict().values()))
    built = classifier.from_state_dict(net.state_dict(), {})
    x = torch.rand(1, 3, 16, 16)
    assert (built.module(x) == net.eval()(x)).all()
    assert built.output == "none"


def test_other_weights_and_arguments_are_refused_by_name() -> None:
    with pytest.raises(NetworkError, match="takes no argument 'klasses'"):
        classifier.create({"klasses": 7}, generator=torch.Generator())
    with pytest.raises(WeightsError, match="not a checkpoint of network 'classifier'"):
        classifier.from_state_dict({"a": torch.zeros(1)}, {})


def test_the_weights_that_come_with_the_package_are_those_of_the_recipe(root: Path) -> None:
    card = builtin_card(NAME)
    assert builtin_path(NAME).stat().st_size < 300_000
    (job,) = load_recipe(root / "pipelines/train_classifier.yaml").jobs()
    assert job.recipe_hash() == card["recipe_sha256"]
    assert len(card["images"]) == job.train.args["classes"] == 114
    assert card["curve"]["loss"][-1] < 0.5 < 4 < card["curve"]["loss"][0]
    state = read_state_dict(builtin_path(f"builtin:{NAME}"))
    model = load_model(ModelSpec(NAME, weights=f"builtin:{NAME}", output="none"), state.tensors)
    assert model.output == "none"
    taps = [(info.tap.module, info.shape) for info in resolve(model, ["head", "trunk.*"], (1, 3, 32, 32))]
    assert taps == [("head", (16, 32, 32)), *((f"trunk.{i}", shape) for i, shape in enumerate(
        [(16, 32, 32)] * 2 + [(24, 16, 16)] * 2 + [(32, 8, 8)] * 2))]  # fmt: skip


def test_an_untrained_network_is_the_same_each_time_and_starts_near_the_bilinear_image() -> None:
    spec = ModelSpec("baseline", network="xlli_ray.models.networks.srresnet:untrained", args={"width": 8, "blocks": 2, "seed": 3})
    one, other = load_model(spec, {}), load_model(spec, {})
    assert one.weights_sha256 == other.weights_sha256
    assert (one.scale, one.aliases["RB2"]) == (4, "trunk.1")
    assert srresnet.untrained(8, 2, seed=4).module.head.conv.weight.ne(one.module.head.conv.weight).any()
