"""BasicVSR, Mobile RRN and VESPCN with their public weights: the numbers that were measured with other code, switches, notes.

The numbers are those of the fixtures' `networks.md`, section 9: Vid4, luma of the rounded output.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from scoring import luma, psnr, read
from torch import Tensor
from torch.nn import functional as F

from xlli_ray.corpus.resize import downscale
from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models import Model, ModelSpec, load_model, read_state_dict
from xlli_ray.models.blocks.motion import Motion
from xlli_ray.models.blocks.spynet import SPyNet
from xlli_ray.models.blocks.warp import warp
from xlli_ray.models.model import ClipModel

BASICVSR = "basicvsr/basicvsr_vimeo90k_bi_x4.pth"
VESPCN = "vespcn/vespcn_x4.pth"
RRN = {  # weights → clip → frames 1 to 8
    16: {"calendar": (21.314, 21.293, 21.299, 21.356, 21.433, 21.432, 21.412, 21.452),
         "city": (25.557, 25.739, 26.052, 26.332, 26.149, 25.962, 26.265, 26.376)},
    32: {"calendar": (21.459, 21.521, 21.507, 21.555, 21.611, 21.623, 21.617, 21.660),
         "city": (25.678, 25.921, 26.242, 26.530, 26.348, 26.161, 26.489, 26.603)},
    64: {"calendar": (21.581, 21.629, 21.655, 21.725, 21.795, 21.801, 21.777, 21.820),
         "city": (25.776, 26.059, 26.415, 26.710, 26.570, 26.321, 26.670, 26.790)},
}  # fmt: skip
ALONE = {16: (21.388, 26.170), 32: (21.544, 26.314), 64: (21.648, 26.415)}  # frame 8, with its own copy before and no memory
ORDERS: dict[str, dict[str, Any]] = {
    "pn": {}, "nn": {"references": ["next", "next"]}, "pn, no warp": {"alignment": "none"},
    "cc, no warp": {"alignment": "none", "support": "current"},
}  # fmt: skip
FUSED = {  # clip, centre frame → order of frames → PSNR
    ("calendar", 2): (21.211, 21.077, 21.306, 21.129), ("calendar", 4): (21.232, 21.148, 21.295, 21.192),
    ("calendar", 6): (21.311, 21.212, 21.399, 21.261), ("city", 2): (25.625, 25.509, 25.731, 25.531),
    ("city", 4): (26.150, 26.012, 26.240, 26.023), ("city", 6): (25.808, 25.661, 25.887, 25.673),
}  # fmt: skip


def vid4(fixtures: Path, clip: str, frames: range) -> tuple[Tensor, list[np.ndarray]]:
    """Frames as (1, T, 3, h, w) in 0..1, made a quarter as large, and the originals on 0..255."""
    targets = [read(fixtures / f"video/Vid4/{clip}/hr_{i:02d}.png") for i in frames]
    small = np.stack([downscale((target / 255).astype(np.float32), 4) for target in targets])
    return torch.from_numpy(small.astype(np.float32) / 255).permute(0, 3, 1, 2)[None], targets


def rounded(y: Tensor) -> np.ndarray:
    """(…, 3, H, W) in 0..1 to (…, H, W, 3), whole numbers of 0..255."""
    return np.moveaxis(np.floor(y.double().clamp(0, 1).numpy() * 255 + 0.5), -3, -1)


def scored(output: np.ndarray, target: np.ndarray, border: int) -> float:
    inside = (slice(border, -border), slice(border, -border))
    return psnr(luma(output)[inside], luma(target)[inside])


def still(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(size=shape).astype(np.float32))


# -- Mobile RRN -------------------------------------------------------------------------------------------------


PLACES = [(width, clip) for width in RRN for clip in ("calendar", "city")]


@pytest.mark.parametrize(("width", "clip"), [PLACES[0], *(pytest.param(*place, marks=pytest.mark.slow) for place in PLACES[1:])])
def test_mobile_rrn_has_the_psnr_that_was_measured_of_it(width: int, clip: str, fixtures: Path, load: Callable[..., Model]) -> None:
    model = load(f"mobile_rrn/mobile_rrn_{width}.safetensors", network="mobile_rrn")
    x, targets = vid4(fixtures, clip, range(1, 9))
    with torch.no_grad():
        output = rounded(model.forward(x)[0])
        alone = rounded(model.forward(x[:, 7:])[0, 0])
    assert [scored(*pair, 8) for pair in zip(output, targets)] == pytest.approx(RRN[width][clip], abs=0.002)
    assert scored(alone, targets[7], 8) == pytest.approx(ALONE[width][clip == "city"], abs=0.002)


def test_mobile_rrn_is_read_from_tensorflow_names_and_from_its_own(load: Callable[..., Model]) -> None:
    model = load("mobile_rrn/mobile_rrn_16.safetensors", network="mobile_rrn")
    assert (model.range, model.scale, model.channels) == ((0, 255), 4, 3)
    assert sum(p.numel() for p in model.module.parameters()) == 35_664
    assert load("mobile_rrn/mobile_rrn_16.safetensors").network == "mobile_rrn"  # recognised
    again = load_model(ModelSpec("own", network="mobile_rrn", range=(0, 255)), model.module.state_dict())
    x = still(1, 3, 3, 12, 15)
    assert torch.allclose(again.forward(x), model.forward(x), atol=1e-6)


@torch.no_grad()
def test_mobile_rrn_carries_a_state_that_an_alignment_may_move(load: Callable[..., Model]) -> None:
    """A pan by whole pixels: aligned by its flow, the state of the frame before is where it is needed."""
    file = "mobile_rrn/mobile_rrn_16.safetensors"
    whole = still(1, 3, 48, 80) * 255
    clip = torch.stack([whole[..., 4 * t : 4 * t + 72] for t in range(3)], 1)  # content moves left by 4 pixels a frame
    left = torch.tensor([-4.0, 0]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 48, 72)
    motion = Motion(next=left, previous=-left)
    plain, aligned = (load(file, network="mobile_rrn", args={"alignment": name}).module for name in ("none", "nearest"))
    inside = (0, -1, slice(None), slice(80, -80), slice(128, -128))
    same = plain(clip[:, 2:].expand_as(clip))[inside]
    assert float((aligned(clip, motion)[inside] - same).abs().max()) < 0.05
    assert float((plain(clip)[inside] - same).abs().max()) > 1
    with pytest.raises(NetworkError, match="its alignment needs flow, and `flow` is none"):
        aligned(clip)


# -- VESPCN -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("place", [("calendar", 2), *(pytest.param(place, marks=pytest.mark.slow) for place in list(FUSED)[1:])])
def test_vespcn_has_the_psnr_that_was_measured_of_it(place: tuple[str, int], fixtures: Path, load: Callable[..., Model]) -> None:
    """Without its warp it is better than with it: the control that an analysis must find."""
    clip, k = place
    x, targets = vid4(fixtures, clip, range(k - 1, k + 2))
    for args, expected in zip(ORDERS.values(), FUSED[place]):
        model = load(VESPCN, network="vespcn", args=args)
        with torch.no_grad():
            output = rounded(model.forward(x)[0])
        assert scored(output, targets[1], 9) == pytest.approx(expected, abs=0.002)


@torch.no_grad()
def test_vespcn_takes_the_middle_of_any_clip_and_fills_its_margin_with_the_frame(load: Callable[..., Model]) -> None:
    model = load(VESPCN)  # recognised
    assert isinstance(model, ClipModel)
    assert (model.network, model.gives, model.frames, model.minimum) == ("vespcn", "centre", None, 6)
    assert "its outermost 9 pixels are the current frame, enlarged bilinearly" in model.notes
    x = still(1, 5, 3, 14, 18)
    y = model.forward(x)
    assert torch.equal(y, model.forward(x[:, 1:4]))
    assert torch.equal(model.forward(x[:, :1]), model.forward(x[:, :1].expand(1, 3, 3, 14, 18)))
    margin = F.interpolate(x[:, 2], scale_factor=4, mode="bilinear", align_corners=False)
    assert torch.equal(y[..., :9, :], margin[..., :9, :])
    assert torch.equal(y[..., -9:], margin[..., -9:])
    assert not torch.allclose(y[..., 9:-9, 9:-9], margin[..., 9:-9, 9:-9], atol=1e-3)
    assert model.forward(still(1, 3, 3, 6, 6)).shape == (1, 3, 24, 24)


@torch.no_grad()
def test_vespcn_with_an_operator_of_the_package_uses_its_own_flow(load: Callable[..., Model]) -> None:
    x = still(1, 3, 3, 16, 20)
    own, plain, none = (load(VESPCN, network="vespcn", args=args) for args in ({}, {"alignment": "bilinear"}, {"alignment": "none"}))
    assert len({float(model.forward(x).sum()) for model in (own, plain, none)}) == 3
    assert own.parts == {}
    assert plain.parts == {"alignment bilinear": 1}


# -- BasicVSR ---------------------------------------------------------------------------------------------------


def by_hand(tensors: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """BasicVSR as a plain loop over its state dict."""
    spynet = SPyNet()
    spynet.load_state_dict({name.removeprefix("spynet."): tensor for name, tensor in tensors.items() if name.startswith("spynet.")})

    def conv(y: Tensor, name: str) -> Tensor:
        weight = tensors[f"{name}.weight"]
        return F.conv2d(y, weight, tensors[f"{name}.bias"], padding=weight.shape[-1] // 2)

    def trunk(y: Tensor, name: str) -> Tensor:
        y = F.leaky_relu(conv(y, f"{name}.main.0"), 0.1)
        for i in range(30):
            y = y + conv(F.relu(conv(y, f"{name}.main.2.{i}.conv1")), f"{name}.main.2.{i}.conv2")
        return y

    frames = x[0][:, None]
    behind, state = {}, torch.zeros(1, 64, *x.shape[-2:])
    for t in reversed(range(len(frames))):
        if t + 1 < len(frames):
            state = warp(state, spynet(frames[t], frames[t + 1]))
        state = behind[t] = trunk(torch.cat([frames[t], state], 1), "backward_trunk")
    out, state = [], torch.zeros_like(state)
    for t, frame in enumerate(frames):
        if t:
            state = warp(state, spynet(frame, frames[t - 1]))
        state = trunk(torch.cat([frame, state], 1), "forward_trunk")
        y = F.leaky_relu(conv(torch.cat([behind[t], state], 1), "fusion"), 0.1)
        for name in ("upconv1", "upconv2"):
            y = F.leaky_relu(F.pixel_shuffle(conv(y, name), 2), 0.1)
        y = conv(F.leaky_relu(conv(y, "conv_hr"), 0.1), "conv_last")
        out.append(y + F.interpolate(frame, scale_factor=4, mode="bilinear", align_corners=False))
    return torch.stack(out, 1)


@torch.no_grad()
def test_basicvsr_is_what_a_plain_loop_over_its_weights_gives(fixtures: Path, load: Callable[..., Model]) -> None:
    model = load(BASICVSR)  # recognised
    assert (model.network, model.scale, model.parts) == ("basicvsr", 4, {"alignment bilinear": 1})
    x, _ = vid4(fixtures, "city", range(1, 4))
    x = x[..., 60:84, 70:106]
    expected = by_hand(read_state_dict(fixtures / "models" / BASICVSR).tensors, x)
    assert torch.allclose(model.forward(x), expected, atol=2e-5)


@pytest.fixture(scope="module")
def basicvsr(fixtures: Path) -> Callable[..., Any]:
    """`basicvsr(alignment="none")`: the module with its public weights, which are read once."""
    tensors = read_state_dict(fixtures / "models" / BASICVSR).tensors
    return lambda **args: load_model(ModelSpec("basicvsr", network="basicvsr", args=args), tensors).module


@torch.no_grad()
def test_the_same_weights_run_with_another_operator_and_as_single_frame_control(basicvsr: Callable[..., Any]) -> None:
    x = still(1, 3, 3, 12, 16)

    def run(clip: Tensor = x, motion: Motion | None = None, **args: Any) -> Tensor:
        return basicvsr(**args)(clip, motion)

    outputs = [run(), *(run(alignment=choice) for choice in ("none", "nearest", "patch", "image", {"patch": {"size": 4}}))]
    assert len({float(y.double().sum()) for y in outputs}) == len(outputs)
    # of each output frame, a clip that repeats it; whatever the neighbours are
    control = run(support="current")
    zero = Motion(torch.zeros(1, 2, 2, 12, 16), torch.zeros(1, 2, 2, 12, 16))
    assert torch.allclose(control[:, 1], run(x[:, 1:2].expand_as(x), zero)[:, 1], atol=1e-6)
    assert torch.allclose(control[:, 2], run(torch.cat([x[:, :2].flip(1), x[:, 2:]], 1), support="current")[:, 2], atol=1e-6)
    # given flow is used and nothing estimated; without motion, an operator that moves by it changes nothing
    assert torch.allclose(run(motion=zero), outputs[1], atol=1e-4)
    assert torch.equal(run(motion=zero, alignment="patch"), outputs[1])


@torch.no_grad()
def test_alignment_of_images_is_a_run_over_warped_frames(basicvsr: Callable[..., Any]) -> None:
    """A pan by whole pixels with its flow: warped to one frame, all frames are that frame, so the result is the single-frame control's."""
    whole = still(1, 3, 24, 40)
    clip = torch.stack([whole[..., 2 * t : 2 * t + 32] for t in range(3)], 1)
    left = torch.tensor([-2.0, 0]).view(1, 1, 2, 1, 1).expand(1, 2, 2, 24, 32)
    image = basicvsr(alignment="image")(clip, Motion(next=left, previous=-left))
    control, plain = (basicvsr(alignment="none", support=name)(clip) for name in ("current", "neighbours"))
    middle = (0, 1, slice(None), slice(40, 56), slice(56, 72))
    assert float((image[middle] - control[middle]).abs().max()) < 0.2 * float((plain[middle] - control[middle]).abs().max())


@pytest.mark.slow
@torch.no_grad()
def test_without_alignment_a_pan_costs_a_cnn_half_a_decibel_and_patches_cost_little(basicvsr: Callable[..., Any]) -> None:
    """The CNN half of the claim, in small; with intervals over photographs in `tests/benchmarks/known_pans.py`."""
    from skimage import data

    photo = np.asarray(data.coffee())
    for step in (5, 33):  # 1.25 and 8.25 pixels of the input a frame
        windows = [photo[100:292, 200 + step * t : 392 + step * t].astype(np.float64) for t in range(-2, 3)]
        small = np.stack([downscale((window / 255).astype(np.float32), 4) for window in windows])
        x = torch.from_numpy(small.astype(np.float32) / 255).permute(0, 3, 1, 2)[None]
        found = {name: scored(rounded(basicvsr(alignment=name)(x)[0, 2]), windows[2], 32)
                 for name in ("bilinear", "patch", "none")}  # fmt: skip
        assert found["none"] < found["bilinear"] - 0.5
        assert found["patch"] > found["bilinear"] - 0.4


@pytest.mark.parametrize(
    ("network", "file", "args", "said"),
    [
        ("basicvsr", BASICVSR, {"alignment": "patches"}, "no alignment 'patches'. Did you mean 'patch'"),
        ("basicvsr", BASICVSR, {"support": "one"}, "support is 'one'; expected neighbours or current"),
        ("basicvsr", BASICVSR, {"flow": "flowing"}, "flow is 'flowing'; expected spynet, known, none or an estimator"),
        ("basicvsr", BASICVSR, {"flow": 3}, "flow is 3"),
        ("basicvsr", BASICVSR, {"width": 3}, "takes no argument 'width'; it takes alignment, flow, support"),
        ("vespcn", VESPCN, {"references": ["next"]}, r"references are .'next'.; expected two of previous, current, next"),
        ("vespcn", VESPCN, {"support": 1}, "support is 1"),
        ("vespcn", VESPCN, {"alignment": "on"}, "there is no alignment 'on'"),
    ],
)
def test_arguments_that_cannot_be_are_refused(network: str, file: str, args: Any, said: str, load: Callable[..., Model]) -> None:
    with pytest.raises(NetworkError, match=said):
        load(file, network=network, args=args)


def test_a_trained_operator_needs_weights_that_were_trained_with_it(load: Callable[..., Model]) -> None:
    for name in ("fgdc", "nearest4"):
        with pytest.raises(WeightsError, match="were not trained with this alignment"):
            load(BASICVSR, network="basicvsr", args={"alignment": name})
    assert "SPyNet is not used" in load(BASICVSR, network="basicvsr", args={"alignment": "none", "flow": "none"}).notes
