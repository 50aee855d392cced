"""Fewer dimensions: a range finder against the exact answer, and images judged by what they keep, not by where points lie."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.manifold import trustworthiness as sklearn_trustworthiness

from xlli_ray.stats.gram import centred, gram, pca
from xlli_ray.stats.reduce import chance, continuity, distances, nearest, purity, range_pca, row_blocks, trustworthiness, tsne, umap


def decaying(n: int = 300, width: int = 900, seed: int = 0, *, power: float = 0.7, offset: float = 20.0) -> np.ndarray:
    """Features whose spectrum falls as j^-power, on a common offset: float32."""
    rng = np.random.default_rng(seed)
    rank = min(n, width) - 1
    left, right = (np.linalg.qr(rng.normal(size=(size, rank)))[0] for size in (n, width))
    return ((left * (100 * np.arange(1, rank + 1.0) ** -power)) @ right.T + offset).astype(np.float32)


def three(n: int = 120, seed: int = 0, *, apart: float = 12.0, width: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Three separated Gaussians and their labels."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(3), n // 3)
    return rng.normal(size=(n, width)) + apart * rng.normal(size=(3, width))[label] / np.sqrt(width) * 2, label


def test_the_range_finder_finds_what_the_gram_matrix_finds_and_says_what_is_left() -> None:
    x = decaying()
    exact = pca(centred(gram(x)), 20)
    found = range_pca(lambda: row_blocks(x, 64), 20, np.random.default_rng(1))
    np.testing.assert_allclose(found.eigenvalues[:10], exact.eigenvalues[:10], rtol=1e-3)
    np.testing.assert_allclose(found.eigenvalues, exact.eigenvalues[:20], rtol=0.05)  # the last ones lean on what was left out
    assert found.total == pytest.approx(exact.eigenvalues.sum(), rel=1e-5)
    least = 1 - exact.eigenvalues[:20].sum() / exact.eigenvalues.sum()
    assert least - 1e-6 <= found.residual <= least + 0.005
    for one, other in zip(found.scores[:, :5].T, exact.scores[:, :5].T):
        assert abs(np.corrcoef(one, other)[0, 1]) > 0.999
    assert (found.eigenvalues <= exact.eigenvalues[:20] * (1 + 1e-5)).all(), "a subspace holds no more than the best one"


def test_the_range_finder_is_exact_where_it_can_be_and_more_power_helps() -> None:
    x = decaying(40, 12, offset=0)
    exact = pca(centred(gram(x.astype(np.float64))), 11)
    found = range_pca(lambda: row_blocks(x, 7), 11, np.random.default_rng(0), power=1)
    np.testing.assert_allclose(found.eigenvalues, exact.eigenvalues[:11], rtol=1e-6, atol=1e-8)
    flat = decaying(300, 900, power=0.2)
    some = [range_pca(lambda: row_blocks(flat), 10, np.random.default_rng(0), power=p).residual for p in (1, 2, 4)]
    assert some[0] > some[1] > some[2]


def test_the_range_finder_does_not_depend_on_how_rows_come() -> None:
    x = decaying(100, 200)
    one = range_pca(lambda: row_blocks(x, 100), 5, np.random.default_rng(0))
    other = range_pca(lambda: (part for rows in row_blocks(x, 13) for part in (rows, rows[:0])), 5, np.random.default_rng(0))
    np.testing.assert_allclose(other.scores, one.scores, atol=1e-9 * np.abs(one.scores).max())


def test_too_many_components_are_refused_by_name() -> None:
    with pytest.raises(ValueError, match="5 components of 5 samples"):
        range_pca(lambda: row_blocks(np.eye(5)), 5, np.random.default_rng(0))
    with pytest.raises(ValueError, match="2 components of 0 samples"):
        range_pca(lambda: [], 2, np.random.default_rng(0))
    with pytest.raises(ValueError, match="3 samples"):
        tsne(np.eye(3), 0)
    with pytest.raises(ValueError, match="4 samples"):
        umap(np.eye(4), 0)


@pytest.mark.parametrize("neighbours", [1, 5, 15])
def test_trustworthiness_equals_scikit_learns(neighbours: int) -> None:
    rng = np.random.default_rng(neighbours)
    data = rng.normal(size=(90, 6))
    for image in (data[:, :2], rng.normal(size=(90, 2)), data[:, :2] + 0.3 * rng.normal(size=(90, 2))):
        wanted = sklearn_trustworthiness(data, image, n_neighbors=neighbours)
        assert trustworthiness(data, image, neighbours=neighbours) == pytest.approx(wanted, abs=1e-12)
        assert continuity(data, image, neighbours=neighbours) == pytest.approx(
            sklearn_trustworthiness(image, data, n_neighbors=neighbours), abs=1e-12
        )


def test_what_a_image_tears_and_what_it_glues_are_told_apart() -> None:
    data = np.random.default_rng(0).normal(size=(200, 2))
    torn = data + 100 * (data[:, :1] > 0)  # a gap through the middle
    glued = data.copy()
    glued[:, 0] = np.abs(glued[:, 0])  # folded onto itself
    assert continuity(data, torn) < trustworthiness(data, torn)
    assert trustworthiness(data, glued) < continuity(data, glued)


def test_distances_neighbours_purity_and_chance() -> None:
    x = np.array([[0.0], [1.0], [5.0], [6.0], [1e8]])
    assert distances(x)[0].tolist() == pytest.approx([0, 1, 25, 36, 1e16], rel=1e-6, abs=2)
    who, far = nearest(np.array([[0.0], [1.0], [5.0], [6.5]]), 2)
    assert who.tolist() == [[1, 2], [0, 2], [3, 1], [2, 1]]
    np.testing.assert_allclose(far, [[1, 5], [1, 4], [1.5, 4], [1.5, 5.5]])
    label = np.array([0, 0, 1, 1])
    assert purity(np.array([[0.0], [1.0], [5.0], [6.5]]), label) == 1
    assert purity(np.array([[0.0], [5.0], [1.0], [6.5]]), label) == 0
    assert chance(label) == pytest.approx(4 / 12)
    assert np.isnan(trustworthiness(np.eye(3), np.eye(3)))


@pytest.mark.parametrize("start", ["pca", "random"])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_tsne_keeps_three_gaussians_apart(seed: int, start: str) -> None:
    x, label = three(seed=seed)
    image = tsne(x, seed, start=start, iterations=500)
    assert image.shape == (120, 2)
    assert purity(image, label) >= 0.95
    assert trustworthiness(x, image) > 0.85


def test_tsne_is_the_same_again_and_other_starts_differ() -> None:
    x, _ = three(60)
    again = [tsne(x, 5, start="random", iterations=100) for _ in range(2)]
    assert (again[0] == again[1]).all()
    assert np.abs(tsne(x, 6, start="random", iterations=100) - again[0]).max() > 0.1
    assert np.isfinite(tsne(np.zeros((10, 3)), 0, iterations=50)).all(), "identical points"


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_umap_keeps_three_gaussians_apart(seed: int) -> None:
    from umap.validation import trustworthiness_vector

    x, label = three(seed=seed)
    image = umap(x, seed)
    assert purity(image, label) >= 0.95
    assert (umap(x, seed) == image).all()
    theirs = trustworthiness_vector(x.astype(np.float32), image.astype(np.float32), 15)
    assert trustworthiness(x, image) == pytest.approx(float(theirs[15]), abs=0.01)
