"""Averaged gates: a node's gradient with each ReLU's gate averaged over the node's cell instead of taken at its centre.

Along a path the gradient of a ReLU network is a staircase: a gate is 0 or 1, sampled by the midpoint rule at one point of each cell. Here
the forward pass is the plain one; in the backward pass the gate of node i becomes its mean over the two half cells from z_i to
m = (z_i + z_{i±1}) / 2, with the unit's input taken to be linear in between. For a half cell this is the slope of the secant,

    (relu(m) − relu(z_i)) / (m − z_i),        slope of the unit = a + (1 − a) · mean share        (a: slope below 0 of a LeakyReLU or PReLU)

and at the ends of the path the plain gate on the outer side. With more nodes this converges to the same integral as plain gates do
but for finitely many nodes it is **not the gradient of the network at any point**. So it has to be requested (`gates: averaged`), and such
maps have their own mode in the tables. ReLU, LeakyReLU and PReLU are averaged; other activations keep their derivative at the node.

It needs neighbours, not a batch: the forward pass of node i + 1 runs before the backward pass of node i, and the unit inputs of three nodes
are kept, so that small arrays stay in the CPU's caches. The formula is one fused loop if numba is installed (float32 on a CPU), else a few
tensor operations, which are slower.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from xlli_ray.errors import NetworkError

TINY = 1e-37
"""Added to a distance, so that two equal inputs have the gate of their sign, and two zeros a closed one. Otherwise negligible."""


def mean_share(before: Tensor, here: Tensor, after: Tensor) -> Tensor:
    """Share of a cell in which a unit is active, 0..1. Inputs of the unit at a node and at its neighbours, of one shape.

    At an end of the path, the neighbour is the node itself.
    """
    total = torch.zeros_like(here)
    for neighbour in (before, after):
        way = (neighbour - here).abs_().add_(TINY)  # twice the half cell; below, twice the part of it above 0
        total.add_(torch.maximum(here, neighbour).add_(here).clamp_(min=0).minimum(way).div_(way))
    return total.mul_(0.5)


def averaged(before: Tensor, here: Tensor, after: Tensor, gradient: Tensor, slope: float) -> Tensor:
    """`gradient` through averaged gates of a unit with `slope` for negative inputs; all of one shape."""
    loop = _loop() if here.dtype == torch.float32 and here.device.type == "cpu" else None
    if loop is None:
        return mean_share(before, here, after).mul_(1 - slope).add_(slope).mul_(gradient)
    layout = _layout(here)
    parts = [_flat(part.contiguous(memory_format=layout), layout).numpy() for part in (before, here, after, gradient)]
    out = torch.empty_like(here, memory_format=layout)
    loop(*parts, slope, _flat(out, layout).numpy())
    return out


class Tape:
    """Unit inputs at the nodes around the current one, gate by gate, in the order in which the network runs them."""

    def __init__(self) -> None:
        self.inputs: list[dict[int, Tensor]] = []

    def keep(self, gate: int, node: int, values: Tensor) -> None:
        """Inputs of gate number `gate` at `node`."""
        if gate == len(self.inputs):
            self.inputs.append({})
        self.inputs[gate][node] = values

    def forget(self, node: int) -> None:
        """Drop the nodes that no later node has as its neighbour."""
        for values in self.inputs:
            values.pop(node, None)

    def around(self, gate: int, node: int) -> tuple[Tensor, Tensor, Tensor]:
        """Inputs before, at and after `node`; the node's own at an end of the path. Raises NetworkError if nodes ran different gates."""
        values = self.inputs[gate]
        here = values[node]
        before, after = values.get(node - 1, here), values.get(node + 1, here)
        if not before.shape == here.shape == after.shape:
            raise NetworkError("gates: averaged needs a network with the same operations for every input; this one's depend on the node")
        return before, here, after


class _Unit(torch.autograd.Function):
    """ReLU, LeakyReLU or PReLU (`slope`: a number, or one per channel) whose backward pass reads the tape."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, slope: float | Tensor, tape: Tape, gate: int, node: int) -> Tensor:
        ctx.slope, ctx.tape, ctx.gate, ctx.node = slope, tape, gate, node
        tape.keep(gate, node, x.detach())
        if isinstance(slope, Tensor):
            return F.prelu(x, slope)
        return F.leaky_relu(x, slope) if slope else F.relu(x)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None, None]:
        (gradient,) = gradients
        before, here, after = ctx.tape.around(ctx.gate, ctx.node)
        if not isinstance(ctx.slope, Tensor):
            return averaged(before, here, after, gradient, ctx.slope), None, None, None, None
        slope = ctx.slope.detach().reshape(1, -1, *(1,) * (gradient.ndim - 2)) if ctx.slope.numel() > 1 else ctx.slope.detach()
        return torch.lerp(averaged(before, here, after, gradient, 0.0), gradient, slope.expand_as(gradient)), None, None, None, None


class AveragedGates(TorchFunctionMode):
    """Within the context, a network's ReLUs, LeakyReLUs and PReLUs are `_Unit`s of node `node` on `tape`."""

    def __init__(self, tape: Tape, node: int) -> None:
        super().__init__()
        self._tape, self._node, self._gate = tape, node, 0

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = dict(kwargs or {})
        read = _UNITS.get(func)
        if read is None:
            return func(*args, **given)
        x, slope, inplace = read(*args, **given)
        gate, self._gate = self._gate, self._gate + 1
        if not inplace:
            return _Unit.apply(x, slope, self._tape, gate, self._node)  # type: ignore[no-untyped-call]
        # in place: later code may read x instead of the result; its previous values are on the tape
        return x.copy_(_Unit.apply(x.clone(), slope, self._tape, gate, self._node))  # type: ignore[no-untyped-call]


_Read = tuple[Tensor, "float | Tensor", bool]


def _relu(input: Tensor, inplace: bool = False) -> _Read:
    return input, 0.0, inplace


def _relu_inplace(input: Tensor) -> _Read:
    return input, 0.0, True


def _leaky(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> _Read:
    return input, float(negative_slope), inplace


def _leaky_inplace(input: Tensor, negative_slope: float = 0.01) -> _Read:
    return input, float(negative_slope), True


def _prelu(input: Tensor, weight: Tensor) -> _Read:
    return input, weight, False


_UNITS: dict[Any, Callable[..., _Read]] = {
    F.relu: _relu, torch.relu: _relu, Tensor.relu: _relu, torch.relu_: _relu_inplace, Tensor.relu_: _relu_inplace,
    F.leaky_relu: _leaky, F.leaky_relu_: _leaky_inplace, torch.prelu: _prelu, Tensor.prelu: _prelu,
}  # fmt: skip


def _layout(values: Tensor) -> torch.memory_format:
    last = values.ndim == 4 and values.is_contiguous(memory_format=torch.channels_last)
    return torch.channels_last if last else torch.contiguous_format


def _flat(values: Tensor, layout: torch.memory_format) -> Tensor:
    """A view of all values in memory order."""
    return (values.permute(0, 2, 3, 1) if layout == torch.channels_last else values).view(-1)


@lru_cache(maxsize=1)
def _loop() -> Callable[..., None] | None:
    """`averaged` as one pass over memory, compiled on first use in a process (about a second); None without numba."""
    try:
        import numba
        import numpy as np
    except ImportError:
        return None
    tiny, half, one, zero = np.float32(TINY), np.float32(0.5), np.float32(1), np.float32(0)

    def loop(before: Any, here: Any, after: Any, gradient: Any, slope: Any, out: Any) -> None:
        low = np.float32(slope)
        each = half * (one - low)
        for k in range(here.size):
            z, a, b = here[k], before[k], after[k]
            way, other_way = abs(a - z) + tiny, abs(b - z) + tiny
            up = min(max(z + (z if z > a else a), zero), way)
            other_up = min(max(z + (z if z > b else b), zero), other_way)
            out[k] = gradient[k] * (low + each * (up / way + other_up / other_way))

    compiled: Callable[..., None] = numba.njit(error_model="numpy")(loop)
    return compiled
