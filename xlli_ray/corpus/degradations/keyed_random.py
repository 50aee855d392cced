"""Random numbers keyed by a text, so that a draw is the same on any worker and in any order.

The generator is counter-based (J. K. Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011: Philox); its key is a hash of
the text, such as `seed|content|noise|20`. Everything random in degradations and in the crops of a training comes from here.
"""

from __future__ import annotations

from hashlib import sha256

import numpy as np


def generator(text: str) -> np.random.Generator:
    """Philox keyed by the first 16 bytes of sha256(text), read as two little-endian 64-bit words."""
    key = np.frombuffer(sha256(text.encode()).digest()[:16], dtype="<u8").astype(np.uint64)
    return np.random.Generator(np.random.Philox(key=key))
