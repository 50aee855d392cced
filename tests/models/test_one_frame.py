"""Networks for clips within `one_frame`: the wanted frame and its gradient to the last bit, with less work and less memory."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import nullcontext
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from xlli_ray.models.blocks.aligned_network import AlignedNetwork
from xlli_ray.models.blocks.one_frame import one_frame
from xlli_ray.models.networks import basicvsr, mobile_rrn, psrt

SMALL: dict[str, Any] = {
    "basicvsr": (basicvsr, {"width": 6, "blocks": 4, "flow": "spynet"}),
    "mobile_rrn": (mobile_rrn, {"width": 6, "blocks": 2}),
    "psrt": (psrt.RECURRENT, {"width": 6, "heads": 2, "depths": [2], "window": [4, 4], "tail": 6, "flow": "spynet"}),
}
FRAMES = 5


def network(name: str, args: Mapping[str, Any] = {}) -> AlignedNetwork:
    module, given = SMALL[name]
    made: AlignedNetwork = module.create({**given, **args}, generator=torch.Generator().manual_seed(1))
    return made.eval().requires_grad_(False)


def clip() -> Tensor:
    return torch.rand(1, FRAMES, 3, 12, 16, generator=torch.Generator().manual_seed(2))


def frame_and_gradients(net: nn.Module, frame: int, *, told: bool) -> tuple[Tensor, list[Tensor]]:
    """One output frame, and the gradients of two of its windows on one graph, as LAM takes them: the backward pass is outside."""
    x = clip().requires_grad_()
    with one_frame(frame) if told else nullcontext():
        output = net(x)[:, frame]
    first, second = (output[..., 8 : 8 + n, 12 : 12 + n].abs().sum() for n in (16, 8))
    gradients = [torch.autograd.grad(first, x, retain_graph=True)[0], torch.autograd.grad(second, x)[0]]
    return output.detach(), gradients


@pytest.mark.parametrize("args", [{}, {"alignment": "none"}, {"alignment": "image", "flow": "dis"}, {"support": "current"}], ids=str)
@pytest.mark.parametrize("name", SMALL)
@pytest.mark.parametrize("frame", [0, 3])
def test_the_wanted_frame_and_its_gradients_are_those_of_all_frames_to_the_last_bit(name: str, args: dict[str, Any], frame: int) -> None:
    net = network(name, args)
    (plain, expected), (told, gradients) = (frame_and_gradients(net, frame, told=told) for told in (False, True))
    assert torch.equal(told, plain)
    for gradient, other in zip(gradients, expected, strict=True):
        assert other.abs().sum() > 0
        assert torch.equal(gradient, other)


def kept_bytes(net: nn.Module, frame: int | None) -> int:
    """Bytes of all tensors that the graph keeps, weights aside."""
    kept: dict[int, int] = {}
    weights = {parameter.data_ptr() for parameter in net.parameters()}

    def keep(tensor: Tensor) -> Tensor:
        if tensor.data_ptr() not in weights:
            kept[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        x = clip().requires_grad_()
        with nullcontext() if frame is None else one_frame(frame):
            output = net(x)
    assert output.requires_grad
    return sum(kept.values())


def test_the_graph_of_basicvsr_keeps_the_inputs_of_its_steps_instead_of_all_blocks() -> None:
    few, many = (network("basicvsr", {"blocks": blocks, "flow": "none", "alignment": "none"}) for blocks in (2, 40))
    assert kept_bytes(many, None) > 2 * kept_bytes(few, None)
    assert kept_bytes(many, 2) < 1.01 * kept_bytes(few, 2), "whatever the number of blocks"


def test_steps_are_not_run_again_where_that_is_forbidden_or_nothing_is_recorded() -> None:
    net = network("basicvsr")
    trunk, count = net.forward_trunk, [0]
    trunk.register_forward_pre_hook(lambda *_: count.__setitem__(0, count[0] + 1))
    x = clip().requires_grad_()
    with one_frame(2, recompute=False):
        output = net(x)
    torch.autograd.grad(output.sum(), x)
    assert count == [3], "frames 0 to 2, once"
    with torch.no_grad(), one_frame(2):
        net(x)
    assert count == [6]
    with one_frame(2):
        output = net(x)
    torch.autograd.grad(output.sum(), x)
    assert count == [12], "again in the backward pass"


@pytest.mark.parametrize("name", SMALL)
def test_outside_of_the_context_all_frames_are_given(name: str) -> None:
    net = network(name)
    with torch.no_grad():
        with one_frame(1):
            told = net(clip())
        given = net(clip())
    assert torch.equal(told[:, 1], given[:, 1])
    assert not told[:, [0, 2, 3, 4]].any(), "zeros for the others"
    assert given.flatten(2).abs().sum(2).all()
