"""RLFN: the residual local feature network.

Kong, Li, Liu, Liu, He, Bai, Chen, Fu, "Residual Local Feature Network for Efficient Super-Resolution", NTIRE 2022
workshop at CVPR, arXiv 2205.07514 (first of the NTIRE 2022 challenge on efficient super-resolution, runtime track).

A block is RFDN's without distillation: three 3x3 convolutions with activation, the block's input added, a 1x1
convolution, and enhanced spatial attention with a single convolution in its group. Blocks follow one another inside one
long skip. Activations are LeakyReLU of slope 0.05. The public checkpoints work on values in 0..255 (with 0..1 they fall
below bicubic).

Two sets of names are read: the paper's repository's (`conv_1`, `block_1` .., `conv_2`), which the modules have, and the
challenge's (`fea_conv`, `B1` .., `LR_conv`; its network is cut to 46 channels, 48 inside a block), which name the same layers.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.blocks.esa import MINIMUM, SpatialAttention
from xlli_ray.models.networks import Built, check_args, load_strict, numbered, renamed, shape_of, shuffle_scale

VERSION = 1
SLOPE = 0.05  # of every LeakyReLU
RENAMES = ((r"^fea_conv\.", "conv_1."), (r"^B(\d+)\.", r"block_\1."), (r"^LR_conv\.", "conv_2."))


class Block(nn.Module):
    """Residual local feature block: (B, width, H, W) -> the same shape."""

    def __init__(self, width: int, middle: int, narrow: int) -> None:
        super().__init__()
        self.c1_r = nn.Conv2d(width, middle, 3, padding=1)
        self.c2_r = nn.Conv2d(middle, middle, 3, padding=1)
        self.c3_r = nn.Conv2d(middle, width, 3, padding=1)
        self.c5 = nn.Conv2d(width, width, 1)
        self.esa = SpatialAttention(width, narrow, deep=False)

    def forward(self, x: Tensor) -> Tensor:
        y = x
        for convolution in (self.c1_r, self.c2_r, self.c3_r):
            y = F.leaky_relu(convolution(y), SLOPE)
        return self.esa(self.c5(y + x))


class Rlfn(nn.Module):
    """`conv_1`, `block_1`.., `conv_2`, `upsampler`; (B, images, H, W) -> (B, images, scale*H, scale*W)."""

    def __init__(self, images: int, width: int, middle: int, narrow: int, blocks: int, scale: int) -> None:
        super().__init__()
        self.conv_1 = nn.Conv2d(images, width, 3, padding=1)
        self.blocks = tuple(f"block_{i}" for i in range(1, blocks + 1))
        for name in self.blocks:
            self.add_module(name, Block(width, middle, narrow))
        self.conv_2 = nn.Conv2d(width, width, 3, padding=1)
        self.upsampler = nn.Sequential(nn.Conv2d(width, images * scale**2, 3, padding=1), nn.PixelShuffle(scale))

    def forward(self, x: Tensor) -> Tensor:
        first = y = self.conv_1(x)
        for name in self.blocks:
            y = self.get_submodule(name)(y)
        return self.upsampler(self.conv_2(y) + first)


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that the keys and shapes of `tensors` describe. Takes no `args`. Range 0..255."""
    check_args(args, (), network="rlfn")
    other_names = "fea_conv.weight" in tensors
    tensors = renamed(tensors, RENAMES)
    width, images = shape_of(tensors, "conv_1.weight", network="rlfn")[:2]
    middle = shape_of(tensors, "block_1.c1_r.weight", network="rlfn")[0]
    narrow = shape_of(tensors, "block_1.esa.conv1.weight", network="rlfn")[0]
    blocks = numbered(tensors, r"block_(\d+)\.") - 1
    scale = shuffle_scale(shape_of(tensors, "upsampler.0.weight", network="rlfn")[0], images, network="rlfn")
    module = Rlfn(images, width, middle, narrow, blocks, scale)
    load_strict(module, tensors, network="rlfn")
    theirs = {"fea_conv": "conv_1", "LR_conv": "conv_2", **{f"B{i}": f"block_{i}" for i in range(1, blocks + 1)}}
    aliases = theirs if other_names else {}
    return Built(module, scale=scale, channels=images, range=(0.0, 255.0), minimum=MINIMUM, aliases=aliases)
