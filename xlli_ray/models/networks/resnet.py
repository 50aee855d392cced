"""ResNet for restoration at scale 1: a plain residual network, with or without a global residual.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385, in the form of Lim et al., EDSR, CVPR Workshops
2017, arXiv 1707.02921: no batch normalisation, and no activation after the addition::

    x -> head -> trunk.0 .. trunk.N-1 -> last (-> + x)

A block is `x + conv2(relu(conv1(x)))`, all convolutions are 3 x 3. Unlike EDSR there is no convolution and skip behind the trunk, as in
`srresnet`, which this is without upsampling. The receptive field is ±(2N + 2) pixels. Width 24 and 5 blocks, the default, are the 53,403
parameters with which the deraining experiment was first tried.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.models.blocks.first_weights import draw
from xlli_ray.models.blocks.global_residual import ARG, Restoration, chosen, stored
from xlli_ray.models.blocks.residual import Block
from xlli_ray.models.networks import Built, check_args, counts, load_strict, numbered, shape_of

VERSION = 1
ARGS = (ARG,)
DEFAULTS = {"width": 24, "blocks": 5}


class ResNet(Restoration):
    """(B, images, H, W) in 0..1 -> the same shape."""

    def __init__(self, width: int, blocks: int, global_residual: bool, *, images: int = 3) -> None:
        super().__init__(global_residual)
        self.head = nn.Conv2d(images, width, 3, padding=1)
        self.trunk = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.last = nn.Conv2d(width, images, 3, padding=1)

    def estimate(self, x: Tensor) -> Tensor:
        return self.last(self.trunk(self.head(x)))


def create(args: Mapping[str, Any], *, generator: torch.Generator) -> ResNet:
    """A network to be trained, its first weights drawn from `generator`.

    `args`: `width` (features, default 24), `blocks` (default 5), `global_residual` (default true), which changes no draw: twins start
    equal. The second convolution of each block and the last one start ten times smaller.
    """
    check_args(args, (*DEFAULTS, ARG), network="resnet")
    width, blocks = counts(args, DEFAULTS, network="resnet")
    net = ResNet(width, blocks, chosen(args, network="resnet"))
    draw(net, generator, {r"last|.*\.conv2": 0.1})
    return net


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe: width and blocks from shapes. Range 0..1, any size."""
    check_args(args, ARGS, network="resnet")
    width, images = shape_of(tensors, "head.weight", network="resnet")[:2]
    module = ResNet(width, numbered(tensors, r"trunk\.(\d+)\."), stored(tensors, args, network="resnet"), images=images)
    load_strict(module, tensors, network="resnet")
    return Built(module, scale=1, channels=images)
