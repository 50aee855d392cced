"""Equivalent forms: as near to double precision as the operations they stand for, and only where they stand for them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from lam_models import as_model, convolutions
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.probes.lam import equivalents
from xlli_ray.probes.lam.attribution import Rule, attribute
from xlli_ray.probes.lam.equivalents import Equivalents, product
from xlli_ray.probes.lam.path_points import BlurPath
from xlli_ray.probes.lam.window import Window

Operation = Callable[..., Tensor]


def numbers(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def run(operation: Operation, inputs: list[Tensor], dtype: torch.dtype, *, forms: bool) -> tuple[list[Tensor], bool]:
    """The result and the gradients of all inputs, with random weights on the result; and whether a form applied."""
    leaves = [x.to(dtype).requires_grad_() for x in inputs]
    mode = Equivalents()
    if forms:
        with mode:
            out = operation(*leaves)
    else:
        out = operation(*leaves)
    gradients = torch.autograd.grad((out * numbers(*out.shape, seed=9).to(dtype)).sum(), leaves)
    return [out.detach(), *gradients], mode.used


def distance(some: Tensor, truth: Tensor) -> float:
    return float((some.double() - truth).norm() / truth.norm())


WEIGHT, BIAS = numbers(6, 1, 3, 5, seed=4), numbers(6, seed=5)
DEPTHWISE = nn.Conv2d(6, 6, 3, padding=1, groups=6, padding_mode="reflect").requires_grad_(False)
IMAGE = [numbers(2, 6, 12, 14)]
APPLY: dict[str, tuple[Operation, list[Tensor]]] = {
    "a @ b, narrow": (lambda a, b: a @ b, [numbers(5, 3, 40, 40), numbers(5, 3, 40, 8, seed=1)]),
    "a @ b, wide": (lambda a, b: a @ b.transpose(-2, -1), [numbers(5, 40, 10), numbers(5, 40, 10, seed=1)]),
    "matmul": (torch.matmul, [numbers(4, 40, 33), numbers(4, 33, 30, seed=1)]),
    "bmm": (torch.bmm, [numbers(4, 40, 33), numbers(4, 33, 30, seed=1)]),
    "x.bmm": (lambda a, b: a.bmm(b), [numbers(4, 40, 33), numbers(4, 33, 16, seed=1)]),
    "viewed": (lambda a, b: torch.matmul(a, b).view(2, -1), [numbers(2, 40, 33), numbers(2, 33, 7, seed=1)]),
    "scaled in place": (lambda a, b: torch.matmul(a, b).mul_(3), [numbers(2, 40, 33), numbers(2, 33, 7, seed=1)]),
    "depthwise": (lambda x: F.conv2d(x, WEIGHT.to(x.dtype), BIAS.to(x.dtype), 1, (1, 2), 1, 6), IMAGE),
    "depthwise, no padding": (lambda x: F.conv2d(x, WEIGHT.to(x.dtype), groups=6), IMAGE),
    "depthwise, lopsided padding": (lambda x: F.conv2d(x, WEIGHT.to(x.dtype), padding=(2, 0), groups=6), IMAGE),
    "depthwise, a module": (lambda x: DEPTHWISE.to(x.dtype)(x), IMAGE),
    "var": (lambda x: x.var(-1, keepdim=True, unbiased=False), IMAGE),
    "var, as it is": (lambda x: x.var(1), IMAGE),
    "var, two axes": (lambda x: torch.var(x, (2, 3), keepdim=True), IMAGE),
    "var, correction": (lambda x: torch.var(x, dim=-2, correction=0), IMAGE),
    "var, all by position": (lambda x: torch.var(x, 1, False, True), IMAGE),
    "var, strided": (lambda x: x.flatten(2).transpose(1, 2).var(-1, keepdim=True, unbiased=False), IMAGE),
    "max pool": (lambda x: F.max_pool2d(x, 3, 1, 1), IMAGE),
    "max pool, stride": (lambda x: nn.MaxPool2d(3, stride=2, ceil_mode=True)(x), IMAGE),
}


@pytest.mark.parametrize("name", APPLY)
def test_a_form_is_as_near_to_double_precision_as_the_operation(name: str) -> None:
    operation, inputs = APPLY[name]
    truth, _ = run(operation, inputs, torch.float64, forms=False)
    plain, _ = run(operation, inputs, torch.float32, forms=False)
    formed, used = run(operation, inputs, torch.float32, forms=True)
    assert used
    for exact, usual, found in zip(truth, plain, formed):
        assert (found.shape, found.dtype) == (usual.shape, usual.dtype)
        assert distance(found, exact) <= 2 * distance(usual, exact) + 1e-7
    assert formed[0].stride() == plain[0].stride()


TRAINED = nn.Conv2d(6, 6, 3, padding=1, groups=6)
LEAVE: dict[str, tuple[Operation, list[Tensor]]] = {
    "one matrix": (torch.matmul, [numbers(40, 33), numbers(33, 8)]),
    "broadcast": (torch.matmul, [numbers(4, 40, 33), numbers(33, 8)]),
    "a vector": (torch.matmul, [numbers(4, 40, 33), numbers(33)]),
    "weights that are trained": (lambda x: TRAINED.to(x.dtype)(x), IMAGE),
    "groups of two": (lambda x: F.conv2d(x, numbers(6, 2, 3, 3).to(x.dtype), groups=3), IMAGE),
    "stride": (lambda x: F.conv2d(x, WEIGHT.to(x.dtype), stride=2, groups=6), IMAGE),
    "dilation": (lambda x: F.conv2d(x, WEIGHT.to(x.dtype), dilation=(1, 2), groups=6), IMAGE),
    "named padding": (lambda x: F.conv2d(x, WEIGHT.to(x.dtype), padding="same", groups=6), IMAGE),
    "padding beyond the kernel": (lambda x: F.conv2d(x, WEIGHT.to(x.dtype), padding=4, groups=6), IMAGE),
    "var of everything": (lambda x: x.var(), IMAGE),
    "var of everything, biased": (lambda x: x.var(False), IMAGE),
    "another name for the axis": (lambda x: torch.var(x, axis=1), IMAGE),  # type: ignore[call-overload]
    "max pool of channels-last": (lambda x: F.max_pool2d(x.contiguous(memory_format=torch.channels_last), 3), IMAGE),
    "max pool of a matrix": (lambda x: F.max_pool2d(x[0], 3), IMAGE),
}


@pytest.mark.parametrize("name", LEAVE)
def test_what_no_form_is_for_runs_as_it_is(name: str) -> None:
    operation, inputs = LEAVE[name]
    plain, _ = run(operation, inputs, torch.float32, forms=False)
    formed, used = run(operation, inputs, torch.float32, forms=True)
    assert not used
    assert all(torch.equal(a, b) for a, b in zip(plain, formed))


def test_double_precision_is_left_alone() -> None:
    for operation, inputs in APPLY.values():
        assert not run(operation, inputs, torch.float64, forms=True)[1]


def test_a_mistake_in_a_product_is_told_as_torch_tells_it() -> None:
    with Equivalents(), pytest.raises(RuntimeError, match="size"):
        torch.bmm(numbers(4, 40, 33), numbers(4, 32, 8))


def test_narrow_results_come_as_a_transpose_and_others_do_not() -> None:
    a = numbers(4, 40, 33)
    transposed = {n: not product(a, numbers(4, 33, n)).is_contiguous() for n in (7, 8, 16, 31, 32, 48)}
    assert transposed == {7: True, 8: True, 16: False, 31: True, 32: False, 48: False}


class Attention(nn.Module):
    """Attention over 4 × 4 windows with two heads of 4, a written-out normalisation, a depthwise convolution and a pool."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.first, self.local, self.last = nn.Conv2d(3, 24, 3, padding=1), nn.Conv2d(8, 8, 3, 1, 1, groups=8), nn.Conv2d(8, 3, 1)

    def forward(self, x: Tensor) -> Tensor:
        n, _, h, w = x.shape
        tokens = self.first(x).view(n, 3, 2, 4, h // 4, 4, w // 4, 4).permute(1, 0, 4, 6, 2, 5, 7, 3).reshape(3, -1, 2, 16, 4)
        q, k, v = tokens / (tokens.var(-1, keepdim=True, unbiased=False) + 1e-3).sqrt()
        out = (torch.softmax(q @ k.transpose(-2, -1), -1) @ v).view(n, h // 4, w // 4, 2, 4, 4, 4).permute(0, 3, 6, 1, 4, 2, 5)
        out = F.max_pool2d(out.reshape(n, 8, h, w), 3, 1, 1)
        return self.last(F.gelu(self.local(out)))


@pytest.mark.parametrize("gates", ["plain", "averaged"])
def test_the_map_of_an_attention_network_is_that_of_double_precision(gates: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(7))

    def found(dtype: torch.dtype) -> Tensor:
        model = as_model(Attention().to(dtype))
        rule = Rule(nodes=6, gates=gates)
        return torch.from_numpy(attribute(model, image.to(dtype), [Window(6, 7, 8)], BlurPath(), rule=rule)[0].attribution)

    truth = found(torch.float64).double()
    formed = found(torch.float32)
    monkeypatch.setattr(equivalents, "_FORMS", {})
    plain = found(torch.float32)
    assert not torch.equal(formed, plain)
    assert distance(plain, truth) < 1e-4
    assert distance(formed, truth) <= 2 * distance(plain, truth)


def test_a_network_without_such_operations_is_walked_without_the_forms(monkeypatch: pytest.MonkeyPatch) -> None:
    entered = []
    enter = Equivalents.__enter__
    monkeypatch.setattr(Equivalents, "__enter__", lambda self: entered.append(1) or enter(self))
    image = torch.rand(3, 24, 24, generator=torch.Generator().manual_seed(7))
    attribute(as_model(convolutions()), image, [Window(6, 7, 8)], BlurPath(), rule=Rule(nodes=6))
    assert len(entered) == 1
    attribute(as_model(Attention()), image, [Window(6, 7, 8)], BlurPath(), rule=Rule(nodes=6))
    assert len(entered) == 1 + 1 + 6
