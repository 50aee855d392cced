"""How often each size of motion occurs: counts of float16 values, from which mean, quantiles and a histogram follow exactly.

The bits of a float16 of 0 or more, read as an integer, have the order of the values. So a table of 31,744 counts holds a whole sample of
motion in the precision in which flow is stored; counts of frames and clips can be added, and a quantile takes no sorting, which would cost
more than the check of the flow.

>>> import numpy as np
>>> counts = size_counts(np.array([0.0, 1.0, 1.0, 9.0], np.float16))
>>> size_quantile(counts, 0.5), by_bin(counts).tolist()
(1.0, [1, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0])
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from xlli_ray.stats.motion import EDGES

SIZES = 0x7C00
"""Number of finite float16 values of 0 or more."""
SIZE_VALUES = np.arange(SIZES, dtype=np.uint16).view(np.float16).astype(np.float64)
"""These values, ascending."""
_FIRST = np.array(EDGES, np.float16).view(np.uint16).astype(np.intp)
"""Index of the first value of each bin of motion."""


def size_counts(motion: NDArray[np.float16]) -> NDArray[np.int64]:
    """How often each value occurs: int64 (SIZES,), in the order of SIZE_VALUES. `motion`: finite, 0 or more."""
    bits = np.ascontiguousarray(motion).view(np.uint16).ravel()
    return np.asarray(np.bincount(bits, minlength=SIZES), np.int64)


def by_bin(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    """Number of values in each bin of motion (`motion.EDGES`): int64 (11,)."""
    return np.asarray(np.add.reduceat(counts, _FIRST), np.int64)


def size_quantile(counts: NDArray[np.int64], share: float) -> float:
    """The quantile `share`, 0..1, linear between neighbouring values as `numpy.quantile`; of counts that are not all 0."""
    up_to = np.cumsum(counts)
    place = share * (float(up_to[-1]) - 1)
    low, high = (float(SIZE_VALUES[np.searchsorted(up_to, rank, side="right")]) for rank in (np.floor(place), np.ceil(place)))
    return low + (high - low) * (place - float(np.floor(place)))
