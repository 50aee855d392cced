"""The bicubic against the public LR files, against a naive loop, and against what an interpolation must satisfy."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from xlli_ray.corpus import resize
from xlli_ray.corpus.decode import decode, to_u8
from xlli_ray.corpus.resize import bicubic, bicubic_up, downscale, modcrop

RNG = np.random.default_rng(3)
BORDER = 4  # LR pixels: the public HR files were cropped after their LR was made


@pytest.mark.parametrize("folder", ["Set5/x2", "Set5/x3", "Set5/x4", "Set14/x4", "BSD100/x4", "Urban100/x4"])
def test_downscale_gives_the_public_lr_files_to_the_bit(fixtures: Path, folder: str) -> None:
    scale = int(folder[-1])
    files = sorted((fixtures / "images" / folder).glob("*_HR.png"))
    assert len(files) >= 5
    for file in files:
        target = decode(file.read_bytes()).pixels
        public = to_u8(decode(file.with_name(file.name.replace("_HR", "_LR")).read_bytes()).pixels)
        made = downscale(target, scale)
        assert made.shape == public.shape
        inside = (slice(BORDER, -BORDER), slice(BORDER, -BORDER))
        np.testing.assert_array_equal(made[inside], public[inside], err_msg=file.name)


def test_the_linear_operator_is_near_the_public_files_but_not_at_hard_edges(fixtures: Path) -> None:
    """Why `downscale` rounds between the passes: without it, smooth Set5 is within a level or two, on average 0.1."""
    for file in sorted((fixtures / "images/Set5/x4").glob("*_HR.png")):
        made = to_u8(bicubic(decode(file.read_bytes()).pixels, 4)).astype(int)
        public = to_u8(decode(file.with_name(file.name.replace("_HR", "_LR")).read_bytes()).pixels)
        apart = np.abs(made - public)[BORDER:-BORDER, BORDER:-BORDER]
        assert apart.max() <= 2
        assert 0.05 < apart.mean() <= 0.15


def cubic(x: float) -> float:
    x = abs(x)
    if x <= 1:
        return 1.5 * x**3 - 2.5 * x**2 + 1
    return -0.5 * x**3 + 2.5 * x**2 - 4 * x + 2 if x < 2 else 0.0


def naive(line: list[float], size: int, factor: float) -> list[float]:
    """One line, resized by the definition: a sum over all input pixels and their mirror images."""
    n, stretch = len(line), max(factor, 1.0)
    result = []
    for i in range(size):
        centre = (i + 0.5) * factor - 0.5
        total = weights = 0.0
        for position in range(-4 * n, 5 * n):
            weight = cubic((centre - position) / stretch)
            mirrored = position % (2 * n)
            total += weight * line[mirrored if mirrored < n else 2 * n - 1 - mirrored]
            weights += weight
        result.append(total / weights)
    return result


@pytest.mark.parametrize(
    ("height", "width", "rows", "columns"),
    [(12, 8, 3, 2), (13, 9, 5, 4), (7, 10, 21, 20), (9, 6, 4, 13), (11, 5, 11, 5)],
)
def test_naive_loop_gives_the_same(height: int, width: int, rows: int, columns: int) -> None:
    image = RNG.random((height, width, 2))
    expected = np.empty((rows, columns, 2))
    for c in range(2):
        tall = np.array([naive(image[:, x, c].tolist(), rows, height / rows) for x in range(width)]).T
        expected[:, :, c] = [naive(tall[y].tolist(), columns, width / columns) for y in range(rows)]
    np.testing.assert_allclose(bicubic(image, out_shape=(rows, columns)), expected, rtol=0, atol=1e-13)


def test_scale_and_out_shape_agree_and_sizes_round_up() -> None:
    image = RNG.random((12, 20, 3))
    np.testing.assert_array_equal(bicubic(image, 4), bicubic(image, out_shape=(3, 5)))
    assert bicubic(RNG.random((13, 21, 3)), 4).shape == (4, 6, 3)


@settings(max_examples=40, deadline=None)
@given(st.integers(4, 40), st.integers(4, 40), st.integers(1, 40), st.integers(1, 40), st.floats(0, 1))
def test_a_flat_image_stays_flat(height: int, width: int, rows: int, columns: int, value: float) -> None:
    made = bicubic(np.full((height, width, 1), value), out_shape=(rows, columns))
    np.testing.assert_allclose(made, value, rtol=0, atol=1e-14)


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 5), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_mirrored_and_transposed_images_give_mirrored_and_transposed_results(scale: int, n: int, seed: int) -> None:
    image = np.random.default_rng(seed).random((scale * n, scale * (n + 1), 3))
    made = bicubic(image, scale)
    np.testing.assert_allclose(bicubic(image[::-1, ::-1], scale), made[::-1, ::-1], rtol=0, atol=1e-13)
    np.testing.assert_allclose(bicubic(image.swapaxes(0, 1), scale), made.swapaxes(0, 1), rtol=0, atol=1e-13)


def test_a_ramp_is_reproduced_away_from_the_border() -> None:
    ramp = np.arange(64.0)[:, None, None] * np.ones((1, 8, 1))
    inside = bicubic(ramp, 4)[2:-2, 0, 0]
    np.testing.assert_allclose(inside, (np.arange(2, 14) + 0.5) * 4 - 0.5, rtol=0, atol=1e-12)


def test_enlarging_keeps_flat_parts_and_overshoots_at_edges() -> None:
    step = np.zeros((6, 12, 1), np.float32)
    step[:, 6:] = 1
    made = bicubic_up(step, 3)
    assert made.shape == (18, 36, 1)
    assert made.dtype == np.float32
    assert made.min() < -0.01
    assert made.max() > 1.01
    np.testing.assert_allclose(made[:, :9], 0, atol=1e-7)


def test_bytes_do_not_depend_on_how_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    image = RNG.random((60, 44, 3)).astype(np.float32)
    whole = bicubic(image, 4).tobytes()
    for block in (1, 100, 1 << 22):
        monkeypatch.setattr(resize, "_BLOCK", block)
        assert bicubic(image, 4).tobytes() == whole
    assert bicubic(np.asfortranarray(image), 4).tobytes() == whole


def test_two_axes_give_two_axes() -> None:
    image = RNG.random((8, 12))
    np.testing.assert_array_equal(bicubic(image, 2), bicubic(image[:, :, None], 2)[:, :, 0])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_exact_halves_are_rounded_up_as_in_matlab(dtype: type) -> None:
    """A step in the middle of an output pixel is exactly half way, whatever the grey levels: 1e-7 must not tip it."""
    for level in range(255):
        image = np.full((8, 12, 1), level, np.uint8)
        image[:, 5:] += 1
        made = downscale(image.astype(dtype) / dtype(255), 2)
        assert made[0, :, 0].tolist() == [level, level, level + 1, level + 1, level + 1, level + 1]


def test_at_scale_1_the_image_is_only_rounded() -> None:
    image = RNG.random((5, 6, 3)).astype(np.float32)
    np.testing.assert_array_equal(downscale(image, 1), to_u8(image))


def test_modcrop_keeps_the_top_left() -> None:
    image = np.arange(7 * 10).reshape(7, 10)
    np.testing.assert_array_equal(modcrop(image, 4), image[:4, :8])
    assert modcrop(image, 1).shape == (7, 10)
    assert modcrop(image, 8).shape == (0, 8)


def test_what_makes_no_sense_is_refused() -> None:
    image = np.zeros((8, 8, 3))
    with pytest.raises(TypeError, match="divide 8-bit values by 255"):
        bicubic(np.zeros((8, 8, 3), np.uint8), 2)  # type: ignore[arg-type]
    for arguments in ({}, {"scale": 2, "out_shape": (4, 4)}, {"scale": 0}, {"scale": -1}, {"out_shape": (0, 4)}):
        with pytest.raises(ValueError, match="bicubic"):
            bicubic(image, **arguments)
    with pytest.raises(ValueError, match="modcrop"):
        downscale(image, 3)
    with pytest.raises(ValueError, match="non-empty"):
        bicubic(np.zeros((0, 8, 3)), 2)


@pytest.mark.parametrize("factor", [1.5, 2.0, 3.0, 4.0, 0.25])
def test_kernel_is_no_wider_than_it_must_be(factor: float) -> None:
    taps, weights = resize._taps(97, math.ceil(97 / factor), factor)
    assert len(taps) <= math.ceil(4 * max(factor, 1)) + 1
    np.testing.assert_allclose(weights.sum(axis=0), 1, rtol=0, atol=1e-15)
    assert 0 <= taps.min() <= taps.max() < 97
