"""Decoding is exactly one way: every format trap has its image here, made on the spot."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile, ImageOps

from xlli_ray.corpus import decode as decode_module
from xlli_ray.corpus.decode import decode, luma_full, to_u8
from xlli_ray.errors import EnvironmentFailure, SampleError

RNG = np.random.default_rng(7)
RGB = RNG.integers(0, 256, (5, 7, 3), dtype=np.uint8)
GREY = RGB[:, :, 0]


def saved(image: Image.Image | np.ndarray, fmt: str = "PNG", **options: object) -> bytes:
    buffer = BytesIO()
    image = image if isinstance(image, Image.Image) else Image.fromarray(image)
    image.save(buffer, format=fmt, **options)
    return buffer.getvalue()


def chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(values: np.ndarray, colour: int, *, header: tuple[int, int] | None = None, filters: bool = False) -> bytes:
    """A PNG written by hand from the standard: (H, W, C) of uint8 or uint16, colour type as given."""
    height, width, channels = values.shape
    raw = values.astype(">u2").tobytes() if values.dtype == np.uint16 else values.tobytes()
    step, rows, previous = len(raw) // height, [], bytes(len(raw) // height)
    pixel = channels * values.dtype.itemsize
    for y in range(height):
        line = raw[y * step : (y + 1) * step]
        kind = y % 5 if filters else 0
        rows.append(
            bytes([kind]) + bytes((b - predicted(kind, line, previous, i, pixel)) % 256 for i, b in enumerate(line))
        )
        previous = line
    shape = header or (width, height)
    ihdr = struct.pack(">IIBBBBB", *shape, 8 * values.dtype.itemsize, colour, 0, 0, 0)
    data = zlib.compress(b"".join(rows))
    half = len(data) // 2  # two IDAT chunks, as real encoders write them
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", ihdr)
        + chunk(b"IDAT", data[:half])
        + chunk(b"IDAT", data[half:])
        + chunk(b"IEND", b"")
    )


def predicted(kind: int, line: bytes, above: bytes, i: int, pixel: int) -> int:
    """The five row filters of the PNG standard, section 9."""
    a = line[i - pixel] if i >= pixel else 0
    b = above[i]
    c = above[i - pixel] if i >= pixel else 0
    paeth = min((abs(b - c), 0, a), (abs(a - c), 1, b), (abs(a + b - 2 * c), 2, c))[2]
    return (0, a, b, (a + b) // 2, paeth)[kind]


def u8(data: bytes) -> np.ndarray:
    return to_u8(decode(data).pixels)


def test_rgb_is_divided_by_255_and_nothing_else() -> None:
    found = decode(saved(RGB))
    assert found.pixels.dtype == np.float32
    assert found.pixels.flags.c_contiguous
    np.testing.assert_array_equal(found.pixels, RGB.astype(np.float32) / np.float32(255))
    assert (found.bits, found.mode) == (8, "RGB")


@pytest.mark.parametrize("fmt", ["PNG", "BMP", "TIFF", "PPM", "WebP"])
def test_lossless_formats_give_the_same_pixels(fmt: str) -> None:
    options = {"lossless": True} if fmt == "WebP" else {}
    np.testing.assert_array_equal(u8(saved(RGB, fmt, **options)), RGB)


def test_jpeg_gives_what_pillow_decodes() -> None:
    data = saved(np.kron(RGB, np.ones((8, 8, 1), np.uint8)), "JPEG", quality=80)
    np.testing.assert_array_equal(u8(data), np.asarray(Image.open(BytesIO(data))))


def test_grey_is_repeated() -> None:
    np.testing.assert_array_equal(u8(saved(GREY)), np.stack([GREY] * 3, axis=2))


def test_bilevel_is_black_and_white() -> None:
    bits = GREY > 127
    np.testing.assert_array_equal(u8(saved(Image.fromarray(bits)))[:, :, 1], bits * np.uint8(255))


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_alpha_is_dropped_not_composited(mode: str) -> None:
    image = Image.fromarray(RGB).convert("L" if mode == "LA" else "RGB")
    opaque = u8(saved(image))
    image.putalpha(Image.fromarray(np.zeros_like(GREY)))
    assert image.mode == mode
    np.testing.assert_array_equal(u8(saved(image)), opaque)


def test_transparent_colour_key_changes_nothing() -> None:
    np.testing.assert_array_equal(u8(saved(RGB, transparency=tuple(RGB[0, 0].tolist()))), RGB)


@pytest.mark.parametrize("transparency", [None, 3, bytes(range(0, 160, 10))])
def test_palette_becomes_rgb_with_and_without_transparency(transparency: int | bytes | None) -> None:
    palette = RNG.integers(0, 256, (16, 3), dtype=np.uint8)
    index = RNG.integers(0, 16, (6, 9), dtype=np.uint8)
    image = Image.fromarray(index).convert("P")
    image.putpalette(palette.tobytes())
    options = {} if transparency is None else {"transparency": transparency}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # Pillow warns when such a palette is converted the wrong way
        found = decode(saved(image, **options))
    assert found.mode == "P"
    np.testing.assert_array_equal(to_u8(found.pixels), palette[index])


def test_16_bit_grey_is_divided_by_65535() -> None:
    deep = RNG.integers(0, 65536, (4, 6), dtype=np.uint16)
    for data in (saved(deep), png(deep[:, :, None], 0), saved(deep, "TIFF")):
        found = decode(data)
        assert found.bits == 16
        expected = deep.astype(np.float32) / np.float32(65535)
        np.testing.assert_array_equal(found.pixels, np.stack([expected] * 3, axis=2))


@pytest.mark.parametrize(("colour", "channels"), [(2, 3), (6, 4), (4, 2)])
@pytest.mark.parametrize("filters", [False, True])
def test_16_bit_colour_png_keeps_its_lower_byte(colour: int, channels: int, filters: bool) -> None:
    deep = RNG.integers(0, 65536, (11, 6, channels), dtype=np.uint16)
    found = decode(png(deep, colour, filters=filters))
    expected = deep[:, :, :3] if channels > 2 else np.repeat(deep[:, :, :1], 3, axis=2)
    assert found.bits == 16
    np.testing.assert_array_equal(found.pixels, expected.astype(np.float32) / np.float32(65535))


def test_interlaced_16_bit_colour_png() -> None:
    deep = RNG.integers(0, 65536, (9, 10, 3), dtype=np.uint16)
    adam7 = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
    passes = [deep[top::down, left::right] for top, left, down, right in adam7]
    rows = b"".join(b"\x00" + row.astype(">u2").tobytes() for part in passes if part.size for row in part)
    header = struct.pack(">IIBBBBB", 10, 9, 16, 2, 0, 0, 1)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")
    np.testing.assert_array_equal(decode(data).pixels, deep.astype(np.float32) / np.float32(65535))


def test_16_bit_colour_outside_png_is_refused_instead_of_losing_8_bits() -> None:
    ppm = b"P6\n2 1\n65535\n" + bytes(range(12))
    with pytest.raises(SampleError, match="refused"):
        decode(ppm)


def tiff(values: np.ndarray, photometric: int, bits: int) -> bytes:
    """A little-endian, uncompressed TIFF of one strip."""
    height, width, channels = values.shape
    data = values.astype("<u2").tobytes()
    inline = [(256, 4, 1, width), (257, 4, 1, height), (259, 3, 1, 1), (262, 3, 1, photometric), (273, 4, 1, 8)]
    inline += [(277, 3, 1, channels), (278, 4, 1, height), (279, 4, 1, len(data))]
    at = 8 + len(data)
    inline.append((258, 3, channels, at if channels == 3 else bits))
    extra = struct.pack("<HHH", bits, bits, bits)
    entries = b"".join(struct.pack("<HHII", *entry) for entry in sorted(inline))
    directory = struct.pack("<H", len(inline)) + entries + struct.pack("<I", 0)
    return b"II*\x00" + struct.pack("<I", at + len(extra)) + data + extra + directory


def test_16_bit_tiff_is_read_whole_and_refused_where_pillow_would_read_it_wrong() -> None:
    deep = RNG.integers(0, 65536, (3, 4, 3), dtype=np.uint16)
    for photometric, channels in ((1, 1), (2, 3)):
        found = decode(tiff(deep[:, :, :channels], photometric, 16))
        assert found.bits == 16
        np.testing.assert_array_equal(found.pixels, np.broadcast_to(deep[:, :, :channels], deep.shape) / np.float32(65535))
    with pytest.raises(SampleError, match="TIFF of this kind is refused"):
        decode(tiff(deep[:, :, :1], 0, 16))  # white is zero: Pillow does not invert it


def test_a_tiff_whose_strips_end_before_its_image_does_is_refused_instead_of_read_as_black() -> None:
    whole = tiff(RNG.integers(0, 65536, (3, 4, 1), dtype=np.uint16), 1, 16)
    tall = whole.replace(struct.pack("<HHII", 257, 4, 1, 3), struct.pack("<HHII", 257, 4, 1, 300_000))  # 14 MB of black from 200 bytes
    with pytest.raises(SampleError, match=r"damaged TIFF file: its strips or tiles hold 0% of 4 x 300000 pixels"):
        decode(tall)


@pytest.mark.parametrize("options", [{"planarconfig": "separate"}, {"planarconfig": "separate", "rowsperstrip": 7}, {"rowsperstrip": 7},
                                     {"tile": (16, 16)}], ids=str)  # fmt: skip
@pytest.mark.parametrize("orientation", [1, 6])
def test_strips_tiles_and_planes_that_hold_the_whole_image_are_read(options: dict[str, Any], orientation: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    values = RNG.integers(0, 256, (20, 37, 3), dtype=np.uint8)
    file, extra = BytesIO(), [(274, "H", 1, orientation, True)]
    given = values.transpose(2, 0, 1) if "planarconfig" in options else values
    tifffile.imwrite(file, given, photometric="rgb", extratags=extra, **options)
    upright = values if orientation == 1 else np.rot90(values, -1)
    np.testing.assert_array_equal(decode(file.getvalue()).pixels, upright / np.float32(255))


@pytest.mark.parametrize("options", [{}, {"byteorder": ">"}, {"compression": "zlib"}, {"compression": "zlib", "byteorder": ">"},
                                     {"compression": "zlib", "predictor": True}, {"tile": (16, 16)},
                                     {"tile": (16, 16), "compression": "zlib"}],
                         ids=str)  # fmt: skip
@pytest.mark.parametrize("channels", [3, 4])
def test_all_16_bits_of_a_colour_tiff_are_read_however_it_is_laid_out(options: dict[str, Any], channels: int) -> None:
    tifffile = pytest.importorskip("tifffile")
    deep = RNG.integers(0, 65536, (20, 37, channels), dtype=np.uint16)
    extra = {"extrasamples": ["unassalpha"]} if channels == 4 else {}
    file = BytesIO()
    tifffile.imwrite(file, deep, photometric="rgb", **options, **extra)
    np.testing.assert_array_equal(decode(file.getvalue()).pixels, deep[:, :, :3] / np.float32(65535))


@pytest.mark.parametrize("options", [{"planarconfig": "separate"}, {"extrasamples": ["assocalpha"]}], ids=str)
def test_16_bit_colour_tiff_that_pillow_would_change_is_refused(options: dict[str, Any]) -> None:
    tifffile = pytest.importorskip("tifffile")
    shape = (3, 20, 30) if "planarconfig" in options else (20, 30, 4)
    file = BytesIO()
    tifffile.imwrite(file, np.zeros(shape, np.uint16), photometric="rgb", **options)
    with pytest.raises(SampleError, match="refused"):
        decode(file.getvalue())


def test_numbers_of_a_large_image_are_rounded_strip_by_strip_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    values = RNG.random((50, 30, 3)).astype(np.float32) * 1.2 - 0.1
    whole = to_u8(values)
    monkeypatch.setattr(decode_module, "_STRIP", 200)
    np.testing.assert_array_equal(to_u8(values), whole)
    assert to_u8(np.float32(0.5)) == 128
    assert to_u8(np.empty((0, 3, 3), np.float32)).shape == (0, 3, 3)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "TIFF", "WebP"])
def test_exif_orientation_is_applied_once(orientation: int, fmt: str) -> None:
    big = np.kron(RGB, np.ones((8, 8, 1), np.uint8))
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if fmt == "WebP" else {}
    data = saved(big, fmt, exif=exif, **options)
    turned = ImageOps.exif_transpose(Image.open(BytesIO(data))).convert("RGB")
    assert turned.size == ((56, 40) if orientation < 5 else (40, 56))
    np.testing.assert_array_equal(u8(data), np.asarray(turned))


def test_broken_exif_does_not_cost_the_image() -> None:
    np.testing.assert_array_equal(u8(saved(RGB, exif=b"Exif\x00\x00II*\x00\xff\xff")), RGB)


@pytest.mark.parametrize("mode", ["CMYK", "LAB", "F", "I"])
def test_colour_modes_without_one_right_reading_are_refused(mode: str) -> None:
    image = Image.new(mode, (4, 4))
    fmt = "JPEG" if mode == "CMYK" else "TIFF"
    with pytest.raises(SampleError, match=f"colour mode {mode} is refused.*convert"):
        decode(saved(image, fmt))


def test_animations_are_refused_with_the_number_of_frames() -> None:
    frames = [Image.fromarray(np.roll(RGB, k, axis=0)) for k in range(3)]
    with pytest.raises(SampleError, match="3 frames"):
        decode(saved(frames[0], "GIF", save_all=True, append_images=frames[1:]))


def test_empty_file() -> None:
    with pytest.raises(SampleError, match="empty file"):
        decode(b"")


@pytest.mark.parametrize("data", [b"hello, world", b"%PDF-1.7 ....", b"\x00" * 64, b"\x89PN"])
def test_non_image(data: bytes) -> None:
    with pytest.raises(SampleError, match=r"not an image.*PNG"):
        decode(data)


@pytest.mark.parametrize("fmt", ["PNG", "JPEG", "TIFF", "BMP"])
@pytest.mark.parametrize("kept", [0.3, 0.7, 0.95])
def test_truncated_file_is_an_error_not_a_half_grey_image(fmt: str, kept: float) -> None:
    data = saved(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8), fmt)
    with pytest.raises(SampleError, match=f"(truncated|damaged) {fmt} file of"):
        decode(data[: int(kept * len(data))])


def test_truncated_16_bit_colour_png_is_an_error() -> None:
    data = png(RNG.integers(0, 65536, (32, 32, 3), dtype=np.uint16), 2)
    with pytest.raises(SampleError, match=r"(truncated|damaged) PNG"):
        decode(data[: len(data) // 2])


def test_header_only_is_truncated() -> None:
    with pytest.raises(SampleError, match=r"(truncated|damaged) JPEG"):
        decode(b"\xff\xd8\xff\xe0\x00\x10JFIF")


@settings(max_examples=60, deadline=None)
@given(
    st.binary(max_size=64), st.integers(0, 200), st.sampled_from(["PNG", "JPEG", "GIF", "TIFF", "BMP", "WebP", "PPM"])
)
def test_random_damage_never_raises_anything_but_sample_error(junk: bytes, at: int, fmt: str) -> None:
    data = bytearray(saved(RGB, fmt))
    at = min(at, len(data))
    data[at : at + len(junk)] = junk
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            found = decode(bytes(data), max_pixels=10_000)
        except SampleError:
            return  # a reason, not a crash
        else:
            assert found.pixels.shape[2] == 3
            assert 0.0 <= found.pixels.min() <= found.pixels.max() <= 1.0


def test_bomb_is_refused_from_the_header_alone() -> None:
    small = np.zeros((1, 1, 3), np.uint8)
    bomb = png(small, 2, header=(60_000, 60_000))  # 3.6 gigapixels by its header, one pixel of data
    with pytest.raises(SampleError, match=r"too large: 60000 x 60000 = 3600000000 pixels.*limit is 100000000"):
        decode(bomb)


def test_pixel_limit_is_exact_and_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved(RGB)
    assert decode(data, max_pixels=35).pixels.shape == (5, 7, 3)
    with pytest.raises(SampleError, match="limit is 34"):
        decode(data, max_pixels=34)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2)  # what other code set must neither refuse nor warn
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        decode(data)


def test_setting_pillow_to_accept_truncated_files_stops_the_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    with pytest.raises(EnvironmentFailure, match="LOAD_TRUNCATED_IMAGES"):
        decode(saved(RGB))


def test_decoding_leaves_pillows_globals_alone() -> None:
    before = [Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)]
    decode(saved(RGB))
    after = [Image.MAX_IMAGE_PIXELS, ImageFile.LOAD_TRUNCATED_IMAGES, list(warnings.filters)]
    assert before == after


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_to_u8_inverts_the_division_for_all_256_values(dtype: type) -> None:
    values = np.arange(256, dtype=np.uint8)
    np.testing.assert_array_equal(to_u8(values.astype(dtype) / dtype(255)), values)


def test_to_u8_rounds_half_up_and_clips() -> None:
    x = np.array([-1.0, 0.5 / 255, 1.5 / 255, 2.49 / 255, 1.0, 7.0])
    assert to_u8(x).tolist() == [0, 1, 2, 2, 255, 255]


def test_luma_weights_are_those_of_bt601() -> None:
    assert luma_full(np.eye(3)).tolist() == [0.299, 0.587, 0.114]
    assert luma_full(np.full((1, 3), 200, np.uint8))[0] == pytest.approx(200.0, abs=1e-12)
    assert luma_full(np.ones((2, 2, 3), np.float32)).dtype == np.float32
