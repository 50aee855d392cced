"""Networks of known behaviour, given to recipes as `network: toy:NAME`: some misbehave, each in one way."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from pathlib import Path

import torch
from torch import Tensor, nn

from xlli_ray.models.networks import Built

IN_WORKER = "RAY_RAYLET_PID" in os.environ or any("process_pool" in text and "serve(" in text for text in sys.orig_argv)
"""Whether this is a worker of Ray, or of a pool without it. Not one of pytest-xdist, which is started by `python -c`, too."""


class Small(nn.Module):
    """Two convolutions and a pixel shuffle; weights from a seed."""

    def __init__(self, scale: int = 2, width: int = 6, seed: int = 0) -> None:
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.body = nn.Sequential(nn.ReLU(inplace=True), nn.Conv2d(width, width, 3, padding=1))
        self.tail = nn.Conv2d(width, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)
        generator = torch.Generator().manual_seed(seed)
        for parameter in self.parameters():
            parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.tail(self.body(self.head(x))))


def small(scale: int = 2, width: int = 6, seed: int = 0) -> nn.Module:
    return Small(scale, width, seed)


class _Wrapped(nn.Module):
    def __init__(self, scale: int = 2) -> None:
        super().__init__()
        self.net = Small(scale)


class NanOnBright(_Wrapped):
    """NaN for every sample whose mean is above a level."""

    level = 0.6

    def forward(self, x: Tensor) -> Tensor:
        bright = x.mean(dim=(1, 2, 3), keepdim=True) > self.level
        return self.net(torch.where(bright, torch.nan, x))


def nan_on_bright() -> nn.Module:
    return NanOnBright()


class NanEverywhere(_Wrapped):
    """NaN for every real sample."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net(torch.full_like(x, torch.nan))


def nan_everywhere() -> nn.Module:
    return NanEverywhere()


class KillOnBright(_Wrapped):
    """Ends its worker when a bright sample comes, as a broken driver or a fatal bug in native code would. (The run's own process tries each
    network before, with bright images too.)"""

    def forward(self, x: Tensor) -> Tensor:
        if IN_WORKER and x.device.type != "meta" and bool((x.mean(dim=(1, 2, 3)) > NanOnBright.level).any()):
            os.kill(os.getpid(), signal.SIGKILL)
        return self.net(x)


def kill_on_bright() -> nn.Module:
    return KillOnBright()


class KillOnce(_Wrapped):
    """Ends its process at the n-th real forward of a worker, once: the marker file remembers. The driver tries each network before."""

    def __init__(self, marker: str, after: int) -> None:
        super().__init__()
        self.marker, self.after, self.count = Path(marker), after, 0

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta" and IN_WORKER:
            self.count += 1
            if self.count >= self.after and not self.marker.exists():
                self.marker.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        return self.net(x)


def kill_once(marker: str, after: int = 2) -> nn.Module:
    return KillOnce(marker, after)


class WrongSize(_Wrapped):
    """Right on the black images that it is tried with, and returns one row less when a bright one is in the batch."""

    def forward(self, x: Tensor) -> Tensor:
        y = self.net(x)
        bright = x.device.type != "meta" and bool((x.mean(dim=(1, 2, 3)) > NanOnBright.level).any())
        return y[..., 1:, :] if bright else y


class Square(_Wrapped):
    """Takes squares alone."""

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[-1] == x.shape[-2], "not a square"
        return self.net(x)


def square() -> nn.Module:
    return Square()


class Asserts(_Wrapped):
    """Refuses bright samples as people do: with an assertion, or by leaving."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta" and bool((x.mean(dim=(1, 2, 3)) > NanOnBright.level).any()):
            if self.how == "exit":
                raise SystemExit("too bright")
            raise AssertionError("too bright")
        return self.net(x)


def asserts(how: str = "assert") -> nn.Module:
    return Asserts(how)


class HalfInside(_Wrapped):
    """Computes in bfloat16 whatever it is given, and gives it."""

    def forward(self, x: Tensor) -> Tensor:
        return self.net.bfloat16()(x.bfloat16())


def half_inside() -> nn.Module:
    return HalfInside()


def wrong_size() -> nn.Module:
    return WrongSize()


class Huge(_Wrapped):
    """Features beyond float16 for bright samples."""

    def forward(self, x: Tensor) -> Tensor:
        bright = x.mean(dim=(1, 2, 3), keepdim=True) > NanOnBright.level
        return self.net(torch.where(bright, x * 1e7, x))


def huge() -> nn.Module:
    return Huge()


def nan_weights() -> nn.Module:
    """A network whose training diverged: one weight is NaN."""
    network = Small()
    network.head.weight.data[0, 0, 0, 0] = torch.nan
    return network


class Detached(_Wrapped):
    """Restores, but lets no gradient through."""

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            y: Tensor = self.net(x)
        return y


def detached() -> nn.Module:
    return Detached()


class Blind(_Wrapped):
    """The same output whatever it is given: a gradient of exactly 0."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(torch.zeros_like(x) * x)
        return y


def blind() -> nn.Module:
    return Blind()


class Hungry(_Wrapped):
    """Out of memory for more than two rows with gradients, as a small GPU is."""

    def forward(self, x: Tensor) -> Tensor:
        if torch.is_grad_enabled() and len(x) > 2:
            raise torch.OutOfMemoryError("out of memory")
        y: Tensor = self.net(x)
        return y


def hungry() -> nn.Module:
    return Hungry()


class Copying(nn.Module):
    """Each pixel four times: scale 2 without a weight."""

    def forward(self, x: Tensor) -> Tensor:
        return x.repeat_interleave(2, -1).repeat_interleave(2, -2)


def denoiser(channels: int = 3) -> Built:
    """Keeps the size: the mean of 3 × 3 pixels."""
    return Built(nn.AvgPool2d(3, 1, 1), scale=1, channels=channels)


def copying() -> nn.Module:
    return Copying()


class BatchNormalised(_Wrapped):
    """Batch normalisation that kept no running statistics: in eval mode, too, it uses those of the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(3, track_running_stats=False)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(self.norm(x))
        return y


class ByMaximum(_Wrapped):
    """Divides by the largest value of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x / x.max().clamp(min=1e-3))
        return y


class OneOnly(_Wrapped):
    """Takes one image at a time."""

    def forward(self, x: Tensor) -> Tensor:
        if len(x) > 1:
            raise RuntimeError("only one image at a time")
        y: Tensor = self.net(x)
        return y


class Dropping(_Wrapped):
    """Dropout that is on in eval mode, too."""

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(nn.functional.dropout(x, 0.5, training=True))
        return y


class Remembering(_Wrapped):
    """Adds what it saw before."""

    before: Tensor | None = None

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.net(x + (0.1 if self.before is None else self.before))
        self.before = x.mean()
        return y


class Choosy(_Wrapped):
    """Skips its tail for bright images: a layer that not every input passes."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta" and bool((x.mean(dim=(1, 2, 3)) > NanOnBright.level).any()):
            return x.repeat_interleave(2, -1).repeat_interleave(2, -2)
        y: Tensor = self.net(x)
        return y


NEIGHBOURS = {c.__name__: c for c in (BatchNormalised, ByMaximum, OneOnly, Dropping, Remembering, Choosy)}


def neighbours(kind: str) -> nn.Module:
    return NEIGHBOURS[kind]()


class Slow(_Wrapped):
    """Takes its time in a process that the environment tells to: `XLLI_TOY_SECONDS` a pass. Its numbers are another's."""

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "meta":
            time.sleep(float(os.environ.get("XLLI_TOY_SECONDS", "0")))
        return self.net(x)


def slow() -> nn.Module:
    return Slow()


class Stuck(_Wrapped):
    """One pass that takes minutes and cannot be interrupted, in the first unit of a study; a file beside it tells that it began, another
    that it ended. Whoever tries the network before is spared, and so is who runs again."""

    def __init__(self, study: str, seconds: float) -> None:
        super().__init__()
        self.study, self.seconds = Path(study), seconds

    def forward(self, x: Tensor) -> Tensor:
        began = self.study.with_suffix(".began")
        at_work = IN_WORKER or threading.current_thread().name.startswith("xlli-unit")
        if x.device.type != "meta" and at_work and (self.study / "arrays.zarr").exists() and not began.exists():
            began.touch()
            time.sleep(self.seconds)
            self.study.with_suffix(".ended").touch()
        return self.net(x)


def stuck(study: str, seconds: float = 120.0) -> nn.Module:
    return Stuck(study, seconds)
