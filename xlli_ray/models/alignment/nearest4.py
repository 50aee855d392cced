"""Alignment by the four nearest pixels, unresampled: the network weights them by itself.

Xu et al., "Enhancing Video Super-Resolution via Implicit Resampling-based Alignment" (IART), CVPR 2024, arXiv 2305.00163, in whose study
of alignment it is one of the operators. Of the position p + F(p), the four whole pixels around it are copied and stacked, and a 1 × 1
convolution brings 4C maps back to C. It starts as their mean, which is bilinear resampling half way between pixels. The weights do not
depend on the position between the pixels.
"""

from __future__ import annotations

from itertools import product
from typing import ClassVar

import torch
from torch import Tensor, nn

from xlli_ray.models.alignment.alignment import Alignment, check_border
from xlli_ray.models.blocks.warp import FAR, Border, shift


class Nearest4(Alignment):
    """`nearest4`. `border`: what lies outside the frame, `zeros` (the default), `clamp` or `reflect`."""

    VERSION: ClassVar[int] = 1
    LEARNED: ClassVar[bool] = True

    def __init__(self, channels: int, *, border: Border = "zeros") -> None:
        super().__init__(channels)
        check_border("nearest4", border)
        self.border: Border = border
        self.mix = nn.Conv2d(4 * channels, channels, 1)
        self.mix.weight = nn.Parameter(torch.eye(channels).repeat(1, 4)[..., None, None] / 4)
        self.mix.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        corner = flow.detach().floor().clamp(-FAR, FAR).long()
        steps = [torch.tensor([right, down], device=flow.device).view(1, 2, 1, 1) for down, right in product((0, 1), (0, 1))]
        return self.mix(torch.cat([shift(support, corner + step, border=self.border) for step in steps], 1))
