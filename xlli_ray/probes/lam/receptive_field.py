"""The receptive field of a network, and the part of the input on which one window can depend.

Found by poisoning, not by reading the architecture: one input pixel is NaN, and the output pixels that become NaN are those that depend on
it in any way (including by products with a zero weight). A network with global pooling, attention over the image or dynamic tiles turns
NaN everywhere and has no radius. If there is one, the map of a window is computed on a crop and is zero outside, which is exact; before
the crop is used, this is verified by the gradient of the same window on the full image: zero outside, equal inside.

Of clips, all frames are poisoned at one place and one output frame is looked at; the radius is that of clips of this length. Only networks
whose reach cannot depend on what moves where are tried at all (`fixed_reach`): others get whole frames.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from xlli_ray.corpus.size import Size
from xlli_ray.errors import NetworkError
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.fixed_reach import unproved
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.window import Window

LARGEST = 192
"""Input pixels: networks whose radius cannot be determined in an image of this side are not cropped."""


@dataclass(frozen=True)
class Radius:
    """Input pixels that an output pixel can depend on, up/left and down/right of the input pixel that contains it."""

    before: int
    after: int


@dataclass(frozen=True)
class Crop:
    """A part of the input: rows top … bottom − 1, columns left … right − 1."""

    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        return (self.bottom - self.top) * (self.right - self.left)

    def grown(self, rows: int, columns: int, height: int, width: int) -> Crop:
        """This part with at least so many rows and columns of an image of (height, width)."""
        return Crop(*_grown(self.top, self.bottom, rows, height), *_grown(self.left, self.right, columns, width))

    def cut(self, image: Tensor) -> Tensor:
        """The part of (…, H, W)."""
        return image[..., self.top : self.bottom, self.left : self.right]

    def moved(self, window: Window, scale: int) -> Window:
        """The window in the output of the crop."""
        return Window(window.top - scale * self.top, window.left - scale * self.left, window.size)


def find_radius(model: Model, frames: int = 0, frame: int = 0) -> Radius | None:
    """The network's radius, None if it has none, or none usable for crops (sizes in multiples, position-dependent radius).

    `frames`: of clips, their length and the explained `frame`. Costs a few forward passes on noise of up to LARGEST pixels a side.
    """
    if model.multiple != 1 or model.square or model.output != "image" or ("frame" in model.AXES) != bool(frames):
        return None
    side = max(33, model.minimum)
    if frames and unproved(model, _noise(model, side, frames, 0)):
        return None
    while side <= LARGEST:
        reaches = [_reach(model, side, offset, frames, frame) for offset in (0, 1)]
        if all(reach is not None for reach in reaches):
            first, second = reaches
            assert first is not None
            # it must not depend on the position: otherwise the network has its own grid (strides), which a crop would shift
            return first if first == second else None
        side = 2 * side - 1
    return None


def _noise(model: Model, side: int, frames: int, seed: int) -> Tensor:
    """A batch of one square input."""
    return torch.rand(model.shape(Size(side, side, frames)), generator=torch.Generator().manual_seed(seed)).to(model.device)


def _framed(output: Tensor, frame: int) -> Tensor:
    """(1, C, sH, sW): of clips the chosen frame, unless the network gives only one."""
    return output[:, frame] if output.ndim == 5 else output


def _reach(model: Model, side: int, offset: int, frames: int, frame: int) -> Radius | None:
    """How far NaN spreads from the pixel at the centre + offset; None if it comes within two pixels of the border."""
    image = _noise(model, side, frames, 0)
    centre = side // 2 + offset
    image[..., centre, centre] = float("nan")
    try:
        with torch.no_grad():
            output = _framed(model.forward(image), frame)
    except (RuntimeError, NetworkError):
        return None
    poisoned = output[0].isnan().any(0)
    rows, columns = (torch.nonzero(poisoned.any(axis)).flatten() // model.scale for axis in (1, 0))
    if not len(rows):
        return None
    low, high = int(min(rows[0], columns[0])), int(max(rows[-1], columns[-1]))
    if low < 2 or high > side - 3:
        return None
    # Poison at p reaches outputs p − a … p + b; so an output at q depends on q − b … q + a.
    return Radius(before=high - centre, after=centre - low)


def crop_for(window: Window, radius: Radius, scale: int, height: int, width: int, margin: int = 1, least: int = 1) -> Crop:
    """The input pixels on which the window (and the `margin` that its objective reads) can depend; `height`, `width` of the input.

    `least`: the network's minimum input side; a smaller crop in a corner is extended into the image.
    """
    last_row, last_column = window.top + window.size - 1 + margin, window.left + window.size - 1 + margin
    rows = max(0, window.top // scale - radius.before), min(height, last_row // scale + radius.after + 1)
    columns = max(0, window.left // scale - radius.before), min(width, last_column // scale + radius.after + 1)
    return Crop(*_grown(*rows, least, height), *_grown(*columns, least, width))


def _grown(low: int, high: int, least: int, size: int) -> tuple[int, int]:
    """The range [low, high) with at least `least` of the `size` pixels, as far as possible."""
    if high - low >= least:
        return low, high
    high = min(size, low + least)
    return max(0, high - least), high


def proved_radius(model: Model, frames: int = 0, frame: int = 0) -> Radius | None:
    """`find_radius`, verified by a gradient on noise: that of one window over the whole image is exactly 0 outside the crop, and equal to
    the crop's own gradient inside. None if there is no radius, or the verification fails. `frames`, `frame`: as of `find_radius`."""
    radius = find_radius(model, frames, frame)
    if radius is None:
        return None
    side = max(model.minimum, radius.before + radius.after + 12)
    image = _noise(model, side, frames, 1)
    top = model.scale * (side // 2)
    window = Window(top, top, 3 * model.scale)
    crop = crop_for(window, radius, model.scale, side, side)

    def gradient(part: Tensor, where: Window) -> Tensor:
        x = part.clone().requires_grad_()
        with torch.enable_grad():
            gradients = torch.autograd.grad(Objective()(_framed(model.forward(x), frame), where).sum(), x)
        return gradients[0]

    try:
        whole, inner = gradient(image, window), gradient(crop.cut(image), crop.moved(window, model.scale))
    except (RuntimeError, NetworkError):
        return None
    outside = whole.clone()
    crop.cut(outside).zero_()
    same = torch.linalg.vector_norm(crop.cut(whole) - inner) <= 1e-3 * torch.linalg.vector_norm(inner)
    return radius if not outside.any() and bool(same) else None
