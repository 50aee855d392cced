"""Self-attention in windows that span all frames of a clip: the block of PSRT.

Shi et al., "Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022, arXiv 2207.08494 (their MFSAB), after Liu et al.,
"Video Swin Transformer", CVPR 2022. A window of (T, M, N) holds the same M × N pixels of all T frames, and all of its T·M·N tokens attend
to each other, with a learned bias for their relative position in time and space: a table of (2T−1)(2M−1)(2N−1) entries a head. In a
shifted layer the frames are rolled by half a window in space (never in time), and pixels that were not neighbours do not attend to each
other, as in `blocks.window_attention`.

This is how such a network can use frames that are not aligned: content that moved by less than the window is in the same window.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from xlli_ray.models.blocks.padding import extend
from xlli_ray.models.blocks.window_attention import APART

Window = tuple[int, int, int]
"""(T, M, N): frames, and the height and width in pixels."""
MLP = 2
"""Width of the MLP's middle over that of the features."""


class ClipWindowAttention(nn.Module):
    """(B, T, H, W, width) to the same shape; H and W are multiples of the window's. `shifted`: rolled by half a window in space."""

    def __init__(self, width: int, heads: int, window: Window, shifted: bool) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.shift = (window[1] // 2, window[2] // 2) if shifted else (0, 0)
        self.position = nn.Parameter(torch.zeros(int(np.prod([2 * side - 1 for side in window])), heads))
        self.register_buffer("place", torch.from_numpy(relative_places(window)), persistent=False)
        self.qkv = nn.Linear(width, 3 * width)
        self.project = nn.Linear(width, width)

    def forward(self, x: Tensor) -> Tensor:
        batch, frames, height, wide, width = x.shape
        _, m, n = self.window
        rows, columns = height // m, wide // n
        if any(self.shift):
            x = torch.roll(x, (-self.shift[0], -self.shift[1]), (2, 3))
        x = x.reshape(batch, frames, rows, m, columns, n, width).permute(0, 2, 4, 1, 3, 5, 6).flatten(3, 5).flatten(1, 2)
        parts = self.qkv(x).unflatten(-1, (3, self.heads, width // self.heads))
        query, key, value = parts.permute(3, 0, 1, 4, 2, 5)  # each (B, windows, heads, T·M·N, d)
        bias = self.position[self.place].permute(2, 0, 1)
        if any(self.shift):
            bias = bias + torch.from_numpy(apart(height, wide, self.window, self.shift)).to(bias.device)
        logits = (query * (width // self.heads) ** -0.5) @ key.transpose(-2, -1)
        logits += bias  # in place: the logits are the largest tensor by far, and passes over it are most of the time
        x = self.project((logits.softmax(-1) @ value).transpose(2, 3).flatten(3))
        x = x.reshape(batch, rows, columns, frames, m, n, width).permute(0, 3, 1, 4, 2, 5, 6).reshape(batch, frames, height, wide, width)
        return torch.roll(x, self.shift, (2, 3)) if any(self.shift) else x


class ClipLayer(nn.Module):
    """A Swin layer over clips, (B, T, H, W, width) to the same shape: attention, then an MLP, each normalised before and added."""

    def __init__(self, width: int, heads: int, window: Window, shifted: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = ClipWindowAttention(width, heads, window, shifted)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, MLP * width), nn.GELU(), nn.Linear(MLP * width, width))

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.attention(self.norm1(x))
        return x + self.mlp(self.norm2(x))


class ClipGroup(nn.Module):
    """`x + conv(layers(x))`, (B, T, width, H, W) to the same shape, H and W multiples of the window's; 3 × 3, frame by frame."""

    def __init__(self, width: int, depth: int, heads: int, window: Window) -> None:
        super().__init__()
        self.layers = nn.Sequential(*(ClipLayer(width, heads, window, number % 2 == 1) for number in range(depth)))
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.layers(x.permute(0, 1, 3, 4, 2)).permute(0, 1, 4, 2, 3)
        return x + self.conv(y.flatten(0, 1)).unflatten(0, x.shape[:2])


class ClipBody(nn.Module):
    """Features of T frames to those of the centre one: (B, T, width, h, w) to (B, width, h, w), any h and w.

    Groups, then of the frame T // 2 a normalisation and a 3 × 3 convolution, and a skip around all: PSRT's body.
    """

    def __init__(self, width: int, depths: tuple[int, ...], heads: int, window: Window) -> None:
        super().__init__()
        self.window = window
        self.groups = nn.Sequential(*(ClipGroup(width, depth, heads, window) for depth in depths))
        self.norm = nn.LayerNorm(width)
        self.conv = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor, change: Callable[[Tensor], Tensor] | None = None, before: int = 0) -> Tensor:
        """`change`: applied to the features, of the same shape, before group `before`."""
        h, w = x.shape[-2:]
        _, m, n = self.window
        y = x
        for number, group in enumerate(self.groups):
            if change is not None and number == before:
                y = change(y)
            y = group(extend(y, -(-h // m) * m, -(-w // n) * n))[..., :h, :w]
        y = y[:, x.shape[1] // 2]
        y = self.norm(y.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        return x[:, x.shape[1] // 2] + self.conv(y)


@lru_cache(maxsize=8)
def relative_places(window: Window) -> np.ndarray:
    """int64 (T·M·N, T·M·N): row of the position table for tokens i and j of a window, counted frame by frame and row by row. Shared by all
    layers with that window."""
    tokens = np.indices(window).reshape(3, -1)
    steps = tokens[:, :, None] - tokens[:, None, :] + np.array(window)[:, None, None] - 1
    return np.ravel_multi_index(tuple(steps), tuple(2 * side - 1 for side in window)).astype(np.int64)


@lru_cache(maxsize=32)
def apart(height: int, width: int, window: Window, shift: tuple[int, int]) -> np.ndarray:
    """float32 (windows, 1, T·M·N, T·M·N): what is added to the logits of rolled frames, `APART` for pixels that were not neighbours."""
    frames, m, n = window
    rolled = 2 * (np.arange(height) >= height - shift[0])[:, None] + (np.arange(width) >= width - shift[1])[None, :]
    parts = rolled.reshape(height // m, m, width // n, n).swapaxes(1, 2).reshape(-1, 1, m * n).repeat(frames, 1).reshape(-1, frames * m * n)
    return np.where(parts[:, :, None] == parts[:, None, :], 0.0, APART).astype(np.float32)[:, None]
