"""Building a network draws weights, and a factory may seed: neither may change the random numbers of the calling program."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def randomness_kept() -> Iterator[None]:
    """Restores the states of torch's, numpy's and Python's global generators on exit."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
