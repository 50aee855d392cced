"""The Gram matrix: equal to the naive product, the same however it is fed, exact where float32 alone would have no digit."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.decomposition import PCA

from xlli_ray.stats.gram import blocks, centred, gram, gram_of_blocks, pca, product


def features(samples: int = 9, width: int = 300, seed: int = 0, *, offset: float = 0.0, kind: type = np.float64) -> np.ndarray:
    return (np.random.default_rng(seed).normal(size=(samples, width)) + offset).astype(kind)


def naive(values: np.ndarray) -> np.ndarray:
    about = values.astype(np.float64) - values.astype(np.float64).mean(axis=0)
    return about @ about.T


@pytest.mark.parametrize("block", [7, 64, 1000])
def test_equals_the_product_of_centred_features(block: int) -> None:
    values = features()
    np.testing.assert_allclose(centred(gram(values, block=block)), naive(values), rtol=1e-12, atol=1e-10)


def test_samples_of_any_shape_are_flattened_and_a_memory_map_does(tmp_path: Path) -> None:
    values = features(kind=np.float32).reshape(9, 3, 10, 10)
    np.save(tmp_path / "f.npy", values)
    assert (gram(np.load(tmp_path / "f.npy", mmap_mode="r"), block=32) == gram(values.reshape(9, -1), block=32)).all()


@settings(deadline=None, max_examples=30)
@given(cuts=st.lists(st.integers(1, 299), max_size=8), seed=st.integers(0, 99))
def test_split_the_features_anywhere_merge_same_answer(cuts: list[int], seed: int) -> None:
    values = features(seed=seed)
    edges = [0, *sorted(set(cuts)), 300]
    split = gram_of_blocks((values[:, a:b] for a, b in pairwise(edges)), 9)
    np.testing.assert_allclose(centred(split), centred(gram(values)), rtol=1e-12, atol=1e-9)


def test_whole_blocks_in_order_give_the_same_bytes() -> None:
    values = features(kind=np.float32)
    streamed = gram_of_blocks((np.ascontiguousarray(values[:, a:b]) for a, b in blocks(300, 50)), 9)
    assert (streamed == gram(values, block=50)).all()


@pytest.mark.parametrize("offset", [10.0, 100.0])
def test_features_on_an_offset_keep_their_digits_in_float32(offset: float) -> None:
    values = features(40, 20_000, offset=0.0, kind=np.float32) * np.float32(0.1) + np.float32(offset)
    wanted = np.linalg.eigvalsh(naive(values))[::-1][:20]
    found = pca(centred(gram(values)), 20).eigenvalues[:20]
    np.testing.assert_allclose(found, wanted, rtol=2e-5)
    unshifted = np.linalg.eigvalsh(centred((values @ values.T).astype(np.float64)))[::-1][:20]
    assert np.abs(unshifted / wanted - 1).max() > 1e-3, "without the shift digits are lost: the test would not notice"


def test_scores_equal_the_full_svd_up_to_sign() -> None:
    values = features(30, 500)
    theirs = PCA(10, svd_solver="full").fit(values)
    ours = pca(centred(gram(values)), 10)
    np.testing.assert_allclose(np.abs(ours.scores), np.abs(theirs.transform(values)), atol=1e-9)
    np.testing.assert_allclose(ours.eigenvalues[:10], theirs.singular_values_**2, rtol=1e-10)
    assert ours.eigenvalues.sum() == pytest.approx(np.trace(naive(values)))
    top = ours.scores[np.abs(ours.scores).argmax(axis=0), range(10)]
    assert (top > 0).all()


def test_a_bad_sample_spoils_its_own_row_and_column_only() -> None:
    values = features(kind=np.float32)
    whole = gram(values)
    for row in (0, 4):
        broken = values.copy()
        broken[row, 17] = np.nan  # one value is enough
        kept = np.setdiff1d(np.arange(9), row)
        found = gram(broken)
        assert np.isnan(found[row]).all()
        assert np.isnan(found[:, row]).all()
        np.testing.assert_allclose(centred(found[np.ix_(kept, kept)]), centred(whole[np.ix_(kept, kept)]), rtol=1e-5, atol=1e-4)


def test_what_cannot_be_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="at most 5"):
        pca(np.eye(5), 6)
    with pytest.raises(ValueError, match="NaN or infinity"):
        pca(np.full((3, 3), np.nan), 1)
    with pytest.raises(ValueError, match="with 2 samples"):
        gram_of_blocks([np.zeros((3, 4))], 2)
    assert product(np.zeros((2, 0), np.float32)).shape == (2, 2)
