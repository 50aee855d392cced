"""PReNet and its relatives: progressive deraining, one small network applied to its own estimate again and again.

Ren, Zuo, Hu, Zhu, Meng, "Progressive Image Deraining Networks: A Better and Simpler Baseline", CVPR 2019, arXiv 1901.09221. With the rainy
image y and x_0 = y, stage s of S, all with the same weights, computes::

    t = relu(conv0(y, x_s-1))              the rainy image and the last estimate, joined
    h, c = LSTM(t, h, c); t = h            with a memory only: convolutional, over the stages
    t = relu(t + block(t))                 residual blocks of two 3 x 3 convolutions, each followed by ReLU
    x_s = y + conv(t)

======== ====== ============================ ====== ==========
network  memory blocks                       stages parameters
======== ====== ============================ ====== ==========
prenet   LSTM   5                            6      168,963
prenet_r LSTM   1, used 5 times in a stage   6      94,979
prn      none   5                            6      95,107
prn_r    none   1, used 5 times in a stage   6      21,123
drn      none   2, used 7 times in a stage   7      10,595
======== ====== ============================ ====== ==========

`drn`: Cai, Li, Ren, Wang, "Dual Recursive Network for Fast Image Deraining", ICIP 2019; 16 features, the others 32. Which of the five a
checkpoint is follows from its keys. How often its blocks are used does not; the number of stages is that of the table unless
`args: {stages: 4}` says otherwise. Widths are read from the shapes.

`conv#s` is the estimate after stage s + 1, with the alias `stage1`, `stage2`, ..; `conv.0#s` what that stage adds to the rainy image, the
rain, negative; `res_conv5#s` are the features after the fifth block, and `res_conv1#s:input` is the state h of the memory.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.errors import WeightsError, counted
from xlli_ray.models.blocks.convolutional_lstm import gate, remember
from xlli_ray.models.blocks.residual import RectifiedBlock
from xlli_ray.models.networks import Built, check_args, counts, load_strict, numbered, shape_of

VERSION = 1


class Estimate(nn.Sequential):
    """The image of a stage: the rainy image plus what a convolution makes of the features."""

    def __init__(self, width: int, images: int) -> None:
        super().__init__(nn.Conv2d(width, images, 3, padding=1))

    def forward(self, features: Tensor, rainy: Tensor) -> Tensor:
        return rainy + super().forward(features)


class Progressive(nn.Module):
    """(B, images, H, W) in 0..1, rainy -> the same shape, the last stage's estimate, not clamped."""

    def __init__(self, images: int, width: int, blocks: int, family: Family, stages: int) -> None:
        super().__init__()
        self.family, self.stages = family, stages
        self.conv0 = nn.Sequential(nn.Conv2d(2 * images, width, 3, padding=1), nn.ReLU())
        if family.memory:
            self.conv_i, self.conv_f, self.conv_o = (gate(2 * width, width, nn.Sigmoid()) for _ in range(3))
            self.conv_g = gate(2 * width, width, nn.Tanh())
        for number in range(blocks):
            self.add_module(f"res_conv{number + 1}", RectifiedBlock(width))
        self.conv = Estimate(width, images)

    def forward(self, rainy: Tensor) -> Tensor:
        blocks = [block for name, block in self.named_children() if name.startswith("res_conv")] * self.family.repeats
        x = rainy
        state = memory = None
        for _ in range(self.stages):
            t = self.conv0(torch.cat((rainy, x), dim=1))
            if self.family.memory:
                joined = (t, torch.zeros_like(t) if state is None else state)
                t, memory = remember(joined, memory, self.conv_i, self.conv_f, self.conv_g, self.conv_o)
                state = t
            for block in blocks:
                t = block(t)
            x = self.conv(t, rainy)
        return x


@dataclass(frozen=True)
class Family:
    """One network of the table: what `NETWORKS` names."""

    name: str
    memory: bool
    blocks: int
    repeats: int = 1
    stages: int = 6

    @property
    def VERSION(self) -> int:
        return VERSION

    def from_state_dict(self, tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
        """Build the network that `tensors` describe; `args`: `stages`, an integer ≥ 1. Range 0..1, any size."""
        check_args(args, ("stages",), network=self.name)
        (stages,) = counts(args, {"stages": self.stages}, network=self.name)
        width = shape_of(tensors, "conv0.0.weight", network=self.name)[0]
        images = shape_of(tensors, "conv.0.weight", network=self.name)[0]
        blocks, memory = max(numbered(tensors, r"res_conv(\d+)\.") - 1, 0), "conv_i.0.weight" in tensors
        if (blocks, memory) != (self.blocks, self.memory):
            raise WeightsError(
                f"this is not a checkpoint of network {self.name!r}, which has {'an LSTM' if self.memory else 'no LSTM'} and"
                f" {counted(self.blocks, 'residual block')}: these weights have {'one' if memory else 'none'} and {blocks}. Leave `network`"
                " out to have it recognised."
            )
        module = Progressive(images, width, blocks, self, stages)
        load_strict(module, tensors, network=self.name)
        return Built(module, scale=1, channels=images, aliases={f"stage{s + 1}": f"conv#{s}" for s in range(stages)})


PRENET = Family("prenet", memory=True, blocks=5)
PRENET_R = Family("prenet_r", memory=True, blocks=1, repeats=5)
PRN = Family("prn", memory=False, blocks=5)
PRN_R = Family("prn_r", memory=False, blocks=1, repeats=5)
DRN = Family("drn", memory=False, blocks=2, repeats=7, stages=7)
