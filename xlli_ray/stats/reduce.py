"""Fewer dimensions: PCA where no Gram matrix fits, t-SNE and UMAP of the scores, and how faithful such an embedding is.

*PCA.* Exact from the Gram matrix (`stats.gram.pca`) up to some 20,000 samples. Beyond that the randomised range finder (N. Halko,
P. Martinsson, J. Tropp, SIAM Review 53, 2011) in the space of the features: rows are streamed `power + 1` times, one product with a
D × (k + 10) matrix each, and the share of the scatter outside these directions is measured, not assumed.

*t-SNE* (L. van der Maaten, G. Hinton, JMLR 9, 2008) by openTSNE, with what its literature recommends: perplexity 30, start from the
first two scores at a standard deviation of 1e-4 (D. Kobak, P. Berens, Nature Communications 10, 2019), learning rate max(n / 48, 50),
exaggeration 12 for 250 of 1,000 iterations. *UMAP* (L. McInnes, J. Healy, J. Melville, arXiv 1802.03426) by umap-learn with its defaults,
15 neighbours and a least distance of 0.1. Both keep neighbourhoods, not distances: gaps, sizes and densities in the embedding mean little.
Repeated runs start at random, so that readers can rely on what all runs share.

*Faithfulness.* Trustworthiness (J. Venna, S. Kaski, ICANN 2001) falls with neighbours in the embedding that are not neighbours in the
data, continuity with neighbours in the data that the embedding separates; both 0…1, 1 is perfect. Ties in distance are broken by sample
order.

>>> import numpy as np
>>> x = np.random.default_rng(0).normal(size=(60, 2))
>>> trustworthiness(x, 3 * x + 1, neighbours=5), continuity(x, 3 * x + 1, neighbours=5)
(1.0, 1.0)
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from xlli_ray.errors import counted
from xlli_ray.stats.gram import blocks

PERPLEXITY = 30.0
NEIGHBOURS = 15


@dataclass(frozen=True)
class RangePca:
    """Principal components by a range finder."""

    scores: np.ndarray
    """float64 (N, k), as in `stats.gram.Pca`."""
    eigenvalues: np.ndarray
    """float64 (k,): their squared norms, falling; not above the true ones."""
    total: float
    """All scatter of the centred features."""
    residual: float
    """Share of the total outside the k directions, 0…1. A PCA of rank k minimizes it."""


def range_pca(
    rows: Callable[[], Iterable[np.ndarray]], components: int, rng: np.random.Generator, *, oversample: int = 10, power: int = 3
) -> RangePca:
    """PCA of features streamed in blocks of rows, `power` + 1 times.

    `rows()`: a fresh pass, each block float (n, D), the same each time, all finite. Subspace iteration on the centred covariance: as
    accurate as `power` − ½ power iterations of the two-sided scheme. Products and sums are float64. Raises ValueError for no
    data, or too little for the number of components.
    """
    basis: np.ndarray | None = None
    origin = total = np.empty(0)
    samples, squares = 0, 0.0
    for _ in range(power):
        new, samples, squares = None, 0, 0.0
        for part in rows():
            if not len(part):
                continue
            if basis is None:
                origin, total = part[0].astype(np.float64), np.zeros(part.shape[1])
                basis = np.linalg.qr(rng.standard_normal((part.shape[1], min(components + oversample, part.shape[1]))))[0]
            if new is None:
                new, total = np.zeros_like(basis), np.zeros(len(origin))
            shifted = part - origin
            new += shifted.T @ (shifted @ basis)
            total += shifted.sum(axis=0)
            squares += float(np.einsum("ij,ij->", shifted, shifted))
            samples += len(part)
        if new is None or basis is None or samples < 2 or components > min(samples - 1, basis.shape[1]):
            raise ValueError(f"{components} components of {samples} samples of {len(origin)} features: too few of one or the other")
        mean = total / samples
        new -= samples * np.outer(mean, mean @ basis)  # JX instead of X: about the mean, not about the first row
        basis = np.linalg.qr(new)[0]
    assert basis is not None
    scores = np.concatenate([(part - origin) @ basis for part in rows() if len(part)]) - (total / samples) @ basis
    left, values, _ = np.linalg.svd(scores, full_matrices=False)
    left, values = left[:, :components] * values[:components], values[:components]
    largest = left[np.abs(left).argmax(axis=0), np.arange(components)]
    scatter = squares - float(total @ total) / samples
    eigenvalues = values**2
    residual = max(0.0, 1 - float(eigenvalues.sum()) / scatter) if scatter > 0 else 0.0
    return RangePca(left * np.where(largest < 0, -1.0, 1.0), eigenvalues, scatter, residual)


def tsne(scores: np.ndarray, seed: int, *, perplexity: float = PERPLEXITY, start: str = "pca", iterations: int = 1000) -> np.ndarray:
    """t-SNE of `scores`, float (n, k), to float64 (n, 2). The same numbers for the same seed, on one thread.

    `start`: `pca`, or `random` (drawn from `seed`). The perplexity is at most (n − 1) / 3. Raises ValueError for fewer than 4 samples.
    """
    from openTSNE import TSNE

    samples = len(scores)
    if samples < 4:
        raise ValueError(f"{counted(samples, 'sample')}: t-SNE needs 4 or more")
    first = scores[:, :2].astype(np.float64) if scores.shape[1] > 1 else np.hstack([scores, np.zeros_like(scores)]).astype(np.float64)
    if start == "random":
        first = np.random.default_rng(seed).standard_normal((samples, 2))
    spread = float(first[:, 0].std())
    early = min(250, iterations // 4)
    embedding = TSNE(
        perplexity=min(perplexity, (samples - 1) / 3), initialization=first * (1e-4 / spread if spread > 0 else 0.0),
        learning_rate=max(samples / 48, 50.0), early_exaggeration=12, early_exaggeration_iter=early, n_iter=iterations - early,
        negative_gradient_method="bh", neighbors="exact", n_jobs=1, random_state=seed % 2**32,
    ).fit(scores)  # fmt: skip
    return np.asarray(embedding, np.float64)


def umap(scores: np.ndarray, seed: int, *, neighbours: int = NEIGHBOURS, least: float = 0.1) -> np.ndarray:
    """UMAP of `scores`, float (n, k), to float64 (n, 2). The same numbers for the same seed.

    `neighbours` is at most n − 1. Raises ValueError for fewer than 5 samples. The first call compiles for about ten seconds.
    """
    import warnings

    samples = len(scores)
    if samples < 5:
        raise ValueError(f"{counted(samples, 'sample')}: UMAP needs 5 or more")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about the single thread that a seed requires, and a spectral start falling back to a random one
        from umap import UMAP

        made = UMAP(n_neighbors=min(neighbours, samples - 1), min_dist=least, random_state=seed % 2**32, n_jobs=1).fit_transform(
            scores.astype(np.float32)
        )
    return np.asarray(made, np.float64)


def distances(points: np.ndarray) -> np.ndarray:
    """Squared Euclidean distances of all pairs: float (n, k) → float64 (n, n)."""
    about = points.astype(np.float64) - points.mean(axis=0, dtype=np.float64)
    squares = np.einsum("ij,ij->i", about, about)
    out = squares[:, None] + squares[None, :] - 2 * (about @ about.T)
    np.maximum(out, 0.0, out=out)
    np.fill_diagonal(out, 0.0)
    return out


def nearest(points: np.ndarray, neighbours: int) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other samples of each, nearest first: indices int64 (n, k) and Euclidean distances float64 (n, k)."""
    far = distances(points)
    np.fill_diagonal(far, np.inf)
    order = np.argsort(far, axis=1, kind="stable")[:, : min(neighbours, len(points) - 1)]
    return order, np.sqrt(np.take_along_axis(far, order, axis=1))


def trustworthiness(data: np.ndarray, embedding: np.ndarray, *, neighbours: int = NEIGHBOURS) -> float:
    """1 − 2 / (n k (2n − 3k − 1)) · Σ (rank in the data − k) over neighbours in the embedding that are not neighbours in the data.

    `data`: float (n, d); `embedding`: float (n, 2). `neighbours` k is reduced to below n / 2, where the formula ends. NaN for n < 4.
    """
    samples = len(data)
    k = min(neighbours, (samples - 1) // 2)
    if k < 1 or samples < 4:
        return float("nan")
    far = distances(data)
    np.fill_diagonal(far, -1.0)  # the sample itself first, even with duplicates
    order = np.argsort(far, axis=1, kind="stable")
    ranks = np.empty_like(order)
    np.put_along_axis(ranks, order, np.broadcast_to(np.arange(samples), order.shape), axis=1)
    shown, _ = nearest(embedding, k)
    excess = np.take_along_axis(ranks, shown, axis=1) - k
    return 1.0 - float(excess[excess > 0].sum()) * 2.0 / (samples * k * (2.0 * samples - 3.0 * k - 1.0))


def continuity(data: np.ndarray, embedding: np.ndarray, *, neighbours: int = NEIGHBOURS) -> float:
    """The converse: neighbours in the data that the embedding separates."""
    return trustworthiness(embedding, data, neighbours=neighbours)


def purity(points: np.ndarray, label: np.ndarray, *, neighbours: int = 1) -> float:
    """Share of the nearest neighbours that have the sample's own label, 0…1. `points`: float (n, d); `label`: (n,)."""
    neighbour, _ = nearest(points, neighbours)
    return float((label[neighbour] == label[:, None]).mean())


def chance(label: np.ndarray) -> float:
    """Expected purity of randomly placed points."""
    _, sizes = np.unique(label, return_counts=True)
    return float((sizes * (sizes - 1)).sum() / (len(label) * (len(label) - 1))) if len(label) > 1 else float("nan")


def row_blocks(features: np.ndarray, rows: int = 256) -> Iterable[np.ndarray]:
    """`features`, (N, …), in flattened blocks of rows: a pass for `range_pca`."""
    flat = features.reshape(len(features), -1)
    return (flat[start:stop] for start, stop in blocks(len(flat), rows))
