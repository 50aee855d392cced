"""SPyNet, the flow network of BasicVSR and PSRT: coarse to fine, a small network per level estimates what the flow so far lacks.

Ranjan and Black, "Optical Flow Estimation using a Spatial Pyramid Network", CVPR 2017, arXiv 1611.00850. Six levels, each five 7 × 7
convolutions over (first image, second image warped by the flow so far, that flow). Both images are enlarged to multiples of 32 first, and
the flow is scaled back. Module names are those of the public state dicts, where it stands below `spynet.`. Its weights there were tuned
with the network around it, not for flow alone; still its end-point error is 0.12 to 0.19 px on three Middlebury sequences.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.blocks.warp import warp

LEVELS = 6
MULTIPLE = 2 ** (LEVELS - 1)
WIDTHS = (8, 32, 64, 32, 16, 2)
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
"""Of ImageNet's images; a state dict may bring others."""


class Level(nn.Module):
    """One level: (B, 8, h, w), two images and the flow so far, to what is added to that flow, (B, 2, h, w)."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for before, after in pairwise(WIDTHS):
            layers += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU()]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.basic_module(x)


class SPyNet(nn.Module):
    """Flow from `here` to `there`, (B, 3, H, W) RGB in 0..1 each, to (B, 2, H, W) pixels, x first."""

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(Level() for _ in range(LEVELS))
        self.register_buffer("mean", torch.tensor(MEAN).view(1, 3, 1, 1))
        self.register_buffer("std", torch.tensor(STD).view(1, 3, 1, 1))

    def forward(self, here: Tensor, there: Tensor) -> Tensor:
        height, width = here.shape[-2:]
        size = (-(-height // MULTIPLE) * MULTIPLE, -(-width // MULTIPLE) * MULTIPLE)
        firsts, seconds = self._pyramid(here, size), self._pyramid(there, size)
        flow = torch.zeros_like(firsts[0][:, :2])
        for level, first, second in zip(self.basic_module, firsts, seconds, strict=True):
            if flow.shape[-2:] != first.shape[-2:]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat([first, warp(second, flow, border="clamp"), flow], 1))
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
        return torch.stack([flow[:, 0] * (width / size[1]), flow[:, 1] * (height / size[0])], 1)

    def _pyramid(self, x: Tensor, size: tuple[int, int]) -> list[Tensor]:
        """The normalised image at each level, coarsest first."""
        levels = [(F.interpolate(x, size, mode="bilinear", align_corners=False) - self.mean) / self.std]
        for _ in range(LEVELS - 1):
            levels.insert(0, F.avg_pool2d(levels[0], 2, count_include_pad=False))
        return levels
