"""Bytes of an image file -> float32 RGB, in exactly one way, so that a file gives the same numbers everywhere.

Everything that other loaders leave undefined is fixed here:

- EXIF orientation is applied. Palettes become RGB first. Alpha is dropped, never composited. Grey is repeated to RGB.
  No colour management: embedded profiles are ignored, as in every super-resolution benchmark.
- 8 bit is divided by 255 and 16 bit by 65535. Pillow silently reads 16-bit colour PNG and TIFF as 8 bit; here all
  16 bits are read.
- CMYK, Lab, float and 32-bit files, 16-bit colour outside PNG and TIFF, and animations are refused: there is no single correct
  way to read them.
- The pixel limit is checked from the header, before any pixel is decoded. The limit is our own: Pillow's is a module
  global that other code may change, so its format plugins are called directly instead of `Image.open`.

No global of Pillow is changed. One is checked: with `ImageFile.LOAD_TRUNCATED_IMAGES` set (a common line in training
scripts) a truncated file would silently become a half grey image, so decoding refuses to start until it is unset.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import (
    BmpImagePlugin,
    GifImagePlugin,
    Image,
    ImageFile,
    JpegImagePlugin,
    PngImagePlugin,
    PpmImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from xlli_ray.errors import EnvironmentFailure, SampleError, counted

VERSION = 1
MAX_PIXELS = 100_000_000
PIXEL_BYTES = 12
"""A decoded pixel: three float32."""

_FORMATS: tuple[tuple[str, tuple[bytes, ...], Callable[[BytesIO], ImageFile.ImageFile]], ...] = (
    ("PNG", (b"\x89PNG\r\n\x1a\n",), PngImagePlugin.PngImageFile),
    ("JPEG", (b"\xff\xd8\xff",), JpegImagePlugin.JpegImageFile),
    ("WebP", (b"RIFF",), WebPImagePlugin.WebPImageFile),
    ("TIFF", (b"II*\x00", b"MM\x00*"), TiffImagePlugin.TiffImageFile),
    ("BMP", (b"BM",), BmpImagePlugin.BmpImageFile),
    ("GIF", (b"GIF87a", b"GIF89a"), GifImagePlugin.GifImageFile),
    ("PPM", (b"P5", b"P6"), PpmImagePlugin.PpmImageFile),
)
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "I;16", "I;16B", "I;16L")
_ORIENTATION = 0x0112  # the EXIF tag
_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANAR = 258, 262, 284  # tags; photometric 0: white is zero, 2: RGB
_STRIP = 1 << 20  # pixels converted at a time


@dataclass(frozen=True)
class Decoded:
    """A decoded image.

    `pixels`: float32, (H, W, 3), RGB in 0..1. `bits`: 8 or 16 a channel. `mode`: Pillow's name of the file's mode.
    """

    pixels: NDArray[np.float32]
    bits: int
    mode: str


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> Decoded:
    """Decode the bytes of a PNG, JPEG, WebP, TIFF, BMP, GIF or PPM file.

    Raises SampleError with the reason for: an empty file, no image, more than `max_pixels` pixels, a truncated or
    damaged file, an unsupported colour mode. Raises EnvironmentFailure if Pillow is set to accept truncated files.
    """
    if ImageFile.LOAD_TRUNCATED_IMAGES:
        raise EnvironmentFailure(
            "PIL.ImageFile.LOAD_TRUNCATED_IMAGES is set: truncated files would be read as half grey images."
            " Set it to False before images are decoded."
        )
    name, image = _open(data)
    try:
        with image:
            _check_header(image, max_pixels)
            values = _colour16(image, data) if name == "PNG" else _tiff16(image, data) if name == "TIFF" else None
            if values is None:
                image.load()
                values = _values(image)
            orientation = _orientation(image)  # after load(): Pillow turns TIFF itself and then forgets the tag
            mode = image.mode
    except (SampleError, MemoryError):
        raise
    except (
        Exception
    ) as error:  # the decoders of seven formats on hostile bytes: any error means that the file is bad
        raise SampleError(_damage(name, data, error)) from error
    bits, white = (16, np.float32(65535)) if values.dtype == np.uint16 else (8, np.float32(255))
    if values.ndim == 2:
        values = np.repeat(values[:, :, None], 3, axis=2)
    pixels = np.ascontiguousarray(_turn(values, orientation), dtype=np.float32)
    pixels /= white
    return Decoded(pixels=pixels, bits=bits, mode=mode)


def size_of(data: bytes, *, max_pixels: int = MAX_PIXELS) -> tuple[int, int]:
    """(height, width) by the header of an image file, before its EXIF orientation. Raises SampleError as `decode`, but for damage behind
    the header."""
    name, image = _open(data)
    try:
        with image:
            _check_header(image, max_pixels)
            return image.size[1], image.size[0]
    except (SampleError, MemoryError):
        raise
    except Exception as error:
        raise SampleError(_damage(name, data, error)) from error


def to_u8(x: NDArray[Any]) -> NDArray[np.uint8]:
    """Float in 0..1 (clipped) -> uint8, rounded half up. Inverse of the division by 255 for all 256 values."""
    out = np.empty(x.shape, np.uint8)
    step = max(1, _STRIP // max(1, x[:1].size)) if x.ndim else 1
    for first in range(0, len(x) if x.ndim else 1, step):  # a large image is not held three times in memory
        part = slice(first, first + step) if x.ndim else ()
        scaled = np.clip(x[part], 0.0, 1.0)
        scaled = scaled * np.asarray(255, dtype=scaled.dtype)
        out[part] = np.floor(scaled + np.asarray(0.5, dtype=scaled.dtype))
    return out


def luma_full(rgb: NDArray[Any]) -> NDArray[Any]:
    """BT.601 luma 0.299 R + 0.587 G + 0.114 B, full range, unrounded.

    `rgb`: (..., 3), any range. Returns (...) in the same range and dtype; integers give float64.
    """
    if not np.issubdtype(rgb.dtype, np.floating):
        rgb = rgb.astype(np.float64)
    red, green, blue = (np.asarray(weight, dtype=rgb.dtype) for weight in (0.299, 0.587, 0.114))
    return red * rgb[..., 0] + green * rgb[..., 1] + blue * rgb[..., 2]


def _open(data: bytes) -> tuple[str, ImageFile.ImageFile]:
    """Reads the header only."""
    if not data:
        raise SampleError("empty file: 0 bytes")
    for name, signatures, plugin in _FORMATS:
        if data.startswith(signatures):
            try:
                return name, plugin(BytesIO(data))
            except MemoryError:
                raise
            except Exception as error:
                raise SampleError(_damage(name, data, error)) from error
    known = ", ".join(name for name, _, _ in _FORMATS)
    raise SampleError(f"not an image: {counted(len(data), 'byte')}, beginning with {data[:8]!r}; expected one of {known}")


def _check_header(image: ImageFile.ImageFile, max_pixels: int) -> None:
    width, height = image.size
    if width * height > max_pixels:
        raise SampleError(
            f"too large: {width} x {height} = {width * height} pixels by its header, {width * height * PIXEL_BYTES / 1e9:.1f} GB decoded;"
            f" the limit is {max_pixels} pixels; raise corpus.max_pixels if the file can be trusted"
        )
    if image.mode not in _MODES:
        raise SampleError(
            f"colour mode {image.mode} is refused; expected grey, RGB or palette: convert the file to RGB"
        )
    if (frames := getattr(image, "n_frames", 1)) > 1:
        raise SampleError(f"{frames} frames in one file; expected one image: save each frame as a file")
    if isinstance(image, TiffImagePlugin.TiffImageFile) and (missing := _missing(image)):
        raise SampleError(f"damaged TIFF file: its strips or tiles hold {1 - missing:.0%} of {width} x {height} pixels; Pillow would read"
                          " the rest as black")  # fmt: skip
    if _misread(image):
        raise SampleError(
            f"{image.format} of this kind is refused: Pillow would drop bits, or read black as white;"
            " save it as 8-bit or 16-bit PNG"
        )


def _missing(image: TiffImagePlugin.TiffImageFile) -> float:
    """Share of the image, in 0..1, that none of its strips and tiles holds; with a plane for each channel, of all planes."""
    planes = len(image.getbands()) if image.tag_v2.get(_TIFF_PLANAR) == 2 and image.tile and image.tile[0].codec_name != "libtiff" else 1
    held = sum((right - left) * (low - top) for left, top, right, low in (tile.extents for tile in image.tile if tile.extents))
    return max(0.0, 1 - held / max(1, planes * image.size[0] * image.size[1]))


def _misread(image: ImageFile.ImageFile) -> bool:
    """Files of more than 8 bits that Pillow opens without complaint, but with wrong values."""
    if isinstance(image, PpmImagePlugin.PpmImageFile):
        return bool(image.tile[0][0] != "raw")  # white is not 255: rescaled to 8 bits
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        bits = max(image.tag_v2.get(_TIFF_BITS, (1,)))
        grey = image.mode.startswith("I;16") and bits == 16 and image.tag_v2.get(_TIFF_PHOTOMETRIC) == 1
        return bits > 8 and not grey and not _is_tiff16(image)  # white of 12 bits differs; in grey, 0 may be white
    return False


def _values(image: Image.Image) -> NDArray[Any]:
    """uint8 or uint16 of (H, W) or (H, W, 3).

    A palette with transparency is converted via RGBA, where Pillow loses nothing.
    """
    if image.mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if image.mode in ("P", "PA"):
        return np.asarray(image.convert("RGBA"))[:, :, :3]
    if image.mode == "LA":
        return np.asarray(image)[:, :, 0]
    if image.mode in ("RGBA", "RGBX"):
        return np.asarray(image)[:, :, :3]
    return np.asarray(image.convert("L") if image.mode == "1" else image)


def _colour16(image: ImageFile.ImageFile, data: bytes) -> NDArray[np.uint16] | None:
    """All 16 bits of a 16-bit PNG with colour or alpha, None for other PNG files.

    Pillow unpacks such rows to 8 bit in two ways: `;16B` keeps the first byte of each pair, `;16L` the second. The
    file's compressed data is decoded once with each, and the halves are put together. Grey with alpha has the layout of
    8-bit RGBA: L, l, A, a.
    """
    depth, colour, interlace = data[24], data[25], data[28]  # of the IHDR chunk, which comes first by the standard
    if depth != 16 or colour not in (2, 4, 6):
        return None
    compressed = _png_data(data)
    if colour == 4:
        grey = np.asarray(Image.frombytes("RGBA", image.size, compressed, "zip", "RGBA", interlace))
        return grey[:, :, 0].astype(np.uint16) << 8 | grey[:, :, 1]
    mode = "RGB" if colour == 2 else "RGBA"
    high, low = (
        np.asarray(Image.frombytes(mode, image.size, compressed, "zip", f"{mode};16{end}", interlace))[:, :, :3]
        for end in "BL"
    )
    return high.astype(np.uint16) << 8 | low


def _is_tiff16(image: TiffImagePlugin.TiffImageFile) -> bool:
    """16-bit RGB with or without alpha, with interleaved channels, as read by `_tiff16`."""
    tags = image.tag_v2
    rgb = set(tags.get(_TIFF_BITS, ())) == {16} and tags.get(_TIFF_PHOTOMETRIC) == 2 and tags.get(_TIFF_PLANAR, 1) == 1
    return rgb and image.mode in ("RGB", "RGBA") and bool(image.tile) and all(_ending(tile) in ("L", "B", "N") for tile in image.tile)


def _ending(tile: Any) -> str:
    """Byte order in the name of a tile's layout, as `RGB;16L`; '' for others, such as premultiplied alpha (`RGBa;16L`)."""
    layout = str(tile[3][0]) if isinstance(tile[3], tuple) else ""
    return layout[-1] if layout[:-1] in ("RGB;16", "RGBA;16", "RGBX;16") else ""


def _tiff16(image: ImageFile.ImageFile, data: bytes) -> NDArray[np.uint16] | None:
    """All 16 bits of a 16-bit TIFF with colour, None for other TIFF files: the bytes are decoded twice, as in `_colour16`."""
    if not isinstance(image, TiffImagePlugin.TiffImageFile) or not _is_tiff16(image):
        return None
    halves: dict[str, NDArray[np.uint8]] = {}
    native = "L" if sys.byteorder == "little" else "B"
    orders = {native if _ending(tile) == "N" else _ending(tile) for tile in image.tile}
    if len(orders) > 1:
        raise SampleError("16-bit TIFF with two byte orders in one file; save it as PNG")
    for order in "LB":
        with TiffImagePlugin.TiffImageFile(BytesIO(data)) as half:
            tiles: list[Any] = half.tile
            half.tile = [tile._replace(args=(f"{tile.args[0][:-1]}{order}", *tile.args[1:])) for tile in tiles]
            half.load()
            halves[order] = np.asarray(half)[:, :, :3]
    high, low = halves["L"], halves["B"]
    if orders == {"B"}:
        high, low = low, high
    return np.left_shift(high, 8, dtype=np.uint16) | low


def _png_data(data: bytes) -> bytes:
    """The zlib stream of a PNG: all IDAT chunks, joined."""
    parts, position = [], 8
    while position + 8 <= len(data):
        (length,) = struct.unpack_from(">I", data, position)
        kind = data[position + 4 : position + 8]
        if kind == b"IDAT":
            parts.append(data[position + 8 : position + 8 + length])
        if kind == b"IEND":
            break
        position += 12 + length
    return b"".join(parts)


def _orientation(image: Image.Image) -> int:
    """EXIF orientation, 1 to 8; 1 if it is missing or unreadable: metadata must not make an image unreadable."""
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # Pillow parses EXIF as TIFF, which can fail in as many ways
        return 1
    return value if value in range(1, 9) else 1


def _turn(values: NDArray[Any], orientation: int) -> NDArray[Any]:
    """Undo the camera's orientation: EXIF 2.3, table 6; from 5 on height and width swap."""
    if orientation >= 5:
        values = values.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        values = values[::-1]
    if orientation in (2, 3, 6, 7):
        values = values[:, ::-1]
    return values


def _damage(name: str, data: bytes, error: Exception) -> str:
    text = str(error) or type(error).__name__
    short = any(word in text.lower() for word in ("truncated", "not enough", "unexpected end", "eof", "incomplete"))
    return f"{'truncated' if short else 'damaged'} {name} file of {counted(len(data), 'byte')}: {text}"
