"""Residual blocks without batch normalisation, (B, width, H, W) to the same shape."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class Block(nn.Module):
    """`x + conv2(relu(conv1(x)))`, 3 x 3 convolutions (Lim et al., EDSR, CVPR Workshops 2017, arXiv 1707.02921, figure 2c)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class RectifiedBlock(nn.Sequential):
    """`relu(x + relu(conv(relu(conv(x)))))`, activated before and after the addition: the block of PReNet, DRN and BRN. The convolutions
    are `0` and `2`, as in their checkpoints."""

    def __init__(self, width: int) -> None:
        super().__init__(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(), nn.Conv2d(width, width, 3, padding=1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(x + super().forward(x))
