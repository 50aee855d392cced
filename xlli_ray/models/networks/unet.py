"""U-Net for restoration at scale 1: features at halved resolutions, joined on the way back, with or without a global residual.

Ronneberger, Fischer, Brox, "U-Net: Convolutional Networks for Biomedical Image Segmentation", MICCAI 2015, arXiv 1505.04597::

    x -> down.0 -> pool -> down.1 -> pool -> .. down.N-1
                |              |                  |
         up.0 <- join <- up.1 <- join <- ..  <----'
          |
        last (-> + x)

`down.i` and `up.i` are two 3 x 3 convolutions with ReLU, of width 2^i · `width`; `grow.i` is the paper's 2 x 2 up-convolution, which
halves the features and doubles the size; `down.i` and its output are joined, in this order. Here convolutions are padded with zeros, so
that nothing has to be cropped at the joins, and there are as many levels as asked for (the paper: unpadded, five levels, width 64). Height
and width must be divisible by 2^(levels − 1): other images are extended by reflection at the bottom and right, and cut at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.errors import NetworkError
from xlli_ray.models.blocks.first_weights import draw
from xlli_ray.models.blocks.global_residual import ARG, Restoration, chosen, stored
from xlli_ray.models.blocks.padding import extend_to_multiple
from xlli_ray.models.networks import Built, check_args, counts, load_strict, numbered, shape_of

VERSION = 1
ARGS = (ARG,)
DEFAULTS = {"width": 10, "levels": 3}
DEEPEST = 8  # levels: an image would be extended to a multiple of 128


class Twice(nn.Module):
    """`relu(conv2(relu(conv1(x))))`."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv2(F.relu(self.conv1(x))))


class UNet(Restoration):
    """(B, images, H, W) in 0..1 -> the same shape."""

    def __init__(self, width: int, levels: int, global_residual: bool, *, images: int = 3) -> None:
        super().__init__(global_residual)
        widths = [width * 2**level for level in range(levels)]
        self.multiple = 2 ** (levels - 1)
        self.down = nn.ModuleList(Twice(inputs, outputs) for inputs, outputs in zip([images, *widths], widths))
        self.grow = nn.ModuleList(nn.ConvTranspose2d(2 * outputs, outputs, 2, stride=2) for outputs in widths[:-1])
        self.up = nn.ModuleList(Twice(2 * outputs, outputs) for outputs in widths[:-1])
        self.last = nn.Conv2d(width, images, 1)

    def estimate(self, x: Tensor) -> Tensor:
        height, width = x.shape[-2:]
        y = self.down[0](extend_to_multiple(x, self.multiple))
        joined = []
        for down in self.down[1:]:
            joined.append(y)
            y = down(F.max_pool2d(y, 2))
        for kept, grow, up in zip(reversed(joined), reversed(self.grow), reversed(self.up)):
            y = up(torch.cat((kept, grow(y)), dim=1))
        return self.last(y)[..., :height, :width]


def create(args: Mapping[str, Any], *, generator: torch.Generator) -> UNet:
    """A network to be trained, its first weights drawn from `generator`.

    `args`: `width` (features at full resolution, default 10), `levels` (resolutions, default 3), `global_residual` (default true), which
    changes no draw: twins start equal. The default has 45,933 parameters. The last convolution starts ten times smaller.
    """
    check_args(args, (*DEFAULTS, ARG), network="unet")
    width, levels = counts(args, DEFAULTS, network="unet")
    if levels > DEEPEST:
        raise NetworkError(f"network 'unet': levels must be at most {DEEPEST}, got {levels}.")
    net = UNet(width, levels, chosen(args, network="unet"))
    draw(net, generator, {"last": 0.1})
    return net


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe: width and levels from shapes. Range 0..1, any size."""
    check_args(args, ARGS, network="unet")
    width, images = shape_of(tensors, "down.0.conv1.weight", network="unet")[:2]
    levels = min(numbered(tensors, r"down\.(\d+)\."), DEEPEST)
    module = UNet(width, levels, stored(tensors, args, network="unet"), images=images)
    load_strict(module, tensors, network="unet")
    return Built(module, scale=1, channels=images)
