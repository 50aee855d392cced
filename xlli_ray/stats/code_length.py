"""Code length: how many bits a coder spends on an image, or on a set of them. An upper bound of its Kolmogorov complexity.

The length of the *payload* alone is counted, without what a container adds whatever the image is: of a PNG file its IDAT data (ISO/IEC
15948), of a lossless WebP file its VP8L chunk (RFC 9649), of a JPEG file what follows the header of its scan (ITU-T T.81), so neither its
tables nor its metadata. Containers cost 57 to 600 bytes, as much as the data of a patch of 64². Effort is fixed: PNG level 6, WebP method
4 with quality 75, JPEG quality 75 with the tables of the standard. JPEG is lossy: its number is a rate at one quality, not a bound.

Bytes are those of the codecs of the installed Pillow; another zlib may find a slightly shorter stream.

>>> import numpy as np
>>> flat, noise = np.full((64, 64), 9, np.uint8), np.random.default_rng(0).integers(0, 256, (64, 64), np.uint8)
>>> bpp_png(flat) < 0.2 < 8 < bpp_png(noise) < 8.3
True
"""

from __future__ import annotations

import io
import lzma
import struct
from typing import Any

import numpy as np

_PNG_FIRST, _RIFF_FIRST = 8, 12
_START_OF_SCAN = 0xDA


def bpp_png(grey: np.ndarray) -> float:
    """Bits per pixel of the PNG data of uint8 (H, W)."""
    data, place, size = _file(grey, "PNG", compress_level=6), _PNG_FIRST, 0
    while place < len(data):
        length, name = struct.unpack(">I4s", data[place : place + 8])
        size += length if name == b"IDAT" else 0
        place += 12 + length
    return 8 * size / grey.size


def bpp_webp(grey: np.ndarray) -> float:
    """Bits per pixel of the lossless WebP data of uint8 (H, W), at most 16,383 pixels a side."""
    data, place, size = _file(grey, "WEBP", lossless=True, quality=75, method=4), _RIFF_FIRST, 0
    while place < len(data):
        name, length = struct.unpack("<4sI", data[place : place + 8])
        size += length if name == b"VP8L" else 0
        place += 8 + length + length % 2
    return 8 * size / grey.size


def bpp_jpeg75(grey: np.ndarray) -> float:
    """Bits per pixel of the entropy-coded data of a JPEG of quality 75 of uint8 (H, W)."""
    data, place = _file(grey, "JPEG", quality=75), 2
    while data[place + 1] != _START_OF_SCAN:
        place += 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    start = place + 2 + int.from_bytes(data[place + 2 : place + 4], "big")
    return 8 * (len(data) - start - 2) / grey.size  # without the marker of the end


def bpp_lzma(images: np.ndarray) -> float:
    """Bits per value of LZMA over a whole set, uint8 (n, H, W), one image after the other: what its members share is coded once.

    A raw LZMA2 stream of preset 6 (xz): no container.
    """
    if not images.size:
        return float("nan")
    stream = lzma.compress(np.ascontiguousarray(images).tobytes(), lzma.FORMAT_RAW, filters=[{"id": lzma.FILTER_LZMA2, "preset": 6}])
    return 8 * len(stream) / images.size


def _file(grey: np.ndarray, name: str, **options: Any) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(grey).save(out, name, **options)
    return out.getvalue()
