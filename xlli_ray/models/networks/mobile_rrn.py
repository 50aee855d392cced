"""Mobile RRN: a recurrent network for video without alignment, small enough for a telephone.

The recurrent residual network (Isobe et al., "Revisiting Temporal Modeling for Video Super-resolution", BMVC 2020, arXiv 2008.05765) in
the form published for the Mobile AI challenge (16, 32 and 64 channels, REDS, TensorFlow). A state h goes from the past to the future in
one pass; at the first frame it is zero, and the frame before is the frame itself::

    t      = ReLU(conv_first(previous frame, frame, h)) -> recon_trunk.0 .. .4
    h      = ReLU(conv_hidden(t))
    output = depth_to_space(conv_last(t)) + bilinear(frame)                                                    scale 4

A block is `t + conv2(ReLU(conv1(t)))`. The output is not fed back. Two layouts of a state dict are read: TensorFlow's variable names with
kernels (height, width, input, output), values 0..255, and the names here. TensorFlow's depth_to_space orders channels (dy, dx, colour);
with its names they are sorted to torch's (colour, dy, dx) while reading. Values of 0..255 are those of the published weights: the range is
declared, so images are scaled outside.

With an `alignment`, which the published network lacks, the frame before and the state are aligned to the current frame.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

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
from xlli_ray.models.blocks.motion import NONE, Motion
from xlli_ray.models.blocks.one_frame import stacked, wanted_frames
from xlli_ray.models.blocks.residual import Block
from xlli_ray.models.networks import Built, check_args, counts, load_strict, numbered, renamed, shape_of

VERSION = 1
NAME = "mobile_rrn"
SCALE = 4
ARGS = SWITCHES
DEFAULTS = {"width": 16, "blocks": 5}
PUBLISHED = Switches(alignment="none", flow=NONE)
RENAMES = (
    (r"^model/(.*)/\.ATTRIBUTES/VARIABLE_VALUE$", r"\1"),
    (r"^recon_trunk/layer_with_weights-(\d+)/", r"recon_trunk.\1."),
    (r"/kernel$", ".weight"),
    (r"/bias$", ".bias"),
)


class MobileRRN(AlignedNetwork):
    """(B, T, 3, h, w) → (B, T, 3, 4h, 4w), not clamped; in and out 0..`white`."""

    PASSES: ClassVar[tuple[str, ...]] = ("frame", "state")
    NAME: ClassVar[str] = NAME

    def __init__(self, width: int, blocks: int, switches: Switches, white: float) -> None:
        super().__init__(switches, {"frame": 3, "state": width})
        self.width, self.white = width, white
        self.conv_first = nn.Conv2d(6 + width, width, 3, padding=1)
        self.recon_trunk = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.conv_hidden = nn.Conv2d(width, width, 3, padding=1)
        self.conv_last = nn.Conv2d(width, 3 * SCALE**2, 3, padding=1)

    def restore(self, clip: Tensor, motion: Motion | None) -> Tensor:
        batch, frames, _, h, w = clip.shape
        state, out, wanted = clip.new_zeros(batch, self.width, h, w), {}, wanted_frames(frames)
        for t in range(wanted[-1] + 1):
            frame, before = clip[:, t], clip[:, max(t - 1, 0)]
            if t and motion is not None:
                flow = motion.between(t, t - 1)
                before = self.align("frame", before, frame, flow)
                state = self.align("state", state, self._alone(frame), flow)
            y = self.recon_trunk(F.relu(self.conv_first(torch.cat([before, frame, state], 1))))
            state = F.relu(self.conv_hidden(y))
            if t in wanted:
                enlarged = F.interpolate(frame, scale_factor=SCALE, mode="bilinear", align_corners=False)
                out[t] = F.pixel_shuffle(self.conv_last(y), SCALE) + enlarged
        return stacked(out, frames)

    def _alone(self, frame: Tensor) -> Tensor:
        """What the first layer makes of a frame alone, (B, width, h, w): for operators that look at the current frame."""
        return F.relu(F.conv2d(frame, self.conv_first.weight[:, 3:6], self.conv_first.bias, padding=1))


def create(args: Mapping[str, Any], *, generator: torch.Generator) -> MobileRRN:
    """A network to be trained, its first weights drawn from `generator`; in and out 0..1.

    `args`: `width` (features, default 16), `blocks` (default 5), and the switches `alignment` (default none), `flow` (default none),
    `support`. The second convolution of each block and the last one start ten times smaller.
    """
    check_args(args, (*DEFAULTS, *SWITCHES, TRAIN_FLOW), network=NAME)
    width, blocks = counts(args, DEFAULTS, network=NAME)
    switches = PUBLISHED.with_args(args, network=NAME)
    net = MobileRRN(width, blocks, switches, white=1.0)
    draw_first(net, generator, {r"conv_last|recon_trunk\..*\.conv2": 0.1})
    return prepared(net, switches.stored())


def parts(args: Mapping[str, Any]) -> dict[str, int]:
    """VERSIONs of what is registered elsewhere, of a network made by `create`."""
    return parts_of(PUBLISHED.with_args(args, network=NAME), network=NAME)


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe: width and blocks from shapes. Range 0..255 of the published weights, else 0..1."""
    check_args(args, ARGS, network=NAME)
    published = any(name.startswith("model/") for name in tensors)
    own = _from_tensorflow(tensors) if published else dict(tensors)
    width = shape_of(own, "conv_hidden.weight", network=NAME)[0]
    switches = PUBLISHED.stored_in(settings_of(own, network=NAME)).with_args(args, network=NAME)
    white = 255.0 if published else 1.0
    module = MobileRRN(width, numbered(own, r"recon_trunk\.(\d+)\."), switches, white)
    kept, notes = fitting(module, own)
    load_strict(module, kept, network=NAME)
    return Built(module, scale=SCALE, range=(0.0, white), call="clip", notes=notes, parts=parts_of(switches, network=NAME))


def _from_tensorflow(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    own = {name: tensor.permute(3, 2, 0, 1) if tensor.ndim == 4 else tensor for name, tensor in renamed(tensors, RENAMES).items()}
    for name in ("conv_last.weight", "conv_last.bias"):
        if name in own and len(own[name]) == 3 * SCALE**2:
            own[name] = own[name].unflatten(0, (SCALE**2, 3)).transpose(0, 1).flatten(0, 1)
    return {name: tensor.contiguous() for name, tensor in own.items()}
