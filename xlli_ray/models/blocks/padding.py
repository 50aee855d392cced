"""Padding of images whose size a network does not accept: at the bottom and right, by reflection, as restoration networks do."""

from __future__ import annotations

from torch import Tensor
from torch.nn import functional as F


def extend(x: Tensor, height: int, width: int) -> Tensor:
    """Pad (…, H, W) at the bottom and right to (height, width): by reflection, or by repeating the edge along an axis that is too
    short for reflection (reflection can at most double it, less one pixel)."""
    if x.ndim > 4 and (height, width) != tuple(x.shape[-2:]):  # clips are padded frame by frame: F.pad would treat frames as depth
        return extend(x.flatten(0, -4), height, width).unflatten(0, x.shape[:-3])
    for axis, more in ((0, width - x.shape[-1]), (1, height - x.shape[-2])):
        if more:
            mode = "reflect" if more < x.shape[-1 - axis] else "replicate"
            x = F.pad(x, (0, more, 0, 0) if axis == 0 else (0, 0, 0, more), mode=mode)
    return x


def extend_to_multiple(x: Tensor, multiple: int) -> Tensor:
    """Pad as `extend` does, to the next height and width that `multiple` divides; unchanged if it divides both."""
    height, width = (-(-n // multiple) * multiple for n in x.shape[-2:])
    return extend(x, height, width)
