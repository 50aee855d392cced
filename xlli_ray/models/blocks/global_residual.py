"""A restoration network that keeps the size, with or without a global residual.

With it, the network's layers estimate what has to be added to the input, y = x + f(x): of a rainy image, the rain, negative. Without it,
they estimate the whole image, y = f(x). Whether this changes what a network learns is a question of the deraining and DDR papers, so it is
one switch here, and nothing else differs: the layers and their first weights are the same.

Weights of convolutions cannot tell which of the two they were trained for, and the wrong one gives a wrong image. So it is kept in the
state dict, as the buffer `global_residual`: 1 or 0.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.errors import NetworkError
from xlli_ray.models.networks import shape_of

ARG = "global_residual"


class Restoration(nn.Module):
    """(B, channels, H, W) float32 in 0..1 to the same shape, not clamped. A subclass defines `estimate`."""

    def __init__(self, global_residual: bool) -> None:
        super().__init__()
        self.adds_input = global_residual
        self.register_buffer(ARG, torch.tensor(int(global_residual)))

    def estimate(self, x: Tensor) -> Tensor:
        """What the layers make of `x`: the change with a global residual, the image without; of the same shape."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return x + self.estimate(x) if self.adds_input else self.estimate(x)


def chosen(args: Mapping[str, Any], *, network: str) -> bool:
    """`global_residual` of `args`, true by default. NetworkError if it is neither true nor false."""
    value = args.get(ARG, True)
    if not isinstance(value, bool):
        raise NetworkError(f"network {network!r}: {ARG} is {value!r}; expected true or false.")
    return value


def stored(tensors: Mapping[str, Tensor], args: Mapping[str, Any], *, network: str) -> bool:
    """What a state dict says. WeightsError if it says nothing, NetworkError if `args` says otherwise."""
    shape_of(tensors, ARG, network=network, axes=0)
    found = bool(int(tensors[ARG]))
    if ARG in args and chosen(args, network=network) != found:
        raise NetworkError(
            f"network {network!r}: args say {ARG} {str(not found).lower()}, but these weights were trained with {str(found).lower()}."
            " Leave it out of args."
        )
    return found
