"""FFDNet: denoising with a noise-level map.

Zhang, Zuo, Zhang, "FFDNet: Toward a Fast and Flexible Solution for CNN-based Image Denoising", IEEE TIP 2018,
arXiv 1710.04026.

The image is cut into four half-size images (reversible downsampling), a constant map with the noise level is joined as
one more channel, a chain of 3x3 convolutions with ReLU estimates the clean half-size images (not the noise), and they
are put together again. So `model.0` takes 4 * channels + 1 maps and the last convolution gives 4 * channels; width and
depth are read from the state dict. `sigma` is the standard deviation of the expected noise, on 0..255.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.errors import NetworkError, WeightsError
from xlli_ray.models.networks import Built, check_args, load_strict, numbered, shape_of

VERSION = 1
ARGS = ("sigma",)
SIGMA = 25.0  # default noise level on 0..255: the middle one of the paper's tables


class Ffdnet(nn.Module):
    """(B, images, H, W) in 0..1, H and W even -> the same shape, denoised. Layers are `model.0`, `model.1`, .."""

    def __init__(self, images: int, width: int, convolutions: int, sigma: float) -> None:
        super().__init__()
        self.level = sigma / 255.0
        widths = [4 * images + 1, *[width] * (convolutions - 1)]
        layers: list[nn.Module] = []
        for inputs, outputs in pairwise(widths):
            layers += [nn.Conv2d(inputs, outputs, 3, padding=1), nn.ReLU()]
        self.model = nn.Sequential(*layers, nn.Conv2d(width, 4 * images, 3, padding=1))

    def forward(self, x: Tensor) -> Tensor:
        quarters = F.pixel_unshuffle(x, 2)
        level = torch.full_like(quarters[:, :1], self.level)
        return F.pixel_shuffle(self.model(torch.cat((quarters, level), dim=1)), 2)


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that the keys and shapes of `tensors` describe; `args`: `sigma`, 0..255, default 25.

    Raises WeightsError when the first and last convolution are not those of an FFDNet.
    """
    check_args(args, ARGS, network="ffdnet")
    sigma = args.get("sigma", SIGMA)
    if isinstance(sigma, bool) or not isinstance(sigma, int | float) or not 0 <= sigma <= 255:
        raise NetworkError(f"ffdnet: args.sigma is {sigma!r}; expected the noise level on 0..255, e.g. {SIGMA:g}.")
    last = numbered(tensors, r"model\.(\d+)\.weight") - 1
    width, inputs = shape_of(tensors, "model.0.weight", network="ffdnet")[:2]
    outputs = shape_of(tensors, f"model.{last}.weight", network="ffdnet")[0]
    if inputs != outputs + 1 or outputs % 4:
        raise WeightsError(
            f"this is not a checkpoint of network 'ffdnet': its first convolution takes {inputs} maps, its last gives"
            f" {outputs}; expected 4*channels + 1 (the noise map) and 4*channels. Leave `network` out to let spandrel"
            " recognise the file."
        )
    images = outputs // 4
    module = Ffdnet(images, width, last // 2 + 1, float(sigma))
    load_strict(module, tensors, network="ffdnet")
    return Built(module, scale=1, channels=images, multiple=2, minimum=2)
