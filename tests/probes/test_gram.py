"""The `gram` probe: the Gram matrix of stored features, whatever becomes of single samples, and nothing of a set is left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.probes.gram import Gathered, product_on
from xlli_ray.stats.gram import centred, gram, product

FEATURES = np.random.default_rng(0).normal(3, 1, (6, 4, 10, 10)).astype(np.float32)


def gathered(features: np.ndarray, ok: np.ndarray | None = None, **where: object) -> np.ndarray:
    """The set's matrix, its samples added in another order than they are numbered in."""
    good = np.ones(len(features), bool) if ok is None else ok
    gathering = Gathered(len(features), **where)  # type: ignore[arg-type]
    try:
        for i in np.flatnonzero(good)[::-1].tolist():
            gathering.add(i, {"features": features[i]})
        return gathering.conclude(good)["gram"]
    finally:
        gathering.close()


def test_in_memory_and_in_a_scratch_file_it_is_the_gram_matrix_of_the_features(tmp_path: Path) -> None:
    for memory in (1 << 30, 0):
        assert (gathered(FEATURES, memory=memory, folder=str(tmp_path)) == gram(FEATURES)).all()
    assert list(tmp_path.iterdir()) == [], "the scratch file has no name"


@pytest.mark.parametrize("bad", [0, 3])
def test_a_failed_sample_leaves_the_matrix_of_the_others(bad: int, tmp_path: Path) -> None:
    ok = np.arange(6) != bad
    for memory in (1 << 30, 0):
        found = gathered(FEATURES, ok, memory=memory, folder=str(tmp_path))
        assert np.isnan(found[bad]).all()
        assert np.isnan(found[:, bad]).all()
        assert (found[np.ix_(ok, ok)] == gram(FEATURES[ok])).all()
    assert np.isnan(gathered(FEATURES, np.zeros(6, bool))).all()


def test_a_full_scratch_disk_says_how_much_was_needed_and_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "pwrite", full)
    with pytest.raises(EnvironmentFailure, match=r"6 × 400 × 4 bytes.*no space left.*TMPDIR"):
        gathered(FEATURES, memory=0, folder=str(tmp_path))


def test_a_sample_with_another_number_of_features_is_refused() -> None:
    gathering = Gathered(2)
    gathering.add(0, {"features": FEATURES[0]})
    with pytest.raises(ValueError, match="300 features, expected 400"):
        gathering.add(1, {"features": FEATURES[0, :3]})


def test_a_device_gives_the_same_matrix_up_to_rounding() -> None:
    part = FEATURES.reshape(6, -1)
    np.testing.assert_allclose(centred(product_on(part, "cpu")), centred(product(part).astype(np.float64)), rtol=1e-5, atol=1e-3)
