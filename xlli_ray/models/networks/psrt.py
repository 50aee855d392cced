"""PSRT: a Transformer for video super-resolution, recurrent or sliding, of any size, with the alignment as a switch.

Shi et al., "Rethinking Alignment in Video Super-Resolution Transformers", NeurIPS 2022, arXiv 2207.08494. Both networks consist of one
body (`blocks.clip_window_attention`), attention in windows over all frames that it is given, and differ in what these are:

`psrt`           four passes over the clip, backward, forward, backward, forward, each with a body of its own. A step looks at
                 [its result one frame before, aligned; the frame's features from the pass before; its result two frames before, aligned].
                 At the first frame of a pass all three are the frame's; at the second, the last is zero. The output is made from the last
                 pass alone.
`psrt_sliding`   the frames about the middle of the clip, their shallow features aligned to those of the centre frame, and one body; it
                 gives the centre frame. A missing frame is replaced by the nearest.

Flow over two frames is composed of two. `aligned` says which passes of `psrt` align (all by default); `align_before`, before which group of
layers `psrt_sliding` aligns (0 by default: before the first). Spatial window, depths, heads, width and scale are free; the paper has width
120, depths [6, 6, 6], 6 heads, window (3, 8, 8), scale 4. This is the paper's text, without stochastic depth; it does not read the public
checkpoints.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models.blocks.aligned_network import (
    SWITCHES,
    TRAIN_FLOW,
    AlignedNetwork,
    Switches,
    draw_first,
    fitting,
    parts_of,
    prepared,
    settings_of,
)
from xlli_ray.models.blocks.clip_window_attention import ClipBody
from xlli_ray.models.blocks.motion import OWN, Motion
from xlli_ray.models.blocks.one_frame import stacked, wanted_frames
from xlli_ray.models.networks import Built, check_args, counts, load_strict, shape_of

VERSION = 1
SCALES = (1, 2, 4)
DEFAULTS = {"width": 30, "heads": 3, "tail": 32, "scale": 2}
DEPTHS = (2, 2)
WINDOW = (8, 8)
WIDEST, DEEPEST, MOST_TOKENS = 32, 64, 4096
PUBLISHED = Switches(alignment="patch", flow=OWN)
ALIGNED, ALIGN_BEFORE, FRAMES = "aligned", "align_before", "frames"
RECURRENT_PASSES = ("backward_1", "forward_1", "backward_2", "forward_2")


class Upsampler(nn.Module):
    """Features and the frame to the image: (B, width, h, w), (B, 3, h, w) to (B, 3, scale·h, scale·w)."""

    def __init__(self, width: int, tail: int, scale: int) -> None:
        super().__init__()
        self.scale = scale
        self.first = nn.Conv2d(width, tail, 3, padding=1)
        self.doubled = nn.ModuleList(nn.Conv2d(tail, 4 * tail, 3, padding=1) for _ in range(int(math.log2(scale))))
        self.hr = nn.Conv2d(tail, tail, 3, padding=1)
        self.last = nn.Conv2d(tail, 3, 3, padding=1)

    def forward(self, x: Tensor, frame: Tensor) -> Tensor:
        x = F.leaky_relu(self.first(x), 0.1)
        for conv in self.doubled:
            x = F.leaky_relu(F.pixel_shuffle(conv(x), 2), 0.1)
        x = self.last(F.leaky_relu(self.hr(x), 0.1))
        return x + (frame if self.scale == 1 else F.interpolate(frame, scale_factor=self.scale, mode="bilinear", align_corners=False))


class Recurrent(AlignedNetwork):
    """`psrt`: (B, T, 3, h, w) in 0..1 → (B, T, 3, scale·h, scale·w), not clamped."""

    PASSES: ClassVar[tuple[str, ...]] = RECURRENT_PASSES
    NAME: ClassVar[str] = "psrt"

    def __init__(self, sizes: Mapping[str, Any], switches: Switches) -> None:
        super().__init__(switches, sizes["width"])
        self.aligned = tuple(sizes[ALIGNED])
        window = (3, *sizes["window"])
        self.conv_first = nn.Conv2d(3, sizes["width"], 3, padding=1)
        self.passes = nn.ModuleDict({name: ClipBody(sizes["width"], sizes["depths"], sizes["heads"], window) for name in self.PASSES})
        self.upsampler = Upsampler(sizes["width"], sizes["tail"], sizes["scale"])

    def restore(self, clip: Tensor, motion: Motion | None) -> Tensor:
        batch, frames = clip.shape[:2]
        features = list(self.conv_first(clip.flatten(0, 1)).unflatten(0, (batch, frames)).unbind(1))
        for name in self.PASSES:
            order = range(frames) if name.startswith("forward") else range(frames - 1, -1, -1)
            features = self._passed(name, features, motion if name in self.aligned else None, list(order))
        return stacked({t: self.upsampler(features[t], clip[:, t]) for t in wanted_frames(frames)}, frames)

    def _passed(self, name: str, features: list[Tensor], motion: Motion | None, order: list[int]) -> list[Tensor]:
        """One pass over the features of all frames in `order`."""
        out: dict[int, Tensor] = {}
        for step, t in enumerate(order):
            current = features[t]
            before = [current, current]
            if step:
                before = [self._supporting(name, out[order[step - 1]], current, motion, t, order[step - 1]), torch.zeros_like(current)]
            if step > 1:
                before[1] = self._supporting(name, out[order[step - 2]], current, motion, t, order[step - 2])
            out[t] = self.passes[name](torch.stack([before[0], current, before[1]], 1))
        return [out[t] for t in range(len(features))]

    def _supporting(self, name: str, support: Tensor, current: Tensor, motion: Motion | None, here: int, there: int) -> Tensor:
        return support if motion is None else self.align(name, support, current, motion.between(here, there))


class Sliding(AlignedNetwork):
    """`psrt_sliding`: (B, T, 3, h, w) in 0..1 → (B, 3, scale·h, scale·w) of frame T // 2, not clamped. It looks at `frames` of them."""

    GIVES: ClassVar[Literal["frames", "centre"]] = "centre"
    NAME: ClassVar[str] = "psrt_sliding"

    def __init__(self, sizes: Mapping[str, Any], switches: Switches) -> None:
        super().__init__(switches, sizes["width"])
        self.frames, self.align_before = sizes[FRAMES], sizes[ALIGN_BEFORE]
        self.conv_first = nn.Conv2d(3, sizes["width"], 3, padding=1)
        self.body = ClipBody(sizes["width"], sizes["depths"], sizes["heads"], (self.frames, *sizes["window"]))
        self.upsampler = Upsampler(sizes["width"], sizes["tail"], sizes["scale"])

    def restore(self, clip: Tensor, motion: Motion | None) -> Tensor:
        last, middle = clip.shape[1] - 1, clip.shape[1] // 2
        chosen = [min(max(middle + step - self.frames // 2, 0), last) for step in range(self.frames)]
        frames = clip[:, chosen]
        features = self.conv_first(frames.flatten(0, 1)).unflatten(0, frames.shape[:2])

        def aligned(maps: Tensor) -> Tensor:
            if motion is None:
                return maps
            current = maps[:, self.frames // 2]
            return torch.stack([
                current if number == self.frames // 2 else self.align("support", maps[:, number], current, motion.between(middle, frame))
                for number, frame in enumerate(chosen)
            ], 1)  # fmt: skip

        return self.upsampler(self.body(features, before=self.align_before, change=aligned), clip[:, middle])


def _sizes(args: Mapping[str, Any], kind: type[Recurrent] | type[Sliding]) -> dict[str, Any]:
    """Widths and depths of `args`, complete. NetworkError for what cannot be."""
    name = kind.NAME
    sizes: dict[str, Any] = dict(zip(DEFAULTS, counts(args, DEFAULTS, network=name), strict=True))
    sizes["depths"] = _integers(args.get("depths", DEPTHS), "depths", 1, DEEPEST, range(1, DEEPEST + 1), name)
    sizes["window"] = _integers(args.get("window", WINDOW), "window", 2, 2, range(1, WIDEST + 1), name)
    if sizes["width"] % sizes["heads"]:
        raise NetworkError(f"network {name!r}: width must be a multiple of heads, got width {sizes['width']} and heads {sizes['heads']}.")
    if sizes["scale"] not in SCALES:
        raise NetworkError(f"network {name!r}: scale is {sizes['scale']}; expected one of {', '.join(map(str, SCALES))}.")
    if kind is Recurrent:
        chosen = args.get(ALIGNED, list(RECURRENT_PASSES))
        if not isinstance(chosen, list | tuple) or any(place not in RECURRENT_PASSES for place in chosen):
            raise NetworkError(f"network {name!r}: aligned is {chosen!r}; expected a list of {', '.join(RECURRENT_PASSES)}.")
        return {**sizes, ALIGNED: list(chosen)}
    (sizes[FRAMES],) = counts(args, {FRAMES: 5}, network=name)
    before = args.get(ALIGN_BEFORE, 0)
    if isinstance(before, bool) or not isinstance(before, int) or not 0 <= before < len(sizes["depths"]):
        raise NetworkError(f"network {name!r}: align_before is {before!r}; expected a group, 0 to {len(sizes['depths']) - 1}.")
    if (tokens := sizes[FRAMES] * sizes["window"][0] * sizes["window"][1]) > MOST_TOKENS:
        raise NetworkError(f"network {name!r}: a window of {sizes[FRAMES]} frames has {tokens} pixels; expected at most {MOST_TOKENS}.")
    return {**sizes, ALIGN_BEFORE: before}


def _integers(values: Any, what: str, least: int, most: int, allowed: range, name: str) -> list[int]:
    numbers = list(values) if isinstance(values, list | tuple) else [None]
    if not least <= len(numbers) <= most or any(isinstance(n, bool) or not isinstance(n, int) or n not in allowed for n in numbers):
        expected = f"{least} to {most} integers" if least < most else f"{most} integers"
        raise NetworkError(f"network {name!r}: {what} is {values!r}; expected a list of {expected}, {allowed[0]} to {allowed[-1]} each.")
    return numbers


class Family:
    """What `registry.NETWORKS` names: one of the two networks."""

    def __init__(self, kind: type[Recurrent] | type[Sliding]) -> None:
        self.kind = kind
        self.own = (ALIGNED,) if kind is Recurrent else (ALIGN_BEFORE,)
        self.ARGS = (*SWITCHES, *self.own)

    @property
    def VERSION(self) -> int:
        return VERSION

    def create(self, args: Mapping[str, Any], *, generator: torch.Generator) -> Recurrent | Sliding:
        """A network to be trained, its first weights drawn from `generator`.

        `args`: `width` (features, default 30), `heads` (3), `depths` (layers of each group, [2, 2]), `window` (height and width, [8, 8]),
        `tail` (features behind the last body, 32), `scale` (2); of psrt_sliding also `frames` (5). The switches `alignment` (default
        patch), `flow` (default spynet; see `basicvsr`), `support`, and `aligned` or `align_before`. None of these changes a draw: networks
        that differ in them start equal. The last layer of each branch and the last convolution start small.
        """
        more = () if self.kind is Recurrent else (FRAMES,)
        check_args(args, (*DEFAULTS, "depths", "window", *more, *self.ARGS, TRAIN_FLOW), network=self.kind.NAME)
        sizes, switches = _sizes(args, self.kind), PUBLISHED.with_args(args, network=self.kind.NAME)
        net = self.kind(sizes, switches)
        draw_first(net, generator, {r"upsampler\.last|.*\.project|.*\.mlp\.2": 0.1, r".*\.qkv": math.sqrt(0.5)})
        return prepared(net, {**sizes, **switches.stored()})

    def parts(self, args: Mapping[str, Any]) -> dict[str, int]:
        """VERSIONs of what is registered elsewhere, of a network made by `create`."""
        return parts_of(PUBLISHED.with_args(args, network=self.kind.NAME), network=self.kind.NAME)

    def from_state_dict(self, tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
        """Build the network that `tensors` describe: sizes from what is kept beside the weights, switches too unless `args` differ."""
        name = self.kind.NAME
        check_args(args, self.ARGS, network=name)
        shape_of(tensors, "conv_first.weight", network=name)
        settings = settings_of(tensors, network=name)
        if not settings or (FRAMES in settings) != (self.kind is Sliding):
            raise WeightsError(f"this is not a checkpoint of network {name!r}: its sizes are not beside its weights.")
        try:
            sizes = _sizes({**settings, **{key: args[key] for key in self.own if key in args}}, self.kind)
        except NetworkError as error:
            if any(key in args for key in self.own):
                raise
            raise WeightsError(f"this is not a checkpoint of network {name!r}: {error}") from error
        if sum(sizes["depths"]) > len(tensors):
            raise WeightsError(f"this is not a checkpoint of network {name!r}: it has too few tensors for depths {sizes['depths']}.")
        switches = PUBLISHED.stored_in(settings).with_args(args, network=name)
        module = self.kind(sizes, switches)
        kept, notes = fitting(module, tensors)
        load_strict(module, kept, network=name)
        return Built(module, scale=sizes["scale"], call="clip", gives=self.kind.GIVES, notes=notes, parts=parts_of(switches, network=name))


RECURRENT, SLIDING = Family(Recurrent), Family(Sliding)
