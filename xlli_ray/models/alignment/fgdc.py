"""Flow-guided deformable convolution: each output pixel reads nine places of the unwarped support, near where the flow points.

Chan et al., "BasicVSR++: Improving Video Super-Resolution with Enhanced Propagation and Alignment", CVPR 2022, arXiv 2104.13371, section
3.2, with the first order alone, as in the study of IART (CVPR 2024). From the support warped by the flow, the current features and the
flow, four convolutions estimate how the places differ from the flow, and a weight of each::

    o, m   = offsets([warp(support, flow), current, flow])
    places = reach · tanh(o) + flow                weights = sigmoid(m)
    output = deformable convolution 3 × 3 (support, places, weights)

(Dai et al., ICCV 2017; Zhu et al., "Deformable ConvNets v2", CVPR 2019, `torchvision.ops.deform_conv2d`.) The last layer of the offsets
starts at zero, so that all nine places follow the flow at first. `groups` share their offsets among C / groups maps each.
"""

from __future__ import annotations

import math
from typing import ClassVar

import torch
from torch import Tensor, nn
from torchvision.ops import deform_conv2d

from xlli_ray.errors import NetworkError
from xlli_ray.models.alignment.alignment import Alignment
from xlli_ray.models.blocks.warp import warp

PLACES = 9


class FlowGuided(Alignment):
    """`fgdc`. `groups` (default: 6, or the largest number below that divides the channels) and `reach`, the farthest from the flow in
    pixels (10)."""

    VERSION: ClassVar[int] = 1
    LEARNED: ClassVar[bool] = True

    def __init__(self, channels: int, *, groups: int | None = None, reach: float = 10.0) -> None:
        super().__init__(channels)
        if groups is None:
            groups = next(number for number in range(6, 0, -1) if channels % number == 0)
        if isinstance(groups, bool) or not isinstance(groups, int) or groups < 1 or channels % groups:
            raise NetworkError(f"alignment 'fgdc': groups is {groups!r}; expected an integer that divides the {channels} channels.")
        if isinstance(reach, bool) or not isinstance(reach, int | float) or not (0 < reach < math.inf):
            raise NetworkError(f"alignment 'fgdc': reach is {reach!r}; expected a number of pixels > 0.")
        self.groups, self.reach = groups, float(reach)
        layers: list[nn.Module] = []
        for inputs in (2 * channels + 2, channels, channels):
            layers += [nn.Conv2d(inputs, channels, 3, padding=1), nn.LeakyReLU(0.1)]
        last = nn.Conv2d(channels, 3 * PLACES * groups, 3, padding=1)
        for parameter in last.parameters():
            nn.init.zeros_(parameter)
        self.offsets = nn.Sequential(*layers, last)
        self.weight = nn.Parameter(torch.empty(channels, channels, 3, 3))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5))

    def forward(self, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        found = self.offsets(torch.cat([warp(support, flow), current, flow], 1))
        moves, weights = found.split((2 * PLACES * self.groups, PLACES * self.groups), 1)
        places = self.reach * torch.tanh(moves) + flow.flip(1).repeat(1, PLACES * self.groups, 1, 1)  # deform_conv2d: y first
        return deform_conv2d(support, places, self.weight, self.bias, padding=1, mask=torch.sigmoid(weights))
