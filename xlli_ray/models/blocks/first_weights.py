"""First weights of a network to be trained: Kaiming normal, drawn from one generator in the order of the network's modules.

He et al., "Delving Deep into Rectifiers", ICCV 2015, arXiv 1502.01852: standard deviation √(2 / fan-in), biases zero. The last layer of a
residual branch, and of the network, is usually scaled by 0.1 besides, so that a branch starts near zero and the network near its skip.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

import torch
from torch import nn


def draw(network: nn.Module, generator: torch.Generator, factors: Mapping[str, float]) -> None:
    """Draw all weights of convolutions and linear layers in place; other parameters keep their values.

    `factors`: regular expression → factor for the layers whose whole name it matches, e.g. {r"last|.*conv2": 0.1}; the first match counts.
    """
    for name, module in network.named_modules():
        if not isinstance(module, nn.Conv2d | nn.ConvTranspose2d | nn.Linear):
            continue
        # Of a transposed convolution without overlap each output pixel sums over the input channels alone.
        fan = module.weight.shape[0] if isinstance(module, nn.ConvTranspose2d) else module.weight[0].numel()
        factor = next((value for pattern, value in factors.items() if re.fullmatch(pattern, name)), 1.0)
        with torch.no_grad():
            module.weight.normal_(0.0, math.sqrt(2.0 / fan) * factor, generator=generator)
            if module.bias is not None:
                module.bias.zero_()
