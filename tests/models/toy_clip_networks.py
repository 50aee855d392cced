"""Networks of clips of known behaviour: one recurrent both ways, one of 3-D convolutions, one that gives the centre frame."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from xlli_ray.models.networks import Built


def seeded(module: nn.Module) -> nn.Module:
    """Weights from a seed, without touching torch's own generator."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        parameter.data = torch.randn(parameter.shape, generator=generator) * 0.2
    return module


class BothWays(nn.Module):
    """Each frame folded into the batch, then a state carried from the last frame to the first, then one the other way."""

    def __init__(self, scale: int = 2, width: int = 4) -> None:
        super().__init__()
        self.width = width
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.pairs = nn.Conv2d(6, 1, 3, padding=1)
        self.back = nn.Conv2d(2 * width, width, 3, padding=1)
        self.forth = nn.Conv2d(2 * width, width, 3, padding=1)
        self.tail = nn.Conv2d(2 * width, 3 * scale**2, 3, padding=1)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c, h, w = x.shape
        seen = self.head(x.reshape(b * t, c, h, w)).view(b, t, self.width, h, w)
        if t > 1:
            self.pairs(torch.cat([x[:, 1:], x[:, :-1]], 2).reshape(b * (t - 1), 2 * c, h, w))
        state, backward = torch.zeros_like(seen[:, 0]), []
        for i in range(t - 1, -1, -1):
            state = torch.tanh(self.back(torch.cat([seen[:, i], state], 1)))
            backward.insert(0, state)
        state, out = torch.zeros_like(seen[:, 0]), []
        for i in range(t):
            state = torch.tanh(self.forth(torch.cat([seen[:, i], state], 1)))
            out.append(self.shuffle(self.tail(torch.cat([state, backward[i]], 1))))
        return torch.stack(out, 1)


class Spatiotemporal(nn.Module):
    """3-D convolutions over (B, C, T, H, W)."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Conv3d(3, 5, 3, padding=1)
        self.tail = nn.Conv3d(5, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.tail(torch.relu(self.head(x.transpose(1, 2)))).transpose(1, 2)


class Centre(nn.Module):
    """Five frames in, the centre one out."""

    def __init__(self) -> None:
        super().__init__()
        self.mix = nn.Conv2d(15, 12, 3, padding=1)
        self.shuffle = nn.PixelShuffle(2)

    def forward(self, x: Tensor) -> Tensor:
        return self.shuffle(self.mix(x.flatten(1, 2)))


def both_ways(scale: int = 2) -> Built:
    return Built(seeded(BothWays(scale)), scale=scale, call="clip")


def bare() -> nn.Module:
    return seeded(BothWays())


def spatiotemporal() -> Built:
    return Built(seeded(Spatiotemporal()), scale=1, call="clip")


def centre() -> Built:
    return Built(seeded(Centre()), scale=2, call="clip", frames=5, gives="centre")
