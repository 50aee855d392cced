"""The mean over an ordered population, from few draws that are spread evenly over it, with a standard error.

Stratified sampling with one draw in each stratum (W. G. Cochran, "Sampling Techniques", 3rd ed., 1977, §5A.8): the order is cut into n
equal parts, and one value is drawn from each. The mean is unbiased, and only the variation within parts is left in it; along an order in
which values change smoothly that is a small share of the variance. The number of draws need not be known in advance: the first 2ᵐ have
one in each of 2ᵐ parts, for every m (Owen's nested scrambling of the van der Corput sequence; A. B. Owen, "Monte Carlo variance of
scrambled net quadrature", SIAM J. Numer. Anal. 34(5), 1997). So draws may be doubled until the error is small, and none is thrown away.

One draw a part says nothing about the variation within it; the standard error is that of successive differences of the ordered draws
(K. M. Wolter, "Introduction to Variance Estimation", 2nd ed., 2007, ch. 8), which contains it, and the change between parts as well: too
large rather than too small. Second differences would leave out a trend, but are too small after a stopping rule (intervals covered .80).

    v = Σᵢ (y₍ᵢ₊₁₎ − y₍ᵢ₎)² / (2 n (n − 1))

A single random phase for all parts (systematic sampling) would have less variance still, but its error is one draw of its phase, which no
sample shows: intervals covered 53 to 80 % of 95 at 64 draws.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def randoms_for(most: int) -> int:
    """Random numbers that a sequence of up to `most` draws takes."""
    return 2 << max(0, (most - 1).bit_length())


def places(randoms: NDArray[np.float64], count: int) -> NDArray[np.float64]:
    """Where the first `count` draws are, as shares of the order: (…, count) in [0, 1), each uniform.

    `randoms`: (…, `randoms_for(most)`) uniform in [0, 1), count ≤ most: all the randomness there is.
    """
    parts = randoms.shape[-1] // 2
    if not 1 <= count <= parts:
        raise ValueError(f"{count} draws of a sequence of at most {parts}")
    digits = (parts - 1).bit_length()
    number = np.arange(count)
    flips = randoms[..., parts:] < 0.5
    node = np.zeros((*randoms.shape[:-1], count), np.int64)  # the part so far, after each halving: from 0 to 2^depth − 1
    plain = np.zeros(count, np.int64)  # the same before the halves are swapped: which of them are is drawn by it
    for depth in range(digits):
        half = (number >> depth) & 1
        swapped = np.take_along_axis(flips, np.broadcast_to((1 << depth) + plain, node.shape), axis=-1)
        node, plain = 2 * node + (half ^ swapped), 2 * plain + half
    return np.minimum((node + randoms[..., :count]) / parts, np.nextafter(1.0, 0.0))


def ranks(at: NDArray[np.float64], population: int) -> NDArray[np.int64]:
    """Positions 0 … population − 1 in the order, of places in [0, 1)."""
    return np.minimum((at * population).astype(np.int64), population - 1)


def mean_and_error(values: NDArray[np.float64], at: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(mean, standard error), (…,) each, of draws `values` (…, n) at the places `at` (…, n). Raises ValueError below 2 draws."""
    count = values.shape[-1]
    if count < 2:
        raise ValueError(f"a standard error takes at least 2 draws, got {count}")
    ordered = np.take_along_axis(values, np.argsort(at, axis=-1, kind="stable"), axis=-1)
    steps = np.square(np.diff(ordered, axis=-1)).sum(axis=-1)
    return values.mean(axis=-1), np.sqrt(steps / (2.0 * count * (count - 1)))
