"""Public deraining networks: recognised from their keys, and of the PSNR that was measured for their weights with other code.

The numbers are those of the fixtures' `networks.md`, section 8: luma of the 8-bit output, no crop; the output truncated (*floor*, as the
authors' scripts do) and rounded (as `restore` does). Whole images: `tests/benchmarks/derain_reference.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from scoring import batch, luma, psnr, read
from torch import Tensor
from torch.nn import functional as F

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models import Model, read_state_dict
from xlli_ray.models.layers import capture, list_layers, resolve
from xlli_ray.models.networks import network_file
from xlli_ray.models.value_range_check import range_remark

NETWORKS = {
    "prenet": ("prenet/prenet_rain100{}.pth", 168_963), "prenet_r": ("prenet/prenet_r_rain100{}.pth", 94_979),
    "prn": ("prenet/prn_rain100{}.pth", 95_107), "prn_r": ("prenet/prn_r_rain100{}.pth", 21_123), "drn": ("drn/drn_rain100{}.pth", 10_595),
    "brn": ("brn/brn_rain100{}.pth", 412_518 - 36_992), "can_derain": ("can_derain/can_derain_rain100{}.safetensors", 26_787),
}  # fmt: skip
"""Name → file (h or l), parameters that are used."""

CROP = {  # rows 96:224, columns 160:288 of image 001; weights → rain → (floor, round)
    ("drn", "h"): {"H": (28.140, 28.365), "L": (32.037, 32.370)}, ("drn", "l"): {"H": (20.233, 20.179), "L": (34.770, 34.797)},
    ("prn_r", "h"): {"H": (28.361, 28.590), "L": (32.168, 32.455)}, ("prn_r", "l"): {"H": (17.870, 17.815), "L": (35.110, 35.014)},
    ("prn", "h"): {"H": (28.859, 29.097), "L": (32.683, 32.999)}, ("prn", "l"): {"H": (18.533, 18.479), "L": (34.830, 34.816)},
    ("prenet_r", "h"): {"H": (29.679, 29.913), "L": (33.454, 33.715)}, ("prenet_r", "l"): {"H": (20.660, 20.613), "L": (35.525, 35.506)},
    ("brn", "h"): {"H": (31.989, 32.299), "L": (33.571, 33.889)}, ("brn", "l"): {"H": (21.576, 21.535), "L": (35.222, 35.244)},
}  # fmt: skip
QUICK = [(network, "h", "H") for network in ("drn", "prn_r", "prenet_r", "brn")]
ALL = [(network, weights, rain) for network, weights in CROP for rain in "HL"]


def scores(model: Model, rainy: np.ndarray, clean: np.ndarray) -> tuple[float, float]:
    """PSNR-Y of the truncated and of the rounded output, dB."""
    with torch.no_grad():
        y = model.forward(batch(rainy))[0].permute(1, 2, 0).clamp(0, 1).numpy() * np.float32(255)
    floor, nearest = (psnr(luma(np.floor(y + np.float32(half)).astype(np.float64)), luma(clean)) for half in (0, 0.5))
    return floor, nearest


def pair(fixtures: Path, rain: str, image: str = "001") -> tuple[np.ndarray, np.ndarray]:
    return tuple(read(fixtures / f"rain/R100{rain}/{kind}/{image}.png") for kind in ("rainy", "clean"))  # type: ignore[return-value]


def weights_of(network: str, which: str = "h") -> str:
    return NETWORKS[network][0].format(which)


def check_crop(network: str, which: str, rain: str, fixtures: Path, load: Callable[..., Model]) -> None:
    rainy, clean = (image[96:224, 160:288] for image in pair(fixtures, rain))
    assert scores(load(weights_of(network, which)), rainy, clean) == pytest.approx(CROP[network, which][rain], abs=2e-3)


@pytest.mark.parametrize(("network", "which", "rain"), QUICK)
def test_a_crop_scores_as_measured(network: str, which: str, rain: str, fixtures: Path, load: Callable[..., Model]) -> None:
    check_crop(network, which, rain, fixtures, load)


@pytest.mark.slow
@pytest.mark.parametrize(("network", "which", "rain"), [case for case in ALL if case not in QUICK])
def test_crops_of_all_weights_score_as_measured(
    network: str, which: str, rain: str, fixtures: Path, load: Callable[..., Model]
) -> None:
    check_crop(network, which, rain, fixtures, load)


@pytest.mark.parametrize(("rain", "floor"), [("H", 21.926), ("L", 21.744)])
def test_the_first_image_through_can_scores_as_measured(rain: str, floor: float, fixtures: Path, load: Callable[..., Model]) -> None:
    """Its output is the input minus what the graph computes; with the graph's output itself the heavy rain has 13.2 dB."""
    assert scores(load(weights_of("can_derain")), *pair(fixtures, rain))[0] == pytest.approx(floor, abs=2e-3)


@pytest.mark.slow
@pytest.mark.parametrize(("which", "rain", "floor"), [("h", "H", 33.232), ("l", "L", 37.874), ("h", "L", 36.331), ("l", "H", 21.996)])
def test_the_first_image_through_prenet_scores_as_measured(
    which: str, rain: str, floor: float, fixtures: Path, load: Callable[..., Model]
) -> None:
    assert scores(load(weights_of("prenet", which)), *pair(fixtures, rain))[0] == pytest.approx(floor, abs=2e-3)


@pytest.mark.parametrize("network", NETWORKS)
def test_it_is_recognised_from_its_keys_with_the_parameters_that_work(network: str, fixtures: Path, load: Callable[..., Model]) -> None:
    model = load(weights_of(network))
    assert model.network == network
    assert f"recognised as `network: {network}`" in model.notes
    assert (model.scale, model.channels, model.range, model.multiple) == (1, 3, (0.0, 1.0), 1)
    assert sum(p.numel() for p in model.module.parameters()) == NETWORKS[network][1]
    assert load(weights_of(network), network=network).weights_sha256 == model.weights_sha256


@pytest.mark.parametrize("network", ["prenet", "prn_r", "can_derain"])
def test_no_remark_is_made_on_its_range_though_it_is_no_denoiser(network: str, load: Callable[..., Model]) -> None:
    assert range_remark(load(weights_of(network))) == ""


def test_a_checkpoint_of_a_relative_is_refused_with_what_differs(load: Callable[..., Model]) -> None:
    with pytest.raises(WeightsError, match="'prn', which has no LSTM and 5 residual blocks: these weights have one and 5"):
        load(weights_of("prenet"), network="prn")
    with pytest.raises(WeightsError, match="'drn', which has no LSTM and 2 residual blocks: these weights have none and 1"):
        load(weights_of("prn_r"), network="drn")


def test_unused_tensors_of_brn_are_left_out_and_it_is_said(fixtures: Path, load: Callable[..., Model]) -> None:
    model = load(weights_of("brn"), network="brn")
    assert any(note.startswith("8 tensors of the file, 36,992 parameters, are never run by this network") for note in model.notes)
    tensors = read_state_dict(fixtures / "models" / weights_of("brn")).tensors
    assert sum(tensor.numel() for tensor in tensors.values()) == 412_518
    used = {key.removeprefix("module."): t for key, t in tensors.items() if "res_conv4_r" not in key and "res_conv5_r" not in key}
    assert network_file("brn").from_state_dict(used, {}).notes == ()
    x = torch.rand(1, 3, 12, 12)
    without = network_file("brn").from_state_dict(used, {"stages": 2}).module
    whole = load(weights_of("brn"), network="brn", args={"stages": 2})
    with torch.no_grad():
        assert torch.equal(without(x), whole.forward(x))


@pytest.mark.parametrize("network", ["prenet_r", "can_derain"])
def test_its_layers_are_listed(network: str, load: Callable[..., Model]) -> None:
    model = load(weights_of(network))
    layers = {layer.tap.module: layer for layer in list_layers(model, (1, 3, 24, 20))}
    stages = {"drn": 7, "brn": 8, "can_derain": 1}.get(network, 6)
    last = "can.dec2" if network == "can_derain" else "conv.0"
    assert layers[last].shape == (3, 24, 20)
    assert layers[last].calls == stages
    (deepest,) = resolve(model, ["*:last_conv_input"], (1, 3, 24, 20))
    assert (deepest.tap.module, deepest.tap.side, deepest.tap.call) == (last, "input", stages - 1 if stages > 1 else None)


@pytest.mark.parametrize("network", ["drn", "prenet_r", "brn"])
def test_the_estimate_of_every_stage_can_be_read(network: str, load: Callable[..., Model]) -> None:
    """`stage3` is what the network with three stages gives."""
    model, shorter = load(weights_of(network)), load(weights_of(network), network=network, args={"stages": 3})
    x = torch.rand(1, 3, 12, 16, generator=torch.Generator().manual_seed(0))
    taps = [layer.tap for layer in resolve(model, ["stage3"], (1, 3, 12, 16))]
    with torch.no_grad(), capture(model, taps) as captured:
        model.forward(x)
        assert torch.equal(captured[taps[0].name], shorter.forward(x))
    with pytest.raises(NetworkError, match="stages must be an integer ≥ 1, got 0"):
        load(weights_of(network), network=network, args={"stages": 0})


def tensors_of(network: str, fixtures: Path) -> dict[str, Tensor]:
    read_ = read_state_dict(fixtures / "models" / weights_of(network)).tensors
    return {key.removeprefix("module."): tensor for key, tensor in read_.items()}


def conv(t: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.conv2d(x, t[f"{name}.weight"], t[f"{name}.bias"], padding=1)


def memory(t: dict[str, Tensor], stream: str, z: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
    i, f, o = (torch.sigmoid(conv(t, f"conv_{name}{stream}.0", z)) for name in "ifo")
    c = f * c + i * torch.tanh(conv(t, f"conv_g{stream}.0", z))
    return o * torch.tanh(c), c


def block(t: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return torch.relu(x + torch.relu(conv(t, f"{name}.2", torch.relu(conv(t, f"{name}.0", x)))))


def test_prenet_is_the_formula_of_its_page(fixtures: Path, load: Callable[..., Model]) -> None:
    t = tensors_of("prenet", fixtures)
    y = x = torch.rand(1, 3, 10, 13, generator=torch.Generator().manual_seed(0))
    h = c = torch.zeros(1, 32, 10, 13)
    for _ in range(6):
        h, c = memory(t, "", torch.cat((torch.relu(conv(t, "conv0.0", torch.cat((y, x), 1))), h), 1), c)
        features = h
        for number in range(1, 6):
            features = block(t, f"res_conv{number}", features)
        x = y + conv(t, "conv.0", features)
    with torch.no_grad():
        torch.testing.assert_close(load(weights_of("prenet")).forward(y), x, rtol=1e-4, atol=1e-5)
