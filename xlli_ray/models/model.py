"""Model: a network as the rest of the package sees it, images or clips in 0..1 in and out, gradients kept.

Differences between networks are handled here, once: value ranges, size multiples (padding by reflection at the bottom
and right, cropped back), grey networks. Nothing is clamped or rounded: a probe that needs 8 bits does that itself, and
an attribution map must not see a clamp.

There is one type per call shape, everything else is shared:

    ImageModel   (B, C, H, W)     -> (B, C, sH, sW)
    ClipModel    (B, T, C, H, W)  -> (B, T, C, sH, sW), or (B, C, sH, sW) of the centre frame

A network for images runs over clips, frame by frame, as the `ClipModel` returned by `frame_by_frame`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields, replace
from itertools import chain
from pathlib import PurePath
from typing import Any, ClassVar, Literal, NamedTuple, Self, cast
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from xlli_ray.corpus.size import Size
from xlli_ray.errors import ForwardError, NetworkError, XlliError, counted
from xlli_ray.models.blocks.padding import extend
from xlli_ray.models.precision import computing, follow
from xlli_ray.models.step_reports import step

LUMA = (0.299, 0.587, 0.114)  # BT.601, full range
TRIAL_FRAMES = 3
"""Frames of the clips used to try a network that takes any number of frames."""


class Range(NamedTuple):
    """Values of a module's input and output: 0..1 of an image maps to lo..hi."""

    lo: float
    hi: float


@dataclass(frozen=True, eq=False)
class Model(ABC):
    """A network with its weights, ready to be analysed: eval mode, no parameter requires a gradient. See `ImageModel` and `ClipModel`.

    `id`              its name in the recipe.
    `module`          the network itself; hooks are put on its modules.
    `network`         "imdn", "spandrel:CRAFT" or "package.module:factory"; `network_version` is that file's VERSION.
    `scale`           output pixels per input pixel along one axis.
    `channels`        1: it sees BT.601 luma; 3: RGB.
    `range`           values of the module's input and output.
    `multiple`        height and width that the module takes are multiples of this, and equal if `square`.
    `minimum`         smallest height and width, after padding, that the module can take.
    `output`          "image", or "none": `forward` returns whatever the module returns.
    `weights_sha256`  identity of the numbers, see `checkpoint`.
    `aliases`         further names of taps, see `layers`.
    `supports_half`   False if the network is known to fail in float16.
    `call`            how to run the module on a batch; None: by calling it.
    `notes`           decisions made while loading, for people.
    `folder`          of a factory: where its file was found, "" for an installed package.
    `parts`           VERSIONs of the registered classes that it consists of, see `networks.Built`.
    `precision`       of its arithmetic, see `precision`; its input and output are float32 in any case.
    """

    id: str
    module: nn.Module
    network: str
    network_version: int
    scale: int
    channels: int
    range: Range
    multiple: int
    minimum: int
    output: Literal["image", "none"]
    weights_sha256: str
    square: bool = False
    aliases: Mapping[str, str] = field(default_factory=dict)
    supports_half: bool = True
    call: Callable[[Any, Tensor], Any] | None = None
    notes: tuple[str, ...] = ()
    folder: str = ""
    parts: Mapping[str, int] = field(default_factory=dict)
    precision: str = "float32"

    def at(self, precision: str) -> Self:
        """The same network computed in another precision; the same object each time."""
        if precision == self.precision:
            return self
        known = _AT.setdefault(self, {})
        if precision not in known:
            known[precision] = replace(self, precision=precision)
        return cast("Self", known[precision])

    @property
    def device(self) -> torch.device:
        """Device of the weights; the CPU for a network without any."""
        tensor = next(chain(self.module.parameters(), self.module.buffers()), None)
        return torch.device("cpu") if tensor is None else tensor.device

    def to(self, device: torch.device | str) -> Self:
        """Move the weights in place; returns the model itself."""
        self.module.to(device)
        return self

    AXES: ClassVar[tuple[str, ...]]
    """Names of the axes of the network's input batch and, with `output: image`, of its output."""

    @abstractmethod
    def trial_size(self, height: int, width: int) -> Size:
        """An input of this height and width for trying the network: clips have as many frames as it needs."""

    def takes(self, size: Size) -> str:
        """Why this model does not accept inputs of this kind, whatever their height and width; '' if it does."""
        return ""

    def shape(self, size: Size, batch: int = 1) -> tuple[int, ...]:
        """Shape of a batch of inputs of `size` in the order of `AXES`."""
        return batch, *size.shape(self.channels)

    def prepare(self, rgb: Tensor) -> Tensor:
        """(B, 3, H, W) or (B, T, 3, H, W) RGB in 0..1 -> the same with `channels`: unchanged, or BT.601 full-range luma, unrounded."""
        if rgb.ndim != len(self.AXES) or rgb.shape[-3] != 3:
            raise NetworkError(f"model {self.id!r}: prepare takes {self.axes_of(3)}, got {tuple(rgb.shape)}.")
        if self.channels == 3:
            return rgb
        red, green, blue = LUMA
        return red * rgb[..., 0:1, :, :] + green * rgb[..., 1:2, :, :] + blue * rgb[..., 2:3, :, :]

    def axes_of(self, channels: int) -> str:
        """Its input shape, for people."""
        return f"(B, T, {channels}, H, W)" if "frame" in self.AXES else f"(B, {channels}, H, W)"

    def padded(self, height: int, width: int) -> tuple[int, int]:
        """The padded size of an input of (height, width): rounded up to the multiple."""
        height, width = (-(-n // self.multiple) * self.multiple for n in (height, width))
        return (max(height, width),) * 2 if self.square else (height, width)

    def forward(self, x: Tensor) -> Tensor:
        """A batch as in `AXES`, in 0..1 -> its output, `scale` times as high and wide, in about 0..1, not clamped.

        Gradients flow from the output to `x` when they are enabled. With `output: none`: the module's output.
        Raises NetworkError for a wrong number of channels, an input too small, or an output whose type or size is not as
        declared; ForwardError for whatever the network itself raises.
        """
        if x.ndim != len(self.AXES) or x.shape[-3] != self.channels:
            raise NetworkError(
                f"model {self.id!r} ({self.network}) takes {self.axes_of(self.channels)}, got {tuple(x.shape)}."
                " Model.prepare converts RGB."
            )
        height, width = x.shape[-2:]
        high, wide = self.padded(height, width)
        if min(high, wide) < self.minimum or min(height, width) < 1:
            raise NetworkError(
                f"model {self.id!r} ({self.network}) needs at least {self.minimum} x {self.minimum} pixels,"
                f" got {height} x {width}. Use larger images or patches."
            )
        lo, hi = self.range
        if (lo, hi) != (0.0, 1.0):
            x = x * (hi - lo) + lo
        given = extend(x, high, wide)
        with computing(self.precision, given.device):
            y: Tensor = self.run(self.module, given)
        if isinstance(y, Tensor):
            follow(self.precision, given, y)
        if self.output == "none":
            reduced = self.precision != "float32" and isinstance(y, Tensor) and y.is_floating_point()
            return y.float() if reduced else y
        expected = self.given(tuple(x.shape), high, wide)
        if not isinstance(y, Tensor) or tuple(y.shape) != expected:
            got = tuple(y.shape) if isinstance(y, Tensor) else f"a {type(y).__name__}"
            raise NetworkError(
                f"model {self.id!r} ({self.network}) declares scale {self.scale}: for input {tuple(x.shape)}"
                + (f", padded to {high} x {wide}," if (high, wide) != (height, width) else "")
                + f" expected output {expected}, got {got}. Check `scale` and `network` in the recipe, or set"
                " `output: none` for a network that does not return an image."
            )
        if not y.is_floating_point():
            raise NetworkError(
                f"model {self.id!r} ({self.network}) returned {y.dtype}; expected floating point in the range [{lo:g}, {hi:g}]."
                " Remove the rounding and conversion at its end."
            )
        if y.dtype.itemsize < 4:  # bfloat16 or float16: what follows is computed in float32
            y = y.float()
        y = y[..., : self.scale * height, : self.scale * width]
        return y if (lo, hi) == (0.0, 1.0) else (y - lo) / (hi - lo)

    __call__ = forward

    def given(self, shape: tuple[int, ...], height: int, width: int) -> tuple[int, ...]:
        """Shape of the module's output for a batch of `shape` whose inputs are padded to (height, width)."""
        return (*shape[:-3], self.channels, self.scale * height, self.scale * width)

    def run(self, module: nn.Module, x: Tensor) -> Any:
        """Run `module`, the model's or a twin of it, on a batch in the module's range and of a size it accepts.

        Raises ForwardError for whatever its code raises, `sys.exit` included; running out of memory is not counted as its fault."""
        step("model %s (%s) was given", self.id, self.network, shape=x.shape)
        try:
            return module(x) if self.call is None else self.call(module, x)
        except (XlliError, MemoryError, torch.OutOfMemoryError, KeyboardInterrupt):
            raise
        except BaseException as error:
            if _is_no_fault(error):
                raise
            said = (str(error).strip() or "no message").splitlines()[0][:300]
            raise ForwardError(
                f"model {self.id!r} ({self.network}) raised {type(error).__name__} for an input of {'×'.join(map(str, x.shape))}: {said}"
            ) from error


_AT: WeakKeyDictionary[Model, dict[str, Model]] = WeakKeyDictionary()


@dataclass(frozen=True, eq=False)
class ImageModel(Model):
    """A network from images to images: (B, channels, H, W) -> (B, channels, scale*H, scale*W)."""

    AXES: ClassVar[tuple[str, ...]] = ("sample", "channel", "y", "x")

    def trial_size(self, height: int, width: int) -> Size:
        return Size(height, width)

    def takes(self, size: Size) -> str:
        if not size.frames:
            return ""
        return (
            f"model {self.id} ({self.network}) takes images, the corpus holds clips: `frames: each` in its entry runs it frame by frame;"
            " a network for clips declares it (Built(..., call=\"clip\")), or set `frames: all`"
        )


@dataclass(frozen=True, eq=False)
class ClipModel(Model):
    """A network that takes clips: (B, T, channels, H, W).

    `frames`   number of frames that the module takes at once; None: any.
    `gives`    "frames": (B, T, channels, scale*H, scale*W); "centre": (B, channels, scale*H, scale*W), of frame T // 2.
    """

    AXES: ClassVar[tuple[str, ...]] = ("sample", "frame", "channel", "y", "x")
    frames: int | None = None
    gives: Literal["frames", "centre"] = "frames"
    frame_by_frame: bool = False
    """A network for images, run over clips: no output depends on another frame."""

    def trial_size(self, height: int, width: int) -> Size:
        return Size(height, width, self.frames or TRIAL_FRAMES)

    def takes(self, size: Size) -> str:
        if not size.frames:
            how = "with `frames: each` is run over clips" if self.frame_by_frame else "takes clips"
            way = "omit `frames`" if self.frame_by_frame else "`corpus.clips` makes clips"
            return f"model {self.id} ({self.network}) {how}, the corpus holds images: {way}"
        if self.frames not in (None, size.frames):
            return (
                f"model {self.id} ({self.network}) takes clips of {counted(self.frames or 0, 'frame')}, those of the corpus have"
                f" {size.frames}: `corpus.clips.frames: {self.frames}`"
            )
        return ""

    def given(self, shape: tuple[int, ...], height: int, width: int) -> tuple[int, ...]:
        whole = super().given(shape, height, width)
        return (*whole[:1], *whole[2:]) if self.gives == "centre" else whole


def frame_by_frame(model: Model) -> ClipModel:
    """A network for images as one for clips, with the same result per frame as for single images."""
    if not isinstance(model, ImageModel):
        raise NetworkError(f"model {model.id!r} ({model.network}): `frames: each` is for networks that take images; this one takes clips.")
    known = {item.name: getattr(model, item.name) for item in fields(model)}
    return ClipModel(**{**known, "call": _EachFrame(model.call)}, frame_by_frame=True)


@dataclass(frozen=True)
class _EachFrame:
    """Runs a module for images on a batch of clips, frames folded into the batch: clip by clip, frames in order."""

    call: Callable[[Any, Tensor], Any] | None

    def __call__(self, module: Any, x: Tensor) -> Any:
        frames = x.flatten(0, 1)
        y = module(frames) if self.call is None else self.call(module, frames)
        return y.unflatten(0, x.shape[:2]) if isinstance(y, Tensor) and len(y) == len(frames) else y


def _is_no_fault(error: BaseException) -> bool:
    """Whether an exception raised in a network is not its fault: out of memory, or a signal that ends the process."""
    if isinstance(error, RuntimeError):
        return "can't allocate memory" in str(error) or "not enough memory" in str(error)
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    return isinstance(error, SystemExit) and last is not None and "ray" in PurePath(last.tb_frame.f_code.co_filename).parts
