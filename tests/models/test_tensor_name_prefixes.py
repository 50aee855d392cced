"""The same weights under other names give the same numbers: names of other publications, and what training programs put before them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor

from xlli_ray.errors import WeightsError
from xlli_ray.models import Model, ModelSpec, load_model, read_state_dict
from xlli_ray.models.layers import resolve
from xlli_ray.models.networks import renamed
from xlli_ray.models.tensor_name_prefixes import variants

CHALLENGE = ((r"^conv_1\.", "fea_conv."), (r"^block_(\d+)\.", r"B\1."), (r"^conv_2\.", "LR_conv."))
"""From the names of RLFN's own repository to those of the challenge (NTIRE 2022, team 04)."""
PREFIXES = (
    "module.", "_orig_mod.", "generator.", "net_g.", "model.", "netG.", "generator.module.", "model.net_g.", "generator_ema.", "net.",
)  # fmt: skip


@pytest.fixture(scope="module")
def rlfn(fixtures: Path) -> dict[str, Tensor]:
    return read_state_dict(fixtures / "models/rlfn/rlfn_x4.pth").tensors


def output(model: Model) -> Tensor:
    x = torch.rand(1, model.channels, 20, 23, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return model.forward(x)


def test_rlfn_under_the_challenges_names_gives_the_same_numbers(rlfn: dict[str, Tensor]) -> None:
    theirs = renamed(rlfn, CHALLENGE)
    assert {key.split(".")[0] for key in theirs} == {"fea_conv", *(f"B{i}" for i in range(1, 7)), "LR_conv", "upsampler"}
    ours, other = (load_model(ModelSpec("m", network="rlfn"), tensors) for tensors in (rlfn, theirs))
    assert torch.equal(output(ours), output(other))
    assert torch.equal(output(ours), output(load_model(ModelSpec("m"), theirs)))
    infos = resolve(other, ["B3", "LR_conv:input"], (1, 3, 24, 24))  # layers answer to the names in the file, too
    assert [(info.tap.module, info.tap.side) for info in infos] == [("block_3", "output"), ("conv_2", "input")]


def test_the_challenges_cut_rlfn_is_read(rlfn: dict[str, Tensor]) -> None:
    """46 channels, 48 inside a block, four blocks; its public weights are not at hand, so the form alone is tested."""
    keep = renamed({key: tensor for key, tensor in rlfn.items() if not re.match(r"block_[56]\.", key)}, CHALLENGE)

    def cut(key: str, tensor: Tensor) -> Tensor:
        wide = {"c1_r": (48, 46), "c2_r": (48, 48), "c3_r": (46, 48)}.get(key.split(".")[1], (46, 46))
        shape = [min(n, wide[axis] if n == 52 else n) if axis < 2 else n for axis, n in enumerate(tensor.shape)]
        return tensor[tuple(slice(n) for n in shape)].clone()

    model = load_model(ModelSpec("m"), {key: cut(key, tensor) for key, tensor in keep.items()})
    assert (model.network, model.scale) == ("rlfn", 4)
    assert output(model).shape == (1, 3, 80, 92)


@pytest.mark.parametrize("prefix", PREFIXES)
def test_what_a_training_program_puts_before_every_name_changes_no_number(prefix: str, rlfn: dict[str, Tensor]) -> None:
    wrapped = {prefix + key: tensor for key, tensor in rlfn.items()}
    plain = output(load_model(ModelSpec("m", network="rlfn"), rlfn))
    for network in ("rlfn", None):
        model = load_model(ModelSpec("m", network=network), wrapped)
        assert torch.equal(output(model), plain)


@pytest.mark.parametrize("prefix", ["generator.", "net_g.", "model.", "netG.", "params.net."])
def test_spandrels_networks_are_found_behind_it_too(prefix: str, fixtures: Path) -> None:
    tensors = read_state_dict(fixtures / "models/compact/realesr-animevideov3-x4.pth").tensors
    if prefix == "params.net.":
        with pytest.raises(WeightsError, match="does not recognise"):
            load_model(ModelSpec("m"), {prefix + key: tensor for key, tensor in tensors.items()})
        return
    model = load_model(ModelSpec("m"), {prefix + key: tensor for key, tensor in tensors.items()})
    assert torch.equal(output(model), output(load_model(ModelSpec("m"), tensors)))


@pytest.mark.parametrize("network", ["rlfn", None])
def test_of_averaged_weights_under_a_name_of_their_own_the_averaged_are_taken(network: str | None, rlfn: dict[str, Tensor]) -> None:
    """MMEditing's way: everything in one flat state dict."""
    both = {
        **{f"generator.{key}": tensor + 1 for key, tensor in rlfn.items()},
        **{f"generator_ema.{key}": tensor for key, tensor in rlfn.items()},
        **{f"discriminator.{i}.weight": torch.ones(2) for i in range(3)},
        "step_counter": torch.tensor(3),
    }
    model = load_model(ModelSpec("m", network=network), both)
    assert torch.equal(output(model), output(load_model(ModelSpec("m", network="rlfn"), rlfn)))
    assert model.notes[-1] == "tensors generator_ema.* (averaged weights) taken, generator.*, discriminator.* left out"


def test_a_network_whose_own_names_begin_like_that_is_taken_as_it_is(load: Callable[..., Model]) -> None:
    assert all(key.startswith("model.") for key in load("imdn/imdn_x4.pth", network="imdn").module.state_dict())
    first = next(iter(variants({"model.0.weight": torch.ones(1), "model.1.weight": torch.ones(1)})))
    assert set(first.tensors) == {"model.0.weight", "model.1.weight"}


def test_two_names_of_one_tensor_are_refused(rlfn: dict[str, Tensor]) -> None:
    twice = {**rlfn, "fea_conv.weight": rlfn["conv_1.weight"]}
    with pytest.raises(WeightsError, match=r"two tensors of this state dict mean 'conv_1\.weight'"):
        load_model(ModelSpec("m", network="rlfn"), twice)


# -- shapes that no checkpoint has --------------------------------------------------------------------------------------


@pytest.mark.parametrize("network", ["imdn", "rfdn", "rlfn", "carn_m", "ffdnet"])
def test_a_tensor_of_another_shape_is_named(network: str, fixtures: Path) -> None:
    tensors = read_state_dict(next((fixtures / "models" / network).glob("*.pth"))).tensors
    spec = ModelSpec("m", weights="w.pth", network=network, scale=4 if network == "carn_m" else None)
    keys = list(tensors)[:: max(1, len(tensors) // 12)]
    assert len(keys) >= 12
    for number, key in enumerate(keys):
        right = tensors[key]
        others = (torch.zeros(0), torch.zeros(()), right.flatten()[:-1], right[None], right[:0], right.int())
        for turn in (number, number + 3):  # each tensor with two of them, each of them on several tensors
            with pytest.raises(WeightsError, match=rf"model 'm' \(w\.pth\): .*({re.escape(key)}|network '{network}')"):
                load_model(spec, {**tensors, key: others[turn % 6]})


def test_names_that_count_to_a_billion_build_nothing(rlfn: dict[str, Tensor]) -> None:
    far = {**rlfn, "block_999999999.c1_r.weight": torch.zeros(1)}
    with pytest.raises(WeightsError, match="names of this state dict count to 1000000000, with 115 tensors"):
        load_model(ModelSpec("m", network="rlfn"), far)


def test_a_few_wide_tensors_do_not_ask_for_terabytes(rlfn: dict[str, Tensor]) -> None:
    """The first convolution says that the network is 100,000 wide; the modules have shapes and no memory until all agree."""
    wide = {**rlfn, "conv_1.weight": torch.zeros(100_000, 3, 3, 3)}
    with pytest.raises(WeightsError, match=r"of another shape .*block_1\.c1_r\.weight: \(52, 52, 3, 3\) in the file, \(52, 100000, 3, 3\)"):
        load_model(ModelSpec("m", network="rlfn"), wide)
