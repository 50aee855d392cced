"""PSRT: its attention against loops, its passes, its switches, what is kept beside weights, and that it can be trained."""

from __future__ import annotations

import math
from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models import ModelSpec, load_model
from xlli_ray.models.blocks.clip_window_attention import ClipBody, ClipWindowAttention
from xlli_ray.models.blocks.motion import Motion, estimated, flow_of
from xlli_ray.models.model import ClipModel
from xlli_ray.models.networks import network_file
from xlli_ray.registry import ALIGNMENTS, FLOW_ESTIMATORS

SIZES: dict[str, Any] = {"width": 6, "heads": 2, "depths": [2], "window": [4, 6], "tail": 4, "flow": "none"}


def created(network: str = "psrt", **args: Any) -> Any:
    return network_file(network).create({**SIZES, **args}, generator=torch.Generator().manual_seed(0)).eval()


def reloaded(net: Any, network: str = "psrt", **args: Any) -> ClipModel:
    model = load_model(ModelSpec("net", network=network, args=args), net.state_dict())
    assert isinstance(model, ClipModel)
    return model


def clip(*shape: int, seed: int = 0) -> Tensor:
    return torch.from_numpy(np.random.default_rng(seed).uniform(size=shape).astype(np.float32))


def pan(x: float, y: float, frames: int, height: int, width: int) -> Motion:
    """Content that moves by (x, y) from each frame to the next."""
    to_next = torch.tensor([x, y]).view(1, 1, 2, 1, 1).expand(1, frames - 1, 2, height, width)
    return Motion(to_next, -to_next)


def attended(layer: ClipWindowAttention, x: np.ndarray) -> np.ndarray:
    """Pixel by pixel: (T, H, W, width). Windows of a shifted layer are cut in the frames as they are."""
    frames, height, wide, width = x.shape
    (t_, m, n), (down, right), d = layer.window, layer.shift, width // layer.heads
    w = {name: tensor.detach().double().numpy() for name, tensor in layer.state_dict().items()}
    qkv, out = x @ w["qkv.weight"].T + w["qkv.bias"], np.zeros_like(x)
    for t0, y0, x0 in product(range(frames), range(height), range(wide)):
        inside = [
            (t1, y1, x1) for t1, y1, x1 in product(range(frames), range(height), range(wide))
            if (y1 - down) // m == (y0 - down) // m and (x1 - right) // n == (x0 - right) // n
        ]  # fmt: skip
        rows = [((t0 - t1 + t_ - 1) * (2 * m - 1) + y0 - y1 + m - 1) * (2 * n - 1) + x0 - x1 + n - 1 for t1, y1, x1 in inside]
        joined = []
        for head in range(layer.heads):
            part = slice(head * d, (head + 1) * d)
            keys = np.array([qkv[place][width : 2 * width][part] for place in inside])
            values = np.array([qkv[place][2 * width :][part] for place in inside])
            logits = keys @ qkv[t0, y0, x0][:width][part] / math.sqrt(d) + w["position"][rows, head]
            weights = np.exp(logits - logits.max())
            joined.append(weights / weights.sum() @ values)
        out[t0, y0, x0] = w["project.weight"] @ np.concatenate(joined) + w["project.bias"]
    return out


@pytest.mark.parametrize("shifted", [False, True])
def test_attention_over_frames_is_what_loops_over_pixels_give(shifted: bool) -> None:
    torch.manual_seed(0)
    layer = ClipWindowAttention(4, 2, (3, 2, 4), shifted)
    torch.nn.init.normal_(layer.position)
    x = torch.randn(2, 3, 4, 8, 4)
    with torch.no_grad():
        y = layer(x)
    for one, given in zip(y, x, strict=True):
        np.testing.assert_allclose(one.numpy(), attended(layer, given.double().numpy()), rtol=1e-4, atol=1e-5)


def test_a_body_may_be_given_any_size_and_equals_itself_on_whole_windows() -> None:
    torch.manual_seed(0)
    body = ClipBody(4, (2, 1), 2, (3, 4, 4)).eval()
    with torch.no_grad():
        assert body(torch.randn(1, 3, 4, 7, 10)).shape == (1, 4, 7, 10)
        x = torch.randn(2, 3, 4, 8, 8)
        assert torch.allclose(body(x)[1:], body(x[1:]), atol=1e-6)


@torch.no_grad()
def test_the_recurrent_network_is_its_four_passes_written_out() -> None:
    net = created(alignment="nearest", depths=[1, 1])
    x, motion = clip(1, 4, 3, 8, 12), pan(1.0, 2.0, 4, 8, 12)
    features = [net.conv_first(x[:, t]) for t in range(4)]
    for name, order in zip(net.PASSES, ([3, 2, 1, 0], [0, 1, 2, 3]) * 2):
        done: dict[int, Tensor] = {}
        step = -1 if name.startswith("forward") else 1  # where the frame before lies

        for number, t in enumerate(order):
            three = [features[t], features[t], features[t] if not number else torch.zeros_like(features[t])]
            for place, other in ((0, t + step), (2, t + 2 * step))[:number]:
                three[place] = net.alignments[name](done[other], features[t], motion.between(t, other))
            done[t] = net.passes[name](torch.stack(three, 1))
        features = [done[t] for t in range(4)]
    expected = torch.stack([net.upsampler(features[t], x[:, t]) for t in range(4)], 1)
    assert torch.allclose(net(x, motion), expected, atol=1e-5)
    assert expected.shape == (1, 4, 3, 16, 24)


@torch.no_grad()
@pytest.mark.parametrize("frames", [1, 2, 3, 7])
def test_the_sliding_network_gives_the_centre_of_any_number_of_frames(frames: int) -> None:
    net = created("psrt_sliding", frames=3, alignment="none", scale=4)
    x = clip(2, frames, 3, 9, 7)
    y = net(x)
    assert y.shape == (2, 3, 36, 28)
    middle = frames // 2
    three = x[:, [max(middle - 1, 0), middle, min(middle + 1, frames - 1)]]
    assert torch.equal(y, net(three))


@torch.no_grad()
@pytest.mark.parametrize("network", ["psrt", "psrt_sliding"])
def test_a_whole_pixel_pan_that_is_aligned_looks_like_no_motion(network: str) -> None:
    """Inside, where nothing comes from beyond the border, every operator without weights gives the result of a still clip."""
    whole = clip(1, 3, 48, 96)
    moving = torch.stack([whole[..., 8 * t : 8 * t + 72] for t in range(3)], 1)
    motion = pan(-8.0, 0.0, 3, 48, 72)
    inside = (..., slice(40, -40), slice(60, -60))
    sizes: dict[str, Any] = {"depths": [1], **({"frames": 3} if network == "psrt_sliding" else {})}
    still = created(network, alignment="none", support="current", **sizes)(moving)
    moved = (created(network, alignment="none", **sizes)(moving) - still)[inside].abs().max()
    for choice in ("nearest", "bilinear", "bicubic", "image", "patch"):
        far = (created(network, alignment=choice, **sizes)(moving, motion) - still)[inside].abs().max()
        assert float(far) < 0.05 * float(moved), choice


def test_weights_bring_their_switches_and_a_recipe_changes_them() -> None:
    net = created(alignment={"patch": {"size": 4}}, aligned=["forward_2"], support="current")
    kept = reloaded(net)
    assert (kept.scale, kept.gives, kept.parts) == (2, "frames", {"alignment patch": 1})
    assert kept.module.alignments["forward_2"].size == 4
    assert (kept.module.aligned, kept.module.support) == (("forward_2",), "current")
    other = reloaded(net, alignment="none", support="neighbours", aligned=["backward_1"])
    assert other.parts == {"alignment none": 1}
    assert other.module.support == "neighbours"
    x = clip(1, 3, 3, 8, 8)
    with torch.no_grad():
        assert torch.equal(kept.forward(x[:, :1]), net(x[:, :1]))
        assert not torch.equal(other.forward(x), reloaded(net, alignment="none").forward(x))


def test_which_passes_align_changes_the_result_and_where_a_sliding_one_aligns() -> None:
    x, motion = clip(1, 3, 3, 8, 12), pan(2.0, 1.0, 3, 8, 12)
    with torch.no_grad():
        outputs = [created(aligned=passes)(x, motion) for passes in ([], ["backward_1"], ["forward_1", "forward_2"])]
        assert torch.equal(outputs[0], created(alignment="none")(x))
        outputs += [created("psrt_sliding", frames=3, depths=[1, 1], align_before=group)(x, motion) for group in (0, 1)]
    assert len({float(y.double().sum()) for y in outputs}) == 5


@pytest.mark.parametrize("network", ["psrt", "psrt_sliding"])
@pytest.mark.parametrize("name", list(ALIGNMENTS))
def test_it_trains_with_every_operator_and_comes_back_from_its_weights(network: str, name: str) -> None:
    net = created(network, alignment=name, depths=[1]).train()
    x, motion = clip(2, 3, 3, 8, 12), pan(1.25, 0.5, 3, 8, 12)
    motion = Motion(motion.next.expand(2, -1, -1, -1, -1), motion.previous.expand(2, -1, -1, -1, -1))
    net(x, motion).square().mean().backward()
    without = [key for key, parameter in net.named_parameters() if parameter.requires_grad and parameter.grad is None]
    assert without == []
    again = reloaded(net, network).module
    with torch.no_grad():
        assert torch.equal(again(x, motion), net.eval()(x, motion))


def test_twins_that_differ_in_alignment_or_support_start_equal() -> None:
    plain = created(alignment="none").state_dict()
    for args in ({"alignment": "patch"}, {"alignment": "fgdc"}, {"support": "current"}, {"alignment": "bilinear", "flow": "spynet"}):
        other = created(**{"alignment": "none", **args}).state_dict()
        assert all(torch.equal(other[name], tensor) for name, tensor in plain.items() if name != "settings")


def test_a_frozen_flow_network_comes_from_a_checkpoint_of_another_network() -> None:
    """`init` of a training: SPyNet out of any network that has one, the rest keeps its own first weights."""
    donor = network_file("basicvsr").create({"width": 4, "blocks": 1}, generator=torch.Generator().manual_seed(1))
    torch.nn.init.normal_(next(donor.spynet.parameters()))
    net = created(flow="spynet", alignment="patch")
    start = net.start_from(donor.state_dict())
    assert start.keys() == net.state_dict().keys()
    assert all(torch.equal(tensor, donor.state_dict()[name]) for name, tensor in start.items() if name.startswith("spynet."))
    assert torch.equal(start["conv_first.weight"], net.conv_first.weight)
    assert net.start_from(start).keys() == start.keys()
    net.load_state_dict(start)
    assert not any(parameter.requires_grad for parameter in net.spynet.parameters())
    assert all(parameter.requires_grad for parameter in created(flow="spynet", train_flow=True).spynet.parameters())
    net.train()(clip(1, 2, 3, 8, 8)).mean().backward()
    assert net.conv_first.weight.grad is not None


def test_flow_of_an_estimator_without_weights_moves_with_the_content() -> None:
    from skimage import data

    whole = torch.from_numpy(data.astronaut()).permute(2, 0, 1)[None] / 255
    frames = torch.stack([whole[..., 40:140, 40 + 3 * t : 160 + 3 * t] for t in range(3)], 1)
    motion = estimated(flow_of("dis", network="psrt"), frames)
    assert motion is not None
    for flow, expected in ((motion.next, -3), (motion.previous, 3)):
        assert flow.shape == (1, 2, 2, 100, 120)
        assert flow[..., 0, 20:-20, 20:-20].median() == pytest.approx(expected, abs=0.2)
        assert not flow.requires_grad
    net = created(flow="dis", alignment="patch").train()
    net(frames[..., :32, :32]).mean().backward()
    assert net.conv_first.weight.grad is not None
    assert reloaded(net).parts == {"alignment patch": 1, "flow estimator dis": 1}


@pytest.mark.parametrize(
    ("network", "args", "said"),
    [
        ("psrt", {"width": 7}, "width must be a multiple of heads, got width 7 and heads 2"),
        ("psrt", {"scale": 3}, "scale is 3; expected one of 1, 2, 4"),
        ("psrt", {"window": [8]}, r"window is \[8\]; expected a list of 2 integers, 1 to 32 each"),
        ("psrt", {"depths": []}, r"depths is \[\]; expected a list of 1 to 64 integers, 1 to 64 each"),
        ("psrt", {"depths": [True]}, r"depths is \[True\]"),
        ("psrt", {"aligned": ["backward"]}, r"aligned is \['backward'\]; expected a list of backward_1"),
        ("psrt", {"frames": 3}, "takes no argument 'frames'"),
        ("psrt_sliding", {"align_before": 1}, "align_before is 1; expected a group, 0 to 0"),
        ("psrt_sliding", {"frames": 9, "window": [32, 32]}, "a window of 9 frames has 9216 pixels; expected at most 4096"),
        ("psrt", {"flow": "disk"}, "flow is 'disk'; expected spynet, known, none or an estimator"),
        ("psrt", {"train_flow": 1}, "train_flow is 1"),
    ],
)
def test_sizes_and_switches_that_cannot_be_are_refused(network: str, args: Any, said: str) -> None:
    with pytest.raises(NetworkError, match=said):
        created(network, **args)


def test_an_estimator_that_needs_weights_or_no_frames_is_no_source_of_flow(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("spynet", "known"):
        monkeypatch.setitem(FLOW_ESTIMATORS, "other", FLOW_ESTIMATORS[name])
        with pytest.raises(NetworkError, match="is no estimator that looks at two frames and has no weights"):
            created("psrt", flow="other")


@pytest.mark.parametrize(
    "stored", [b"[]", b"{", b'{"width": 6}', b'{"depths": [64, 64, 64, 64]}', b'{"width": -1}', b"[" * 4000, b"x" * 5000]
)
def test_settings_in_a_file_are_read_with_care(stored: bytes) -> None:
    tensors = {**created().state_dict(), "settings": torch.tensor(list(stored), dtype=torch.uint8)}
    with pytest.raises((WeightsError, NetworkError), match="psrt"):
        load_model(ModelSpec("net", network="psrt"), tensors)


def test_weights_of_the_other_network_of_the_family_are_refused() -> None:
    with pytest.raises(WeightsError, match="not a checkpoint of network 'psrt_sliding'"):
        reloaded(created(), "psrt_sliding")
