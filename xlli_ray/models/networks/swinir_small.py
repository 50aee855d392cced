"""SwinIR for restoration at scale 1, in small: window attention in residual groups, with or without a global residual.

Liang et al., "SwinIR: Image Restoration Using Swin Transformer", ICCV Workshops 2021, arXiv 2108.10257, sections 3.1 and 3.2::

    x -> head -> groups.0 .. groups.K-1 -> conv -> (+ head) -> last (-> + x)

A group (the paper's RSTB) is L layers, a 3 x 3 convolution, and a skip around both; a layer (STL) is x = x + attention(norm1(x)), then
x = x + mlp(norm2(x)), with layer normalisation, GELU and twice the width in the MLP. Every second layer shifts its windows by half of one
(`blocks.window_attention`). All named modules down to the layers give (B, width, H, W). This is the paper's text, with fewer and narrower
layers (the paper: 6 groups of 6, width 180, 6 heads, window 8); it does not read the public SwinIR checkpoints, whose names and details
differ: spandrel does.

Height and width must be multiples of the window: other images are extended by reflection at the bottom and right, and cut at the end.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models.blocks.first_weights import draw
from xlli_ray.models.blocks.global_residual import ARG, Restoration, chosen, stored
from xlli_ray.models.blocks.padding import extend_to_multiple
from xlli_ray.models.blocks.window_attention import WindowAttention
from xlli_ray.models.networks import Built, check_args, counts, load_strict, numbered, shape_of

VERSION = 1
NAME = "swinir_small"
ARGS = (ARG,)
DEFAULTS = {"width": 28, "groups": 2, "depth": 2, "heads": 2, "window": 8}
WIDEST = 32  # window: its positions are a table of 32^4 entries
MLP = 2  # width of the MLP's middle over that of the features


class Layer(nn.Module):
    """A Swin Transformer layer, (B, width, H, W) to the same shape."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = WindowAttention(width, heads, window, shift)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, MLP * width), nn.GELU(), nn.Linear(MLP * width, width))

    def forward(self, x: Tensor) -> Tensor:
        y = x.permute(0, 2, 3, 1)  # features last: of a batch in channels_last order, no copy
        y = y + self.attention(self.norm1(y))
        y = y + self.mlp(self.norm2(y))
        return y.permute(0, 3, 1, 2)


class Group(nn.Module):
    """A residual Swin Transformer block: `x + conv(layers(x))`."""

    def __init__(self, width: int, depth: int, heads: int, window: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(Layer(width, heads, window, window // 2 if number % 2 else 0) for number in range(depth)))
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv(self.layers(x))


class SwinIR(Restoration):
    """(B, images, H, W) in 0..1 -> the same shape."""

    def __init__(
        self, width: int, groups: int, depth: int, heads: int, window: int, global_residual: bool, *, images: int = 3
    ) -> None:
        super().__init__(global_residual)
        self.window = window
        self.head = nn.Conv2d(images, width, 3, padding=1)
        self.groups = nn.Sequential(*(Group(width, depth, heads, window) for _ in range(groups)))
        self.conv = nn.Conv2d(width, width, 3, padding=1)
        self.last = nn.Conv2d(width, images, 3, padding=1)

    def estimate(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        shallow = self.head(extend_to_multiple(x, self.window))
        return self.last(shallow + self.conv(self.groups(shallow)))[..., :height, :width]


def create(args: Mapping[str, Any], *, generator: torch.Generator) -> SwinIR:
    """A network to be trained, its first weights drawn from `generator`.

    `args`: `width` (features, default 28), `groups` (default 2), `depth` (layers of a group, default 2), `heads` (default 2; they divide
    the width), `window` (pixels, default 8), `global_residual` (default true), which changes no draw: twins start equal. The default has
    50,915 parameters. The last layer of each branch, the position biases (zero) and the last convolution start small.
    """
    check_args(args, (*DEFAULTS, ARG), network=NAME)
    width, groups, depth, heads, window = counts(args, DEFAULTS, network=NAME)
    if width % heads:
        raise NetworkError(f"network {NAME!r}: width must be a multiple of heads, got width {width} and heads {heads}.")
    if window > WIDEST:
        raise NetworkError(f"network {NAME!r}: window must be at most {WIDEST}, got {window}.")
    net = SwinIR(width, groups, depth, heads, window, chosen(args, network=NAME))
    draw(net, generator, {r"last|.*\.project|.*\.mlp\.2": 0.1, r".*\.qkv": math.sqrt(0.5)})
    return net


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe: widths, depths, heads and window from shapes. Range 0..1, any size."""
    check_args(args, ARGS, network=NAME)
    width, images = shape_of(tensors, "head.weight", network=NAME)[:2]
    places, heads = shape_of(tensors, "groups.0.layers.0.attention.position", network=NAME, axes=2)
    window = (math.isqrt(places) + 1) // 2
    groups, depth = numbered(tensors, r"groups\.(\d+)\."), numbered(tensors, r"groups\.0\.layers\.(\d+)\.")
    if (2 * window - 1) ** 2 != places or window > WIDEST or width % heads or groups * depth > len(tensors):
        raise WeightsError(
            f"this is not a checkpoint of network {NAME!r}: {places} positions and {heads} heads for width {width}; expected"
            f" (2·window − 1)² positions for a window of at most {WIDEST}, and heads that divide the width."
        )
    module = SwinIR(width, groups, depth, heads, window, stored(tensors, args, network=NAME), images=images)
    load_strict(module, tensors, network=NAME)
    return Built(module, scale=1, channels=images)
