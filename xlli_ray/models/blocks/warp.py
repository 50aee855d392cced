"""Moving an image or a feature map along a flow: resampled, or by whole pixels.

A flow F(current → support) says for each pixel of the current frame where its content lies in the supporting one, in pixels, x first. Its
use is a backward warp: aligned(y, x) = support(y + F_y, x + F_x), so the result lies on the grid of the current frame.

`warp` resamples between pixels; `shift` copies whole ones. What lies outside the support is decided by `border`: `zeros`, `clamp` (the
nearest edge pixel) or `reflect` (mirrored about the edge pixel, which is not repeated).
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional as F

Border = Literal["zeros", "clamp", "reflect"]
BORDERS: dict[str, str] = {"zeros": "zeros", "clamp": "border", "reflect": "reflection"}
"""Names of `grid_sample` for them."""
FAR = 1e6
"""Flow is limited to this many pixels where it becomes an integer."""


def grid(like: Tensor) -> tuple[Tensor, Tensor]:
    """Rows (h, 1) and columns (1, w) of the pixels of (…, h, w), in the dtype of `like`."""
    h, w = like.shape[-2:]
    rows = torch.arange(h, device=like.device, dtype=like.dtype)
    columns = torch.arange(w, device=like.device, dtype=like.dtype)
    return rows[:, None], columns[None, :]


def warp(x: Tensor, flow: Tensor, *, mode: Literal["bilinear", "bicubic", "nearest"] = "bilinear", border: Border = "zeros") -> Tensor:
    """x (B, C, h, w), flow (B, 2, h, w) in pixels, x first → (B, C, h, w), resampled at p + flow(p).

    Differentiable in `x`, and with `bilinear` and `bicubic` in `flow`. Coordinates pass through −1..1 in float32, as everybody's do, so a
    whole-pixel flow gives the pixel to about 1e-5 of the contrast with its neighbours. `bicubic` is torch's cubic, a = −0.75. `nearest`
    is here for comparison with others' code: at exact halves its rounding depends on the coordinate (`shift` decides it).
    """
    h, w = x.shape[-2:]
    rows, columns = grid(flow)
    across, down = 2 * (columns + flow[:, 0]) / max(w - 1, 1) - 1, 2 * (rows + flow[:, 1]) / max(h - 1, 1) - 1
    places = torch.stack([across, down], -1)
    return F.grid_sample(x.to(places.dtype), places, mode=mode, padding_mode=BORDERS[border], align_corners=True).to(x.dtype)


def rounded(flow: Tensor) -> Tensor:
    """Whole pixels, int64: ⌊v + 0.5⌋, so halves go up (to the right, downward) everywhere."""
    return (flow.detach() + 0.5).floor().clamp(-FAR, FAR).long()


def shift(x: Tensor, moves: Tensor, *, border: Border = "zeros") -> Tensor:
    """x (B, C, h, w), moves (B, 2, h, w) int64, x first → (B, C, h, w): the pixel at p + moves(p), copied. Differentiable in `x`."""
    batch, channels, h, w = x.shape
    rows = torch.arange(h, device=x.device)[:, None] + moves[:, 1]
    columns = torch.arange(w, device=x.device)[None, :] + moves[:, 0]
    inside = None
    if border == "zeros":
        inside = (rows >= 0) & (rows < h) & (columns >= 0) & (columns < w)
    if border == "reflect":
        rows, columns = _mirrored(rows, h), _mirrored(columns, w)
    places = rows.clamp(0, h - 1) * w + columns.clamp(0, w - 1)
    out = x.flatten(2).gather(2, places.flatten(1)[:, None].expand(batch, channels, -1)).unflatten(2, (h, w))
    return out if inside is None else torch.where(inside[:, None], out, torch.zeros((), dtype=x.dtype, device=x.device))


def _mirrored(places: Tensor, size: int) -> Tensor:
    if size == 1:
        return torch.zeros_like(places)
    period = 2 * (size - 1)
    places = places % period
    return torch.minimum(places, period - places)


def composed(first: Tensor, second: Tensor) -> Tensor:
    """Flow over two steps, (B, 2, h, w): f(a→c) = f(a→b) + f(b→c) warped by f(a→b), bilinear; outside the frame the second counts 0."""
    return first + warp(second, first)
