"""Networks that have learned nothing, to be drawn beside trained ones: a statistic that they share says nothing of training.

    - {id: untrained, network: "pipelines.untrained:srresnet", args: {global_residual: none}}

These are the first weights of the matched family (`train_matched.yaml`, seed 0): what the trained networks of that layout began with.
"""

from __future__ import annotations

import torch

from xlli_ray.models.networks import Built
from xlli_ray.models.networks.srresnet import SCALE, aliases, create
from xlli_ray.training.loop import seed_of

VERSION = 1
BLOCKS = 8


def srresnet(global_residual: str = "none") -> Built:
    """An SRResNet of width 32 and 8 blocks, before its first step; the same one at each call. `global_residual`: bilinear or none."""
    args = {"width": 32, "blocks": BLOCKS, "global_residual": global_residual}
    module = create(args, generator=torch.Generator().manual_seed(seed_of(0, "init")))
    return Built(module, scale=SCALE, channels=3, aliases=aliases(BLOCKS))
