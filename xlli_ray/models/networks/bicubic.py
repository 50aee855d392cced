"""The baseline as a network: bicubic upscaling (`corpus.resize`, MATLAB's rules), or the input itself at scale 1. It has no weights.

    - {id: bicubic, network: "xlli_ray.models.networks.bicubic:make", args: {scale: 4}}

Beside it in a `restore` stage, a network that is worse on the same samples is flagged (`worse_than_baseline`). A network of one channel is
scored on full-range luma, so it is compared with `args: {scale: 4, channels: 1}` only.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor, nn

from xlli_ray.corpus import resize
from xlli_ray.errors import NetworkError
from xlli_ray.models.networks import Built

VERSION = resize.VERSION  # it is that operator and nothing else


class Bicubic(nn.Module):
    """(B, C, H, W) to (B, C, scale H, scale W): two matrix products in float64, rounded to float32 at the end."""

    def __init__(self, scale: int) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        if self.scale == 1:
            return x.clone()
        rows, columns = (_matrix(n, self.scale).to(x.device) for n in x.shape[-2:])
        return (rows @ x.double() @ columns.T).to(x.dtype)


def make(scale: int, channels: int = 3) -> Built:
    """The baseline of a scale, for networks of 3 (RGB) or 1 (luma) channels."""
    if type(scale) is not int or not 1 <= scale <= 16 or channels not in (1, 3):
        raise NetworkError(f"bicubic: scale {scale!r} and channels {channels!r}; expected a whole number from 1 to 16, and 1 or 3")
    return Built(Bicubic(scale), scale=scale, channels=channels)


@lru_cache(maxsize=16)
def _matrix(size: int, scale: int) -> Tensor:
    """float64 (scale * size, size): what upscaling does along one axis, read off its answers to unit impulses."""
    return torch.from_numpy(resize.bicubic(np.eye(size), out_shape=(scale * size, size)))
