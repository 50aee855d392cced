"""The generalized Gaussian: its density, its moment fit, the divergence of two of them, and the index derived from it.

    p(x; σ, α) = α / (2 b Γ(1/α)) · exp(−(|x|/b)^α),     b = σ √(Γ(1/α) / Γ(3/α))

σ is the standard deviation, α the shape: 2 is the Gaussian, 1 the Laplacian, less than 1 more peaked with heavier tails. Mean zero.

Fit. K. Sharifi, A. Leon-Garcia, "Estimation of shape parameter for generalized Gaussian distributions in subband decompositions of video",
IEEE Trans. CSVT 5, 1995: the ratio r = E x² / (E|x|)² depends on α alone,

    ρ(α) = Γ(1/α) Γ(3/α) / Γ(2/α)²,      falling: 15.889 at 0.2, 2 at 1 (Laplacian), π/2 at 2, 4/3 in the limit.

SRGA (Y. Liu et al., TPAMI 2023) takes the α of the grid 0.2, 0.201 … 9.999 whose ρ is nearest to r, E|x| about the mean, E x² about
zero; that is the default here, for parity. `refine` solves ρ(α) = r instead. A ratio outside the range of the grid clips α to its end;
`clipped` reports it, since the divergence of a clipped fit is unreliable. Constant values have no fit: `degenerate`.

Divergence. KL(1 ‖ 2) = ln(α₁ b₂ Γ(1/α₂) / (α₂ b₁ Γ(1/α₁))) + (b₁/b₂)^α₂ Γ((α₂+1)/α₁) / Γ(1/α₁) − 1/α₁, in nats (M. Do, M. Vetterli,
"Wavelet-based texture retrieval using generalized Gaussian density and Kullback–Leibler distance", IEEE Trans. IP 11, 2002). Not symmetric.

Index. log₁₀(KL + 10⁻⁵) + 5 = log₁₀(1 + 10⁵ KL): 0 for equal fits, 5 for a divergence of one nat; one more is ten times the divergence.
All in float64 via log Γ: Γ itself overflows float32 at small α.

>>> round(kl(Ggd(1, 2), Ggd(1, 1)), 6), round(kl(Ggd(1, 1), Ggd(1, 2)), 6)      # Gaussian and Laplacian
(0.056014, 0.072365)
>>> round(index(kl(Ggd(2.718, 0.687), Ggd(2.333, 0.596))), 2)                    # published fits: clean and blur 2
3.33
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.optimize import brentq
from scipy.special import gammaln

LOWEST, HIGHEST, STEP = 0.2, 9.999, 0.001
FLOOR = 1e-5
"""Added to the divergence before the logarithm: smaller divergences count as zero."""


def log_ratio(alpha: ArrayLike) -> np.ndarray:
    """ln ρ(α) = ln(E x² / (E|x|)²) of a generalized Gaussian of shape α > 0. Any shape in, float64 out."""
    inverse = 1.0 / np.asarray(alpha, np.float64)
    return np.asarray(gammaln(inverse) + gammaln(3 * inverse) - 2 * gammaln(2 * inverse))


GRID = np.arange(LOWEST, 10.0, STEP)
"""float64 (9800,): the authors' shapes."""
RATIOS = np.exp(log_ratio(GRID))
"""float64 (9800,), falling: ρ of each."""


@dataclass(frozen=True)
class Ggd:
    """A generalized Gaussian of mean zero."""

    sigma: float
    """Standard deviation, > 0."""
    alpha: float
    """Shape, > 0."""

    @property
    def log_scale(self) -> float:
        """ln b."""
        return math.log(self.sigma) + 0.5 * (math.lgamma(1 / self.alpha) - math.lgamma(3 / self.alpha))

    def density(self, x: ArrayLike) -> np.ndarray:
        """p(x), float64 of x's shape; integrates to 1."""
        log_peak = math.log(self.alpha / 2) - self.log_scale - math.lgamma(1 / self.alpha)
        return np.asarray(np.exp(log_peak - (np.abs(np.asarray(x, np.float64)) * math.exp(-self.log_scale)) ** self.alpha))


@dataclass(frozen=True)
class Fit:
    """A fit by moments."""

    sigma: float
    """√(mean x²); 0 when degenerate."""
    alpha: float
    """Shape, LOWEST…HIGHEST; NaN when degenerate."""
    ratio: float
    """mean x² / (mean|x − mean x|)² of the values; NaN when degenerate."""
    clipped: bool
    """`ratio` is outside the range of LOWEST…HIGHEST: `alpha` is an end of the range."""

    @property
    def degenerate(self) -> bool:
        """The values are constant: there is nothing to fit."""
        return math.isnan(self.ratio)

    @property
    def ggd(self) -> Ggd:
        """The distribution. Raises ValueError when degenerate."""
        if self.degenerate:
            raise ValueError("constant values have no generalized Gaussian: the features do not vary")
        return Ggd(self.sigma, self.alpha)


def fit(values: ArrayLike, *, mean: float | None = None, refine: bool = False) -> Fit:
    """Fit by moments to `values`, float, any shape; computed in float64.

    `mean`: about which magnitudes are taken; None: the mean of the values. Raises ValueError for no values or values that are not finite.
    """
    v = np.asarray(values, np.float64).ravel()
    if not v.size or not np.isfinite(v).all():
        raise ValueError("a generalized Gaussian needs at least one value, all finite; there is none, or one is NaN or infinite")
    centre = v.mean() if mean is None else mean
    return from_moments(float(np.mean(v * v)), float(np.mean(np.abs(v - centre))), refine=refine)


def from_moments(second: float, absolute: float, *, refine: bool = False) -> Fit:
    """The fit from E x² and E|x − E x|, both ≥ 0."""
    if not second > 0 or not absolute > 0:
        return Fit(math.sqrt(max(second, 0.0)), math.nan, math.nan, False)
    ratio = second / absolute**2
    clipped = not RATIOS[-1] <= ratio <= RATIOS[0]
    alpha = float(GRID[np.abs(ratio - RATIOS).argmin()])  # the first of ties, as numpy's argmin in the authors' code
    if refine and not clipped:
        wanted = math.log(ratio)
        alpha = float(brentq(lambda a: float(log_ratio(a)) - wanted, GRID[0], GRID[-1], xtol=1e-13, rtol=1e-13))
    return Fit(math.sqrt(second), alpha, ratio, clipped)


def kl(reference: Ggd, test: Ggd) -> float:
    """KL(reference ‖ test) in nats: 0 for equal distributions, otherwise ≥ 0 up to rounding (1e-16)."""
    if reference == test:
        return 0.0
    a, b = reference.alpha, test.alpha
    apart = test.log_scale - reference.log_scale
    shapes = math.log(a / b) + math.lgamma(1 / b) - math.lgamma(1 / a)
    power = math.lgamma((b + 1) / a) - math.lgamma(1 / a) - b * apart
    return shapes + apart + (math.exp(power) if power < 700 else math.inf) - 1 / a


def index(divergence: float) -> float:
    """log₁₀(KL + 10⁻⁵) + 5 of a divergence in nats; exactly 0 for 0 and for values that rounding made negative."""
    return math.log1p(max(divergence, 0.0) / FLOOR) / math.log(10)
