"""Enhanced spatial attention (ESA), the attention block that RFDN and RLFN share.

Liu, Zhang, Tang, Tang, "Residual Feature Aggregation Network for Image Super-Resolution", CVPR 2020, section 3.3:
a 1x1 convolution narrows the features; a strided convolution and a max pooling (window 7, stride 3) widen the view; a
group of convolutions works there; bilinear upsampling brings it back to full size, where a 1x1 shortcut from the
narrowed features is added; a 1x1 convolution and a sigmoid make the mask that multiplies the input.

The group has three convolutions with ReLU between them in RFDN (`conv_max`, `conv3`, `conv3_`), one in RLFN (`conv3`).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

# Smallest H and W that reach the pooling: the strided convolution (window 3, stride 2, no padding) makes (H - 1) // 2,
# which the pooling's window of 7 must fit into.
MINIMUM = 15


class SpatialAttention(nn.Module):
    """(B, channels, H, W) -> the same, weighted per pixel and channel in 0..1; H and W at least `MINIMUM`."""

    def __init__(self, channels: int, narrow: int, *, deep: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, narrow, 1)
        self.conv_f = nn.Conv2d(narrow, narrow, 1)
        self.conv2 = nn.Conv2d(narrow, narrow, 3, stride=2)
        self.conv_max = nn.Conv2d(narrow, narrow, 3, padding=1) if deep else None
        self.conv3 = nn.Conv2d(narrow, narrow, 3, padding=1)
        self.conv3_ = nn.Conv2d(narrow, narrow, 3, padding=1) if deep else None
        self.conv4 = nn.Conv2d(narrow, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        narrowed = self.conv1(x)
        wide = F.max_pool2d(self.conv2(narrowed), kernel_size=7, stride=3)
        if self.conv_max is not None and self.conv3_ is not None:
            wide = self.conv3_(F.relu(self.conv3(F.relu(self.conv_max(wide)))))
        else:
            wide = self.conv3(wide)
        wide = F.interpolate(wide, size=x.shape[-2:], mode="bilinear", align_corners=False)
        return x * torch.sigmoid(self.conv4(wide + self.conv_f(narrowed)))
