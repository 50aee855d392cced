"""SRResNet for x4, in the layout whose features the SRGA and DDR papers look at, and with the one switch they compare.

Ledig et al., "Photo-Realistic Single Image Super-Resolution Using a Generative Adversarial Network", CVPR 2017,
arXiv 1609.04802, without batch normalisation (Lim et al., EDSR, CVPR Workshops 2017) and without a convolution or skip
behind the trunk::

    x -> head -> trunk.0 .. trunk.N-1 -> up1 -> up2 -> hr -> last -> + global residual (bilinear x4 of x, or nothing)

Every activation but the one inside a block is LeakyReLU of slope 0.1. `head`, `up1`, `up2` and `hr` carry theirs, so
the output of each named module is a tensor *after* activation, and these are the taps of the papers:

======= =================== ================================================================================
alias   module              tensor, for an input of h x w
======= =================== ================================================================================
Conv1   head                width x h x w
RB4 ..  trunk.3 ..          width x h x w, output of the 4th, 8th, .. and of the last block
UP1     up1                 width x 2h x 2w, after convolution, pixel shuffle and activation
UP2     up2                 width x 4h x 4w, the same once more
HR_term hr                  width x 4h x 4w, the input of the last convolution
======= =================== ================================================================================

`global_residual` is what the papers call GR: with "bilinear" the trunk learns the difference to the interpolated input,
with "none" the whole image. Convolution weights do not reveal which it is, and the wrong one gives a wrong image, so
networks of ours carry it in their state dict, as the buffer `global_residual` (1 bilinear, 0 none). Where it is absent,
`args` says it; without either, "bilinear" is assumed, as in the public BasicSR networks (`MSRResNet`), whose two
layouts of keys are read too: `conv_first, body.N, upconv1, upconv2, conv_hr, conv_last`, and the older one with
`recon_trunk.N` and `HRconv`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.errors import NetworkError
from xlli_ray.models.blocks.first_weights import draw
from xlli_ray.models.blocks.residual import Block
from xlli_ray.models.networks import Built, check_args, load_strict, numbered, renamed, shape_of

VERSION = 1
SCALE = 4
SLOPE = 0.1
RESIDUALS = ("bilinear", "none")
ARGS = ("global_residual",)

# Keys of the two public layouts, older names second.
RENAMES = (
    (r"^conv_first\.", "head.conv."),
    (r"^(?:body|recon_trunk)\.(\d+)\.", r"trunk.\1."),
    (r"^upconv1\.", "up1.conv."),
    (r"^upconv2\.", "up2.conv."),
    (r"^(?:conv_hr|HRconv)\.", "hr.conv."),
    (r"^conv_last\.", "last."),
)


class Activated(nn.Module):
    """Convolution, then LeakyReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.leaky_relu(self.conv(x), SLOPE)


class Doubled(nn.Module):
    """Convolution, pixel shuffle by 2, then LeakyReLU: twice as high and wide."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(width, 4 * width, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        if not (self.training and torch.is_grad_enabled()):
            return F.leaky_relu(F.pixel_shuffle(self.conv(x), 2), SLOPE)
        # While training, the same shuffle in channels_last order: the convolution's maps are sorted so that what goes
        # to one output pixel lies together, and the shuffle moves whole pixels. Measured: 2.0 against 7.4 ms for
        # 8x128x48x48 in bfloat16, forward and backward, on one core; a training step is 11 % shorter.
        weight, bias = self.conv.weight, self.conv.bias
        maps = weight.shape[0] // 4
        weight = weight.unflatten(0, (maps, 4)).transpose(0, 1).flatten(0, 1)
        bias = bias.unflatten(0, (maps, 4)).transpose(0, 1).flatten()
        y = F.conv2d(x, weight, bias, padding=1).permute(0, 2, 3, 1)
        batch, height, wide, _ = y.shape
        y = y.reshape(batch, height, wide, 2, 2, maps).permute(0, 1, 3, 2, 4, 5)
        return F.leaky_relu(y.reshape(batch, 2 * height, 2 * wide, maps).permute(0, 3, 1, 2), SLOPE)


class SRResNet(nn.Module):
    """(B, 3, h, w) float32 in 0..1 to (B, 3, 4h, 4w), not clamped."""

    def __init__(self, width: int, blocks: int, global_residual: str, *, images: int = 3) -> None:
        super().__init__()
        self.residual = global_residual == "bilinear"
        self.register_buffer("global_residual", torch.tensor(int(self.residual)))
        self.head = Activated(images, width)
        self.trunk = nn.Sequential(*(Block(width) for _ in range(blocks)))
        self.up1 = Doubled(width)
        self.up2 = Doubled(width)
        self.hr = Activated(width, width)
        self.last = nn.Conv2d(width, images, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        y = self.last(self.hr(self.up2(self.up1(self.trunk(self.head(x))))))
        if self.residual:
            y = y + F.interpolate(x, scale_factor=SCALE, mode="bilinear", align_corners=False)
        return y


def _checked_residual(value: Any) -> str:
    if value not in RESIDUALS:
        raise NetworkError(f"network 'srresnet': global_residual is {value!r}; it is one of {', '.join(RESIDUALS)}.")
    return str(value)


def _residual_of(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> str:
    """What the state dict says, else what `args` says, else bilinear. NetworkError when the two disagree."""
    asked = _checked_residual(args["global_residual"]) if "global_residual" in args else None
    if "global_residual" not in tensors:
        return asked or "bilinear"
    stored = "bilinear" if int(tensors["global_residual"]) else "none"
    if asked not in (None, stored):
        raise NetworkError(
            f"network 'srresnet': args say global_residual {asked!r}, but these weights were trained with {stored!r}."
            " Leave it out of args."
        )
    return stored


def aliases(blocks: int) -> dict[str, str]:
    """The papers' names for the taps of a network with `blocks` blocks: RB4, RB8, .. and always the last block."""
    named = sorted({*range(4, blocks + 1, 4), blocks})
    residual = {f"RB{n}": f"trunk.{n - 1}" for n in named}
    return {"Conv1": "head", **residual, "UP1": "up1", "UP2": "up2", "HR_term": "hr"}


def create(args: Mapping[str, Any], *, generator: torch.Generator) -> SRResNet:
    """A network to be trained, its first weights drawn from `generator`.

    `args`: `width` (features, default 64), `blocks` (default 16), `global_residual` (default "bilinear"). Kaiming
    normal weights and zero biases; the second convolution of each block and the last one times 0.1, so that the trunk
    starts near the identity, the output near the residual. `global_residual` changes no draw: twins start equal.
    """
    check_args(args, ("width", "blocks", "global_residual"), network="srresnet")
    width, blocks = int(args.get("width", 64)), int(args.get("blocks", 16))
    if width < 1 or blocks < 1:
        raise NetworkError(f"network 'srresnet': width {width} and blocks {blocks}; both are at least 1.")
    net = SRResNet(width, blocks, _checked_residual(args.get("global_residual", "bilinear")))
    draw(net, generator, {r"last|.*\.conv2": 0.1})
    return net


def untrained(width: int = 32, blocks: int = 8, global_residual: str = "bilinear", seed: int = 0) -> Built:
    """First weights and nothing learned, as a baseline: `network: "xlli_ray.models.networks.srresnet:untrained"` without weights."""
    args = {"width": width, "blocks": blocks, "global_residual": global_residual}
    net = create(args, generator=torch.Generator().manual_seed(seed))
    return Built(net, scale=SCALE, aliases=aliases(blocks))


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe: width and blocks from shapes, keys of three layouts. Range 0..1."""
    check_args(args, ARGS, network="srresnet")
    own = renamed(tensors, RENAMES)
    width, images = shape_of(own, "head.conv.weight", network="srresnet")[:2]
    blocks = numbered(own, r"trunk\.(\d+)\.")
    residual = _residual_of(own, args)
    own["global_residual"] = torch.tensor(int(residual == "bilinear"), device="cpu")
    module = SRResNet(width, blocks, residual, images=images)
    load_strict(module, own, network="srresnet")
    return Built(module, scale=SCALE, channels=images, aliases=aliases(blocks))
