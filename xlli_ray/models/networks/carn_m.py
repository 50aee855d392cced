"""CARN-M: the mobile cascading residual network, one checkpoint for several scales.

Ahn, Kang, Sohn, "Fast, Accurate, and Lightweight Super-Resolution with Cascading Residual Network", ECCV 2018,
arXiv 1803.08664.

Three cascading blocks, cascaded themselves: the input of a step and the outputs of all steps before it are joined and
mixed by a 1x1 convolution with ReLU. In the mobile variant a step inside a block is an *efficient residual*, two
grouped 3x3 convolutions and a 1x1 one, and the three steps of a block share their weights, so `b1.b1` runs three times.
Each scale has an upsampling branch of its own (`upsample.up2`, `up3`, `up4`); `args.scale` chooses one. The checkpoint
of a single scale (`upsample.up`) has nothing to choose. Groups and widths are read from the shapes.

The mean shifts around the network (`sub_mean`, `add_mean`) are stored as 1x1 convolutions, but add a constant per
channel; they are kept as layers of their own kind here, so that the last convolution on the path is `exit`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.errors import NetworkError
from xlli_ray.models.networks import Built, check_args, load_strict, shape_of

VERSION = 1
ARGS = ("scale",)


class Shift(nn.Module):
    """A 1x1 mixing of channels plus a constant; in the checkpoint the identity, plus or minus the training mean."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(channels, channels, 1, 1))
        self.bias = nn.Parameter(torch.empty(channels))

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)


class MeanShift(nn.Module):
    """Holds the shift under its key in the state dict."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.shifter = Shift(channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.shifter(x)


class Mix(nn.Module):
    """1x1 convolution and ReLU over everything so far."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(inputs, width, 1), nn.ReLU())

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class EfficientResidual(nn.Module):
    """Grouped 3x3, grouped 3x3, 1x1; ReLU between, and after the input is added."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, groups=groups),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, groups=groups),
            nn.ReLU(),
            nn.Conv2d(width, width, 1),
        )

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.body(x) + x)


class Cascade(nn.Module):
    """One cascading block: three times the same residual `b1`, mixed by `c1` .. `c3`."""

    def __init__(self, width: int, groups: int) -> None:
        super().__init__()
        self.b1 = EfficientResidual(width, groups)
        self.c1, self.c2, self.c3 = (Mix(width * i, width) for i in (2, 3, 4))

    def forward(self, x: Tensor) -> Tensor:
        joined = y = x
        for mix in (self.c1, self.c2, self.c3):
            joined = torch.cat((joined, self.b1(y)), dim=1)
            y = mix(joined)
        return y


class Branch(nn.Module):
    """Upsampling to one scale: convolution, ReLU, pixel shuffle; twice for 4."""

    def __init__(self, width: int, groups: int, scale: int) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        for factor in (2, 2) if scale == 4 else (scale,):
            grown = nn.Conv2d(width, width * factor**2, 3, padding=1, groups=groups)
            layers += [grown, nn.ReLU(), nn.PixelShuffle(factor)]
        self.body = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x)


class CarnM(nn.Module):
    """`branches`: key in the state dict (`up2` ..) -> scale; `use`: the key of the branch that runs."""

    def __init__(self, images: int, width: int, groups: tuple[int, int], branches: Mapping[str, int], use: str) -> None:
        super().__init__()
        self.use = use
        self.sub_mean = MeanShift(images)
        self.add_mean = MeanShift(images)
        self.entry = nn.Conv2d(images, width, 3, padding=1)
        self.b1, self.b2, self.b3 = (Cascade(width, groups[0]) for _ in range(3))
        self.c1, self.c2, self.c3 = (Mix(width * i, width) for i in (2, 3, 4))
        self.upsample = nn.ModuleDict({key: Branch(width, groups[1], scale) for key, scale in branches.items()})
        self.exit = nn.Conv2d(width, images, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        joined = y = self.entry(self.sub_mean(x))
        for block, mix in ((self.b1, self.c1), (self.b2, self.c2), (self.b3, self.c3)):
            joined = torch.cat((joined, block(y)), dim=1)
            y = mix(joined)
        return self.add_mean(self.exit(self.upsample[self.use](y)))


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that the keys and shapes of `tensors` describe. Range 0..1. `args`: `scale`, one of the file's.

    Raises NetworkError when the file holds several scales and none is chosen, or not the one that is.
    """
    check_args(args, ARGS, network="carn_m")
    width, images = shape_of(tensors, "entry.weight", network="carn_m")[:2]
    grouped = shape_of(tensors, "b1.b1.body.0.weight", network="carn_m")[1]
    branches: dict[str, int] = {}
    for key, tensor in tensors.items():
        if found := re.fullmatch(r"upsample\.(up\d*)\.body\.0\.weight", key):
            twice = f"upsample.{found.group(1)}.body.3.weight" in tensors
            branches[found.group(1)] = 4 if twice else round((tensor.shape[0] / width) ** 0.5)
            up_grouped = int(tensor.shape[1])
    if not branches:
        shape_of(tensors, "upsample.up4.body.0.weight", network="carn_m")  # raises: it is not there
    held = sorted(branches.values())
    scale = args.get("scale", held[0] if len(held) == 1 else None)
    if scale not in held:
        said = "none is chosen" if scale is None else f"scale {scale!r} is not among them"
        raise NetworkError(
            f"carn_m: the checkpoint holds scales {', '.join(map(str, held))} and {said}."
            f" Write e.g. `scale: {held[-1]}` at the model."
        )
    use = next(key for key, value in branches.items() if value == scale)
    module = CarnM(images, width, (width // grouped, width // up_grouped), branches, use)
    load_strict(module, tensors, network="carn_m")
    return Built(module, scale=scale, channels=images)
