"""pipelines/photos.py: what it takes from the packages, without downloading them."""

from __future__ import annotations

import importlib.util
import io
import struct
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
from PIL import Image
from toy_pictures import textured


@pytest.fixture(scope="module")
def photos_script(root: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location("photos_script", root / "pipelines" / "photos.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_package_has_a_known_sha256_and_no_photograph_is_named_twice(photos_script: ModuleType) -> None:
    packages = [(package, sha) for package, _, sha, _, _ in photos_script.PACKAGES]
    packages.append((photos_script.GCOMPRIS[0], photos_script.GCOMPRIS[2]))
    assert all(len(sha) == 64 for _, sha in packages)
    assert len({sha for _, sha in packages}) == len(packages) == 9
    names = [(package, name) for package, _, _, _, names in photos_script.PACKAGES for name in names.split()]
    names += [(resource, name) for resource, names in photos_script.GCOMPRIS_PHOTOS for name in names.split()]
    assert len(set(names)) == len(names) == 151


def test_no_photograph_that_networks_are_measured_with_is_trained_on(photos_script: ModuleType) -> None:
    names = " ".join(names for *_, names in photos_script.PACKAGES).lower()
    for taken in (
        "astronaut",
        "chelsea",
        "coffee",
        "rocket",
        "motorcycle",
        "retina",
        "hubble",
        "lena",
        "baboon",
        "img_0",
    ):
        assert taken not in names


def resources(files: dict[str, bytes]) -> bytes:
    """A Qt resource collection, version 1, of uncompressed files below one folder."""
    names, data = b"", b""
    name_at, data_at = {}, {}
    for name, content in {"folder": b"", **files}.items():
        name_at[name] = len(names)
        names += struct.pack(">HI", len(name), 0) + name.encode("utf-16-be")
        data_at[name] = len(data)
        data += struct.pack(">I", len(content)) + content
    tree = struct.pack(">IHII", 0, 2, 1, 1) + struct.pack(">IHII", name_at["folder"], 2, len(files), 2)
    for name in files:
        tree += struct.pack(">IHHHI", name_at[name], 0, 0, 0, data_at[name])
    start = 20
    header = b"qres" + struct.pack(">4I", 1, start, start + len(tree), start + len(tree) + len(data))
    return header + tree + data + names


def test_pictures_are_read_out_of_qt_resource_files(photos_script: ModuleType) -> None:
    files = {"tajMahal.webp": b"RIFF" * 5, "ä.webp": b"", "board.qml": b"Item {}"}
    assert dict(photos_script.qt_resources(resources(files))) == files
    with pytest.raises(SystemExit):
        list(photos_script.qt_resources(b"RIFF" + bytes(40)))


def test_photographs_are_downscaled_by_two_or_more_to_multiples_of_four(photos_script: ModuleType) -> None:
    for (height, width), factor in {((90, 130)): 2, ((300, 4300)): 3}.items():
        data = io.BytesIO()
        Image.fromarray(textured(height, width, 0)).save(data, "PNG")
        pixels, used = photos_script.prepared(data.getvalue())
        assert used == factor
        assert pixels.dtype == np.uint8
        assert pixels.shape[0] % 4 == pixels.shape[1] % 4 == 0
        assert abs(pixels.shape[1] - width / factor) <= 4


def test_a_package_with_other_bytes_is_not_used(photos_script: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "palapeli-data_1%3a1_all.deb").write_bytes(b"other")
    with pytest.raises(SystemExit, match=r"sha256 is .* expected"):
        photos_script.unpacked(tmp_path, "palapeli-data", "1:1", "0" * 64)


def test_patches_of_the_training_photographs_are_textured_do_not_overlap_and_are_the_same_every_time(
    photos_script: ModuleType, tmp_path: Path
) -> None:
    (tmp_path / "train").mkdir()
    half_flat = textured(96, 192, 1)
    half_flat[:, 96:] = 128
    Image.fromarray(half_flat).save(tmp_path / "train" / "half_flat.png")
    Image.fromarray(textured(128, 128, 2)).save(tmp_path / "train" / "rich.png")
    assert photos_script.cut(tmp_path, 32) == photos_script.cut(tmp_path, 32) == 2 * photos_script.PATCHES_PER_PHOTO
    for photo in ("half_flat", "rich"):
        whole = np.asarray(Image.open(tmp_path / "train" / f"{photo}.png"))
        files = list((tmp_path / "patches").glob(f"{photo}--*.png"))
        corners = [tuple(map(int, file.stem.split("--")[1].split("-"))) for file in files]
        assert all(top % 32 == 0 and left % 32 == 0 for top, left in corners)
        assert photo == "rich" or all(left < 96 for _, left in corners)
        for file, (top, left) in zip(files, corners):
            assert np.array_equal(np.asarray(Image.open(file)), whole[top : top + 32, left : left + 32])
