"""The networks of ours that `xlli train` trains at scale 1: each with and without a global residual, of any image size."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from scoring import luma, psnr, read

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models import ModelSpec, load_model, read_state_dict
from xlli_ray.models.batch_independence import manners
from xlli_ray.models.layers import list_layers, resolve
from xlli_ray.models.networks import network_file
from xlli_ray.models.value_range_check import synthetic_image
from xlli_ray.training.run import train

SMALL: dict[str, dict[str, int]] = {
    "resnet": {"width": 8, "blocks": 2},
    "unet": {"width": 6, "levels": 3},
    "swinir_small": {"width": 8, "groups": 1, "depth": 2, "heads": 2, "window": 4},
}


def created(network: str, *, seed: int = 0, **args: object) -> torch.nn.Module:
    return network_file(network).create({**SMALL[network], **args}, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("network", SMALL)
def test_twins_differ_in_the_global_residual_and_nothing_else(network: str) -> None:
    one, other = (created(network, global_residual=value) for value in (True, False))
    a, b = one.state_dict(), other.state_dict()
    assert a.keys() == b.keys()
    assert [key for key in a if not torch.equal(a[key], b[key])] == ["global_residual"]
    x = torch.rand(1, 3, 16, 24)
    with torch.no_grad():
        torch.testing.assert_close(one(x), other(x) + x)


@pytest.mark.parametrize("network", SMALL)
def test_a_state_dict_says_everything_and_needs_no_name(network: str) -> None:
    for residual in (True, False):
        net = created(network, global_residual=residual).eval()
        model = load_model(ModelSpec("m"), net.state_dict())
        assert model.notes == (f"recognised as `network: {network}`",)
        assert (model.network, model.scale, model.channels, model.range) == (network, 1, 3, (0.0, 1.0))
        x = torch.rand(1, 3, 16, 24)
        with torch.no_grad():
            assert torch.equal(model.forward(x), net(x))


@pytest.mark.parametrize("network", SMALL)
def test_the_wrong_residual_in_args_or_none_in_the_file_is_refused(network: str) -> None:
    tensors = dict(created(network, global_residual=False).state_dict())
    assert network_file(network).from_state_dict(tensors, {"global_residual": False})
    with pytest.raises(NetworkError, match="args say global_residual true, but these weights were trained with false"):
        network_file(network).from_state_dict(tensors, {"global_residual": True})
    del tensors["global_residual"]
    with pytest.raises(WeightsError, match="it has no tensor 'global_residual'"):
        network_file(network).from_state_dict(tensors, {})


@pytest.mark.parametrize("network", SMALL)
def test_any_size_is_accepted(network: str) -> None:
    net = created(network).eval()
    x = torch.rand(2, 3, 37, 50, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        for height, width in ((37, 50), (1, 1), (3, 17), (8, 9)):
            y = net(x[..., :height, :width])
            assert y.shape == (2, 3, height, width)
            assert torch.isfinite(y).all()


@pytest.mark.parametrize("network", SMALL)
def test_its_layers_are_listed_and_images_of_a_batch_do_not_touch(network: str) -> None:
    model = load_model(ModelSpec("m", network=network), created(network).state_dict())
    names = {layer.tap.module: layer for layer in list_layers(model, (1, 3, 32, 32))}
    assert names["last"].shape == (3, 32, 32)
    (deepest,) = resolve(model, ["*:last_conv_input"], (1, 3, 32, 32))
    assert (deepest.tap.module, deepest.tap.side) == ("last", "input")
    assert not manners(model).alone


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    for seed in range(3):
        Image.fromarray((synthetic_image(64, seed) * 255).round().astype(np.uint8)).save(folder / f"{seed}.png")
    return folder


@pytest.mark.parametrize("network", SMALL)
def test_it_is_trained_at_scale_1_and_its_weights_are_recognised(network: str, photos: Path, tmp_path: Path) -> None:
    recipe = tmp_path / "denoise.yaml"
    recipe.write_text(
        yaml.safe_dump({
            "name": "denoise",
            "corpus": {"images": [str(photos / "*.png")], "scale": 1, "degradations": [{"noise": 50}]},
            "validate": {"images": [str(photos / "0.png")], "degradations": [{"noise": 50}], "crop": 45, "every": 15},
            "train": {"network": network, "args": SMALL[network], "iterations": 30, "batch": 4, "crop": 16, "warmup": 0, "lr": 5e-3,
                      "ema": 0.9},
            "grid": [{"id": "residual", "train": {"args": {"global_residual": True}}},
                     {"id": "none", "train": {"args": {"global_residual": False}}}],
        })
    )  # fmt: skip
    clean = read(photos / "0.png")[9:54, 9:54]
    noisy = np.clip(clean + np.random.default_rng(0).normal(0, 50, clean.shape), 0, 255).round()
    out = train(recipe, tmp_path / "out").parent
    for entry in yaml.safe_load((out / "models.yaml").read_text())["models"]:
        assert entry["network"] == network
        card = json.loads((out / entry["id"] / "card.json").read_text())
        model = load_model(ModelSpec(entry["id"]), read_state_dict(out / entry["weights"]).tensors)
        assert model.network == network
        assert model.weights_sha256 == entry["sha256"]
        assert model.module.adds_input == (entry["id"] == "residual")
        assert card["scale"] == 1
        assert card["weights"]["parameters"] == sum(p.numel() for p in model.module.parameters())
        loss, scores = card["curve"]["loss"], card["curve"]["psnr_y noise50"]
        assert loss[-1] < loss[0]
        assert len(scores) == 2
        assert scores[-1] > psnr(luma(noisy), luma(clean))
