"""No alignment: the supporting frame's features as they are. The network has to find out by itself what moved."""

from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from xlli_ray.models.alignment.alignment import Alignment


class Unaligned(Alignment):
    """`none`."""

    VERSION: ClassVar[int] = 1
    USES_FLOW: ClassVar[bool] = False

    def forward(self, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        return support
