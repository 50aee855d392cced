"""Complexity of one grey image: rates, entropies, edges, textures and its spectrum, each by its own definition.

`measures` gives all of them for a luma image in grey levels, integers in 0..255; or for a *residual*, what a degradation added, in
−255..255. Differences, spectrum and entropies take a residual as it is. Coders and the co-occurrence matrix need 8 bits, `eight_bit`: a
residual without negative values, as of rain, is taken as it is; another one is shifted by 128 and clamped.

- `bpp_png`, `bpp_webp`, `bpp_jpeg75`: `stats.code_length`.
- `entropy`: C. Shannon, 1948, of the histogram of grey levels. Blind to where the values lie.
- `si_std`, `si_mean`, `si_rms`: of the magnitude of Sobel's gradient inside the border. The standard deviation is the spatial information
  of ITU-T P.910 (7.7.1); H. Yu and S. Winkler (QoMEX 2013) found the mean to follow compressibility best.
- `gradient_entropy`: of that magnitude in 256 bins over 0 … 1,442 = 4·255·√2, the range of 8 bits, the same for all images; larger ones of
  a residual count in the last bin.
- `delentropy`: K. Larkin, "Reflections on Shannon information", arXiv 1609.01117, 2016: half of the entropy of the joint histogram of the
  central differences in x and y (Papoulis' generalized sampling gives the half).
- `spectral_slope`: β of a power spectrum ∝ f^−β: least squares through the logarithms of the ring means, from 3 cycles over the shorter
  side to half the sampling rate, Hann-windowed, mean removed. Photographs have about 2 (D. Field, JOSA A 4, 1987); the window and the
  residual mean matter, so compare values of one size.
- `edge_density`, `box_dimension`: share of pixels on an edge (J. Canny, PAMI 8, 1986; σ 1, thresholds 25.5 and 51 grey levels); slope of
  the logarithm of the number of boxes with an edge over that of 1/side, sides 1 … 16.
- `svd_entropy`: −Σ p ln p / ln r of the shares p of the singular values of the image without its mean, 0…1.
- `glcm_entropy`, `glcm_contrast`, `glcm_homogeneity`: R. Haralick et al., IEEE SMC 3, 1973; 32 levels, distances 1 and 4, four angles,
  mean of the eight symmetric matrices.
- `tv`: mean |difference| of vertical neighbours plus that of horizontal ones (anisotropic).

A flat image has no slope, no singular values and no boxes: NaN. None of these measures orders a set of rain maps as the set's own variety
does (docs/deraining.md): for that there is `stats.patch_cloud`.

>>> import numpy as np
>>> flat = measures(np.full((32, 32), 7))
>>> flat["entropy"], flat["tv"], flat["edge_density"], flat["spectral_slope"]
(0.0, 0.0, 0.0, nan)
"""

from __future__ import annotations

import math

import numpy as np
from scipy import fft, linalg, ndimage

from xlli_ray.stats.code_length import bpp_jpeg75, bpp_png, bpp_webp

SMALLEST = 16
"""Pixels of the shorter side, at least: the largest box, and enough rings of the spectrum."""
GRADIENT = 4 * 255 * math.sqrt(2)
"""Largest magnitude of Sobel's gradient of 8 bits."""
SIDES = (1, 2, 4, 8, 16)
LEVELS, DISTANCES = 32, (1, 4)
ANGLES = (0.0, math.pi / 4, math.pi / 2, 3 * math.pi / 4)
NAMES = (
    "bpp_png", "bpp_webp", "bpp_jpeg75", "entropy", "si_std", "si_mean", "si_rms", "gradient_entropy", "delentropy", "spectral_slope",
    "edge_density", "box_dimension", "svd_entropy", "glcm_entropy", "glcm_contrast", "glcm_homogeneity", "tv",
)  # fmt: skip


def measures(grey: np.ndarray) -> dict[str, float]:
    """All measures of an integer image (H, W) in −255..255, by the names of NAMES. Raises ValueError below SMALLEST pixels a side."""
    if min(grey.shape) < SMALLEST:
        raise ValueError(f"an image of {grey.shape[1]}×{grey.shape[0]} pixels, expected {SMALLEST} a side or more")
    values = grey.astype(np.float64)
    bytes_ = eight_bit(grey)
    magnitude = sobel(values)
    edges = canny(values)
    glcm = cooccurrence(bytes_)
    numbers = (
        bpp_png(bytes_), bpp_webp(bytes_), bpp_jpeg75(bytes_), entropy(grey), float(magnitude.std()), float(magnitude.mean()),
        math.sqrt(float((magnitude**2).mean())), gradient_entropy(magnitude), delentropy(grey), spectral_slope(values),
        float(edges.mean()), box_dimension(edges), svd_entropy(values), *glcm, total_variation(values),
    )  # fmt: skip
    return dict(zip(NAMES, numbers, strict=True))


def eight_bit(grey: np.ndarray) -> np.ndarray:
    """uint8: as it is without negative values, else shifted by 128 and clamped."""
    return (grey if grey.min() >= 0 else np.clip(grey + 128, 0, 255)).astype(np.uint8)


def clamped(grey: np.ndarray) -> float:
    """Share of pixels that `eight_bit` clamps."""
    return 0.0 if grey.min() >= 0 else float(((grey < -128) | (grey > 127)).mean())


def entropy(values: np.ndarray) -> float:
    """Shannon's entropy of the values of an integer array, bits."""
    return _bits(np.bincount((values - values.min()).ravel()))


def _bits(counts: np.ndarray) -> float:
    share = counts[counts > 0] / counts.sum()
    return max(0.0, -float((share * np.log2(share)).sum()))


def sobel(values: np.ndarray) -> np.ndarray:
    """Magnitude of Sobel's gradient inside the border, unnormalised kernels: float64 (H − 2, W − 2)."""
    return np.hypot(ndimage.sobel(values, 0), ndimage.sobel(values, 1))[1:-1, 1:-1]


def gradient_entropy(magnitude: np.ndarray) -> float:
    """Entropy of the magnitude in 256 bins of fixed width, bits."""
    return _bits(np.bincount(np.minimum(magnitude * (256 / GRADIENT), 255).astype(np.int64).ravel()))


def delentropy(grey: np.ndarray) -> float:
    """Half of the entropy of the joint histogram of central differences, bits per pixel."""
    values = grey.astype(np.int64)
    across, down = values[1:-1, 2:] - values[1:-1, :-2], values[2:, 1:-1] - values[:-2, 1:-1]
    width = int(np.ptp(across)) + 1
    code = (down - down.min()) * width + across - across.min()
    return _bits(np.unique(code, return_counts=True)[1]) / 2


def spectral_slope(values: np.ndarray) -> float:
    """β of P ∝ f^−β, see the module; NaN where a ring has no power."""
    height, width = values.shape
    side = min(height, width)
    window = np.hanning(height)[:, None] * np.hanning(width)
    power = np.abs(fft.fft2((values - values.mean()) * window)) ** 2
    ring = np.rint(side * np.hypot(fft.fftfreq(height)[:, None], fft.fftfreq(width))).astype(np.int64)
    counts = np.bincount(ring.ravel())
    rings = np.arange(3, side // 2 + 1)
    mean = (np.bincount(ring.ravel(), power.ravel()) / np.maximum(counts, 1))[rings]
    if not (mean > 0).all():
        return math.nan
    x, y = np.log(rings / side), np.log(mean)
    x = x - x.mean()
    return -float(x @ y / (x @ x))


def canny(values: np.ndarray) -> np.ndarray:
    """Edges: bool (H, W)."""
    from skimage.feature import canny as edges_of

    return np.asarray(edges_of(values / 255, sigma=1.0, low_threshold=0.1, high_threshold=0.2))


def box_dimension(edges: np.ndarray) -> float:
    """Slope of log(boxes with an edge) over log(1 / side); boxes at the lower and right border may be cut. NaN without an edge."""
    if not edges.any():
        return math.nan
    counts = [np.logical_or.reduceat(np.logical_or.reduceat(edges, np.arange(0, len(edges), side), 0),
                                     np.arange(0, edges.shape[1], side), 1).sum() for side in SIDES]  # fmt: skip
    x, y = -np.log(SIDES), np.log(counts)
    x = x - x.mean()
    return float(x @ y / (x @ x))


def svd_entropy(values: np.ndarray) -> float:
    """Entropy of the shares of the singular values over its largest possible value, 0…1; NaN for a flat image."""
    singular = linalg.svdvals(values - values.mean())
    if not singular[0] > 1e-9:
        return math.nan
    share = singular / singular.sum()
    share = share[share > 0]
    return -float((share * np.log(share)).sum()) / math.log(min(values.shape))


def cooccurrence(bytes_: np.ndarray) -> tuple[float, float, float]:
    """(entropy in bits, contrast, homogeneity) of uint8 (H, W): means over the matrices."""
    from skimage.feature import graycomatrix

    shares = graycomatrix(bytes_ // (256 // LEVELS), DISTANCES, ANGLES, LEVELS, symmetric=True, normed=True)
    level = np.arange(LEVELS)
    apart = (level[:, None] - level) ** 2
    some = np.where(shares > 0, shares, 1.0)

    def mean(part: np.ndarray) -> float:
        return float(np.mean(np.sum(part, axis=(0, 1))))

    weight = apart[..., None, None]
    return mean(-some * np.log2(some)), mean(shares * weight), mean(shares / (1 + weight))


def total_variation(values: np.ndarray) -> float:
    """Mean |difference| of vertical neighbours plus that of horizontal ones."""
    return float(np.abs(np.diff(values, axis=0)).mean() + np.abs(np.diff(values, axis=1)).mean())
