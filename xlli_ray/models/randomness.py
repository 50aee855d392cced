"""Building a network draws weights, and a factory may seed: neither may move the random numbers of the program that asked for it."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def randomness_kept() -> Iterator[None]:
    """The states of torch's, numpy's and Python's global generators are afterwards as before."""
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []
    python, arrays = random.getstate(), np.random.get_state()
    try:
        with torch.random.fork_rng(devices=devices):
            yield
    finally:
        random.setstate(python)
        np.random.set_state(arrays)
