"""Networks of our own: the public checkpoints score what their authors report, and anything else is refused."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scoring import batch, psnr, psnr_y, read
from torch import nn

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models import Model
from xlli_ray.models.blocks import esa
from xlli_ray.models.networks import Built, carn_m, ffdnet, imdn, load_strict, network_file, rfdn, rlfn
from xlli_ray.registry import NETWORKS

# file, what the recipe says, scale, mean over Set5 (the bar), the smallest image alone (measured with this code)
PUBLIC = [
    ("imdn/imdn_x4.pth", {"network": "imdn"}, 4, 32.25, 30.6295),
    ("rfdn/rfdn_x4.pth", {"network": "rfdn"}, 4, 32.16, 30.5457),
    ("rlfn/rlfn_x4.pth", {"network": "rlfn"}, 4, 32.24, 30.7204),
    ("rlfn/rlfn_x2.pth", {"network": "rlfn"}, 2, 38.07, 36.4451),
    ("carn_m/carn_m.pth", {"network": "carn_m", "scale": 4}, 4, 31.88, 30.4280),
    ("carn_m/carn_m.pth", {"network": "carn_m", "scale": 3}, 3, 34.06, 32.5523),
    ("carn_m/carn_m.pth", {"network": "carn_m", "args": {"scale": 2}}, 2, 37.68, 36.1699),
    ("craft/craft_x4.pth", {}, 4, 32.39, 30.8402),
    ("fast_srgan/fast_srgan_x4.pt", {"network": "toy_networks:srgan", "range": (-1.0, 1.0)}, 4, 29.39, 28.4495),
]
IDS = [f"{file.split('/')[0]}-x{scale}" for file, _, scale, *_ in PUBLIC]


@pytest.mark.parametrize(("file", "spec", "scale", "mean", "one"), PUBLIC, ids=IDS)
def test_one_image_scores_as_measured(
    file: str, spec: dict, scale: int, mean: float, one: float, fixtures: Path, load: Callable[..., Model]
) -> None:
    image = fixtures / f"images/Set5/x{scale}/img_005"
    assert psnr_y(load(file, **spec), Path(f"{image}_LR.png"), Path(f"{image}_HR.png")) == pytest.approx(one, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("file", "spec", "scale", "mean", "one"), PUBLIC, ids=IDS)
def test_set5_scores_as_published(
    file: str, spec: dict, scale: int, mean: float, one: float, fixtures: Path, load: Callable[..., Model]
) -> None:
    model = load(file, **spec)
    images = [str(fixtures / f"images/Set5/x{scale}/img_{i:03d}") for i in range(1, 6)]
    scores = [psnr_y(model, Path(f"{image}_LR.png"), Path(f"{image}_HR.png")) for image in images]
    assert np.mean(scores) == pytest.approx(mean, abs=0.02)


@pytest.mark.parametrize(
    ("file", "score"),
    [("compact/realesr-animevideov3-x4.pth", 23.17), ("rrdb/RealESRGAN_x4plus_anime_6B_fp16.pth", 20.85)],
)
def test_networks_recognised_by_spandrel_score_on_the_butterfly(
    file: str, score: float, fixtures: Path, load: Callable[..., Model]
) -> None:
    image = fixtures / "images/Set5/x4/img_003"
    got = psnr_y(load(file), Path(f"{image}_LR.png"), Path(f"{image}_HR.png"))
    assert got == pytest.approx(score, abs=0.02)


def noisy(image: np.ndarray, seed: int) -> np.ndarray:
    return image + np.random.default_rng(seed).normal(scale=25, size=image.shape)


def restored(model: Model, image: np.ndarray) -> np.ndarray:
    """Through `prepare`, so that a grey network gets luma; clamped, not rounded; on 0..255."""
    with torch.no_grad():
        y = model.forward(model.prepare(batch(image)))
    return y[0].permute(1, 2, 0).double().clamp(0, 1).numpy() * 255


def grey(image: np.ndarray) -> np.ndarray:
    return np.repeat((image @ np.array([0.299, 0.587, 0.114]))[..., None], 3, axis=2)


def denoising(fixtures: Path, load: Callable[..., Model], images: range) -> tuple[float, float]:
    colour, luma = load("ffdnet/ffdnet_color.pth", network="ffdnet"), load("dncnn/dncnn_gray_s25.pth")
    scores = []
    for i in images:
        clean = read(fixtures / f"images/Set5/x4/img_{i:03d}_HR.png")
        clean_grey = grey(clean)
        noise = np.repeat(noisy(clean_grey[..., :1], i), 3, axis=2)
        scores.append(
            (psnr(restored(colour, noisy(clean, i)), clean), psnr(restored(luma, noise), clean_grey[..., :1]))
        )
    first, second = np.mean(scores, axis=0)
    return float(first), float(second)


def test_denoisers_take_the_noise_off_one_image(fixtures: Path, load: Callable[..., Model]) -> None:
    colour, luma = denoising(fixtures, load, range(3, 4))
    assert colour == pytest.approx(31.07, abs=0.1)
    assert luma == pytest.approx(29.86, abs=0.1)


@pytest.mark.slow
def test_denoisers_score_as_published_on_set5(fixtures: Path, load: Callable[..., Model]) -> None:
    colour, luma = denoising(fixtures, load, range(1, 6))
    assert colour == pytest.approx(32.10, abs=0.1)  # the draw of the noise moves it by 0.05
    assert luma == pytest.approx(31.27, abs=0.1)


def test_ffdnet_with_a_wrong_noise_level_is_worse(fixtures: Path, load: Callable[..., Model]) -> None:
    clean = read(fixtures / "images/Set5/x4/img_003_HR.png")[:128, :128]
    scores = []
    for sigma in (25, 60, 5):
        model = load("ffdnet/ffdnet_color.pth", network="ffdnet", args={"sigma": sigma})
        scores.append(psnr(restored(model, noisy(clean, 0)), clean))
    assert scores[0] > scores[1] + 0.5 > scores[2]


# Each with sizes that no default would guess.
SMALL: dict[str, tuple[nn.Module, dict]] = {
    "imdn": (imdn.PlainImdn(3, 12, 3, 2, 3, None), {}),
    "imdn-attention": (imdn.PlainImdn(1, 12, 3, 2, 3, 2), {}),
    "imdn-paper": (imdn.PaperImdn(3, 12, 3, 3, 2, None), {}),
    "imdn-paper-attention": (imdn.PaperImdn(3, 12, 3, 3, 2, 2), {}),
    "rfdn": (rfdn.Rfdn(1, 10, 6, 3, 2, 3), {}),
    "rlfn": (rlfn.Rlfn(3, 10, 8, 5, 3, 2), {}),
    "carn_m": (carn_m.CarnM(3, 16, (4, 2), {"up2": 2, "up3": 3}, "up3"), {"scale": 3}),
    "carn_m-single": (carn_m.CarnM(3, 16, (4, 4), {"up": 4}, "up"), {}),
    "ffdnet": (ffdnet.Ffdnet(1, 10, 5, 15.0), {"sigma": 15}),
}


@pytest.mark.parametrize("name", SMALL)
def test_widths_depths_and_scale_are_read_from_the_state_dict(name: str) -> None:
    module, args = SMALL[name]
    generator = torch.Generator().manual_seed(0)
    tensors = {key: torch.randn(tensor.shape, generator=generator) * 0.1 for key, tensor in module.state_dict().items()}
    module.load_state_dict(tensors)
    built = network_file(name.split("-")[0]).from_state_dict(tensors, args)
    assert isinstance(built, Built)
    x = torch.rand(2, built.channels, 24, 20, generator=generator)
    with torch.no_grad():
        y = built.module(x)
        assert torch.equal(y, module.eval()(x))
    assert y.shape == (2, built.channels, 24 * built.scale, 20 * built.scale)
    assert not built.module.training
    assert not any(parameter.requires_grad for parameter in built.module.parameters())


@pytest.mark.parametrize("name", SMALL)
def test_what_is_missing_or_left_over_is_named(name: str) -> None:
    module, args = SMALL[name]
    tensors = dict(module.state_dict())
    gone = next(key for key in reversed(tensors) if key.endswith("bias"))
    del tensors[gone]
    tensors["extra.weight"] = torch.ones(1)
    with pytest.raises(WeightsError, match=rf"missing \(1\): {gone}; unexpected \(1\): extra.weight"):
        network_file(name.split("-")[0]).from_state_dict(tensors, args)


def test_a_tensor_of_another_shape_is_named_with_both_shapes() -> None:
    module = nn.Conv2d(3, 4, 3)
    before = module.bias.clone()
    with pytest.raises(WeightsError, match=r"another shape \(1\): bias: \(5,\) in the file, \(4,\) in the network"):
        load_strict(module, {"weight": module.weight + 1, "bias": torch.ones(5)}, network="toy")
    assert torch.equal(module.bias, before)


@pytest.mark.parametrize("network", [name for name in NETWORKS if name != "srresnet"])
def test_weights_of_another_network_are_refused(network: str) -> None:
    tensors = {"model.0.weight": torch.ones(64, 1, 3, 3), "model.2.weight": torch.ones(1, 64, 3, 3)}  # a tiny DnCNN
    with pytest.raises(WeightsError, match=f"not a checkpoint of network '{network}'"):
        network_file(network).from_state_dict(tensors, {"scale": 4} if network == "carn_m" else {})


def test_an_unknown_network_or_argument_names_the_nearest(load: Callable[..., Model]) -> None:
    with pytest.raises(NetworkError, match=r"'imnd' is not one of ours.*Did you mean 'imdn'"):
        network_file("imnd")
    with pytest.raises(NetworkError, match=r"takes no argument 'sigmas'.*Did you mean 'sigma'"):
        load("ffdnet/ffdnet_color.pth", network="ffdnet", args={"sigmas": 3})
    with pytest.raises(NetworkError, match=r"args\.sigma is -1"):
        load("ffdnet/ffdnet_color.pth", network="ffdnet", args={"sigma": -1})


@pytest.mark.parametrize(("scale", "words"), [(None, "none is chosen"), (5, "scale 5 is not among them")])
def test_carn_asks_which_scale_its_checkpoint_should_run_at(
    scale: int | None, words: str, load: Callable[..., Model]
) -> None:
    with pytest.raises(NetworkError, match=f"holds scales 2, 3, 4 and {words}"):
        load("carn_m/carn_m.pth", network="carn_m", scale=scale)


def test_contrast_attention_is_standard_deviation_plus_mean() -> None:
    attention = imdn.ContrastAttention(4, 2).eval()
    x = torch.rand(2, 4, 5, 6, dtype=torch.float64)
    attention.double()
    contrast = (x.std(dim=(2, 3), correction=0) + x.mean(dim=(2, 3)))[..., None, None]
    torch.testing.assert_close(attention(x), x * attention.conv_du(contrast))


def test_contrast_attention_has_a_finite_gradient_on_a_flat_image() -> None:
    x = torch.full((1, 4, 5, 6), 0.3, requires_grad=True)
    imdn.ContrastAttention(4, 2)(x).sum().backward()
    assert x.grad is not None
    assert torch.isfinite(x.grad).all()


@pytest.mark.parametrize("deep", [True, False])
def test_the_smallest_input_of_spatial_attention_is_exact(deep: bool) -> None:
    attention = esa.SpatialAttention(8, 4, deep=deep)
    assert attention(torch.rand(1, 8, esa.MINIMUM, esa.MINIMUM)).shape == (1, 8, esa.MINIMUM, esa.MINIMUM)
    with pytest.raises(RuntimeError):
        attention(torch.rand(1, 8, esa.MINIMUM - 1, 40))


def test_ffdnet_denoises_each_colour_where_it_is() -> None:
    """A network that hands its image maps through must give the image back: the cutting is undone exactly."""
    net = ffdnet.Ffdnet(3, 13, 2, 25.0)
    tensors = {key: torch.zeros_like(tensor) for key, tensor in net.state_dict().items()}
    for i in range(13):
        tensors["model.0.weight"][i, i, 1, 1] = 1
    for i in range(12):
        tensors["model.2.weight"][i, i, 1, 1] = 1
    net.load_state_dict(tensors)
    x = torch.rand(1, 3, 6, 8)
    assert torch.equal(net(x), x)


def test_every_network_has_a_version() -> None:
    for name in NETWORKS:
        assert isinstance(network_file(name).VERSION, int)


def test_importing_the_package_imports_no_torch() -> None:
    code = (
        "import sys, xlli_ray.models, xlli_ray.models.networks as n, xlli_ray.models.model_spec as s;"
        "from xlli_ray.models import ModelSpec; n.built; s.builtin_names();"
        "sys.exit('torch' in sys.modules or 'spandrel' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
