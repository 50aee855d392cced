"""Layers: patterns name what they say, captures are what the layer gave and nothing that happened later."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy_networks import KeepsMask, LooksAtValues, Upscaler, as_model, classifier

from xlli_ray.errors import ForwardError, LayerPatternError, NetworkError
from xlli_ray.models import LayerInfo, Model, Tap, capture, list_layers, resolve
from xlli_ray.models.layers import LAST_CONV


def names(found: list[LayerInfo]) -> list[str]:
    return [info.tap.name for info in found]


def hooks(model: Model) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.module.modules())


@pytest.fixture
def toy() -> Model:
    return as_model(Upscaler(), scale=2, aliases={"Deep": "tail:input", "Head": "head"})


# --- patterns -------------------------------------------------------------------------------------------------------


def test_the_recipes_patterns_resolve_on_imdn(load: Callable[..., Model]) -> None:
    model = load("imdn/imdn_x4.pth", network="imdn")
    found = resolve(model, ["model.1.sub.*", "model.2:input"], (1, 3, 32, 32))
    assert names(found) == [*(f"model.1.sub.{i}.out" for i in range(9)), "model.2.in"]
    assert {info.shape for info in found} == {(64, 32, 32)}
    assert {info.stride for info in found} == {(1.0, 1.0)}
    assert found[8].parameters == 64 * 64 * 9 + 64
    assert found[8].kind == "Conv2d"


@pytest.mark.parametrize(
    ("file", "spec", "tap", "shape", "stride"),
    [
        ("imdn/imdn_x4.pth", {"network": "imdn"}, "model.2.in", (64, 33, 48), 1.0),
        ("rfdn/rfdn_x4.pth", {"network": "rfdn"}, "upsampler.0.in", (50, 33, 48), 1.0),
        ("rlfn/rlfn_x4.pth", {"network": "rlfn"}, "upsampler.0.in", (52, 33, 48), 1.0),
        # not the shift by the mean, which is a convolution in the checkpoint
        ("carn_m/carn_m.pth", {"network": "carn_m", "scale": 4}, "exit.in", (64, 132, 192), 0.25),
        ("craft/craft_x4.pth", {}, "upsample.0.in", (48, 64, 64), 1.0),  # it pads once more by itself
        ("rrdb/RealESRGAN_x4plus_anime_6B_fp16.pth", {}, "model.10.in", (64, 132, 192), 0.25),
        ("compact/realesr-animevideov3-x4.pth", {}, "body.34.in", (64, 33, 48), 1.0),
        ("dncnn/dncnn_gray_s25.pth", {}, "model.32.in", (64, 33, 48), 1.0),
        ("ffdnet/ffdnet_color.pth", {"network": "ffdnet"}, "model.22.in", (96, 17, 24), 2.0),
        (
            "fast_srgan/fast_srgan_x4.pt", {"network": "toy_networks:srgan"}, "head.0.in", (64, 132, 192), 0.25,
        ),
    ],
)  # fmt: skip
def test_the_last_convolution_is_found_in_every_network(
    file: str, spec: dict, tap: str, shape: tuple, stride: float, load: Callable[..., Model]
) -> None:
    model = load(file, **spec)
    (found,) = resolve(model, [LAST_CONV], (1, model.channels, 33, 48))
    assert (found.tap.name, found.shape, found.stride) == (tap, shape, (stride, stride))


def test_one_star_stays_within_a_component_and_two_cross(load: Callable[..., Model]) -> None:
    model = load("rfdn/rfdn_x4.pth", network="rfdn")
    example = torch.zeros(1, 3, 32, 32)
    assert names(resolve(model, ["B*"], example)) == ["B1.out", "B2.out", "B3.out", "B4.out"]
    assert names(resolve(model, ["*.esa.conv1"], example)) == [f"B{i}.esa.conv1.out" for i in (1, 2, 3, 4)]
    assert len(resolve(model, ["B1.**"], example)) == 16
    assert names(resolve(model, ["**.LR_conv", "**LR_conv:input"], example)) == ["LR_conv.out", "LR_conv.in"]
    with pytest.raises(LayerPatternError):
        resolve(model, ["*.conv1"], example)


def test_a_layer_named_twice_is_there_once(toy: Model) -> None:
    assert names(resolve(toy, ["tail:input", "Deep", "head:output", "Head", "tail:in*"[:4]], (1, 3, 8, 8))) == [
        "tail.in",
        "head.out",
        "tail.out",
    ]


def test_strides_are_exact_without_padding_too(load: Callable[..., Model]) -> None:
    model = load("rlfn/rlfn_x4.pth", network="rlfn")
    found = resolve(model, ["block_1.esa.conv2", "block_1.esa.conv3", "upsampler"], (1, 3, 32, 40))
    assert [info.stride for info in found] == [(2.0, 2.0), (6.0, 6.0), (0.25, 0.25)]
    assert found[0].shape == (16, 15, 19)  # 32 / 15 is not the stride


def test_aliases_of_the_network_may_carry_a_side_and_be_overruled(toy: Model) -> None:
    assert names(resolve(toy, ["Deep", "Deep:output", "Head"], (1, 3, 8, 8))) == ["tail.in", "tail.out", "head.out"]


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ("model.1.sbu.0", r"'model.1.sbu.0' matches no layer of model 'imdn_x4' \(imdn\). Closest: model.1.sub.0"),
        ("model.9", "Closest: model."),
        ("nothing.*.like.it", "matches no layer"),
        ("model.2:before", "is not NAME, NAME:input"),
        ("model.2#first", "is not NAME, NAME:input"),
        ("", "is not NAME, NAME:input"),
        ("model.2#3", "matches nothing that can be stored: model.2 runs 1 time, so its calls are #0 to #0"),
    ],
)
def test_a_pattern_without_a_match_says_what_is_near(pattern: str, words: str, load: Callable[..., Model]) -> None:
    with pytest.raises(LayerPatternError, match=words):
        resolve(load("imdn/imdn_x4.pth", network="imdn"), [pattern], (1, 3, 16, 16))


def test_a_layer_that_is_never_called_is_refused_alone_and_left_out_of_a_glob(load: Callable[..., Model]) -> None:
    model = load("carn_m/carn_m.pth", network="carn_m", scale=4)
    with pytest.raises(LayerPatternError, match=r"upsample\.up2 is not called in a forward pass"):
        resolve(model, ["upsample.up2"], (1, 3, 16, 16))
    assert names(resolve(model, ["upsample.*"], (1, 3, 16, 16))) == ["upsample.up4.out"]


def test_a_layer_called_three_times_needs_a_choice(load: Callable[..., Model]) -> None:
    model = load("carn_m/carn_m.pth", network="carn_m", scale=4)
    for pattern in ("b1.b1", "b1.*"):
        with pytest.raises(LayerPatternError, match=r"'b1.b1' .* runs 3 times in one forward pass.*b1.b1#0 .. b1.b1#2"):
            resolve(model, [pattern], (1, 3, 16, 16))
    found = resolve(model, ["b1.b1#0", "b1.b1#last:input", "b1.b1#2"], (1, 3, 16, 16))
    assert names(found) == ["b1.b1.out_call0", "b1.b1.in_last", "b1.b1.out_call2"]
    assert {info.calls for info in found} == {3}


def test_names_are_safe_for_stores() -> None:
    assert Tap("a.b", "input").name == "a.b.in"
    assert Tap("a/b").name == "a-x2f-b.out"
    assert Tap("a", call=3).name == "a.out_call3"


def test_features_that_are_no_image_have_no_stride() -> None:
    model = as_model(classifier(), output="none")
    found = resolve(model, ["0", "1", "2", "3"], (1, 3, 18, 10))
    assert [info.shape for info in found] == [(4, 16, 8), (4, 1, 1), (4,), (5,)]
    assert [info.stride for info in found] == [(1.0, 1.0), (18.0, 10.0), None, None]


class Windows(nn.Module):
    """Cuts the image into windows that stand in the batch axis, as window attention does."""

    def __init__(self) -> None:
        super().__init__()
        self.cut, self.norm, self.join = nn.PixelUnshuffle(4), nn.LayerNorm(3), nn.Conv2d(48, 3, 1)
        self.shuffle = nn.Upsample(scale_factor=4)

    def forward(self, x: Tensor) -> Tensor:
        y = self.cut(x)
        b, c, h, w = y.shape
        tokens = y.reshape(b, 16, 3, h * w).permute(0, 3, 1, 2).reshape(b * h * w, 16, 3)
        y = self.norm(tokens).reshape(b, h * w, c).transpose(1, 2).reshape(b, c, h, w)
        return self.shuffle(self.join(y))


def test_a_layer_whose_first_axis_is_not_the_batch_is_refused_even_when_there_is_one_window() -> None:
    model = as_model(Windows(), multiple=4)
    for size in (4, 16):
        with pytest.raises(LayerPatternError, match="norm has an output whose first axis is not the batch"):
            resolve(model, ["norm"], (1, 3, size, size))
        assert names(resolve(model, ["*"], (1, 3, size, size))) == ["cut.out", "join.out", "shuffle.out"]
    assert resolve(model, ["cut"], (1, 3, 16, 16))[0].stride == (4.0, 4.0)


def test_the_example_must_fit_the_network(toy: Model, load: Callable[..., Model]) -> None:
    with pytest.raises(NetworkError, match=r"the example is \(B, 3, H, W\), got \(1, 1, 8, 8\)"):
        resolve(toy, ["head"], (1, 1, 8, 8))
    with pytest.raises(NetworkError, match="needs at least 15 x 15 pixels"):
        resolve(load("rfdn/rfdn_x4.pth", network="rfdn"), ["B1"], (1, 3, 8, 20))


def test_resolving_changes_nothing(load: Callable[..., Model]) -> None:
    model = load("craft/craft_x4.pth")
    x = torch.rand(1, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        before = model.forward(x)
        resolve(model, [LAST_CONV, "layers.*"], (1, 3, 20, 16))
        assert torch.equal(model.forward(x), before)
    assert hooks(model) == 0


def test_all_layers_are_listed(load: Callable[..., Model]) -> None:
    found = list_layers(load("carn_m/carn_m.pth", network="carn_m", scale=4), (1, 3, 16, 16))
    assert {"entry.out", "b1.b1.out_last", "upsample.up4.body.0.out", "exit.out"} <= set(names(found))
    assert "upsample.up2.out" not in names(found)


# --- networks that cannot run on the meta device ----------------------------------------------------------------------


def test_a_network_that_looks_at_values_is_run_on_zeros() -> None:
    model = as_model(LooksAtValues())
    (found,) = resolve(model, [LAST_CONV], (1, 3, 12, 10))
    assert (found.tap.name, found.shape, found.stride) == ("conv.in", (3, 12, 10), (1.0, 1.0))
    assert hooks(model) == 0


def test_a_network_that_keeps_tensors_is_not_poisoned_by_the_dry_run() -> None:
    model = as_model(KeepsMask())
    resolve(model, ["conv"], (1, 3, 12, 10))
    assert model.module.mask is None
    model.forward(torch.rand(1, 3, 12, 10))
    resolve(model, ["conv"], (1, 3, 12, 10))
    assert model.module.mask.device.type == "cpu"
    assert torch.isfinite(model.forward(torch.rand(1, 3, 12, 10))).all()


def test_an_error_of_the_network_itself_comes_through() -> None:
    model = as_model(nn.Conv2d(5, 3, 3))
    with pytest.raises(ForwardError, match=r"model 'toy' .* raised RuntimeError for an input of 1×3×12×10: .*channels"):
        resolve(model, ["**"], (1, 3, 12, 10))


# --- the last convolution ---------------------------------------------------------------------------------------------


class Paths(nn.Module):
    """Three convolutions; `way` says how they meet."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.first, self.second, self.side = (nn.Conv2d(3, 3, 3, padding=1) for _ in range(3))
        self.mean = nn.Conv2d(3, 3, 1)
        with torch.no_grad():
            self.mean.weight.copy_(torch.eye(3)[..., None, None])

    def forward(self, x: Tensor) -> Any:
        y = self.first(x)
        if self.way == "side output":
            y = self.second(y)
            self.side(y.detach())  # executed last, but not on the path
            return y
        if self.way == "branches":
            return self.side(x) + self.second(y)  # second is executed last
        if self.way == "branches, other order":
            y = self.second(y)
            return y + self.side(x)
        if self.way == "mean":
            return self.mean(self.second(y))
        if self.way == "in place":
            y = self.second(y)
            y.relu_()
            y[:, :1] += x[:, :1]
            return y.add_(x)
        if self.way == "twice":
            return self.first(F.relu(y))
        if self.way == "no grad":
            with torch.no_grad():
                return self.second(y)
        if self.way == "function":
            return F.conv2d(self.second(y) * 2, self.side.weight, padding=1)
        return x * 2


@pytest.mark.parametrize(
    ("way", "tap"),
    [
        ("side output", "second.in"),
        ("branches", "second.in"),
        ("branches, other order", "side.in"),
        ("mean", "second.in"),
        ("in place", "second.in"),
        ("twice", "first.in_call1"),
        ("no grad", "second.in"),
    ],
)
def test_the_last_convolution_is_the_last_one_that_the_output_depends_on(way: str, tap: str) -> None:
    assert names(resolve(as_model(Paths(way)), [LAST_CONV], (1, 3, 8, 8))) == [tap]


def test_a_convolution_called_as_a_function_is_not_guessed_at() -> None:
    with pytest.raises(LayerPatternError, match="called as a function"):
        resolve(as_model(Paths("function")), [LAST_CONV], (1, 3, 8, 8))
    with pytest.raises(LayerPatternError, match="no convolution is on the path"):
        resolve(as_model(nn.Sequential(nn.ReLU())), [LAST_CONV], (1, 3, 8, 8))


def test_a_module_that_only_wraps_a_convolution_counts_as_one() -> None:
    class Own(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.kernel = nn.Parameter(torch.rand(3, 3, 3, 3))

        def forward(self, x: Tensor) -> Tensor:
            return F.conv2d(x, self.kernel, padding=1)

    model = as_model(nn.Sequential(nn.Conv2d(3, 3, 3, padding=1), nn.ReLU(), Own()))
    assert names(resolve(model, [LAST_CONV], (1, 3, 8, 8))) == ["2.in"]
    assert names(resolve(as_model(nn.Sequential(Own())), [LAST_CONV], (1, 3, 8, 8))) == ["0.in"]


# --- captures ---------------------------------------------------------------------------------------------------------


def captured(model: Model, patterns: list[str], x: Tensor) -> dict[str, Tensor]:
    taps = [info.tap for info in resolve(model, patterns, x[:1])]
    with torch.no_grad(), capture(model, taps) as features:
        model.forward(x)
    return features


def test_captures_are_those_of_the_layers_run_by_hand(toy: Model) -> None:
    x = torch.rand(2, 3, 8, 9)
    got = captured(toy, ["head:input", "head", "body.0", "body", "tail:input", "shuffle"], x)
    net = toy.module
    with torch.no_grad():
        head = net.head(x)
        body = net.body[0](head)
        expected = {"head.in": x, "head.out": head, "body.0.out": body, "body.out": body.relu(), "tail.in": body.relu()}
        expected["shuffle.out"] = net(x)
    assert got.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(got[name], value), name  # `body.0.out` is not what the in-place ReLU made of it
        assert got[name].is_contiguous()


def test_a_residual_is_not_the_image_that_is_added_to_it_in_place() -> None:
    """The trap of published code: the residual is handed out as a view, then the base is added in place."""

    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.last = nn.Conv2d(3, 3, 3, padding=1)
            self.view = nn.Flatten()

        def forward(self, x: Tensor) -> Tensor:
            y = self.last(x)
            self.view(y)
            y += 100
            return y

    model = as_model(Net())
    x = torch.rand(1, 3, 6, 6)
    got = captured(model, ["last", "view", "view:input"], x)
    with torch.no_grad():
        residual = model.module.last(x)
    for value in got.values():
        assert torch.equal(value.reshape(residual.shape), residual)


def test_each_call_of_a_shared_layer_is_told_apart(load: Callable[..., Model]) -> None:
    model = load("carn_m/carn_m.pth", network="carn_m", scale=2)
    x = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    got = captured(model, ["b1.b1#0", "b1.b1#1", "b1.b1#2", "b1.b1#last", "b1.c1:input"], x)
    assert torch.equal(got["b1.b1.out_call2"], got["b1.b1.out_last"])
    assert not torch.equal(got["b1.b1.out_call0"], got["b1.b1.out_call1"])
    assert torch.equal(got["b1.c1.in"][:, 64:], got["b1.b1.out_call0"])


def test_a_second_pass_replaces_the_first(toy: Model) -> None:
    x = torch.rand(2, 3, 8, 8)
    with torch.no_grad(), capture(toy, [Tap("head"), Tap("body.0", call=0)]) as features:
        toy.forward(x)
        first = dict(features)
        toy.forward(x * 2)
        second = dict(features)
    assert first.keys() == second.keys()
    assert not torch.equal(first["head.out"], second["head.out"])
    assert torch.equal(first["head.out"], toy.module.head(x))


def test_hooks_are_gone_afterwards_even_after_an_exception(toy: Model) -> None:
    with capture(toy, [Tap("head"), Tap("tail", "input")]):
        assert hooks(toy) == 4
    assert hooks(toy) == 0
    with pytest.raises(NetworkError), capture(toy, [Tap("head"), Tap("tail", "input")]):
        toy.forward(torch.rand(1, 5, 8, 8))
    assert hooks(toy) == 0

    class Breaks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv2d(3, 3, 1)

        def forward(self, x: Tensor) -> Tensor:
            self.conv(x)
            raise RuntimeError("halfway")

    broken = as_model(Breaks())
    with pytest.raises(ForwardError, match=r"raised RuntimeError .*halfway"), capture(broken, [Tap("conv")]):
        broken.forward(torch.rand(1, 3, 8, 8))
    with pytest.raises(ForwardError, match=r"raised RuntimeError .*halfway"):
        resolve(broken, ["conv"], (1, 3, 8, 8))
    assert hooks(broken) == 0
    with pytest.raises(LayerPatternError, match="matches no layer"), capture(toy, [Tap("head"), Tap("absent")]):
        pass
    assert hooks(toy) == 0


def test_a_tap_that_a_pass_misses_or_meets_twice_is_an_error(load: Callable[..., Model]) -> None:
    model = load("carn_m/carn_m.pth", network="carn_m", scale=2)
    x = torch.rand(1, 3, 8, 8)
    with pytest.raises(NetworkError, match=r"did not reach upsample\.up4\.out"), capture(model, [Tap("upsample.up4")]):
        model.forward(x)
    with pytest.raises(LayerPatternError, match=r"'b1\.b1' .* runs at least 2 times"), capture(model, [Tap("b1.b1")]):
        model.forward(x)


def test_gradients_can_be_taken_through_a_capture(toy: Model) -> None:
    x = torch.rand(1, 3, 8, 8, requires_grad=True)
    with capture(toy, [Tap("body")], detach=False) as features:
        toy.forward(x)
    (gradient,) = torch.autograd.grad(features["body.out"].sum(), x)
    assert gradient.abs().sum() > 0
    with capture(toy, [Tap("body")]) as features:
        toy.forward(x)
    assert not features["body.out"].requires_grad


def test_keyword_arguments_are_seen_at_the_input() -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Identity()

        def forward(self, x: Tensor) -> Tensor:
            return self.up(input=x)

    x = torch.rand(1, 3, 4, 4)
    assert torch.equal(captured(as_model(Net()), ["up:input"], x)["up.in"], x)
