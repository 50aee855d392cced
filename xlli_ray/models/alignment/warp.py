"""Alignment by resampling: the features, or the frames, of the support are warped pixel by pixel along the flow.

The usual alignment of video super-resolution. `bilinear` (BasicVSR, CVPR 2021) weights four neighbours: at positions between pixels it
blurs, and loses a third to half of the energy of high frequencies. `bicubic` weights sixteen and keeps more. `nearest` copies the nearest
pixel: nothing is lost, but positions are wrong by up to half a pixel; halves are rounded up, ⌊v + 0.5⌋. `image` warps the low-resolution
frames (bilinear) before features are extracted from them, as the networks before EDVR did.

All are exact for whole-pixel flow; `nearest` to the last bit, the others to the rounding of float32 coordinates.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from torch import Tensor

from xlli_ray.models.alignment.alignment import Alignment, check_border
from xlli_ray.models.blocks.warp import Border, rounded, shift, warp


def bilinear(support: Tensor, flow: Tensor, border: Border = "zeros") -> Tensor:
    """(B, C, h, w), (B, 2, h, w) → (B, C, h, w). Differentiable in both."""
    return warp(support, flow, border=border)


def bicubic(support: Tensor, flow: Tensor, border: Border = "zeros") -> Tensor:
    """(B, C, h, w), (B, 2, h, w) → (B, C, h, w). Differentiable in both."""
    return warp(support, flow, mode="bicubic", border=border)


def nearest(support: Tensor, flow: Tensor, border: Border = "zeros") -> Tensor:
    """(B, C, h, w), (B, 2, h, w) → (B, C, h, w). Differentiable in the support alone."""
    return shift(support, rounded(flow), border=border)


class _Warped(Alignment):
    VERSION: ClassVar[int] = 1
    NAME: ClassVar[str]

    def __init__(self, channels: int, *, border: Border = "zeros") -> None:
        super().__init__(channels)
        check_border(self.NAME, border)
        self.border: Border = border


class Bilinear(_Warped):
    """`bilinear`. `border`: what lies outside the frame, `zeros` (the default, as in BasicVSR), `clamp` or `reflect`."""

    NAME: ClassVar[str] = "bilinear"

    def forward(self, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        return bilinear(support, flow, self.border)


class Bicubic(_Warped):
    """`bicubic`. `border` as for `bilinear`."""

    NAME: ClassVar[str] = "bicubic"

    def forward(self, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        return bicubic(support, flow, self.border)


class Nearest(_Warped):
    """`nearest`. `border` as for `bilinear`."""

    NAME: ClassVar[str] = "nearest"

    def forward(self, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        return nearest(support, flow, self.border)


class ImageWarp(Bilinear):
    """`image`: `bilinear`, applied to the frames. `border`: `clamp` by default, since a black margin in a frame would look like content."""

    NAME: ClassVar[str] = "image"
    LEVEL: ClassVar[Literal["feature", "image"]] = "image"

    def __init__(self, channels: int, *, border: Border = "clamp") -> None:
        super().__init__(channels, border=border)
