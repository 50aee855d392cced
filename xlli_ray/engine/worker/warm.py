"""A GPU made ready while files are still being read: torch loaded, CUDA's context created, cuDNN and cuBLAS initialized.

That takes seconds of a worker's first unit, and needs nothing of the study.
"""

from __future__ import annotations

import threading
from contextlib import suppress


def warm_ahead(device: str) -> threading.Thread | None:
    """Start on it in a thread; None if `device` is not a GPU. Errors are left to whoever needs the device."""
    if not device.startswith("cuda"):
        return None
    thread = threading.Thread(target=_warm, args=(device,), name="xlli-warm")
    thread.start()
    return thread


def _warm(device: str) -> None:
    with suppress(Exception):
        import torch

        import xlli_ray.engine.worker.worker  # noqa: F401  (with all that it imports)

        image, kernel = torch.zeros(1, 8, 32, 32, device=device), torch.zeros(8, 8, 3, 3, device=device)
        torch.nn.functional.conv2d(image, kernel, padding=1)
        (kernel.flatten(1) @ kernel.flatten(1).T).cpu()
