"""Controls: maps that should differ from the real one. A map that does not differ is no explanation of the network.

`randomised_weights` (Adebayo et al., "Sanity checks for saliency maps", NeurIPS 2018): the same network with other weights, each tensor
drawn from a normal distribution of its own mean and standard deviation. What survives of a map comes from the image and the architecture.
`cascade`: the same from the output down, layer by layer (`cascade`).
`shifted_window`: the same network with the window elsewhere. A map that does not move does not belong to its window.

Draws come from Philox, keyed by the tensor's name, so that the control is the same on every worker.
"""

from __future__ import annotations

import copy
from collections.abc import Collection
from dataclasses import replace
from hashlib import sha256

import numpy as np
import torch

from xlli_ray.models.model import Model
from xlli_ray.probes.lam.window import Window


def randomised(model: Model, seed: int = 0, *, only: Collection[str] | None = None) -> Model:
    """A copy of `model` with drawn weights, or with drawn parameters of the names in `only`. Running statistics, other buffers and constant
    tensors are kept."""
    module = copy.deepcopy(model.module)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if parameter.numel() < 2 or (only is not None and name not in only):
                continue
            key = np.frombuffer(sha256(f"{seed}|{name}".encode()).digest()[:16], dtype="<u8").astype(np.uint64)
            draw = np.random.Generator(np.random.Philox(key=key)).standard_normal(tuple(parameter.shape))
            values = parameter.double().cpu()
            drawn = float(values.mean()) + float(values.std()) * torch.from_numpy(draw)
            parameter.copy_(drawn.to(parameter.dtype))
    return replace(model, module=module)


def shifted(window: Window, height: int, width: int) -> Window:
    """The window shifted cyclically by half of the possible positions along each axis: as far away as the output allows."""
    rows, columns = height - window.size, width - window.size  # number of positions
    return Window((window.top + rows // 2) % rows, (window.left + columns // 2) % columns, window.size)
