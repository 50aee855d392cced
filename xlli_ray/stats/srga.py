"""SRGA, the generalization index of super-resolution networks: does a network treat degraded inputs like those it handles well?

Y. Liu, H. Zhao, J. Gu, Y. Qiao, C. Dong, "Evaluating the Generalization Ability of Super-Resolution Networks", IEEE TPAMI 45, 2023 (arXiv
2205.07019). For each set of N patches separately:

    features before the last convolution, N × D     →  PCA about their mean, k = 300 scores each      →  N·k numbers, pooled
    drop |v − mean| ≥ 5 standard deviations, once   →  σ, α of a generalized Gaussian (`stats.ggd`)

and the index is log₁₀(KL(reference ‖ set) + 10⁻⁵) + 5. Lower: the features of the degraded set are distributed more like those of the
reference, where the network works well. A tenth of σ more or less already reads as 2.5; differences below 0.3 are noise in most studies.

It is blind to the mean of the features, their rotation, their common scale and which features they are. It sees only the spectrum of the
features and how peaked their scores are. A network that ignores its input, or an untrained one, scores low too: read it together with a
quality metric, for networks of comparable quality, and on the same contents in every set. Other contents alone score 3.4 to 3.8.

Where this differs from the authors' program. PCA is exact and comes from the N × N Gram matrix (`stats.gram`): the scores of a full SVD
up to sign, megabytes where theirs takes ten gigabytes. `solver="authors"` is their approximate one: scikit-learn's randomized PCA (300 +
10 columns, 4 power iterations, seed 0; N. Halko et al., SIAM Review 53, 2011). With N < D it draws its test matrix over the samples, so
it can be run on the N × N factor of the Gram matrix, with the same draws and, rounding apart, the same scores. The trim is a mask, the
same set of scores as their loop. Clipped and degenerate fits are reported. Features are float32 or wider: rounding to 16 bits adds a floor
to the spectrum that raises the many small scores.

Each index has an interval and a floor, from halves of the set (`stats.subsampling`), fitted with half of k. Their coverage is
simulated in `tests/benchmarks/coverage.py`.

>>> import numpy as np
>>> from xlli_ray.stats.ggd import Ggd
>>> rng = np.random.default_rng(0)
>>> reference = rng.normal(size=(64, 500)) / np.arange(1, 501)
>>> result = srga(reference, 2 * reference, components=16)
>>> round(result.srga, 3) == round(index(kl(Ggd(1, result.test.alpha), Ggd(2, result.test.alpha))), 3)
True
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from xlli_ray.stats.bootstrap import generator
from xlli_ray.stats.ggd import Fit, fit, from_moments, index, kl
from xlli_ray.stats.gram import centred, gram, pca
from xlli_ray.stats.subsampling import Dealt, dealt, freedom, halves, orders, quantile, standard_error

Solver = Literal["exact", "authors"]
COMPONENTS = 300
TRIM = 5.0
"""Standard deviations from the mean at which a score is dropped."""
OVERSAMPLES = 10
RESAMPLES = 40
"""Splits into halves."""
_ROUNDING = float(np.finfo(np.float32).eps)


@dataclass(frozen=True)
class SetFit:
    """The SRGA fit of one set."""

    fit: Fit
    samples: int
    """N."""
    components: int
    """k."""
    dropped: int
    """Scores that were trimmed, of N·k."""
    spectrum: np.ndarray
    """float64 (N,): variance of the features along each principal component, falling (squared singular value / N)."""

    @property
    def sigma(self) -> float:
        """Standard deviation of the fit."""
        return self.fit.sigma

    @property
    def alpha(self) -> float:
        """Shape of the fit."""
        return self.fit.alpha

    @property
    def rank(self) -> int:
        """Components, of the k kept, with more variance than float32 rounding leaves."""
        kept = self.spectrum[: self.components]
        return int((kept > _ROUNDING * kept[0]).sum()) if kept[0] > 0 else 0


@dataclass(frozen=True)
class Resampled:
    """Fits of one set on halves of its samples."""

    dealt: Dealt
    """What was split into halves: photographs, or samples."""
    halves: tuple[tuple[Fit, Fit], ...]


@dataclass(frozen=True)
class Errors:
    """Uncertainty of an index; NaN where there were no draws."""

    low: float
    high: float
    floor: float
    """Paired: half the length of the interval; smaller differences are noise. Unpaired: what other contents of the reference's kind do
    not exceed in `level` of the cases."""


def scores_of(matrix: np.ndarray, components: int, solver: Solver = "exact", *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """PCA scores of a set from its Gram matrix, centred here.

    `matrix`: float64 (N, N), about any origin. `components`: k, 1…N − 1. `seed`: for the authors' solver. Returns scores, float64 (N, k),
    columns by falling variance, signs arbitrary; and all N eigenvalues of the centred matrix, falling. Raises ValueError for too few
    samples and for NaN.
    """
    samples = len(matrix)
    if not 1 <= components < samples:
        raise ValueError(
            f"{components} components need at least {components + 1} samples, there are {samples}: centred features of N samples have "
            f"N − 1 components. Take more patches, or fewer components: {max(1, samples // 2)}"
        )
    if solver == "exact" or components >= 0.8 * samples:  # where scikit-learn also takes the full SVD
        exact = pca(centred(matrix), components)
        return exact.scores, exact.eigenvalues
    return _randomized(centred(matrix), components, seed)


def _randomized(kernel: np.ndarray, components: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Scores by the range finder that scikit-learn runs on the features, run on the factor √w Uᵀ of the Gram matrix instead."""
    everything = pca(kernel, len(kernel))
    factor = everything.scores.T  # stands for the features, transposed: the same rows up to a rotation of the feature space
    iterations = 7 if components < 0.1 * len(kernel) else 4
    basis = np.random.RandomState(seed).normal(size=(len(kernel), components + OVERSAMPLES))
    for _ in range(iterations):
        basis, _ = np.linalg.qr(factor @ basis)
        basis, _ = np.linalg.qr(factor.T @ basis)
    basis, _ = np.linalg.qr(factor @ basis)
    _, values, vectors = np.linalg.svd(basis.T @ factor, full_matrices=False)
    return vectors[:components].T * values[:components], everything.eigenvalues


def trimmed(values: np.ndarray, limit: float = TRIM) -> np.ndarray:
    """Those of `values`, flattened, less than `limit` population standard deviations from their mean; one pass."""
    v = np.asarray(values, np.float64).ravel()
    mean, reach = v.mean(), limit * v.std()
    return v[(v > mean - reach) & (v < mean + reach)]


def fit_scores(scores: np.ndarray, *, refine: bool = False) -> tuple[Fit, int]:
    """Trim the pooled scores and fit them: the fit, and how many were dropped. Constant scores: a degenerate fit, none dropped.

    Magnitudes are taken about 0. The authors take them about the mean of the kept scores; that mean comes from the signs of the components,
    which are arbitrary, and for random ones it vanishes. With it, α would change by a few grid steps with the signs.
    """
    kept = trimmed(scores)
    if not kept.size:
        return from_moments(0.0, 0.0), 0
    return fit(kept, mean=0.0, refine=refine), scores.size - kept.size


def fit_gram(matrix: np.ndarray, components: int, solver: Solver = "exact", *, refine: bool = False, seed: int = 0) -> SetFit:
    """All of SRGA for one set: float64 (N, N) Gram matrix → σ, α, spectrum. Arguments and errors as for `scores_of`."""
    scores, eigenvalues = scores_of(matrix, components, solver, seed=seed)
    fitted, dropped = fit_scores(scores, refine=refine)
    return SetFit(fitted, len(matrix), components, dropped, eigenvalues / len(matrix))


def resample_gram(
    matrix: np.ndarray, drawn: np.ndarray, about: Dealt, components: int, solver: Solver = "exact", *, refine: bool = False, seed: int = 0
) -> Resampled:
    """Fits of halves; `drawn`: int (R, N), from `subsampling.orders`; `about`: how it splits. Sets that share `drawn` stay paired."""

    def part(chosen: np.ndarray) -> Fit:
        # its share of the components: as many as for all samples would reach further down the spectrum, which varies less (docs/srga.md)
        kept = max(1, components * len(chosen) // len(matrix))
        return fit_gram(matrix[np.ix_(chosen, chosen)], kept, solver, refine=refine, seed=seed).fit

    return Resampled(about, tuple((part(first), part(second)) for first, second in map(halves, drawn)))


def divergence(reference: Fit, test: Fit) -> float:
    """KL(reference ‖ test) of two fits in nats, NaN when one is degenerate."""
    if reference.degenerate or test.degenerate:
        return math.nan
    return max(kl(reference.ggd, test.ggd), 0.0)


def index_of(reference: Fit, test: Fit) -> float:
    """The index of two fits, NaN when one is degenerate."""
    return index(divergence(reference, test))


def half_differences(reference: Resampled, test: Resampled) -> np.ndarray:
    """The index on the first half minus that on the second, float64 (splits,)."""
    pairs = zip(reference.halves, test.halves)
    return np.array([index_of(r_first, t_first) - index_of(r_second, t_second) for (r_first, r_second), (t_first, t_second) in pairs])


def reach(differences: np.ndarray, about: Dealt, level: float = 0.95) -> float:
    """Half the length of an interval, from `half_differences` of an index, or of a difference of two. NaN below two splits."""
    return quantile(about, level) * standard_error(differences, about.shown)


def chance(reference: Resampled, level: float = 0.95) -> float:
    """What two sets of N other contents of the reference's kind do not exceed in `level` of the cases; NaN without splits.

    The divergence of two halves is, on average, twice that of two sets of N: it scales with the variance of the fits. Quantiles over
    splits of one sample are too low, since all share it: in 8 to 17 % other contents exceed their 95 % one, however many splits. So only
    the mean is taken from the splits, and the distribution from theory: a divergence is nearly a square of one normal difference (σ and α
    vary together), so its ratio to the mean of such an uncertain estimate follows F(1, G' − 1), G' the effective number of groups. The
    variance between groups that halves do not show is added, as for intervals (`stats.subsampling`).
    """
    from scipy.special import fdtri

    divergences = np.array([divergence(first, second) / 2 for first, second in reference.halves])
    about = reference.dealt
    if not len(divergences) or not np.isfinite(divergences).all() or math.isnan(freedom(about)) or not about.shown > 0:
        return math.nan
    return index(float(divergences.mean() / about.shown * fdtri(1, freedom(about), level)))


def errors(value: float, reference: Resampled, test: Resampled, *, paired: bool = True, level: float = 0.95) -> Errors:
    """Interval and floor of the index `value`. The interval does not go below 0."""
    half = reach(half_differences(reference, test), reference.dealt.least(test.dealt), level)
    floor = half if paired else chance(reference, level)
    low = value - half
    return Errors(low if math.isnan(low) else max(0.0, low), value + half, floor)


@dataclass(frozen=True)
class SrgaResult:
    """The index of one set against a reference, with its uncertainty and fits."""

    srga: float
    """0…, lower: features more like the reference's. NaN when a set is degenerate."""
    low: float
    high: float
    floor: float
    """See `Errors`."""
    kl: float
    """KL(reference ‖ test), nats."""
    paired: bool
    reference: SetFit
    test: SetFit
    flags: tuple[str, ...]
    """Warnings about the number."""

    def __repr__(self) -> str:
        text = f"<SRGA {self.srga:.3f}, interval {self.low:.2f}…{self.high:.2f}, floor {self.floor:.2f}: σ {self.reference.sigma:.4g} → "
        text += (
            f"{self.test.sigma:.4g}, α {self.reference.alpha:.3f} → {self.test.alpha:.3f}, N {self.test.samples}, k {self.test.components}"
        )
        return "; ".join([text, *self.flags]) + ">"


def srga(
    reference_features: Any,
    test_features: Any,
    *,
    components: int = COMPONENTS,
    solver: Solver = "exact",
    paired: bool = True,
    groups: Sequence[object] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    refine: bool = False,
    allow_float16: bool = False,
    seed: int = 0,
) -> SrgaResult:
    """The index of `test_features` against `reference_features`, arrays or memory maps of float32 or float64, (N, ...) each.

    `paired`: row i of both is the same content, degraded differently (False: other contents, and the floor is what these score by
    themselves). `groups`: for each of N rows, the image that the patch is from; patches of one image stay together. `resamples`: splits
    into halves, 0 for no interval. `solver`, `refine`: see `stats.srga`, `stats.ggd`. Memory beyond the arrays: about 70 MB at N = 800.

    Raises ValueError for unequal N, N ≤ `components`, rows with NaN, and float16 unless `allow_float16`. Constant features are flagged.

    >>> import numpy as np
    >>> srga(np.zeros((9, 4)), np.zeros((9, 4)), components=3).flags[0]
    'reference: the features do not vary over the samples: no fit, no index (a dead network does not generalize)'
    """
    sets = {"reference": np.asarray(reference_features), "test": np.asarray(test_features)}
    sizes = {name: len(array) for name, array in sets.items()}
    if sizes["reference"] != sizes["test"]:
        raise ValueError(
            f"unequal N: {sizes['reference']} reference samples and {sizes['test']} test samples. σ and α depend on N: "
            "cut both to the same contents"
        )
    if groups is not None and len(groups) != sizes["test"]:
        raise ValueError(f"groups: {len(groups)} for {sizes['test']} samples; expected one per row")
    grams = {name: _checked_gram(name, array, allow_float16=allow_float16) for name, array in sets.items()}
    fits = {name: fit_gram(matrix, components, solver, refine=refine, seed=seed) for name, matrix in grams.items()}
    value = index_of(fits["reference"].fit, fits["test"].fit)
    labels = list(range(sizes["test"])) if groups is None else list(groups)
    drawn = orders(labels, resamples, generator(seed, "srga", "orders"))
    other = drawn if paired else orders(labels, resamples, generator(seed, "srga", "orders", "test"))
    resampled = {name: resample_gram(grams[name], order, dealt(labels, order), components, solver, refine=refine, seed=seed)
            for name, order in (("reference", drawn), ("test", other))}  # fmt: skip
    about = errors(value, resampled["reference"], resampled["test"], paired=paired, level=level)
    flags = [f"{name}: {text}" for name, item in fits.items() for text in warnings(item)]
    if value < about.floor:
        flags.append(f"SRGA {value:.2f} is below the floor of {about.floor:.2f}: not distinguishable from chance")
    nats = divergence(fits["reference"].fit, fits["test"].fit)
    return SrgaResult(value, about.low, about.high, about.floor, nats, paired, fits["reference"], fits["test"], tuple(flags))


def warnings(item: SetFit) -> list[str]:
    """Warnings about the fit of a set; empty if there are none."""
    if item.fit.degenerate:
        return ["the features do not vary over the samples: no fit, no index (a dead network does not generalize)"]
    out = []
    if item.fit.clipped:
        out.append(f"clipped: the scores' ratio {item.fit.ratio:.4g} is outside the grid, α is clipped to {item.alpha:.3f}")
    if item.rank < item.components:
        out.append(f"{item.rank} of {item.components} components exceed rounding: use fewer components, or more diverse patches")
    return out


def _checked_gram(name: str, array: np.ndarray, *, allow_float16: bool) -> np.ndarray:
    if array.dtype == np.float16 and not allow_float16:
        raise ValueError(
            f"{name}: float16 features raise the tail of the spectrum and with it the index; use float32, or allow_float16=True"
        )
    if array.ndim < 2 or array.dtype.kind != "f":
        raise ValueError(f"{name}: expected an array of floats, (samples, ...), got {array.dtype} of shape {array.shape}")
    matrix = gram(array)
    if bad := np.flatnonzero(~np.isfinite(np.diag(matrix))).tolist():
        listed = ", ".join(map(str, bad[:8])) + (", …" if len(bad) > 8 else "")
        raise ValueError(f"{name}: NaN or infinity in {len(bad)} of {len(array)} rows ({listed}): remove these contents from both sets")
    return matrix
