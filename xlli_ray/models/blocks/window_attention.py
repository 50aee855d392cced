"""Self-attention in windows, regular or shifted, with a learned bias for the relative position.

Liu et al., "Swin Transformer: Hierarchical Vision Transformer using Shifted Windows", ICCV 2021, arXiv 2103.14030, section 3.2. The image
is cut into windows of M x M pixels, and the pixels of a window attend to each other:

    Attention(Q, K, V) = SoftMax(Q Kᵀ / √d + B) V                                                                          (equation 4)

for each head, d features each. B depends on the relative position alone: along an axis it is one of −M+1 .. M−1, so B is read from a table
of (2M−1)² entries a head. In a shifted layer the image is rolled by half a window to the top left before and back afterwards (figure 4):
windows at the bottom and right then hold pixels from opposite edges of the image, which must not attend to each other.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

APART = -1e4
"""Added to the logit of two pixels that must not attend to each other: their weight is 0 in float32, bfloat16 and float16."""


class WindowAttention(nn.Module):
    """(B, H, W, width) to the same shape; H and W are multiples of `window`. `shift`: pixels rolled to the top left, 0 for none."""

    def __init__(self, width: int, heads: int, window: int, shift: int) -> None:
        super().__init__()
        self.heads, self.window, self.shift = heads, window, shift
        self.position = nn.Parameter(torch.zeros((2 * window - 1) ** 2, heads))
        self.register_buffer("place", torch.from_numpy(relative_places(window)), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, height, wide, width = x.shape
        m, rows, columns = self.window, height // self.window, wide // self.window
        if self.shift:
            x = torch.roll(x, (-self.shift, -self.shift), (1, 2))
        x = x.reshape(batch, rows, m, columns, m, width).transpose(2, 3).reshape(batch, rows * columns, m * m, width)
        parts = self.qkv(x).reshape(batch, rows * columns, m * m, 3, self.heads, width // self.heads)
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5)  # each (B, windows, heads, M², d)
        logits = (query * (width // self.heads) ** -0.5) @ key.transpose(-2, -1)
        logits = logits + self.position[self.place].permute(2, 0, 1)
        if self.shift:
            logits = logits + torch.from_numpy(apart(height, wide, m, self.shift)).to(logits.device)
        x = (logits.softmax(-1) @ value).transpose(2, 3).reshape(batch, rows * columns, m * m, width)
        x = self.project(x).reshape(batch, rows, columns, m, m, width).transpose(2, 3).reshape(batch, height, wide, width)
        return torch.roll(x, (self.shift, self.shift), (1, 2)) if self.shift else x


def relative_places(window: int) -> np.ndarray:
    """int64 (M², M²): row of the position table for pixels i and j of a window, counted row by row."""
    y, x = np.divmod(np.arange(window * window), window)
    down, right = y[:, None] - y[None, :] + window - 1, x[:, None] - x[None, :] + window - 1
    return down * (2 * window - 1) + right


@lru_cache(maxsize=32)
def apart(height: int, width: int, window: int, shift: int) -> np.ndarray:
    """float32 (windows, 1, M², M²): what is added to the logits of a rolled image, `APART` for pixels that were not neighbours before."""
    rolled = 2 * (np.arange(height) >= height - shift)[:, None] + (np.arange(width) >= width - shift)[None, :]
    parts = rolled.reshape(height // window, window, width // window, window).swapaxes(1, 2).reshape(-1, window * window)
    return np.where(parts[:, :, None] == parts[:, None, :], 0.0, APART).astype(np.float32)[:, None]
