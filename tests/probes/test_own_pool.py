"""Patches of files of one's own: which are drawn depends on what the files contain, and what cannot be used is said."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from xlli_ray.errors import EnvironmentFailure, RecipeError
from xlli_ray.probes.cem.own_pool import PoolFile
from xlli_ray.probes.cem.params import Params
from xlli_ray.probes.cem.patch_pool import LUMA, patch_pool
from xlli_ray.probes.cem.probe import Cem


def picture(path: Path, seed: int, shape: tuple[int, int] = (40, 32)) -> Path:
    path.parent.mkdir(exist_ok=True)
    Image.fromarray(np.random.default_rng(seed).integers(0, 255, (*shape, 3), dtype=np.uint8)).save(path)
    return path


def params(folder: Path, pattern: str | list[str] = "*.png", **more: object) -> Params:
    return Params(**Params.inlined({"pool": pattern, "pool_size": 100, **more}, lambda text: str(folder / text)))


def files(given: Params) -> tuple[PoolFile, ...]:
    assert given.own is not None
    return tuple(given.own.found)


def test_patches_are_parts_of_the_files_in_order_of_luma(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    picture(tmp_path / "b.png", 2)
    pool = patch_pool(4, 2, "clean", 100, files(params(tmp_path)))
    assert pool.shape == (100, 3, 4, 4)
    assert (np.diff(pool.mean(axis=(2, 3)) @ LUMA) >= -1e-6).all()
    assert len(np.unique(pool.reshape(100, -1), axis=0)) > 60
    exact = patch_pool(4, 1, "clean", 64, files(params(tmp_path, "a.png")))
    image = np.asarray(Image.open(tmp_path / "a.png"), np.float32) / np.float32(255)
    windows = np.lib.stride_tricks.sliding_window_view(image, (4, 4), axis=(0, 1)).reshape(-1, 3, 4, 4)
    for patch in exact[:5]:
        assert (windows == patch).all(axis=(1, 2, 3)).any()
    noisy = patch_pool(4, 2, "noise30", 100, files(params(tmp_path)))
    assert noisy.std() > pool.std(), "they are degraded as the inputs are"


def test_names_and_places_of_files_change_nothing_and_their_content_everything(tmp_path: Path) -> None:
    for folder, names in (("one", "ab"), ("two", "zy")):
        for seed, name in enumerate(names):
            picture(tmp_path / folder / f"{name}.png", seed)
    picture(tmp_path / "two" / "copy.png", 0)
    one, two = (params(tmp_path / folder) for folder in ("one", "two"))
    np.testing.assert_array_equal(patch_pool(4, 2, "clean", 100, files(one)), patch_pool(4, 2, "clean", 100, files(two)))
    assert Cem(one, {}).identity() == Cem(two, {}).identity(), "a copy is the same image"
    picture(tmp_path / "two" / "z.png", 7)
    changed = params(tmp_path / "two", ["z.png", "y.png"])
    assert Cem(changed, {}).identity() != Cem(one, {}).identity()
    plain = Cem(Params(), {}).identity()
    assert plain["pool"] == "photographs", "studies of the photographs keep their identity"


def test_what_is_stored_in_a_study_is_read_again_as_it_is(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    stored = params(tmp_path).model_dump(mode="json")
    (tmp_path / "a.png").unlink()
    again = Params(**Params.inlined(stored, lambda text: text))
    assert files(again)[0].sha256 == stored["pool"]["found"][0]["sha256"]


def test_what_cannot_be_a_pool_is_refused_with_the_way_out(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    (tmp_path / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    (tmp_path / "text.txt").write_text("no image")
    for pattern, words in (("*.jpg", "matches no file"), ("broken.png", "broken.png cannot be used"), ("text.txt", "not an image")):
        with pytest.raises(RecipeError, match=words):
            params(tmp_path, pattern)
    with pytest.raises(ValidationError):
        Params(pool=[])
    own = params(tmp_path, "a.png").own
    assert own is not None
    assert own.problem(8, 4, 64).startswith("pool: too few patches: 1 image with 3 different patches of 8 input pixels at scale 4")
    small = own.problem(9, 4, 64)
    assert "1 image too small for a patch of 9 input pixels at scale 4" in small
    assert "32×40 pixels, expected 36 or more a side" in small
    assert own.problem(4, 2, 64) == ""


def test_a_file_that_has_changed_since_stops_everything(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", 1)
    found = files(params(tmp_path))
    picture(tmp_path / "a.png", 2)
    with pytest.raises(EnvironmentFailure, match="changed since the recipe was read"):
        patch_pool(5, 2, "clean", 64, found)
    (tmp_path / "a.png").unlink()
    with pytest.raises(EnvironmentFailure, match="then run again"):
        patch_pool(5, 2, "clean", 64, found)
