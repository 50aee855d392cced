"""A small residual classifier: the contrast to restoration networks in DDR, where features should follow content.

After He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, arXiv 1512.03385, in small and without batch normalisation::

    x -> head -> trunk.0 .. trunk.5 -> pool -> last -> one logit a class

Six blocks of two 3 x 3 convolutions: two at full resolution, two at half, two at a quarter; a block that changes size has a 1 x 1
convolution on its skip. `head` carries its activation, and the output of a block is a tensor *after* activation. The output is no image
(`output: none`). `xlli train pipelines/train_classifier.yaml` trains it to say which photograph a crop comes from.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from xlli_ray.models.blocks.first_weights import draw
from xlli_ray.models.networks import Built, check_args, load_strict, numbered, shape_of

VERSION = 1
ARGS = ()
WIDTHS = (16, 24, 32)
STRIDES = (1, 2, 2)
EACH = 2


class Activated(nn.Module):
    """Convolution, then ReLU."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.conv(x))


class Block(nn.Module):
    """`relu(skip(x) + conv2(relu(conv1(x))))`."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, padding=1, stride=stride)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, padding=1)
        self.skip = nn.Conv2d(inputs, outputs, 1, stride=stride) if stride > 1 or inputs != outputs else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.skip(x) + self.conv2(F.relu(self.conv1(x))))


class Classifier(nn.Module):
    """(B, 3, h, w) float32 in 0..1 to (B, classes)."""

    def __init__(self, classes: int, widths: tuple[int, ...] = WIDTHS) -> None:
        super().__init__()
        self.head = Activated(3, widths[0])
        blocks, before = [], widths[0]
        for width, stride in zip(widths, STRIDES):
            for number in range(EACH):
                blocks.append(Block(before, width, stride if number == 0 else 1))
                before = width
        self.trunk = nn.Sequential(*blocks)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.last = nn.Linear(before, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.pool(self.trunk(self.head(x))).flatten(1))


def create(args: Mapping[str, Any], *, generator: torch.Generator) -> Classifier:
    """A network to be trained, its first weights drawn from `generator`.

    `args`: `classes`, number of images to distinguish. Kaiming normal weights and zero biases; the second convolution of each
    block and the last layer times 0.1.
    """
    check_args(args, ("classes",), network="classifier")
    net = Classifier(int(args["classes"]))
    draw(net, generator, {r"last|.*\.conv2": 0.1})
    return net


def from_state_dict(tensors: Mapping[str, Tensor], args: Mapping[str, Any]) -> Built:
    """Build the network that `tensors` describe. WeightsError when they are not a classifier's of this kind."""
    check_args(args, ARGS, network="classifier")
    blocks = numbered(tensors, r"trunk\.(\d+)\.")
    widths = tuple(shape_of(tensors, f"trunk.{i}.conv1.weight", network="classifier")[0] for i in range(0, blocks, EACH))
    module = Classifier(shape_of(tensors, "last.weight", network="classifier", axes=2)[0], widths or WIDTHS)
    load_strict(module, tensors, network="classifier")
    return Built(module, scale=1, minimum=4, output="none", aliases={"Conv1": "head"})
