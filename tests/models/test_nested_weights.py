"""Where training programs keep weights in their files: averaged ones are preferred and it is said, what is unclear is asked for."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch
from torch import Tensor

from xlli_ray.errors import WeightsError
from xlli_ray.models.checkpoint import StateDict, read_state_dict
from xlli_ray.models.nested_weights import choose

LAST = {"conv.weight": torch.ones(2, 3), "conv.bias": torch.zeros(2)}
MEAN = {key: tensor + 0.5 for key, tensor in LAST.items()}
OTHER = {key: tensor + 9 for key, tensor in LAST.items()}
OPTIMIZER = {"state": {0: {"exp_avg": torch.ones(2, 3)}}, "param_groups": [{"lr": 1e-4}]}


def read(content: Any, **how: Any) -> StateDict:
    file = io.BytesIO()
    torch.save(content, file)
    return read_state_dict(file.getvalue(), name="w.pth", **how)


def same(left: dict[str, Tensor], right: dict[str, Tensor]) -> bool:
    return left.keys() == right.keys() and all(torch.equal(left[key], right[key]) for key in left)


AVERAGED = {
    "BasicSR": {"params": LAST, "params_ema": MEAN},
    "traiNNer": {"params": LAST, "params-ema": MEAN},
    "timm": {"arch": "x", "epoch": 3, "state_dict": LAST, "state_dict_ema": MEAN, "optimizer": OPTIMIZER, "metric": 1.0},
    "DeiT": {"model": LAST, "model_ema": MEAN, "optimizer": OPTIMIZER, "lr_scheduler": {}, "scaler": {"scale": torch.ones(1)}},
    "ema_model": {"model": LAST, "ema_model": MEAN},
    "ema beside a model": {"net": LAST, "ema": MEAN, "step": 1000},
    "an ema with its settings": {"state_dict": LAST, "ema": {"decay": 0.999, "shadow": MEAN}},
    "ema_state_dict": {"state_dict": LAST, "ema_state_dict": MEAN},
    "StyleGAN": {"g": LAST, "d": OTHER, "g_ema": MEAN, "g_optim": OPTIMIZER, "d_optim": OPTIMIZER},
    "KAIR in one file": {"netG": LAST, "netE": MEAN, "netD": OTHER, "optimizerG": OPTIMIZER},
    "DataParallel around it": {"params": LAST, "params_ema": {f"module.{key}": tensor for key, tensor in MEAN.items()}},
    "averaged at the top": {**LAST, "ema": MEAN},
}


@pytest.mark.parametrize("layout", AVERAGED)
def test_averaged_weights_beside_the_last_ones_are_taken_and_it_is_said(layout: str) -> None:
    found = read(AVERAGED[layout])
    assert same(found.tensors, MEAN)
    assert len(found.notes) == 1
    assert found.notes[0].startswith("averaged weights taken (")


@pytest.mark.parametrize(
    ("content", "key"),
    [
        (AVERAGED["BasicSR"], "params"),
        (AVERAGED["timm"], "state_dict"),
        (AVERAGED["StyleGAN"], "g"),
        ({"model": {"state_dict": LAST, "state_dict_ema": MEAN}}, "model/state_dict"),
    ],
)
def test_key_takes_the_last_ones_instead(content: Any, key: str) -> None:
    assert f"`key: {key}`" in read(content).notes[0]
    found = read(content, key=key)
    assert same(found.tensors, LAST)
    assert found.notes == (f"weights taken from {key}, as `key` says",)
    assert found.weights_sha256 != read(content).weights_sha256


SINGLE = {
    "plain": LAST,
    "DataParallel": {f"module.{key}": tensor for key, tensor in LAST.items()},
    "compiled": {"state_dict": {f"_orig_mod.module.{key}": tensor for key, tensor in LAST.items()}},
    "Restormer": {"params": LAST},
    "MPRNet": {"epoch": 3, "state_dict": LAST, "optimizer": OPTIMIZER},
    "Lightning": {"epoch": 1, "global_step": 2, "state_dict": LAST, "optimizer_states": [OPTIMIZER], "lr_schedulers": [], "callbacks": {}},
    "MobileSR": {"net": LAST},
    "a dictionary in a dictionary": {"model": {"state_dict": LAST}},
    "GAN": {"generator": LAST, "discriminator": OTHER, "optimizer_g": OPTIMIZER},
    "GAN of CycleGAN's kind": {"netG": LAST, "netD": OTHER},
    "g_state_dict": {"g_state_dict": LAST, "d_state_dict": OTHER},
    "averaged ones alone": {"params_ema": LAST},
}


@pytest.mark.parametrize("layout", SINGLE)
def test_what_is_the_only_network_in_the_file_is_taken_without_a_word(layout: str) -> None:
    found = read(SINGLE[layout])
    assert same(found.tensors, LAST)
    assert found.notes == ()


def test_a_single_mapping_of_an_unknown_name_is_taken_and_it_is_said() -> None:
    found = read({"upscaler": LAST, "epoch": 3})
    assert same(found.tensors, LAST)
    assert found.notes == ("weights taken from upscaler, the only ones in the file",)


@pytest.mark.parametrize(
    ("content", "listed"),
    [
        ({"generator": LAST, "net": OTHER}, "'net', 'generator'"),
        ({"params_ema": LAST, "model_ema": OTHER}, "'params_ema', 'model_ema'"),
        ({"coarse": LAST, "fine": OTHER}, "'coarse', 'fine'"),
        ({"model": {"coarse": LAST, "fine": OTHER}}, "'model/coarse', 'model/fine'"),
    ],
)
def test_several_that_may_be_meant_are_listed(content: Any, listed: str) -> None:
    with pytest.raises(WeightsError, match=rf"w\.pth: the file holds several sets of weights: {listed}\. Choose one.*`key: "):
        read(content)


def test_two_names_of_the_same_weights_are_one() -> None:
    assert same(read({"state_dict": LAST, "model": LAST}).tensors, LAST)


def test_key_takes_what_names_begin_with_too() -> None:
    flat = {f"{part}.{key}": tensor for part, some in (("generator", LAST), ("generator_ema", MEAN)) for key, tensor in some.items()}
    assert same(read(flat, key="generator_ema").tensors, MEAN)
    assert same(read({"state_dict": flat}, key="state_dict/generator").tensors, LAST)


def test_a_key_that_is_not_there_is_answered_with_what_is() -> None:
    there = r"the file holds 'params', 'params/conv', 'params_ema', .*\. Did you mean 'params'\?"
    with pytest.raises(WeightsError, match=f"nothing under `key: parms`; {there}"):
        read(AVERAGED["BasicSR"], key="parms")
    with pytest.raises(WeightsError, match=r"`key: model` names no tensors\. Inside it are 'model/state_dict'"):
        read({"model": {"state_dict": LAST}}, key="model")


@pytest.mark.parametrize("tensor", [True, False])
def test_a_mapping_that_is_named_twenty_thousand_times_is_looked_at_once(tensor: bool) -> None:
    """Looked at under each name, it would take minutes; a pickle says a name again in a few bytes."""
    shared: dict[str, Any] = {f"a{number}": number for number in range(20_000)}
    if tensor:
        shared["weight"] = torch.ones(2)
    content = {f"ema_{number}": {"inside": shared} if number % 2 else shared for number in range(20_000)}
    if tensor:
        with pytest.raises(WeightsError, match=r"several sets of weights: 'ema_0', .* \(20000\)"):
            choose(content)
        with pytest.raises(WeightsError, match="nothing under `key: gone`"):
            choose(content, key="gone")
    else:
        with pytest.raises(WeightsError, match="no tensors in the usual places"):
            choose(content)
