"""Layers: names and patterns for the places in a network where features are read, and the hooks that read them.

A pattern is `NAME[#CALL][:SIDE]`:

- NAME is a dotted module name, in which `*` matches anything within one component and `**` anything across
  components (`model.1.sub.*`, `**.esa`); or an alias that the network declares (`RB16`, `HR_term`);
- CALL selects one of several calls in one forward pass: `b1.b1#0` is the first, `b1.b1#last` the last;
- SIDE is `output` (default) or `input`: the module's output, or its first argument.

`*:last_conv_input` is the input of the last convolution executed on the path to the output (see `trace`): for
super-resolution networks the deepest features, whatever their architecture.

For a network for clips a layer has its frames along the axis after the batch, in the order of the clip, whatever the network's layout
(`frame_axis`): a module that runs once per frame, as the propagation of a recurrent network, is read in all calls unless one is chosen.

A *tap* is one such place. A tap captures a copy made inside the hook, before the next module runs: a later in-place
activation would change the tensor, and a view would show what is added to its base afterwards. Both happen in
published code; in one, a stored "residual" is the final image for that reason.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from xlli_ray.corpus.size import Size
from xlli_ray.errors import LayerPatternError, NetworkError, closest, counted
from xlli_ray.models.frame_axis import arranged as stacked
from xlli_ray.models.frame_axis import arranged_shape, place_of, run_backward
from xlli_ray.models.model import Model
from xlli_ray.models.pieces import pieces_of
from xlli_ray.models.tap import Side, Tap
from xlli_ray.models.trace import Trace, first_tensor, trace

LAST_CONV = "*:last_conv_input"


def arranged(tap: Tap, shape: tuple[int, ...], frames: int) -> tuple[int, ...]:
    """Shape of one sample at a tap, as returned by `capture`; `shape`: of its last call, batch first, for one input of `frames` frames."""
    return arranged_shape(tap.frames, shape, frames)


def frames_of(x: Tensor) -> int:
    """Frames of a batch of clips, (B, T, C, H, W); 0 for images."""
    return x.shape[1] if x.ndim == 5 else 0


@dataclass(frozen=True)
class LayerInfo:
    """A tap and its output.

    `shape`       of one sample, without the batch axis: (C, h, w) of an image-like feature, (T, C, h, w) of a clip's.
    `stride`      (sy, sx), input pixels per feature pixel, below 1 after upsampling; None for a feature that is not
                  image-like (tokens, vectors). The stride of a feature that does not grow with the image is the image size.
    `parameters`  of the module, including its children.
    `calls`       how often the module runs in one forward pass.
    `kind`        the module's class, e.g. "Conv2d".
    """

    tap: Tap
    shape: tuple[int, ...]
    stride: tuple[float, float] | None
    parameters: int
    calls: int
    kind: str


@dataclass(frozen=True)
class _Pattern:
    name: str
    call: int | Literal["last"] | None
    side: Side | None  # None: not said


def resolve(model: Model, patterns: Sequence[str], example: Tensor | tuple[int, ...]) -> list[LayerInfo]:
    """Taps that match `patterns`, in the order of the patterns and, within one, of the network's modules; each once.

    `example` is an input (1, C, h, w), for clips (1, T, C, h, w), or its shape: only the shape matters. The network runs on the
    meta device, or once on real zeros where it cannot (see `dryrun`).

    A glob skips modules that cannot be stored per sample (not called in this pass, no single tensor, first axis not the
    batch) as long as something remains. Raises LayerPatternError, with the closest names, for a pattern without a
    match; with the reason, for one that matches only such modules; with k, for a module that runs k > 1 times when no
    call is chosen.
    """
    if pieces_of(model) is not None:
        raise LayerPatternError(
            f"model {model.id!r} is run in pieces (`tiles`, `segments`), so its layers never hold a whole image. Read layers with another "
            "entry of the same weights without them, and smaller images or patches."
        )
    survey = _Survey(model, _size(model, example), graph=LAST_CONV in patterns)
    infos: dict[Tap, LayerInfo] = {}
    for tap in survey.ordered([tap for pattern in patterns for tap in survey.taps(pattern)]):
        infos.setdefault(tap, survey.info(tap))
    return list(infos.values())


def list_layers(model: Model, example: Tensor | tuple[int, ...]) -> list[LayerInfo]:
    """Outputs of all modules that can be tapped, in the network's order; of a module with several calls, the last."""
    survey = _Survey(model, _size(model, example), graph=False)
    taps = [survey.placed(Tap(name, call="last" if len(calls) > 1 else None)) for name, calls in survey.trace.calls.items()]
    return [survey.info(tap) for tap in survey.ordered(taps) if survey.problem(tap) is None]


@contextmanager
def capture(model: Model, taps: Sequence[Tap], *, detach: bool = True, frames: int = 0) -> Iterator[dict[str, Tensor]]:
    """Within the context, each forward pass of `model` fills the yielded dict: `tap.name` -> (B, ...) tensor, a contiguous
    copy on the model's device; for clips of `frames` frames, (B, T, ...) if the tap has a frame axis. A new pass clears it
    first. The hooks are removed on exit, also after errors.

    `detach=False` keeps the copies in the autograd graph. Raises LayerPatternError at once for a tap whose module does
    not exist; from the forward pass, LayerPatternError for a module that runs more often than the tap allows, and
    NetworkError for a tap that the pass did not reach or that is not a single tensor.
    """
    modules = dict(model.module.named_modules())
    for tap in taps:
        if tap.module not in modules:
            raise LayerPatternError(_no_match(tap.module, modules, model))
    captured: dict[str, Tensor] = {}
    seen: dict[Tap, int] = {}
    each: dict[Tap, list[Tensor]] = {}

    def begin(*_: Any) -> None:
        captured.clear()
        seen.clear()
        each.clear()

    def end(*_: Any) -> None:
        for tap, outputs in each.items():
            if len(outputs) != frames and tap.frames in ("calls", "backward"):
                raise NetworkError(f"model {model.id!r}: {tap.module} ran {counted(len(outputs), 'time')} for {counted(frames, 'frame')}.")
            captured[tap.name] = stacked(tap.frames, outputs, frames)
        missed = [tap.name for tap in taps if tap.name not in captured]
        if missed:
            raise NetworkError(
                f"model {model.id!r}: this forward pass did not reach {', '.join(missed)}. The network takes a different"
                " path for this input; choose layers that every input passes (xlli layers)."
            )

    def take(tap: Tap, value: Any) -> None:
        call = seen[tap] = seen.get(tap, -1) + 1
        if tap.call is None and call and tap.frames not in ("calls", "backward"):
            raise LayerPatternError(_many(tap.module, call + 1, model, at_least=True))
        if isinstance(tap.call, int) and call != tap.call:
            return
        tensor = first_tensor(value)
        if tensor is None:
            raise NetworkError(
                f"model {model.id!r}: the {tap.side} of {tap.module} is a {type(value).__name__}, not one tensor."
                " Choose a layer inside it, or the one after it."
            )
        if tensor.is_floating_point() and tensor.dtype.itemsize < 4:
            tensor = tensor.float()  # of a network that computes in bfloat16 internally
        # `contiguous_format`, since a clone of a view keeps its strides, and with them the layout of what is stored.
        copy = (tensor.detach() if detach else tensor).clone(memory_format=torch.contiguous_format)
        if tap.frames in ("calls", "backward"):
            each.setdefault(tap, []).append(copy)
        else:
            captured[tap.name] = stacked(tap.frames, [copy], frames)

    def before(tap: Tap) -> Any:
        return lambda _, args, kwargs: take(tap, (*args, *kwargs.values())[:1])

    def after(tap: Tap) -> Any:
        return lambda _, args, kwargs, output: take(tap, output)

    handles = [model.module.register_forward_pre_hook(begin)]
    try:
        for tap in taps:
            module = modules[tap.module]
            if tap.side == "input":
                handles.append(module.register_forward_pre_hook(before(tap), with_kwargs=True))
            else:
                handles.append(module.register_forward_hook(after(tap), with_kwargs=True))
        handles.append(model.module.register_forward_hook(end))
        yield captured
    finally:
        for handle in handles:
            handle.remove()


class _Survey:
    """Record of a dry run, and the queries of `resolve` on it."""

    def __init__(self, model: Model, size: Size, *, graph: bool) -> None:
        self.model = model
        self.modules = {name: module for name, module in model.module.named_modules() if name}
        self.trace: Trace = trace(model, size, graph=graph)

    def taps(self, text: str) -> list[Tap]:
        """The taps that one pattern matches, not yet `ordered`; LayerPatternError if there are none."""
        if text == LAST_CONV:
            return [self.last_convolution()]
        pattern = _parse(text)
        if pattern.name not in self.modules and pattern.name in self.model.aliases:
            meant = _parse(self.model.aliases[pattern.name])
            call = meant.call if pattern.call is None else pattern.call
            pattern = _Pattern(meant.name, call, pattern.side or meant.side)
        matcher = _matcher(pattern.name)
        names = [name for name in self.modules if matcher.fullmatch(name)]
        if not names:
            raise LayerPatternError(_no_match(text, self.modules, self.model))
        taps = [self.placed(Tap(name, pattern.side or "output", pattern.call)) for name in names]
        problems = {tap: self.problem(tap) for tap in taps}
        fit = [tap for tap in taps if problems[tap] is None]
        if not fit:
            reasons = "; ".join(f"{tap.module} {why}" for tap, why in list(problems.items())[:4])
            raise LayerPatternError(
                f"layer pattern {text!r} of model {self.model.id!r} matches nothing that can be stored: {reasons}."
            )
        for tap in fit:
            k = len(self.trace.calls[tap.module])
            if tap.call is None and k > 1 and tap.frames != "calls":
                raise LayerPatternError(_many(tap.module, k, self.model, at_least=False))
        return fit

    def placed(self, tap: Tap) -> Tap:
        """The tap with the position of its frames; unchanged for images, and if it has no frame axis."""
        shape = self.shape(tap)
        if not self.trace.size.frames or shape is None:
            return tap
        calls, wide_calls = (0, 0) if isinstance(tap.call, int) else self.calls(tap)
        place = place_of(shape, self.shape(tap, wide=True), calls, wide_calls, self.trace.size.frames, self.trace.wide_size.frames)
        return replace(tap, frames=place or "", call=None if place == "calls" else tap.call)

    def ordered(self, taps: Sequence[Tap]) -> list[Tap]:
        """The taps, with those marked that the network runs from the last frame to the first."""
        each = {tap.module for tap in taps if tap.frames == "calls"}
        last_first = run_backward(self.model, each) if each else set()
        return [replace(tap, frames="backward") if tap.frames == "calls" and tap.module in last_first else tap for tap in taps]

    def calls(self, tap: Tap) -> tuple[int, int]:
        """Number of calls of its module in the smaller and in the larger pass."""
        return len(self.trace.calls.get(tap.module, ())), len(self.trace.wide_calls.get(tap.module, ()))

    def problem(self, tap: Tap) -> str | None:
        """Why this tap cannot be stored per sample, or None."""
        calls = self.trace.calls.get(tap.module, [])
        if not calls:
            return "is not called in a forward pass"
        if isinstance(tap.call, int) and tap.call >= len(calls):
            return f"runs {counted(len(calls), 'time')}, so its calls are #0 to #{len(calls) - 1} and #last"
        shape = self.shape(tap)
        if shape is None:
            return f"has an {tap.side} that is not one tensor"
        size, wide = self.trace.size, self.trace.wide_size
        if place_of(shape, self.shape(tap, wide=True), 0, 0, size.frames, wide.frames) is None:
            return f"has an {tap.side} whose first axis is not the batch" + (", nor the batch × the frames" if size.frames else "")
        return None

    def shape(self, tap: Tap, *, wide: bool = False) -> tuple[int, ...] | None:
        """Shape at the tap, batch first, for the example or for the larger input; None if unknown."""
        calls = (self.trace.wide_calls if wide else self.trace.calls).get(tap.module, [])
        index = tap.call if isinstance(tap.call, int) else -1
        if not -len(calls) <= index < len(calls):
            return None
        return calls[index].input if tap.side == "input" else calls[index].output

    def info(self, tap: Tap) -> LayerInfo:
        shape = self.shape(tap)
        assert shape is not None  # `taps` and `list_layers` pass no other tap
        module = self.modules[tap.module]
        wide = self.shape(tap, wide=True)
        of_sample = arranged(tap, shape, self.trace.size.frames)
        return LayerInfo(
            tap=tap,
            shape=of_sample,
            stride=self.stride(tap, of_sample, arranged(tap, wide, self.trace.wide_size.frames) if wide else None),
            parameters=sum(parameter.numel() for parameter in module.parameters()),
            calls=len(self.trace.calls[tap.module]),
            kind=type(module).__name__,
        )

    def stride(self, tap: Tap, shape: tuple[int, ...], wide: tuple[int, ...] | None) -> tuple[float, float] | None:
        """From the growth of the feature with the image: exact where a convolution without padding makes the plain
        ratio of sizes wrong (32 pixels, window 3, stride 2: 15 features). From the ratio if only one size is known."""
        lead = bool(tap.frames)
        if len(shape) != 3 + lead or (wide is not None and (len(wide) != len(shape) or wide[lead] != shape[lead])):
            return None
        size, wider = self.trace.size, self.trace.wide_size
        strides = []
        for axis, pixels, more in ((-2, size.height, wider.height), (-1, size.width, wider.width)):
            feature = shape[axis]
            grown = 0 if wide is None else wide[axis] - feature
            strides.append((more - pixels) / grown if grown > 0 else pixels / feature)
        return strides[0], strides[1]

    def last_convolution(self) -> Tap:
        last = self.trace.last_conv
        if last is None:
            raise LayerPatternError(f"{LAST_CONV!r}: {self.trace.last_conv_problem} (model {self.model.id!r}).")
        name, call = last
        tap = self.placed(Tap(name, "input"))
        if tap.frames == "calls":
            return tap
        return self.placed(Tap(name, "input", call if len(self.trace.calls[name]) > 1 else None))


def _size(model: Model, example: Tensor | tuple[int, ...]) -> Size:
    """Size of the example as given to the module."""
    shape = tuple(example.shape) if isinstance(example, Tensor) else tuple(example)
    if len(shape) != len(model.AXES) or shape[-3] != model.channels:
        raise NetworkError(f"model {model.id!r}: the example is {model.axes_of(model.channels)}, got {shape}.")
    high, wide = model.padded(*shape[-2:])
    if min(high, wide) < model.minimum:
        raise NetworkError(
            f"model {model.id!r} needs at least {model.minimum} x {model.minimum} pixels, the example has"
            f" {shape[-2]} x {shape[-1]}."
        )
    return Size(high, wide, shape[1] if len(shape) == 5 else 0)


def _parse(text: str) -> _Pattern:
    match = re.fullmatch(r"(?P<name>[^#:]+)(?:#(?P<call>\d+|last))?(?::(?P<side>\w+))?", text)
    if match is None or match["side"] not in (None, "input", "output"):
        raise LayerPatternError(
            f"layer pattern {text!r} is not NAME, NAME:input, NAME:output, NAME#CALL or {LAST_CONV!r}."
            " CALL is a number from 0, or last."
        )
    call = match["call"]
    return _Pattern(match["name"], int(call) if call and call.isdigit() else call, match["side"])  # type: ignore[arg-type]


def _matcher(name: str) -> re.Pattern[str]:
    """`*` within one component, `**` across; `**.x` also finds a top-level `x`."""
    parts = re.split(r"(\*\*\.|\*\*|\*)", name)
    globs = {"**.": r"(?:.*\.)?", "**": ".*", "*": r"[^.]*"}
    return re.compile("".join(globs.get(part, re.escape(part)) for part in parts))


def _no_match(text: str, modules: Mapping[str, nn.Module], model: Model) -> str:
    likely = closest(text.split(":")[0], [*(name for name in modules if name), *model.aliases])
    return (
        f"layer pattern {text!r} matches no layer of model {model.id!r} ({model.network})."
        + (f" Closest: {', '.join(likely)}." if likely else "")
        + " See all: xlli layers WEIGHTS."
    )


def _many(module: str, k: int, model: Model, *, at_least: bool) -> str:
    return (
        f"layer {module!r} of model {model.id!r} runs {'at least ' if at_least else ''}{counted(k, 'time')} in one forward pass."
        f" Choose one: {module}#0 .. {module}#{k - 1}, or {module}#last."
    )
