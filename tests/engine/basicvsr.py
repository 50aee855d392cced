"""BasicVSR, written from its paper, to be loaded with the public weights: `network: basicvsr:make`.

Chan et al., BasicVSR, CVPR 2021: features are carried from the last frame to the first and back, warped by optical flow at each step.
The flow network is SPyNet: Ranjan and Black, CVPR 2017. Names are those of the public state dict.
"""

from __future__ import annotations

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.networks import Built

FEATURES, BLOCKS, LEVELS = 64, 30, 6


def warp(x: Tensor, flow: Tensor, padding: str) -> Tensor:
    """out(p) = x(p + flow(p)), bilinear; flow (B, 2, H, W) in pixels, x first."""
    _, _, h, w = x.shape
    ys, xs = torch.meshgrid(
        torch.arange(h, device=x.device, dtype=x.dtype), torch.arange(w, device=x.device, dtype=x.dtype), indexing="ij"
    )
    across, down = 2 * (xs + flow[:, 0]) / max(w - 1, 1) - 1, 2 * (ys + flow[:, 1]) / max(h - 1, 1) - 1
    return F.grid_sample(x, torch.stack([across, down], -1), mode="bilinear", padding_mode=padding, align_corners=True)


class Level(nn.Module):
    """One level of the pyramid: what the flow so far lacks."""

    def __init__(self) -> None:
        super().__init__()
        widths = (8, 32, 64, 32, 16, 2)
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Conv2d(before, after, 7, padding=3), nn.ReLU()]
        self.basic_module = nn.Sequential(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        return self.basic_module(x)


class SPyNet(nn.Module):
    """Flow from `here` to `there`, (B, 2, H, W) pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.basic_module = nn.ModuleList(Level() for _ in range(LEVELS))
        self.register_buffer("mean", torch.zeros(1, 3, 1, 1))
        self.register_buffer("std", torch.ones(1, 3, 1, 1))

    def forward(self, here: Tensor, there: Tensor) -> Tensor:
        height, width = here.shape[-2:]
        size = (-(-height // 32) * 32, -(-width // 32) * 32)
        pyramids = []
        for x in (here, there):
            levels = [(F.interpolate(x, size, mode="bilinear", align_corners=False) - self.mean) / self.std]
            for _ in range(LEVELS - 1):
                levels.insert(0, F.avg_pool2d(levels[0], 2, count_include_pad=False))
            pyramids.append(levels)
        flow = torch.zeros_like(pyramids[0][0][:, :2])
        for level, first, second in zip(self.basic_module, *pyramids):
            if flow.shape[-2:] != first.shape[-2:]:
                flow = 2 * F.interpolate(flow, scale_factor=2, mode="bilinear", align_corners=True)
            flow = flow + level(torch.cat([first, warp(second, flow, "border"), flow], 1))
        flow = F.interpolate(flow, (height, width), mode="bilinear", align_corners=False)
        return flow * flow.new_tensor([width / size[1], height / size[0]])[:, None, None]


class Block(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)
        self.conv2 = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.conv2(F.relu(self.conv1(x)))


class Trunk(nn.Module):
    """One step of a propagation: (frame, what was carried here) → features of the frame."""

    def __init__(self) -> None:
        super().__init__()
        blocks = nn.Sequential(*(Block() for _ in range(BLOCKS)))
        self.main = nn.Sequential(nn.Conv2d(3 + FEATURES, FEATURES, 3, padding=1), nn.LeakyReLU(0.1), blocks)

    def forward(self, x: Tensor) -> Tensor:
        return self.main(x)


class BasicVSR(nn.Module):
    """(B, T, 3, H, W) → (B, T, 3, 4H, 4W)."""

    def __init__(self) -> None:
        super().__init__()
        self.spynet = SPyNet()
        self.backward_trunk, self.forward_trunk = Trunk(), Trunk()
        self.fusion = nn.Conv2d(2 * FEATURES, FEATURES, 1)
        self.upconv1 = nn.Conv2d(FEATURES, 4 * FEATURES, 3, padding=1)
        self.upconv2 = nn.Conv2d(FEATURES, 4 * FEATURES, 3, padding=1)
        self.conv_hr = nn.Conv2d(FEATURES, FEATURES, 3, padding=1)
        self.conv_last = nn.Conv2d(FEATURES, 3, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        b, t, c, h, w = x.shape
        early, late = x[:, :-1].reshape(-1, c, h, w), x[:, 1:].reshape(-1, c, h, w)
        to_next = self.spynet(early, late).view(b, t - 1, 2, h, w) if t > 1 else None
        to_last = self.spynet(late, early).view(b, t - 1, 2, h, w) if t > 1 else None
        carried = x.new_zeros(b, FEATURES, h, w)
        behind: list[Tensor] = []
        for i in range(t - 1, -1, -1):
            if i < t - 1 and to_next is not None:
                carried = warp(carried, to_next[:, i], "zeros")
            carried = self.backward_trunk(torch.cat([x[:, i], carried], 1))
            behind.insert(0, carried)
        carried, out = torch.zeros_like(carried), []
        for i in range(t):
            if i > 0 and to_last is not None:
                carried = warp(carried, to_last[:, i - 1], "zeros")
            carried = self.forward_trunk(torch.cat([x[:, i], carried], 1))
            y = F.leaky_relu(self.fusion(torch.cat([behind[i], carried], 1)), 0.1)
            for up in (self.upconv1, self.upconv2):
                y = F.leaky_relu(F.pixel_shuffle(up(y), 2), 0.1)
            y = self.conv_last(F.leaky_relu(self.conv_hr(y), 0.1))
            out.append(y + F.interpolate(x[:, i], scale_factor=4, mode="bilinear", align_corners=False))
        return torch.stack(out, 1)


def make() -> Built:
    return Built(BasicVSR(), scale=4, call="clip", multiple=1, minimum=1)
