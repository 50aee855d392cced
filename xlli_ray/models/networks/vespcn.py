"""VESPCN: two neighbouring frames are warped to the current one by a small motion network, and the three are fused. Scale 4.

Caballero et al., "Real-Time Video Super-Resolution with Spatio-Temporal Networks and Motion Compensation", CVPR 2017, arXiv 1611.05250, in
the form of the public RGB weights: a coarse and a fine stage of flow, then an early-fusion network of residual blocks with pixel shuffle::

    flow   = 32 · (fine(reference, current, coarse, warped) + coarse(reference, current))              `mc`
    output = sr(warped previous, warped next, current)                                                 `sr`

**With the public weights the motion network does not align**: its flow is a fixed pattern of about 0.12 pixels whatever the motion, and
leaving the warp out is better. That makes it a negative control, an alignment module that does not align, which an instrument must find.

`alignment`   `own`, the authors' warp: its sampling grid is stretched by W / (W − 1), so that zero flow is not the identity; the border is
              clamped. `none` drops the warp and the motion network. Any operator of `models.alignment` warps the frames by its flow.
`references`  the two frames beside the current one, in this order: `[previous, next]` by default, for which the weights are better than for
              `[next, next]`, the authors' inference code. Also `current`.
`support`     `current`: both references are the current frame.

It takes the three frames about the middle of a clip (a missing one is replaced by the nearest) and gives the centre frame. Three of its
convolutions have no padding, so it gives (4h − 18) × (4w − 18) pixels, of which (i, j) is pixel (i + 9, j + 9) of the enlarged frame: the
margin of 9 pixels is filled with the current frame, enlarged bilinearly. Leave 9 pixels out of a comparison.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.errors import NetworkError
from xlli_ray.models.alignment.alignment import ARG as ALIGNMENT
from xlli_ray.models.alignment.alignment import Choice, alignment_of, alignment_parts
from xlli_ray.models.blocks.aligned_network import SUPPORT, SUPPORTS
from xlli_ray.models.blocks.first_weights import draw
from xlli_ray.models.networks import Built, check_args, counts, load_strict, numbered, shape_of

VERSION = 1
NAME = "vespcn"
SCALE, MARGIN, SMALLEST = 4, 9, 6
OWN = "own"
FRAMES = {"previous": -1, "current": 0, "next": 1}
REFERENCES = "references"
ARGS = (ALIGNMENT, REFERENCES, SUPPORT)
DEFAULTS = {"width": 64, "blocks": 3}
FLOW_WIDTH, FLOW_SCALE = 24, 32


class Estimate(nn.Sequential):
    """Five convolutions to a flow: (B, inputs, h, w) to (B, 2, h, w), −1..1; h and w are multiples of the product of the strides."""

    def __init__(self, inputs: int, layers: tuple[tuple[int, int], ...], enlarge: int) -> None:
        widths = (inputs, *[FLOW_WIDTH] * (len(layers) - 1), 2 * enlarge**2)
        last = len(layers) - 1
        super().__init__(*(
            nn.Sequential(nn.Conv2d(before, after, kernel, stride, kernel // 2), nn.ReLU() if number < last else nn.Tanh())
            for number, ((kernel, stride), (before, after)) in enumerate(zip(layers, pairwise(widths), strict=True))
        ))  # fmt: skip
        self.enlarge = enlarge

    def forward(self, x: Tensor) -> Tensor:
        return F.pixel_shuffle(super().forward(x), self.enlarge)


class MotionCompensation(nn.Module):
    """Flow from the current frame to a reference, (B, 3, h, w) twice to (B, 2, h, w), pixels, x first."""

    def __init__(self) -> None:
        super().__init__()
        self.coarse_flow = Estimate(6, ((5, 2), (3, 1), (5, 2), (3, 1), (3, 1)), 4)
        self.fine_flow = Estimate(11, ((5, 2), (3, 1), (3, 1), (3, 1), (3, 1)), 2)

    def forward(self, reference: Tensor, current: Tensor) -> Tensor:
        h, w = current.shape[-2:]
        reference, current = (F.pad(x, (0, -w % 4, 0, -h % 4)) for x in (reference, current))
        coarse = self.coarse_flow(torch.cat([reference, current], 1))
        fine = self.fine_flow(torch.cat([reference, current, coarse, stretched_warp(reference, coarse)], 1))
        return (FLOW_SCALE * (fine + coarse))[..., :h, :w]


class Body(nn.Module):
    """`x + conv2(relu(conv1(relu(x))))`."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(width, width, 3, padding=1)
        self.conv2 = nn.Conv2d(width, width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(F.relu(x))))


class Fusion(nn.Module):
    """(B, 9, h, w) to (B, 3, 4h − 18, 4w − 18)."""

    def __init__(self, width: int, blocks: int) -> None:
        super().__init__()
        self.entry = nn.Conv2d(9, width, 3)
        self.body = nn.Sequential(*(Body(width) for _ in range(blocks)))
        self.conv = nn.Conv2d(width, width * SCALE**2, 3)
        self.exit = nn.Conv2d(width, 3, 3)

    def forward(self, x: Tensor) -> Tensor:
        entered = self.entry(x)
        return self.exit(F.pixel_shuffle(self.conv(F.relu(self.body(entered)) + entered), SCALE))


class VESPCN(nn.Module):
    """(B, T, 3, h, w) in 0..1 → (B, 3, 4h, 4w) of frame T // 2, not clamped."""

    def __init__(self, width: int, blocks: int, alignment: Choice, references: tuple[str, ...]) -> None:
        super().__init__()
        self.references = tuple(FRAMES[name] for name in references)
        self.mc, self.sr = MotionCompensation(), Fusion(width, blocks)
        self.warps = alignment == OWN
        self.alignment = None if self.warps else alignment_of(alignment, channels=3, network=NAME)

    def forward(self, clip: Tensor) -> Tensor:
        middle, last = clip.shape[1] // 2, clip.shape[1] - 1
        current = clip[:, middle]
        beside = [self._aligned(clip[:, min(max(middle + step, 0), last)], current) for step in self.references]
        restored = self.sr(torch.cat([*beside, current], 1))
        enlarged = F.interpolate(current, scale_factor=SCALE, mode="bilinear", align_corners=False)
        inside = torch.zeros_like(enlarged[:1, :1], dtype=torch.bool)
        inside[..., MARGIN:-MARGIN, MARGIN:-MARGIN] = True
        return torch.where(inside, F.pad(restored, (MARGIN,) * 4), enlarged)

    def _aligned(self, reference: Tensor, current: Tensor) -> Tensor:
        if self.alignment is None:
            return stretched_warp(reference, self.mc(reference, current))
        if not self.alignment.USES_FLOW:
            return reference
        return self.alignment(reference, current, self.mc(reference, current))


def stretched_warp(x: Tensor, flow: Tensor) -> Tensor:
    """The authors' warp: bilinear, the border clamped, on a grid of −1..1 from the first to the last pixel that is read as from edge to
    edge. Without flow it stretches the image by W / (W − 1)."""
    h, w = x.shape[-2:]
    across = torch.linspace(-1, 1, w, device=x.device, dtype=x.dtype)[None, None, :] + 2 * flow[:, 0] / w
    down = torch.linspace(-1, 1, h, device=x.device, dtype=x.dtype)[None, :, None] + 2 * flow[:, 1] / h
    return F.grid_sample(x, torch.stack([across, down], -1), mode="bilinear", padding_mode="border", align_corners=False)


def create(args: Mapping[str, Any], *, generator: torch.Generator) -> VESPCN:
    """A network to be trained, its first weights drawn from `generator`.

    `args`: `width` (features, default 64), `blocks` (default 3), `alignment`, `references`, `support` as above. The second convolution of
    each block and the last one start ten times smaller, and so do those that give the flow.
    """
    check_args(args, (*DEFAULTS, *ARGS), network=NAME)
    width, blocks = counts(args, DEFAULTS, network=NAME)
    net = VESPCN(width, blocks, args.get(ALIGNMENT, OWN), _references(args))
    draw(net, generator, {r"sr\.exit|.*\.conv2|mc\..*\.4\.0": 0.1})
    return net


def parts(args: Mapping[str, Any]) -> dict[str, int]:
    """VERSIONs of what is registered elsewhere."""
    alignment = args.get(ALIGNMENT, OWN)
    return {} if alignment == OWN else alignment_parts(alignment)


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe: width and blocks from shapes. Range 0..1."""
    check_args(args, ARGS, network=NAME)
    width = shape_of(tensors, "sr.entry.weight", network=NAME)[0]
    module = VESPCN(width, numbered(tensors, r"sr\.body\.(\d+)\."), args.get(ALIGNMENT, OWN), _references(args))
    load_strict(module, tensors, network=NAME)
    note = f"its outermost {MARGIN} pixels are the current frame, enlarged bilinearly"
    return Built(module, scale=SCALE, call="clip", gives="centre", minimum=SMALLEST, notes=(note,), parts=parts(args))


def _references(args: Mapping[str, Any]) -> tuple[str, ...]:
    support, names = args.get(SUPPORT, SUPPORTS[0]), args.get(REFERENCES, ["previous", "next"])
    if support not in SUPPORTS:
        raise NetworkError(f"network {NAME!r}: support is {support!r}; expected {' or '.join(SUPPORTS)}.")
    if not isinstance(names, list | tuple) or len(names) != 2 or any(name not in FRAMES for name in names):
        raise NetworkError(f"network {NAME!r}: references are {names!r}; expected two of {', '.join(FRAMES)}, as in [previous, next].")
    return ("current", "current") if support == "current" else tuple(names)
