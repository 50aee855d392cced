"""The Gram matrix of a set on a GPU, with the sums of `stats.gram`: float32 products over blocks of features, added up in float64.

One product of 800 × 16,384 features is too small for a GPU: it has 49 tiles of 128 × 128 for some 130 processors. So several blocks are
multiplied at once, as a batch of matrices, which changes no sum. How many depends on the number of samples alone, so the bytes are the same
whether the features are on the device, in memory or in a file; the latter two are copied part by part while the last one is multiplied.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from xlli_ray.stats.gram import BLOCK, blocks

if TYPE_CHECKING:
    import torch

WORK_BYTES = 1 << 30
"""Of the features that are multiplied at once, about."""
MOST = 64
LEFT = 0.05
"""Share of a device's memory that is never planned."""


def together(samples: int, block: int = BLOCK) -> int:
    """Number of blocks of features that are multiplied at once."""
    return max(1, min(MOST, WORK_BYTES // (4 * max(samples, 1) * block)))


def device_gram(
    features: torch.Tensor | np.ndarray, rows: np.ndarray | None, device: torch.device | str, *, block: int = BLOCK
) -> np.ndarray:
    """`stats.gram.gram` of float32 (N, D) on `device`, of these `rows`, int64 (n,), None: of all. float64 (n, n), up to float32 rounding.

    All values finite. Matrix products must not be set to reduced precision. Memory of the device beyond the features: two parts of
    `together` blocks, and as many matrices of n².
    """
    import torch

    place = features.device if isinstance(features, torch.Tensor) else torch.device(device)
    count = len(features) if rows is None else len(rows)
    chosen = None if rows is None or not isinstance(features, torch.Tensor) else torch.from_numpy(rows).to(place)
    total = torch.zeros((count, count), dtype=torch.float64, device=place)
    for start, stop in blocks(features.shape[1], block * together(count, block)):
        if isinstance(features, torch.Tensor):
            part = features[:, start:stop] if chosen is None else features[chosen, start:stop]
        else:
            part = _sent(features[:, start:stop] if rows is None else features[rows, start:stop], place)
        shifted = part - part[:1]
        whole = shifted.shape[1] // block
        if whole:
            several = shifted[:, : whole * block].unflatten(1, (whole, block)).transpose(0, 1)
            total += torch.bmm(several, several.transpose(1, 2)).sum(0, dtype=torch.float64)
        if whole * block < shifted.shape[1]:
            rest = shifted[:, whole * block :]
            total += (rest @ rest.T).double()
        del part, shifted
    return total.cpu().numpy()


def _sent(part: np.ndarray, device: torch.device) -> torch.Tensor:
    """A part of the features on the device. It may still be on its way: through page-locked memory, while the host gathers the next one."""
    import torch

    host = torch.empty(part.shape, pin_memory=device.type == "cuda")
    np.copyto(host.numpy(), part)
    return host.to(device, non_blocking=True)


def room_on(tensor: torch.Tensor, samples: int) -> int:
    """Bytes that features of a set of `samples` may take on the tensor's device: what is free, within this process's share, less what its
    network has needed at most so far and what the product will."""
    import torch

    device = tensor.device
    free, total = torch.cuda.mem_get_info(device)
    held, used = torch.cuda.memory_reserved(device), torch.cuda.memory_allocated(device)
    share = total * getattr(torch.cuda, "get_per_process_memory_fraction", lambda device: 1.0)(device)  # not in older versions of torch
    working = torch.cuda.max_memory_allocated(device) - used
    product = together(samples) * (8 * samples * BLOCK + 4 * samples**2) + 16 * samples**2
    return max(0, int(min(free + held, share) - used - working - product - LEFT * total))
