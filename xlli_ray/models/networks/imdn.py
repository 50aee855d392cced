"""IMDN: lightweight super-resolution by multi-distillation of information.

Hui, Gao, Yang, Wang, "Lightweight Image Super-Resolution with Information Multi-distillation Network", ACM MM 2019,
arXiv 1909.11856.

A block distils: the output of a 3x3 convolution is split, a quarter of the channels is kept and the rest goes on to the
next convolution. The four kept parts are joined, each channel is weighted by the contrast of its map (where the block
has attention), a 1x1 convolution mixes them, and the block's input is added. Activations are LeakyReLU of slope 0.05.

Two layouts of published state dicts are read. Names, widths and the number of blocks come from their keys:

- the paper's: `fea_conv`, blocks `IMDB1`.. whose outputs are all joined by `c`, `LR_conv` inside the long skip,
  `upsampler`;
- the plain one of the efficient-SR challenges: `model.0` (first features), `model.1.sub.0`.. (blocks one after the
  other, then a convolution, inside the long skip), `model.2` (convolution before the pixel shuffle). No joining.

A block has attention when its keys say so (`cca.conv_du.*`). The plain layout without attention is measured against a
public checkpoint (Set5 x4: 32.25 dB); the rest follows the paper and is tested for its form only.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.networks import Built, check_args, load_strict, numbered, shape_of, shuffle_scale

VERSION = 1
SLOPE = 0.05  # of every LeakyReLU


class ContrastAttention(nn.Module):
    """Weight each channel in 0..1 by its contrast, the standard deviation plus the mean of its map."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        squeeze, excite = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)
        self.conv_du = nn.Sequential(squeeze, nn.ReLU(), excite, nn.Sigmoid())

    def forward(self, x: Tensor) -> Tensor:
        mean = x.mean(dim=(2, 3), keepdim=True)
        variance = (x - mean).square().mean(dim=(2, 3), keepdim=True)
        # The square root has no gradient at 0 (a flat map); 1e-30 changes no weight and keeps it finite.
        return x * self.conv_du(variance.clamp_min(1e-30).sqrt() + mean)


class PlainBlock(nn.Module):
    """The block in the plain layout: `conv1` .. `conv3` carry their activation, `conv4` has none."""

    def __init__(self, channels: int, kept: int, squeezed: int | None) -> None:
        super().__init__()
        rest = channels - kept
        self.split = (kept, rest)
        self.conv1 = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.conv2 = nn.Sequential(nn.Conv2d(rest, channels, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.conv3 = nn.Sequential(nn.Conv2d(rest, channels, 3, padding=1), nn.LeakyReLU(SLOPE))
        self.conv4 = nn.Conv2d(rest, kept, 3, padding=1)
        self.cca = None if squeezed is None else ContrastAttention(4 * kept, squeezed)
        self.conv1x1 = nn.Conv2d(4 * kept, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept1, rest = self.conv1(x).split(self.split, dim=1)
        kept2, rest = self.conv2(rest).split(self.split, dim=1)
        kept3, rest = self.conv3(rest).split(self.split, dim=1)
        joined = torch.cat((kept1, kept2, kept3, self.conv4(rest)), dim=1)
        return x + self.conv1x1(joined if self.cca is None else self.cca(joined))


class PaperBlock(nn.Module):
    """The same block under the names of the paper's layout, `c1` .. `c5`, all without activation of their own."""

    def __init__(self, channels: int, kept: int, squeezed: int | None) -> None:
        super().__init__()
        rest = channels - kept
        self.split = (kept, rest)
        self.c1 = nn.Conv2d(channels, channels, 3, padding=1)
        self.c2 = nn.Conv2d(rest, channels, 3, padding=1)
        self.c3 = nn.Conv2d(rest, channels, 3, padding=1)
        self.c4 = nn.Conv2d(rest, kept, 3, padding=1)
        self.cca = None if squeezed is None else ContrastAttention(4 * kept, squeezed)
        self.c5 = nn.Conv2d(4 * kept, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        kept1, rest = F.leaky_relu(self.c1(x), SLOPE).split(self.split, dim=1)
        kept2, rest = F.leaky_relu(self.c2(rest), SLOPE).split(self.split, dim=1)
        kept3, rest = F.leaky_relu(self.c3(rest), SLOPE).split(self.split, dim=1)
        joined = torch.cat((kept1, kept2, kept3, self.c4(rest)), dim=1)
        return x + self.c5(joined if self.cca is None else self.cca(joined))


class Skip(nn.Module):
    """`sub(x) + x`: the long skip of the plain layout."""

    def __init__(self, *inside: nn.Module) -> None:
        super().__init__()
        self.sub = nn.Sequential(*inside)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.sub(x)


class PlainImdn(nn.Module):
    """The plain layout: `model.0`, `model.1.sub.*`, `model.2`, `model.3`."""

    def __init__(self, images: int, width: int, kept: int, blocks: int, scale: int, squeezed: int | None) -> None:
        super().__init__()
        trunk = [PlainBlock(width, kept, squeezed) for _ in range(blocks)]
        self.model = nn.Sequential(
            nn.Conv2d(images, width, 3, padding=1),
            Skip(*trunk, nn.Conv2d(width, width, 3, padding=1)),
            nn.Conv2d(width, images * scale**2, 3, padding=1),
            nn.PixelShuffle(scale),
        )

    def forward(self, x: Tensor) -> Tensor:
        return self.model(x)


class PaperImdn(nn.Module):
    """The paper's layout: the outputs of all blocks are joined before the long skip closes."""

    def __init__(self, images: int, width: int, kept: int, blocks: int, scale: int, squeezed: int | None) -> None:
        super().__init__()
        self.fea_conv = nn.Conv2d(images, width, 3, padding=1)
        self.blocks = tuple(f"IMDB{i}" for i in range(1, blocks + 1))
        for name in self.blocks:
            self.add_module(name, PaperBlock(width, kept, squeezed))
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
    """Build the network that the keys and shapes of `tensors` describe. Takes no `args`. Range 0..1."""
    check_args(args, (), network="imdn")
    paper = "fea_conv.weight" in tensors
    if paper:
        first, block, up = "fea_conv.weight", "IMDB1", "upsampler.0.weight"
        blocks, last = numbered(tensors, r"IMDB(\d+)\.") - 1, "c4"
    else:
        first, block, up = "model.0.weight", "model.1.sub.0", "model.2.weight"
        blocks, last = numbered(tensors, r"model\.1\.sub\.(\d+)\.") - 1, "conv4"  # the last of them is a convolution
    width, images = shape_of(tensors, first, network="imdn")[:2]
    kept = shape_of(tensors, f"{block}.{last}.weight", network="imdn")[0]
    scale = shuffle_scale(shape_of(tensors, up, network="imdn")[0], images, network="imdn")
    squeeze = f"{block}.cca.conv_du.0.weight"
    squeezed = int(tensors[squeeze].shape[0]) if squeeze in tensors else None
    module = (PaperImdn if paper else PlainImdn)(images, width, kept, blocks, scale, squeezed)
    load_strict(module, tensors, network="imdn")
    return Built(module, scale=scale, channels=images)
