"""A network for video whose alignment is one switch, and nothing else differs: the same weights run with another operator.

Three arguments of every such network, which need not be those that it was trained with:

`alignment`   the operator (`models.alignment`) that brings a supporting frame, or its features, onto the grid of the current frame.
`flow`        where the motion comes from (`blocks.motion`).
`support`     `neighbours`, or `current`: the single-frame control. Each output frame is then computed from a clip that repeats its own
              frame, so that a network sees the same number of frames and nothing but the current one; its motion is zero. In a network
              that gives all frames of a clip of T, this costs T passes.

An operator for images (`alignment: image`) warps the frames of a clip to the current one before the network sees them, and nothing is
aligned inside; a network that gives all frames then runs once for each.

A state dict does not show what a network without weights for it was trained with. Networks trained here keep it beside their weights, as
bytes of JSON in the buffer `settings`; it is the default when the weights are loaded.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal, Self, TypeVar

import torch
from torch import Tensor, nn

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models.alignment.alignment import ARG as ALIGNMENT
from xlli_ray.models.alignment.alignment import Choice, alignment_class, alignment_of, alignment_parts
from xlli_ray.models.blocks.first_weights import draw
from xlli_ray.models.blocks.motion import ARG as FLOW
from xlli_ray.models.blocks.motion import KNOWN, NONE, OWN, Motion, estimated, estimator_class, flow_of
from xlli_ray.models.blocks.one_frame import stacked, wanted_frames

SUPPORT = "support"
SUPPORTS = ("neighbours", "current")
TRAIN_FLOW = "train_flow"
SWITCHES = (ALIGNMENT, FLOW, SUPPORT)
SETTINGS = "settings"
COLOURS = 3
LONGEST = 4096
"""Bytes of settings that are read from a file."""


@dataclass(frozen=True)
class Switches:
    """The three arguments, and whether SPyNet is trained with the rest."""

    alignment: Choice
    flow: str
    support: str = "neighbours"
    train_flow: bool = False

    def with_args(self, args: Mapping[str, Any], *, network: str) -> Self:
        """Changed by a recipe's `args`. NetworkError for values that they cannot have."""
        changed = replace(self, **{name: args[name] for name in (*SWITCHES, TRAIN_FLOW) if name in args})
        if changed.support not in SUPPORTS:
            raise NetworkError(f"network {network!r}: support is {changed.support!r}; expected {' or '.join(SUPPORTS)}.")
        if not isinstance(changed.train_flow, bool):
            raise NetworkError(f"network {network!r}: train_flow is {changed.train_flow!r}; expected true or false.")
        if changed.flow is not None and not isinstance(changed.flow, str):
            raise NetworkError(f"network {network!r}: flow is {changed.flow!r}; expected {OWN}, {NONE} or the name of an estimator.")
        alignment_class(changed.alignment, network=network)
        return changed

    def stored_in(self, settings: Mapping[str, Any]) -> Self:
        """Changed by what is kept beside the weights."""
        return replace(self, **{name: settings[name] for name in SWITCHES if name in settings})

    def stored(self) -> dict[str, Any]:
        """What is kept beside the weights."""
        return {ALIGNMENT: self.alignment, FLOW: self.flow, SUPPORT: self.support}


class AlignedNetwork(nn.Module):
    """(B, T, 3, h, w) to (B, T, 3, scale·h, scale·w), or to the centre frame. A subclass defines `restore`.

    `PASSES`   names of the places where it aligns; each has an operator of its own, for maps of `channels`, all equal or by name.
    `GIVES`    "frames", or "centre": `restore` gives (B, 3, scale·h, scale·w) of frame T // 2.
    """

    PASSES: ClassVar[tuple[str, ...]] = ("support",)
    GIVES: ClassVar[Literal["frames", "centre"]] = "frames"
    NAME: ClassVar[str]
    told: Motion | Literal["nothing"] | None = None
    """With `flow: known`: the true motion of the batch that comes next; "nothing": the corpus does not know it."""
    white: float = 1.0
    """The value of white in its input, for the flow, which is estimated on 0..1."""

    def __init__(self, switches: Switches, channels: int | Mapping[str, int]) -> None:
        super().__init__()
        of = channels if isinstance(channels, Mapping) else dict.fromkeys(self.PASSES, channels)
        self.support, self.train_flow, self.flow = switches.support, switches.train_flow, switches.flow or NONE
        kind = alignment_class(switches.alignment, network=self.NAME)
        self.uses_flow, self.warps_frames, self.learned = kind.USES_FLOW, kind.LEVEL == "image", kind.LEARNED
        places = {self.PASSES[0]: COLOURS} if self.warps_frames else {name: of[name] for name in self.PASSES}
        operators = {name: alignment_of(switches.alignment, channels=maps, network=self.NAME) for name, maps in places.items()}
        self.alignments = nn.ModuleDict(operators)
        estimator = flow_of(self.flow, network=self.NAME)
        if self.flow == OWN:
            self.spynet = estimator
        else:
            self.estimator = estimator

    def restore(self, clip: Tensor, motion: Motion | None) -> Tensor:
        """The network itself. `motion` None: nothing is aligned, because nothing shall be, or the frames are aligned already."""
        raise NotImplementedError

    def align(self, place: str, support: Tensor, current: Tensor, flow: Tensor) -> Tensor:
        """`support` on the grid of `current`, by the operator of that place. `flow`: from current to support."""
        aligned: Tensor = self.alignments[place](support, current, flow)
        return aligned

    def forward(self, clip: Tensor, motion: Motion | None = None) -> Tensor:
        if self.support == "neighbours":
            return self._aligned(clip, motion)
        batch, frames, _, h, w = clip.shape
        zero = clip.new_zeros(batch, frames - 1, 2, h, w)
        still = Motion(zero, zero) if frames > 1 else None  # of copies of one frame it need not be estimated
        return self._each(clip, lambda frame: self._aligned(clip[:, frame : frame + 1].expand_as(clip), still, frame))

    def _aligned(self, clip: Tensor, motion: Motion | None, only: int | None = None) -> Tensor:
        if not self.uses_flow:
            motion = None
        elif motion is None:
            motion = self.motion(clip) if clip.shape[1] > 1 else None
        if not self.warps_frames or motion is None:
            return self.restore(clip, motion)

        def warped(frame: int) -> Tensor:
            frames = [self._warped(clip, motion, frame, other) for other in range(clip.shape[1])]
            return self.restore(torch.stack(frames, 1), None)

        return self._each(clip, warped) if only is None else warped(only)

    def _warped(self, clip: Tensor, motion: Motion, frame: int, other: int) -> Tensor:
        if frame == other:
            return clip[:, frame]
        return self.alignments[self.PASSES[0]](clip[:, other], clip[:, frame], motion.between(frame, other))

    def _each(self, clip: Tensor, run: Callable[[int], Tensor]) -> Tensor:
        """`run(t)` gives a whole restored clip of which frame t is taken; of a network of the centre frame, that frame."""
        frames = clip.shape[1]
        if self.GIVES == "centre":
            return run(frames // 2)
        return stacked({frame: run(frame)[:, frame] for frame in wanted_frames(frames)}, frames)

    def motion(self, clip: Tensor) -> Motion | None:
        """The motion of a clip by this network's own source of flow. NetworkError if it has none."""
        if self.flow == KNOWN:
            return self._told(clip)
        source = self.spynet if self.flow == OWN else self.estimator
        if source is None:
            raise NetworkError(
                f"network {self.NAME!r}: its alignment needs flow, and `flow` is none. Set `args: {{flow: dis}}` (or spynet, with weights"
                " that have one), or `alignment: none`."
            )
        with torch.set_grad_enabled(torch.is_grad_enabled() and (self.train_flow or not self.training)):
            return estimated(source, clip if self.white == 1.0 else clip / self.white)

    def _told(self, clip: Tensor) -> Motion:
        """What it was told, for this clip; nothing moves before it is told anything."""
        batch, frames, _, h, w = clip.shape
        shape = (frames - 1, 2, h, w)
        if self.told is None:
            still = clip.new_zeros(batch, *shape)
            return Motion(still, still)
        if self.told == "nothing":
            raise NetworkError(
                f"network {self.NAME!r}: `flow: known` needs a corpus that knows its motion (`corpus: {{motion: …}}`); another needs an"
                " estimator, `flow: dis`."
            )
        given = self.told.next.shape
        if tuple(given[1:]) != shape or given[0] not in (1, batch):
            raise NetworkError(
                f"network {self.NAME!r}: the known flow is that of {given[0]} clips of {given[1] + 1} frames of {given[4]} x {given[3]}"
                f" pixels, but {batch} of {frames} frames of {w} x {h} pixels are run: `flow: known` is for whole clips, not for tiles,"
                " segments or probes that change them. Use an estimator, `flow: dis`."
            )
        return Motion(*(flow.to(clip).expand(batch, *shape) for flow in (self.told.next, self.told.previous)))

    def start_from(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """All tensors of this network, from a checkpoint of it; or, from one of another network with a SPyNet, that alone."""
        own = self.state_dict()
        if self.flow != OWN or all(name in tensors and tensors[name].shape == own[name].shape for name in own):
            return dict(tensors)
        part = {name: tensors[name] for name in own if name.startswith(f"{OWN}.") and name in tensors}
        return {**own, **part} if part else dict(tensors)


Network = TypeVar("Network", bound=AlignedNetwork)


def prepared(network: Network, settings: Mapping[str, Any]) -> Network:
    """A network to be trained, with what its weights do not show in the buffer `settings`, and SPyNet frozen unless it is trained."""
    data = json.dumps(dict(settings), sort_keys=True).encode()
    network.register_buffer(SETTINGS, torch.tensor(list(data), dtype=torch.uint8))
    if network.flow == OWN and not network.train_flow:
        network.spynet.requires_grad_(False)
    return network


def draw_first(network: AlignedNetwork, generator: torch.Generator, factors: Mapping[str, float]) -> None:
    """Draw first weights (`first_weights.draw`) of all but alignment and flow: networks that differ in these start equal in the rest."""
    rest = {name: module for name, module in network.named_children() if name not in ("alignments", OWN, "estimator")}
    draw(nn.ModuleDict(rest), generator, factors)


def settings_of(tensors: Mapping[str, Tensor], *, network: str) -> dict[str, Any]:
    """What `prepared` stored; {} if nothing. WeightsError for bytes that are no such thing."""
    if SETTINGS not in tensors:
        return {}
    stored = tensors[SETTINGS]
    try:
        if stored.dtype != torch.uint8 or stored.ndim != 1 or len(stored) > LONGEST:
            raise ValueError
        found = json.loads(bytes(stored.tolist()))
        if not isinstance(found, dict):
            raise ValueError
    except (ValueError, RecursionError) as error:
        said = f"this is not a checkpoint of network {network!r}: its tensor {SETTINGS!r} is not the text of a mapping."
        raise WeightsError(said) from error
    return found


def fitting(network: AlignedNetwork, tensors: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], tuple[str, ...]]:
    """`tensors` without those of an operator or a flow network that this network does not have, and notes about it. Its own `settings` are
    replaced by the file's. WeightsError if a learned operator was not trained with them."""
    own = set(network.state_dict())
    kept, notes = dict(tensors), []
    for prefix, what in (("alignments.", "the trained alignment"), (f"{OWN}.", "SPyNet")):
        if not any(name.startswith(prefix) for name in own) and any(name.startswith(prefix) for name in kept):
            kept = {name: tensor for name, tensor in kept.items() if not name.startswith(prefix)}
            notes.append(f"{what} is not used")
    lacking = network.learned and not any(name.startswith("alignments.") for name in kept)
    if lacking:
        raise WeightsError(
            f"network {network.NAME!r}: these weights were not trained with this alignment, with weights of its own. Choose one without,"
            " such as patch or bilinear, or train with it."
        )
    if SETTINGS in kept:
        network.register_buffer(SETTINGS, torch.empty_like(kept[SETTINGS], device="meta"))
    return kept, tuple(notes)


def parts_of(switches: Switches, *, network: str) -> dict[str, int]:
    """VERSIONs of the registered parts that a network with these switches consists of, as `networks.Built.parts` wants them."""
    parts = alignment_parts(switches.alignment)
    if switches.flow not in (OWN, NONE, None):
        parts[f"flow estimator {switches.flow}"] = estimator_class(switches.flow, network=network).VERSION
    return parts
