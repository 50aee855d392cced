"""Tells networks with `flow: known` the true motion of a batch, which samples of a corpus such as `motion` have as by-products."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from xlli_ray.models.model import Model
from xlli_ray.probes.measurement import Batch

if TYPE_CHECKING:
    from xlli_ray.models.blocks.motion import Motion

FLOWS = (("flow_next", slice(None, -1)), ("flow_previous", slice(1, None)))
"""By-products (T, h, w, 2), and their frames that have one."""


@contextmanager
def knowing(model: Model | None, batch: Batch) -> Iterator[None]:
    """While inside, the model's network knows the motion of `batch`, if it asks for it. Of a failed sample nothing moves."""
    from xlli_ray.models.blocks.aligned_network import AlignedNetwork
    from xlli_ray.models.blocks.motion import KNOWN

    network = None if model is None else model.module
    if not isinstance(network, AlignedNetwork) or network.flow != KNOWN:
        yield
        return
    network.told = _motion(batch) or "nothing"
    try:
        yield
    finally:
        network.told = None


def _motion(batch: Batch) -> Motion | None:
    """The `Motion` of a batch; None if its samples have none."""
    import torch

    from xlli_ray.models.blocks.motion import Motion

    _, frames, _, height, width = batch.input.shape
    flows = []
    for name, part in FLOWS:
        stacked = np.zeros((len(batch.samples), frames - 1, 2, height, width), np.float32)
        for place, extras in enumerate(batch.extras):
            if batch.ok[place] and name not in extras:
                return None
            if name in extras:
                stacked[place] = extras[name][part].transpose(0, 3, 1, 2)
        flows.append(torch.from_numpy(stacked).to(batch.input.device))
    return Motion(*flows) if batch.extras else None
