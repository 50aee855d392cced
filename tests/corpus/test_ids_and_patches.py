"""Names of samples, and which tiles are looked at."""

from __future__ import annotations

from hashlib import sha256

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlli_ray.corpus.box import Box
from xlli_ray.corpus.decode import luma_full
from xlli_ray.corpus.ids import content_id, order_key, sample_id, sha256_hex
from xlli_ray.corpus.patches import choose, crop, luma_std, tile_stds, tiles

SHA = sha256(b"image").hexdigest()
TARGET = sha256(b"target").hexdigest()


def test_content_id_is_the_stated_hash() -> None:
    expected = {
        (SHA, None, None): f"{SHA}|-|-",
        (SHA, TARGET, None): f"{SHA}|{TARGET}|-",
        (SHA, None, Box(128, 0, 64)): f"{SHA}|-|128,0,64",
        (SHA, TARGET, Box(0, 256, 64)): f"{SHA}|{TARGET}|0,256,64",
    }
    for arguments, text in expected.items():
        assert content_id(*arguments) == sha256(text.encode()).hexdigest()[:16]
    assert len({content_id(*arguments) for arguments in expected}) == 4


def test_sample_id_is_the_stated_hash() -> None:
    assert sample_id("ab", 4, "blur2+noise10", 7) == sha256(b"ab|4|blur2+noise10|7").hexdigest()[:16]


def test_sha256_of_nothing_is_the_known_one() -> None:
    assert sha256_hex(b"").startswith("e3b0c44298fc1c149afbf4c8996fb924")


@settings(deadline=None)
@given(st.integers(1, 200), st.integers(1, 200), st.integers(3, 64))
def test_tiles_never_overlap_and_leave_no_whole_tile_out(height: int, width: int, size: int) -> None:
    boxes = tiles(height, width, size)
    covered = np.zeros((height, width), int)
    for box in boxes:
        assert box.top % size == 0 == box.left % size
        assert crop(covered, box).shape == (size, size)
        crop(covered, box)[...] += 1
    assert covered.max(initial=0) <= 1
    assert len(boxes) == (height // size) * (width // size)
    assert covered.sum() == len(boxes) * size * size


def test_tiles_of_no_size_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        tiles(10, 10, 0)


def test_crop_of_the_small_image_is_under_the_crop_of_the_large_one() -> None:
    large = np.arange(32 * 48).reshape(32, 48)
    small = large[::4, ::4]
    box = Box(8, 24, 16)
    np.testing.assert_array_equal(crop(small, box, scale=4), crop(large, box)[::4, ::4])


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 20), st.integers(1, 20))
def test_luma_std_is_numpys(seed: int, height: int, width: int) -> None:
    image = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert luma_std(image) == pytest.approx(float(luma_full(image).std()), abs=1e-9)


def test_luma_std_is_exact_at_its_ends() -> None:
    assert luma_std(np.full((50, 50, 3), 201, np.uint8)) == 0.0
    half = np.zeros((2, 1000, 3), np.uint8)
    half[0] = 255
    assert luma_std(half) == 127.5


BOXES = tiles(96, 96, 16)
CONTENTS = [content_id(SHA, None, box) for box in BOXES]


@settings(deadline=None)
@given(st.permutations(range(len(BOXES))), st.integers(0, 1000), st.integers(1, 40))
def test_the_choice_does_not_depend_on_the_order_of_tiles(order: list[int], seed: int, per_image: int) -> None:
    shuffled = choose([BOXES[i] for i in order], [CONTENTS[i] for i in order], seed, per_image)
    assert shuffled == choose(BOXES, CONTENTS, seed, per_image)
    assert len(shuffled) == min(per_image, len(BOXES))


def test_a_larger_number_keeps_the_smaller_choice_and_the_seed_changes_it() -> None:
    assert choose(BOXES, CONTENTS, 0, 20)[:8] == choose(BOXES, CONTENTS, 0, 8)
    assert choose(BOXES, CONTENTS, 0, 8) != choose(BOXES, CONTENTS, 1, 8)
    assert sorted(choose(BOXES, CONTENTS, 0, None)) == BOXES
    first = min(zip(CONTENTS, BOXES, strict=True), key=lambda pair: sha256(f"5|{pair[0]}".encode()).hexdigest())[1]
    assert choose(BOXES, CONTENTS, 5, 1) == [first]
    assert order_key(5, "ab") == sha256(b"5|ab").digest()


@pytest.mark.parametrize(("height", "width", "size"), [(64, 80, 16), (65, 79, 8), (5, 5, 8), (7, 30, 7), (128, 128, 128)])
def test_all_tiles_of_a_image_at_once_are_as_flat_as_one_by_one(height: int, width: int, size: int) -> None:
    image = np.random.default_rng(1).integers(0, 256, (height, width, 3), dtype=np.uint8)
    assert tile_stds(image, size) == [luma_std(crop(image, box)) for box in tiles(height, width, size)]
