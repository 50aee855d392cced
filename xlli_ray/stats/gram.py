"""The Gram matrix of N samples: one primitive behind SRGA, DDR, PCA, separability and their intervals.

    G[i, j] = ⟨f_i − c, f_j − c⟩        N × N, float64, of features with D ≫ N
    K       = J G J,  J = I − 11ᵀ/N      centred: the same for every c
    K       = U diag(w) Uᵀ               X = U √w are the PCA scores, w the squared singular values of the centred features

So PCA, distances, scatter within and between classes and every resample need N² numbers, and nothing of size D is kept.
"Kernel PCA" (B. Schölkopf et al., 1998) with a linear kernel; in image statistics the snapshot method (L. Sirovich, 1987).

Accuracy. Products of features with a common offset cancel: at an offset of a hundred standard deviations a plain float32 Gram has
no correct digit in its first eigenvalue. So each feature is shifted by its value in the first sample, products are float32 over at most
`BLOCK` features, and the blocks are summed in float64 (float64 features: products are float64 too).

Merging. G adds up over disjoint *features*, never over samples. `BLOCK` cuts at fixed places and blocks are summed in their order, so
feeding whole blocks in order gives the same bytes, however the features were stored or streamed.

>>> import numpy as np
>>> f = np.random.default_rng(0).normal(size=(5, 40)) + 1000
>>> np.allclose(centred(gram(f)), (f - f.mean(0)) @ (f - f.mean(0)).T)
True
>>> result = pca(centred(gram(f)), 2)
>>> result.scores.shape, result.eigenvalues.shape
((5, 2), (5,))
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

BLOCK = 16_384
"""Features per float32 product: more would lose digits, fewer would be slower."""


def gram(features: np.ndarray, *, block: int = BLOCK) -> np.ndarray:
    """G of `features`, float (N, ...), flattened to (N, D) and shifted by the first sample. Returns float64 (N, N), symmetric.

    Memory beyond the input: one block of N × `block` features and N². A memory map is read block by block. float16 features are computed
    in float32. NaN in a sample makes its row and column NaN.
    """
    flat = features.reshape(len(features), -1)
    return gram_of_blocks((flat[:, start:stop] for start, stop in blocks(flat.shape[1], block)), len(flat))


def blocks(width: int, block: int = BLOCK) -> Iterator[tuple[int, int]]:
    """Blocks of `width` features: [start, stop), always cut at the same positions."""
    return ((start, min(start + block, width)) for start in range(0, width, block))


def gram_of_blocks(parts: Iterable[np.ndarray], samples: int) -> np.ndarray:
    """G as the sum over `parts`, each float (samples, d): disjoint features of the same samples, in order. Returns float64 (N, N)."""
    total = np.zeros((samples, samples))
    for part in parts:
        if part.ndim != 2 or len(part) != samples:
            raise ValueError(f"expected a block of features (samples, d) with {samples} samples, got shape {part.shape}")
        total += product(part)
    return total


def product(part: np.ndarray) -> np.ndarray:
    """Contribution of one block to G: float (N, d) → (N, N), shifted by its first finite row; float32 unless `part` is float64."""
    kind = np.float64 if part.dtype == np.float64 else np.float32
    origin = next((row for row in part if np.isfinite(row).all()), np.zeros(part.shape[1])).astype(kind)
    shifted = np.subtract(part, origin, dtype=kind, casting="same_kind")
    return shifted @ shifted.T  # numpy calls syrk: half the work of a general product


def centred(matrix: np.ndarray) -> np.ndarray:
    """J G J: the Gram matrix about the mean of its samples. float64 (N, N) → (N, N), symmetric to the bit."""
    means = matrix.mean(axis=1)
    out = matrix - means[:, None] - means[None, :] + means.mean()
    return (out + out.T) / 2


@dataclass(frozen=True)
class Pca:
    """Principal components in terms of the samples."""

    scores: np.ndarray
    """float64 (N, k): coordinates of each sample, columns by falling variance; the entry of largest magnitude of each is positive."""
    eigenvalues: np.ndarray
    """float64 (N,): all of K, falling, ≥ 0: squared singular values of the centred features. Their sum is the total scatter."""


def pca(kernel: np.ndarray, components: int) -> Pca:
    """PCA of the samples behind the centred Gram matrix `kernel`, float64 (N, N), by its eigenvectors: exact.

    `components` ≤ N. Scores equal scikit-learn's full SVD up to the sign of each column. Raises ValueError for NaN and for too many
    components.
    """
    samples = len(kernel)
    if not 1 <= components <= samples:
        raise ValueError(f"number of components must be at most {samples} (the number of samples), got {components}")
    if not np.isfinite(kernel).all():
        raise ValueError("the Gram matrix has NaN or infinity: leave those samples out first")
    values, vectors = np.linalg.eigh(kernel)
    values, vectors = np.maximum(values[::-1], 0.0), vectors[:, ::-1][:, :components]
    scores = vectors * np.sqrt(values[:components])
    largest = scores[np.abs(scores).argmax(axis=0), np.arange(components)]
    return Pca(scores * np.where(largest < 0, -1.0, 1.0), values)
