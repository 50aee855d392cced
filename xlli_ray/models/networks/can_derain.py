"""CAN for deraining: a context aggregation network, convolutions of growing dilation, that estimates the rain.

Yu and Koltun, "Multi-Scale Context Aggregation by Dilated Convolutions", ICLR 2016, arXiv 1511.07122, in the form in which Li et al.,
"Recurrent Squeeze-and-Excitation Context Aggregation Net for Single Image Deraining", ECCV 2018, arXiv 1807.05698, remove rain, without
recurrence and attention::

    enc 3x3 -> conv0 .. conv3, 3x3, dilation 1, 2, 4, 8 -> dec1 3x3 -> dec2 1x1,    LeakyReLU 0.2 after all but the last

These are the weights that FFmpeg's `derain` filter was published with. The exported graph ends at the rain, and the derained image is the
input minus that; taken as an image the output of `dec2` is 9 dB worse.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.networks import Built, check_args, load_strict, numbered, shape_of

VERSION = 1
SLOPE = 0.2


class Can(nn.Module):
    """The rain of an image, (B, images, H, W) to the same shape."""

    def __init__(self, images: int, width: int, dilated: int) -> None:
        super().__init__()
        self.dilated = dilated
        self.enc = nn.Conv2d(images, width, 3, padding=1)
        for number in range(dilated):
            self.add_module(f"conv{number}", nn.Conv2d(width, width, 3, padding=2**number, dilation=2**number))
        self.dec1 = nn.Conv2d(width, width, 3, padding=1)
        self.dec2 = nn.Conv2d(width, images, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.enc(x), SLOPE)
        for number in range(self.dilated):
            x = F.leaky_relu(self.get_submodule(f"conv{number}")(x), SLOPE)
        return self.dec2(F.leaky_relu(self.dec1(x), SLOPE))


class CanDerain(nn.Module):
    """(B, images, H, W) in 0..1, rainy -> the same shape without the rain, not clamped. `can` is the rain."""

    def __init__(self, images: int, width: int, dilated: int) -> None:
        super().__init__()
        self.can = Can(images, width, dilated)

    def forward(self, rainy: Tensor) -> Tensor:
        return rainy - self.can(rainy)


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe: width and number of dilated convolutions from shapes. Range 0..1, any size."""
    check_args(args, (), network="can_derain")
    width, images = shape_of(tensors, "can.enc.weight", network="can_derain")[:2]
    module = CanDerain(images, width, min(numbered(tensors, r"can\.conv(\d+)\."), 12))
    load_strict(module, tensors, network="can_derain")
    return Built(module, scale=1, channels=images)
