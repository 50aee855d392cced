"""Patch alignment: whole patches of the support are moved by their mean motion, and never resampled inside.

Shi et al., "Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022, arXiv 2207.08494. The flow is averaged over each
patch of P × P pixels (P = 8 in the paper, its attention's window; the grid starts at the top left corner and does not shift), rounded, and
the patch is copied from there: out[patch] = support[patch + d], zeros outside the frame. The inside of a patch keeps all its detail and
its neighbourhoods; between patches there may be seams, and content may be repeated or missing. Where h or w is no multiple of P, the flow
is extended by reflection at the bottom and right, and the rest of that patch cut off.

The authors' code does not round: it adds the mean to the pixel grid and lets `grid_sample` take the nearest pixel. At a mean of exactly
half a pixel (0.5, 1.5, −0.5), float rounding of the coordinates then decides pixel by pixel, and tears the patch: some of its columns move
by 0 and some by 1. Here the mean is rounded first, ⌊v + 0.5⌋, and a patch always moves as a whole; `reference_compat` gives their result.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from xlli_ray.errors import NetworkError
from xlli_ray.models.alignment.alignment import Alignment, check_border, one_of
from xlli_ray.models.blocks.padding import extend_to_multiple
from xlli_ray.models.blocks.warp import Border, rounded, shift, warp

Reduce = Literal["mean", "median", "mode"]
REDUCES = ("mean", "median", "mode")


def patch(
    support: Tensor, flow: Tensor, size: int = 8, border: Border = "zeros", reduce: Reduce = "mean", reference_compat: bool = False
) -> Tensor:
    """(B, C, h, w), (B, 2, h, w) → (B, C, h, w): each patch of `size` × `size` copied from where its motion points.

    Differentiable in the support, whose pixels are copied; the flow gets no gradient.
    """
    moves = patch_motion(flow.detach(), size, reduce)
    if reference_compat:
        return warp(support, moves, mode="nearest", border=border)
    return shift(support, rounded(moves), border=border)


def patch_motion(flow: Tensor, size: int, reduce: Reduce = "mean") -> Tensor:
    """(B, 2, h, w) → the same shape, constant in each patch: its mean, the median of each component, or the most frequent displacement in
    whole pixels (of several equally frequent ones, that of the first pixel in reading order)."""
    h, w = flow.shape[-2:]
    whole = extend_to_multiple(flow, size)
    rows, columns = whole.shape[-2] // size, whole.shape[-1] // size
    values = whole.unflatten(3, (columns, size)).unflatten(2, (rows, size)).permute(0, 2, 4, 1, 3, 5).flatten(4)  # (B, r, c, 2, P²)
    if reduce == "mean":
        one = values.mean(-1)
    elif reduce == "median":
        ordered, count = values.sort(-1).values, values.shape[-1]
        one = (ordered[..., (count - 1) // 2] + ordered[..., count // 2]) / 2
    else:
        moves = rounded(values)
        votes = (moves[..., :, None] == moves[..., None, :]).all(-3).sum(-1)  # (B, r, c, P²): pixels that move alike
        first = votes.argmax(-1)[..., None, None].expand(*moves.shape[:-1], 1)
        one = moves.gather(-1, first)[..., 0].to(flow.dtype)
    spread = one.permute(0, 3, 1, 2).repeat_interleave(size, 2).repeat_interleave(size, 3)
    return spread[..., :h, :w]


class Patch(Alignment):
    """`patch`. `size`: the side of a patch in pixels (8); `border`: outside the frame `zeros` (the default, as in the paper), `clamp` or
    `reflect`; `reduce`: a patch's motion, `mean` (the default, as in the paper), `median` or `mode`; `reference_compat`: tear patches at
    exact half pixels as the authors' code does."""

    VERSION: ClassVar[int] = 1

    def __init__(
        self, channels: int, *, size: int = 8, border: Border = "zeros", reduce: Reduce = "mean", reference_compat: bool = False
    ) -> None:
        super().__init__(channels)
        if isinstance(size, bool) or not isinstance(size, int) or size < 1:
            raise NetworkError(f"alignment 'patch': size is {size!r}; expected an integer ≥ 1, the side of a patch in pixels.")
        check_border("patch", border)
        one_of("patch", "reduce", reduce, REDUCES)
        if not isinstance(reference_compat, bool):
            raise NetworkError(f"alignment 'patch': reference_compat is {reference_compat!r}; expected true or false.")
        self.size, self.reference_compat = size, reference_compat
        self.border: Border = border
        self.reduce: Reduce = reduce

    def forward(self, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        return patch(support, flow, self.size, self.border, self.reduce, self.reference_compat)
