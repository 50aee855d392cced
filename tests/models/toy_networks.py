"""Networks small enough to know everything about, and the factories of a user who brings his own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.model import ImageModel, Model, Range
from xlli_ray.models.networks import Built

VERSION = 7


def as_model(module: nn.Module, **known: Any) -> Model:
    """A `Model` around `module`; what is not said is that of a network of scale 1 on 0..1."""
    fields: dict[str, Any] = {
        "id": "toy", "network": "toy_networks:toy", "network_version": 1, "scale": 1, "channels": 3,
        "range": Range(0.0, 1.0), "multiple": 1, "minimum": 1, "output": "image", "weights_sha256": "0" * 64,
    }  # fmt: skip
    return ImageModel(module=module.eval().requires_grad_(False), **(fields | known))


class Function(nn.Module):
    """A function as a module."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, x: Tensor) -> Any:
        return self.function(x)


class Upscaler(nn.Module):
    """head, body (an in-place ReLU), tail, pixel shuffle: the shape of a super-resolution network."""

    def __init__(self, channels: int = 3, width: int = 8, scale: int = 2) -> None:
        super().__init__()
        self.head = nn.Conv2d(channels, width, 3, padding=1)
        self.body = nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.ReLU(inplace=True))
        self.tail = nn.Conv2d(width, channels * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.tail(self.body(self.head(x))))


def upscaler(channels: int = 3, width: int = 8, scale: int = 2) -> nn.Module:
    return Upscaler(channels, width, scale)


def wrapped() -> nn.Module:
    """All names start with `module.`, as those of DataParallel do."""
    wrapper = nn.Sequential()
    wrapper.add_module("module", Upscaler())
    return wrapper


def strict_size() -> Built:
    """A factory that says more than a module can: the network refuses sizes that are no multiple of 4."""

    def halves(x: Tensor) -> Tensor:
        if x.shape[2] % 4 or x.shape[3] % 4:
            raise ValueError("no multiple of 4")
        return x

    return Built(Function(halves), scale=1, multiple=4, aliases={"all": "**"})


class UNet(nn.Module):
    """Halves its image `depth` times and joins what it finds on the way up: sizes are multiples of 2**depth."""

    def __init__(self, depth: int = 3, width: int = 4) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, width, 3, padding=1)
        self.down = nn.ModuleList(nn.Conv2d(width, width, 3, stride=2, padding=1) for _ in range(depth))
        self.up = nn.ModuleList(nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(depth))
        self.mix = nn.ModuleList(nn.Conv2d(2 * width, width, 3, padding=1) for _ in range(depth))
        self.last = nn.Conv2d(width, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        seen = [self.first(x)]
        for down in self.down:
            seen.append(F.relu(down(seen[-1])))
        y = seen.pop()
        for up, mix in zip(self.up, self.mix):
            y = F.relu(mix(torch.cat((up(y), seen.pop()), dim=1)))
        return x + self.last(y)


def unet(depth: int = 3) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return UNet(depth)


def built_unet() -> Built:
    return Built(unet(2), scale=1)


def in_windows(window: int = 7) -> nn.Module:
    """Means over windows: height and width are multiples of their side."""

    def forward(x: Tensor) -> Tensor:
        batch, channels, height, width = x.shape
        cut = x.reshape(batch, channels, height // window, window, width // window, window)
        return (cut - cut.mean((3, 5), keepdim=True)).reshape(x.shape)

    return Function(forward)


def in_precision(dtype: str) -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return nn.Conv2d(3, 3, 3, padding=1).to(getattr(torch, dtype))


class Casting(nn.Module):
    """Turns its input into bfloat16 by itself, and gives that."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1).bfloat16()

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x.bfloat16())


def casting() -> nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return Casting()


def not_a_module() -> int:
    return 3


def a_class() -> type:
    return Upscaler


def leaving() -> nn.Module:
    raise SystemExit(3)


def failing() -> nn.Module:
    raise RuntimeError("no such depth")


def classifier(classes: int = 5) -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, classes))


class SrganBlock(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(64, 64, 3, padding=1, bias=False)
        self.relu1 = nn.PReLU()
        self.conv2 = nn.Conv2d(64, 64, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.relu1(F.instance_norm(self.conv1(x)))
        return x + F.instance_norm(self.conv2(y))


class SrganDoubled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(64, 256, 3, padding=1)
        self.relu = nn.PReLU()

    def forward(self, x: Tensor) -> Tensor:
        return self.relu(F.pixel_shuffle(self.conv(x), 2))


class Srgan(nn.Module):
    """The generator of SRGAN (Ledig et al. 2017) with instance norms, under the names of the public checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.neck = nn.Sequential(nn.Conv2d(3, 64, 3, padding=1), nn.PReLU())
        self.stem = nn.Sequential(*(SrganBlock() for _ in range(8)))
        self.bottleneck = nn.Sequential(nn.Conv2d(64, 64, 3, padding=1, bias=False), nn.InstanceNorm2d(64))
        self.upsampling = nn.Sequential(SrganDoubled(), SrganDoubled())
        self.head = nn.Sequential(nn.Conv2d(64, 3, 3, padding=1), nn.Tanh())

    def forward(self, x: Tensor) -> Tensor:
        y = self.neck(x)
        return self.head(self.upsampling(y + self.bottleneck(self.stem(y))))


def srgan() -> nn.Module:
    return Srgan()


class LooksAtValues(nn.Module):
    """Cannot run on the meta device: what it does depends on numbers."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv(x)
        return y + 1 if y.sum().item() > 1e9 else y


class KeepsMask(nn.Module):
    """Keeps a tensor from its forward pass, as window-attention networks do with their masks."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 3, 3, padding=1)
        self.mask: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        if self.mask is None or self.mask.shape != x.shape[2:]:
            self.mask = torch.ones(x.shape[2:], device=x.device)
        return self.conv(x) * self.mask
