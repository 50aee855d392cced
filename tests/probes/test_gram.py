"""The `gram` probe: the Gram matrix of stored features, whatever becomes of single samples, and nothing of a set is left behind."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.probes import device_gram as module
from xlli_ray.probes.device_gram import device_gram, together
from xlli_ray.probes.set_features import Gathered
from xlli_ray.stats.gram import BLOCK, centred, gram

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


@pytest.mark.parametrize("block", [32, 100, 400, 1000])
@pytest.mark.parametrize("rows", [None, np.array([1, 2, 5])])
def test_a_device_gives_the_same_matrix_up_to_rounding_with_blocks_together_or_one_by_one(
    block: int, rows: np.ndarray | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    flat = FEATURES.reshape(6, -1)
    wanted = gram((flat if rows is None else flat[rows]).astype(np.float64))
    for most in (1, 3, 64):
        monkeypatch.setattr(module, "MOST", most)
        on_device, from_memory = (device_gram(where, rows, "cpu", block=block) for where in (torch.from_numpy(flat), flat))
        np.testing.assert_allclose(centred(on_device), centred(wanted), rtol=1e-5, atol=1e-3)
        assert (on_device == from_memory).all(), "the bytes do not depend on where the features are"


def test_products_are_summed_in_float64_over_blocks_as_on_the_cpu() -> None:
    """In float32 alone, 64 blocks of this offset would lose the digits that the CPU keeps."""
    rng = np.random.default_rng(0)
    features = (rng.normal(size=(4, 64 * 256)) * np.linspace(1, 100, 64 * 256)).astype(np.float32)
    exact = gram(features.astype(np.float64), block=256)
    error, plain = (
        np.abs(found - exact).max() / np.abs(exact).max()
        for found in (device_gram(features, None, "cpu", block=256), device_gram(features, None, "cpu", block=features.shape[1]))
    )
    assert error < 1e-6
    assert error <= plain


def test_the_number_of_blocks_together_depends_on_the_samples_alone() -> None:
    assert together(800) == 20
    assert together(800) * 800 * BLOCK * 4 <= module.WORK_BYTES
    assert together(10**6) == 1
    assert together(1) == module.MOST


def test_features_of_a_device_stay_there_if_there_is_room_and_the_matrix_is_the_same(tmp_path: Path) -> None:
    found = []
    for room, memory in ((10**9, 0), (0, 10**9), (0, 0)):
        gathering = Gathered(6, "device", memory=memory, folder=str(tmp_path), room=lambda tensor, samples, room=room: room)  # type: ignore[misc]
        gathering._device = torch.device("cpu")  # type: ignore[assignment]
        for i in reversed(range(6)):
            gathering.add(i, {"features": torch.from_numpy(FEATURES)[i]})
        assert [gathering._rows is not None, gathering._values is not None, gathering._file is not None].count(True) == 1
        assert (gathering._rows is not None) == (room > 0)
        found.append(gathering.conclude(np.arange(6) != 2)["gram"].tobytes())
        gathering.close()
    assert found[0] == found[1] == found[2]


def test_room_on_a_device_is_what_its_share_and_its_network_leave(monkeypatch: pytest.MonkeyPatch) -> None:
    total, share = 80 << 30, 0.5
    for name, value in {"mem_get_info": (70 << 30, total), "memory_reserved": 8 << 30, "memory_allocated": 2 << 30,
                        "max_memory_allocated": 6 << 30, "get_per_process_memory_fraction": share}.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda device, value=value: value)
    product = 20 * (8 * 800 * BLOCK + 4 * 800**2) + 16 * 800**2
    room = module.room_on(torch.zeros(1), 800)
    assert room == int(share * total - (2 << 30) - (4 << 30) - product - module.LEFT * total)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (1 << 30, total))
    assert module.room_on(torch.zeros(1), 800) == 0
