"""BRN: bilateral recurrent deraining, one stream for the rain and one for the image, each with a memory that the other reads.

Ren, Shang, Zhu, Hu, Meng, Zuo, "Single Image Deraining Using Bilateral Recurrent Network", IEEE TIP 29, 2020. With the rainy image y and
r_0 = x_0 = y, stage s of S, all with the same weights, computes::

    t = relu(conv0_r(y, r));    h_r, c_r = LSTM_r(t, h_r, h; c_r);  r = conv_r(blocks_r(h_r))      the rain
    t = relu(conv0(y, x, r));   h, c     = LSTM(t, h, h_r; c);      x = conv(blocks(h))            the image

The blocks are PReNet's. There is no skip from the rainy image. Eight stages, as in the authors' scripts; weights do not say how many:
`args: {stages: 4}`. `conv#s` (alias `stage1`, ..) is the image after stage s + 1, `conv_r#s` (alias `rain1`, ..) the rain.

The rain stream uses three blocks. The public checkpoints hold five: eight tensors, `res_conv4_r.*` and `res_conv5_r.*`, 36,992 of their
412,518 parameters, which their network never runs. They are left out here, so that the parameters and layers listed are those that work,
and a note of the model says so.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from xlli_ray.models.blocks.convolutional_lstm import gate, remember
from xlli_ray.models.blocks.residual import RectifiedBlock
from xlli_ray.models.networks import Built, check_args, counts, load_strict, shape_of

VERSION = 1
STAGES = 8
UNUSED = re.compile(r"res_conv[45]_r\.")


class Brn(nn.Module):
    """(B, images, H, W) in 0..1, rainy -> the same shape, the last stage's image, not clamped."""

    def __init__(self, images: int, width: int, stages: int) -> None:
        super().__init__()
        self.stages = stages
        for stream, inputs, blocks in (("", 3 * images, 5), ("_r", 2 * images, 3)):
            self.add_module(f"conv0{stream}", nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), nn.ReLU()))
            for name in "ifgo":
                self.add_module(f"conv_{name}{stream}", gate(3 * width, width, nn.Tanh() if name == "g" else nn.Sigmoid()))
            for number in range(1, blocks + 1):
                self.add_module(f"res_conv{number}{stream}", RectifiedBlock(width))
            self.add_module(f"conv{stream}", nn.Sequential(nn.Conv2d(width, images, 3, padding=1)))

    def forward(self, rainy: Tensor) -> Tensor:
        rain = x = rainy
        state = rain_state = memory = rain_memory = None
        for _ in range(self.stages):
            t = self.conv0_r(torch.cat((rainy, rain), dim=1))
            if state is None:
                state = rain_state = torch.zeros_like(t)
            gates = (self.conv_i_r, self.conv_f_r, self.conv_g_r, self.conv_o_r)
            rain_state, rain_memory = remember((t, rain_state, state), rain_memory, *gates)
            rain = self.conv_r(self.res_conv3_r(self.res_conv2_r(self.res_conv1_r(rain_state))))
            t = self.conv0(torch.cat((rainy, x, rain), dim=1))
            state, memory = remember((t, state, rain_state), memory, self.conv_i, self.conv_f, self.conv_g, self.conv_o)
            t = state
            for block in (self.res_conv1, self.res_conv2, self.res_conv3, self.res_conv4, self.res_conv5):
                t = block(t)
            x = self.conv(t)
        return x


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe; `args`: `stages`, an integer ≥ 1, default 8. Range 0..1, any size."""
    check_args(args, ("stages",), network="brn")
    (stages,) = counts(args, {"stages": STAGES}, network="brn")
    width = shape_of(tensors, "conv0_r.0.weight", network="brn")[0]
    images = shape_of(tensors, "conv.0.weight", network="brn")[0]
    used = {key: tensor for key, tensor in tensors.items() if not UNUSED.match(key)}
    module = Brn(images, width, stages)
    load_strict(module, used, network="brn")
    unused = sum(tensor.numel() for key, tensor in tensors.items() if UNUSED.match(key))
    aliases = {f"stage{s + 1}": f"conv#{s}" for s in range(stages)} | {f"rain{s + 1}": f"conv_r#{s}" for s in range(stages)}
    notes = (f"{len(tensors) - len(used)} tensors of the file, {unused:,} parameters, are never run by this network: left out",)
    return Built(module, scale=1, channels=images, aliases=aliases, notes=notes if unused else ())
