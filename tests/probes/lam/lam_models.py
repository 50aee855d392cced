"""Small models for the tests of LAM."""

from __future__ import annotations

import torch
from torch import nn

from xlli_ray.models.model import ImageModel, Model, Range


def as_model(module: nn.Module) -> Model:
    """A model of scale 1 around any module."""
    return ImageModel(
        id="toy", module=module.eval().requires_grad_(False), network="toy:toy", network_version=1, scale=1, channels=3,
        range=Range(0.0, 1.0), multiple=1, minimum=1, output="image", weights_sha256="0" * 64,
    )  # fmt: skip


def convolutions() -> nn.Module:
    """Three convolutions with leaky ReLUs; weights of seed 0."""
    torch.manual_seed(0)
    layers: list[nn.Module] = []
    for i in range(3):
        layers += [nn.Conv2d(3 if i == 0 else 8, 8, 3, padding=1), nn.LeakyReLU(0.1)]
    return nn.Sequential(*layers, nn.Conv2d(8, 3, 3, padding=1))


class Pooled(nn.Module):
    """A convolution scaled by the image's mean."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(1)
        self.conv = nn.Conv2d(3, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x) * torch.sigmoid(x.mean((2, 3), keepdim=True))
