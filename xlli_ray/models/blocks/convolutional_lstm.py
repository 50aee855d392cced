"""A convolutional LSTM, as recurrent deraining networks use it over their stages.

Shi et al., "Convolutional LSTM Network: A Machine Learning Approach for Precipitation Nowcasting", NeurIPS 2015, arXiv 1506.04214, without
the terms in which a gate looks at the cell. z joins the input and the state h:

    i, f, o = σ(conv(z)),  g = tanh(conv(z)),  c = f · c + i · g,  h = o · tanh(c)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def gate(inputs: int, width: int, activation: nn.Module) -> nn.Sequential:
    """A 3 x 3 convolution and its activation."""
    return nn.Sequential(nn.Conv2d(inputs, width, 3, padding=1), activation)


Gate = Callable[[Tensor], Tensor]


def remember(joined: Sequence[Tensor], cell: Tensor | None, i: Gate, f: Gate, g: Gate, o: Gate) -> tuple[Tensor, Tensor]:
    """(h, c) after one step. `joined`: what z joins along the channels, in this order; `cell`: c before, None for zeros."""
    z = torch.cat(tuple(joined), dim=1)
    new = i(z) * g(z)
    cell = new if cell is None else f(z) * cell + new
    return o(z) * cell.tanh(), cell
