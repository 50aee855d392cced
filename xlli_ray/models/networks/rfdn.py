"""RFDN: the residual feature distillation network.

Liu, Tang, Wu, "Residual Feature Distillation Network for Lightweight Image Super-Resolution", AIM 2020 workshop at
ECCV, arXiv 2009.11551 (first of the AIM 2020 challenge on efficient super-resolution).

As IMDN, but what is kept is made by a 1x1 convolution of its own (`c1_d`) instead of a split, and what goes on is a
shallow residual: a 3x3 convolution plus its input, then the activation (`c1_r`). The kept parts are joined, mixed by a
1x1 convolution (`c5`) and masked by enhanced spatial attention (`esa`). The outputs of all blocks are joined by `c`.
Activations are LeakyReLU of slope 0.05. The public checkpoint works on values in 0..255.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.blocks.esa import MINIMUM, SpatialAttention
from xlli_ray.models.networks import Built, check_args, load_strict, numbered, shape_of, shuffle_scale

VERSION = 1
SLOPE = 0.05  # of every LeakyReLU


class Block(nn.Module):
    """Residual feature distillation block: (B, width, H, W) -> the same shape."""

    def __init__(self, width: int, kept: int, narrow: int) -> None:
        super().__init__()
        self.c1_d = nn.Conv2d(width, kept, 1)
        self.c1_r = nn.Conv2d(width, width, 3, padding=1)
        self.c2_d = nn.Conv2d(width, kept, 1)
        self.c2_r = nn.Conv2d(width, width, 3, padding=1)
        self.c3_d = nn.Conv2d(width, kept, 1)
        self.c3_r = nn.Conv2d(width, width, 3, padding=1)
        self.c4 = nn.Conv2d(width, kept, 3, padding=1)
        self.c5 = nn.Conv2d(4 * kept, width, 1)
        self.esa = SpatialAttention(width, narrow, deep=True)

    def forward(self, x: Tensor) -> Tensor:
        kept = []
        for distil, refine in ((self.c1_d, self.c1_r), (self.c2_d, self.c2_r), (self.c3_d, self.c3_r)):
            kept.append(F.leaky_relu(distil(x), SLOPE))
            x = F.leaky_relu(refine(x) + x, SLOPE)
        kept.append(F.leaky_relu(self.c4(x), SLOPE))
        return self.esa(self.c5(torch.cat(kept, dim=1)))


class Rfdn(nn.Module):
    """`fea_conv`, `B1`.., `c`, `LR_conv`, `upsampler`; (B, images, H, W) -> (B, images, scale*H, scale*W)."""

    def __init__(self, images: int, width: int, kept: int, narrow: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.fea_conv = nn.Conv2d(images, width, 3, padding=1)
        self.blocks = tuple(f"B{i}" for i in range(1, blocks + 1))
        for name in self.blocks:
            self.add_module(name, Block(width, kept, narrow))
        self.c = nn.Sequential(nn.Conv2d(width * blocks, width, 1), nn.LeakyReLU(SLOPE))
        self.LR_conv = nn.Conv2d(width, width, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(width, images * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        first = self.fea_conv(x)
        outputs = [first]
        for name in self.blocks:
            outputs.append(self.get_submodule(name)(outputs[-1]))
        return self.upsampler(self.LR_conv(self.c(torch.cat(outputs[1:], dim=1))) + first)


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that the keys and shapes of `tensors` describe. Takes no `args`. Range 0..255."""
    check_args(args, (), network="rfdn")
    width, images = shape_of(tensors, "fea_conv.weight", network="rfdn")[:2]
    kept = shape_of(tensors, "B1.c1_d.weight", network="rfdn")[0]
    narrow = shape_of(tensors, "B1.esa.conv1.weight", network="rfdn")[0]
    blocks = numbered(tensors, r"B(\d+)\.") - 1
    scale = shuffle_scale(shape_of(tensors, "upsampler.0.weight", network="rfdn")[0], images, network="rfdn")
    module = Rfdn(images, width, kept, narrow, blocks, scale)
    load_strict(module, tensors, network="rfdn")
    return Built(module, scale=scale, channels=images, range=(0.0, 255.0), minimum=MINIMUM)
