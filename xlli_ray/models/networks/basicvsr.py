"""BasicVSR: features are carried from the last frame to the first and back, aligned at each step.

Chan et al., "BasicVSR: The Search for Essential Components in Video Super-Resolution and Beyond", CVPR 2021, arXiv 2012.02181, sections
3.1 and 3.2. Names and shapes are those of the public checkpoints; width and number of blocks are read from the weights (64 and 30 there)::

    carried = trunk(frame, aligned(carried))           once backward, once forward
    output  = upsampled(fusion(backward, forward)) + bilinear(frame)                                           scale 4

The published alignment is `bilinear`, with SPyNet's flow. With `alignment: none` the same weights carry features without moving them,
which their training never did: what a CNN then loses is the question of docs/video.md.
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
from xlli_ray.models.blocks.motion import OWN, Motion
from xlli_ray.models.blocks.one_frame import stacked, step, wanted_frames
from xlli_ray.models.blocks.residual import Block
from xlli_ray.models.networks import Built, check_args, counts, load_strict, numbered, shape_of

VERSION = 1
NAME = "basicvsr"
SCALE = 4
ARGS = SWITCHES
DEFAULTS = {"width": 64, "blocks": 30}
PUBLISHED = Switches(alignment="bilinear", flow=OWN)


class Trunk(nn.Module):
    """One step of a propagation: (B, 3 + width, h, w), the frame and what was carried here, to its features (B, width, h, w)."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        body = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.main = nn.Sequential(nn.Conv2d(3 + width, width, 3, padding=1), nn.LeakyReLU(0.1), body)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)

    def alone(self, frame: Tensor) -> Tensor:
        """What the first layer makes of a frame with nothing carried, (B, width, h, w): for operators that look at the current frame."""
        first = self.main[0]
        return F.leaky_relu(F.conv2d(frame, first.weight[:, :3], first.bias, padding=1), 0.1)


class BasicVSR(AlignedNetwork):
    """(B, T, 3, h, w) in 0..1 → (B, T, 3, 4h, 4w), not clamped."""

    PASSES: ClassVar[tuple[str, ...]] = ("backward_trunk", "forward_trunk")
    NAME: ClassVar[str] = NAME

    def __init__(self, width: int, blocks: int, switches: Switches, *, tail: int | None = None) -> None:
        super().__init__(switches, width)
        tail = tail or width
        self.width = width
        self.backward_trunk, self.forward_trunk = Trunk(width, blocks), Trunk(width, blocks)
        self.fusion = nn.Conv2d(2 * width, width, 1)
        self.upconv1 = nn.Conv2d(width, 4 * width, 3, padding=1)
        self.upconv2 = nn.Conv2d(width, 4 * tail, 3, padding=1)
        self.conv_hr = nn.Conv2d(tail, tail, 3, padding=1)
        self.conv_last = nn.Conv2d(tail, 3, 3, padding=1)

    def restore(self, clip: Tensor, motion: Motion | None) -> Tensor:
        frames = clip.shape[1]
        wanted = wanted_frames(frames)
        behind = self._carried("backward_trunk", clip, motion, list(range(wanted[0], frames))[::-1])
        ahead = self._carried("forward_trunk", clip, motion, list(range(wanted[-1] + 1)))
        return stacked({t: self._output(clip[:, t], behind[t], ahead[t]) for t in wanted}, frames)

    def _carried(self, name: str, clip: Tensor, motion: Motion | None, order: list[int]) -> dict[int, Tensor]:
        """Features of each frame, with those before it in `order` carried along."""
        batch, _, _, h, w = clip.shape
        trunk: Trunk = getattr(self, name)
        carried, out = clip.new_zeros(batch, self.width, h, w), {}
        for number, t in enumerate(order):
            if number and motion is not None:
                carried = self.align(name, carried, trunk.alone(clip[:, t]), motion.between(t, order[number - 1]))
            carried = out[t] = step(trunk, torch.cat([clip[:, t], carried], 1))
        return out

    def _output(self, frame: Tensor, behind: Tensor, ahead: Tensor) -> Tensor:
        y = F.leaky_relu(self.fusion(torch.cat([behind, ahead], 1)), 0.1)
        for up in (self.upconv1, self.upconv2):
            y = F.leaky_relu(F.pixel_shuffle(up(y), 2), 0.1)
        y = self.conv_last(F.leaky_relu(self.conv_hr(y), 0.1))
        return y + F.interpolate(frame, scale_factor=SCALE, mode="bilinear", align_corners=False)


def create(args: Mapping[str, Any], *, generator: torch.Generator) -> BasicVSR:
    """A network to be trained, its first weights drawn from `generator`.

    `args`: `width` (features, default 64), `blocks` (of each trunk, default 30), and the switches `alignment` (default bilinear), `flow`
    (default spynet, which learns nothing useful from random weights in a small training: start it from a checkpoint, `init`, and it is
    frozen unless `train_flow: true`; or take dis), `support`. The second convolution of each block and the last one start ten times
    smaller.
    """
    check_args(args, (*DEFAULTS, *SWITCHES, TRAIN_FLOW), network=NAME)
    width, blocks = counts(args, DEFAULTS, network=NAME)
    switches = PUBLISHED.with_args(args, network=NAME)
    net = BasicVSR(width, blocks, switches)
    draw_first(net, generator, {r"conv_last|.*_trunk\.main\.2\..*\.conv2": 0.1})
    return prepared(net, switches.stored())


def parts(args: Mapping[str, Any]) -> dict[str, int]:
    """VERSIONs of what is registered elsewhere, of a network made by `create`."""
    return parts_of(PUBLISHED.with_args(args, network=NAME), network=NAME)


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe: width and blocks from shapes, a public checkpoint's or one trained here. Range 0..1."""
    check_args(args, ARGS, network=NAME)
    width = shape_of(tensors, "fusion.weight", network=NAME)[0]
    tail = shape_of(tensors, "conv_hr.weight", network=NAME)[0]
    blocks = numbered(tensors, r"backward_trunk\.main\.2\.(\d+)\.")
    switches = PUBLISHED.stored_in(settings_of(tensors, network=NAME)).with_args(args, network=NAME)
    module = BasicVSR(width, blocks, switches, tail=tail)
    kept, notes = fitting(module, tensors)
    load_strict(module, kept, network=NAME)
    return Built(module, scale=SCALE, call="clip", notes=notes, parts=parts_of(switches, network=NAME))
