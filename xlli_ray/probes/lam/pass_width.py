"""How many rows (nodes of images) a pass on a GPU has: planned, not tried.

Enough to keep the card busy, fewer where the tensors that the network saves for its gradients would not fit. The width depends on the
network, the size and the card, never on how many workers share the card, since results depend on it in the last digits.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext

import numpy as np
import torch
from torch import Tensor

from xlli_ray.models.batch_independence import manners
from xlli_ray.models.blocks.one_frame import one_frame
from xlli_ray.models.known import once
from xlli_ray.models.model import Model
from xlli_ray.probes.measurement import Batch

PIXELS = 160 * 64 * 64
"""Input pixels of a pass, over its rows: from here on a pass of twice the width takes twice the time (docs/log.md)."""
ROOM = 0.75
"""Share of the card's memory for the tensors that a pass saves for its gradients."""
MARGIN = 1.1
"""Peak of a pass relative to what it saves: 1.0 for five networks on an H200, from 8 to 108 GB."""


def row_bytes(model: Model, shape: Sequence[int], frame: int | None = None) -> int:
    """Bytes that the network saves for the gradient of one input of `shape`, its weights left out; of a clip, for its output's `frame`."""
    own = {one.untyped_storage().data_ptr() for one in (*model.module.parameters(), *model.module.buffers())}
    seen: dict[int, int] = {}

    def keep(values: Tensor) -> Tensor:
        storage = values.untyped_storage()
        if storage.data_ptr() not in own:
            seen[storage.data_ptr()] = storage.nbytes()
        return values

    x = torch.zeros(1, *shape, device=model.device).requires_grad_()
    wanted = nullcontext() if frame is None else one_frame(frame)
    with torch.enable_grad(), wanted, torch.autograd.graph.saved_tensors_hooks(keep, lambda values: values):
        output = model.forward(x)
    del output
    return sum(seen.values())


def planned_rows(model: Model, shape: Sequence[int], frame: int | None = None) -> int:
    """Rows of `shape`, (…, C, H, W), of one pass on the model's device, for the gradient of a clip's `frame`. What the network saves is
    measured once, with the first shape."""
    pixels = int(np.prod(shape)) // shape[-3]
    each = once(model, ("bytes saved a pixel", frame), lambda: row_bytes(model, shape, frame) / pixels)
    fitting = int(ROOM * card_bytes(model.device) / (MARGIN * max(1.0, each * pixels)))
    return max(1, min(PIXELS // pixels, fitting))


def card_bytes(device: torch.device) -> int:
    """Memory of the whole card, whatever a worker's share of it; of a CPU, an assumed one."""
    return torch.cuda.get_device_properties(device).total_memory if device.type == "cuda" else 16 << 30


def forward_rows(model: Model, batch: Batch, *, cpu: int) -> int:
    """Rows of a pass without gradients, for inputs as in `batch`. `cpu`: those on a CPU, where more bring nothing."""
    given = batch.input
    if batch.alone or once(model, "manners", lambda: manners(model)).alone:
        return 1
    pixels = int(np.prod(given.shape[1:])) // given.shape[-3]
    return cpu if given.device.type == "cpu" else max(1, PIXELS // pixels)
