"""Precision of a network: it alone is computed in it, its output and layers are float32, and its backward pass is like its forward pass."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from toy_networks import Upscaler, as_model

from xlli_ray.models import precision
from xlli_ray.models.layers import capture
from xlli_ray.models.precision import DTYPES, allow_tf32, refusal
from xlli_ray.models.tap import Tap

X = torch.rand(2, 3, 9, 8, generator=torch.Generator().manual_seed(0))


def convolution() -> nn.Conv2d:
    layer = nn.Conv2d(3, 3, 3, padding=1)
    generator = torch.Generator().manual_seed(1)
    for parameter in layer.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.3
    return layer


@pytest.mark.parametrize(("name", "digits"), [("bf16", 8), ("fp16", 11)])
def test_a_convolution_is_that_of_rounded_factors_and_its_result_is_float32(name: str, digits: int) -> None:
    layer = convolution()
    model = as_model(layer).at(name)
    dtype = getattr(torch, DTYPES[name])
    with torch.no_grad():
        output = model.forward(X)
    # products of rounded factors are exact in float64; what is left is the rounding of the result to `digits` bits
    exact = F.conv2d(X.to(dtype).double(), layer.weight.to(dtype).double(), layer.bias.to(dtype).double(), padding=1)
    assert output.dtype == torch.float32
    assert torch.equal(output, output.to(dtype).float())
    assert float(((output - exact).abs() / exact.abs().clamp(min=0.1)).max()) < 2.0 ** -(digits - 1)
    assert float((output - model.at("float32").forward(X)).abs().max()) > 1e-5


def test_captured_layers_are_float32() -> None:
    model = as_model(nn.Sequential(convolution(), nn.ReLU(), convolution())).at("bf16")
    with torch.no_grad(), capture(model, [Tap("0"), Tap("1")]) as layers:
        model.forward(X)
    assert {value.dtype for value in layers.values()} == {torch.float32}
    assert torch.equal(layers["1.out"], layers["0.out"].relu())


def test_float32_is_the_model_itself_and_another_precision_one_other_with_the_same_weights() -> None:
    model = as_model(Upscaler())
    assert model.at("float32") is model
    assert model.at("bf16") is model.at("bf16")
    assert model.at("bf16").module is model.module
    assert model.at("bf16").at("float32").precision == "float32"


def test_what_is_no_image_is_float32_too() -> None:
    model = as_model(nn.Sequential(nn.Flatten(), nn.Linear(3 * 9 * 8, 5)), output="none").at("bf16")
    assert model.forward(X).dtype == torch.float32


@pytest.mark.parametrize("name", ["bf16", "fp16"])
def test_the_gradient_at_the_input_is_float32_and_near(name: str) -> None:
    gradients = {}
    for each in ("float32", name):
        x = X.clone().requires_grad_()
        output = as_model(nn.Sequential(convolution(), nn.Tanh(), convolution())).at(each).forward(x)
        (gradients[each],) = torch.autograd.grad(output[..., 3:6, 3:6].sum(), x)
    assert gradients[name].dtype == torch.float32
    difference = (gradients[name] - gradients["float32"]).norm() / gradients["float32"].norm()
    assert 1e-5 < float(difference) < 0.02


# -- TensorFloat-32, a setting of the process ---------------------------------------------------------------------------


@pytest.fixture
def _settings() -> Iterator[None]:
    before = precision._tf32()
    allow_tf32((False, False))
    yield
    allow_tf32(before)


class Watched(torch.autograd.Function):
    """The identity; notes the setting in both passes."""

    seen: list[tuple[str, tuple[bool, bool]]] = []

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        Watched.seen.append(("forward", precision._tf32()))
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        Watched.seen.append(("backward", precision._tf32()))
        return gradient


class Watching(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return Watched.apply(x)


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (0.0, 255.0)])
@pytest.mark.usefixtures("_settings")
def test_tf32_is_on_in_the_networks_two_passes_and_nowhere_else(value_range: tuple[float, float]) -> None:
    Watched.seen.clear()
    x = X.clone().requires_grad_()
    before = Watched.apply(x)  # as the path of an attribution: not the network's
    output = as_model(Watching(), range=value_range).at("tf32").forward(before)
    assert precision._tf32() == (False, False)
    after = Watched.apply(output)
    for _ in range(2):  # several windows share a forward pass
        torch.autograd.grad(after.sum(), x, retain_graph=True)
        assert precision._tf32() == (False, False)
    on, off = (True, True), (False, False)
    backward = [("backward", off), ("backward", on), ("backward", off)]
    assert Watched.seen == [("forward", off), ("forward", on), ("forward", off), *backward, *backward]


class Failing(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise RuntimeError("no")


@pytest.mark.usefixtures("_settings")
def test_tf32_is_off_again_after_an_error_of_the_network() -> None:
    with pytest.raises(Exception, match="no"):
        as_model(Failing()).at("tf32").forward(X)
    assert precision._tf32() == (False, False)


# -- refusals -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "device", "reason"),
    [
        ("float32", "mps/arm", ""),
        ("bf16", "cpu/AVX2", ""),
        ("tf32", "cpu/AVX2", "tf32 needs an NVIDIA GPU, this study is planned for cpu/AVX2"),
        ("tf32", "any", "tf32 needs an NVIDIA GPU"),
        ("bf16", "mps/arm", "never tried"),
        ("tf32", "cuda/NVIDIA H200", ""),
    ],
)
def test_a_precision_is_refused_where_it_does_not_exist(name: str, device: str, reason: str) -> None:
    found = refusal(name, device)
    assert found == "" if not reason else reason in found


def test_a_gpu_of_before_ampere_has_neither_tf32_nor_bf16(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: (7, 5))
    assert [bool(refusal(name, "cuda/Tesla T4")) for name in ("tf32", "bf16", "fp16")] == [True, True, False]


def test_a_torch_without_float16_on_the_cpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _kind: False)  # torch only warns, and computes in float32
    assert "cannot compute in fp16 on a CPU" in refusal("fp16", "cpu/AVX2")
