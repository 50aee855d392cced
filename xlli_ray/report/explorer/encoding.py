"""How values are written for the explorer: little-endian arrays and PNG files in base64, JSON without NaN, scripts that hold a part.

`web/src/data.ts` says how they are read. The same values give the same bytes.
"""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

EXACT_BYTES = 512 << 10
"""Numbers of an array that take more are shown in 256 levels."""
LEVELS = 255


def base64_of(data: bytes) -> str:
    """ASCII text."""
    return base64.b64encode(data).decode("ascii")


def float32_text(values: NDArray[Any]) -> str:
    """Any shape, C order; the shape is told beside it."""
    return base64_of(np.ascontiguousarray(values, dtype="<f4").tobytes())


def uint32_text(values: NDArray[Any]) -> str:
    """As `float32_text`, of codes."""
    return base64_of(np.ascontiguousarray(values, dtype="<u4").tobytes())


def png_text(image: NDArray[np.uint8]) -> str:
    """A PNG file of (H, W) or (H, W, 3), written fast rather than small."""
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(np.ascontiguousarray(image)).save(sink, "PNG", compress_level=3)
    return base64_of(sink.getvalue())


def script(name: str, part: Any) -> bytes:
    """The script of part `name`. `<` is escaped, so that it could stand inside a page, and so are the two line ends of JavaScript that JSON
    does not know; all else but ASCII stays as it is."""
    text = json.dumps(part, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    text = text.replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f"xlli.put({json.dumps(name)},{text});\n".encode("utf-8", "backslashreplace")


def failed_script(name: str, reason: str) -> bytes:
    """In place of a part that could not be made."""
    return script(name, reason).replace(b"xlli.put(", b"xlli.fail(", 1)


def image_planes(values: NDArray[Any], places: Sequence[Sequence[int]], total: int) -> dict[str, Any]:
    """`Planes` of images (n, C, H, W), C 1 or 3, in grey levels 0..255: rounded where they are not integers."""
    levels = values if values.dtype == np.uint8 else np.clip(np.floor(np.nan_to_num(values) + 0.5), 0, 255).astype(np.uint8)
    count, channels, height, width = levels.shape
    stacked = np.moveaxis(levels, 1, 3).reshape(count * height, width, channels)
    return {
        "height": height, "width": width, "channels": channels, "places": [list(place) for place in places], "total": total,
        "png": png_text(stacked if channels == 3 else stacked[..., 0]), "low": [0.0] * count, "high": [255.0] * count,
    }  # fmt: skip


def number_planes(values: NDArray[Any], places: Sequence[Sequence[int]], total: int, *, exact: int = EXACT_BYTES) -> dict[str, Any]:
    """`Planes` of single numbers (n, H, W): float32 up to `exact` bytes, else 256 levels between each plane's ends. NaN stays NaN in the
    former, and becomes the lowest level in the latter."""
    count, height, width = values.shape
    out = {"height": height, "width": width, "channels": 1, "places": [list(place) for place in places], "total": total}
    if values.size * 4 <= exact:
        return {**out, "f4": float32_text(values)}
    finite = np.where(np.isfinite(values), values, np.nan).astype(np.float64)
    empty = np.isnan(finite).all(axis=(1, 2))
    finite[empty] = 0
    low, high = np.nanmin(finite, axis=(1, 2)), np.nanmax(finite, axis=(1, 2))
    span = np.where(high > low, high - low, 1)[:, None, None]
    levels = np.nan_to_num(np.floor((finite - low[:, None, None]) / span * LEVELS + 0.5)).astype(np.uint8)
    return {**out, "png": png_text(levels.reshape(count * height, width)), "low": low.tolist(), "high": high.tolist()}


def coded_planes(values: NDArray[Any], places: Sequence[Sequence[int]], total: int) -> dict[str, Any]:
    """`Planes` of integers (n, H, W) of which few differ, exact: level k stands for the k-th smallest. Raises ValueError above 256."""
    count, height, width = values.shape
    table, codes = np.unique(values, return_inverse=True)
    if len(table) > LEVELS + 1:
        raise ValueError(f"{len(table)} different values: a plane of levels holds {LEVELS + 1}")
    return {
        "height": height, "width": width, "channels": 1, "places": [list(place) for place in places], "total": total,
        "png": png_text(codes.reshape(count * height, width).astype(np.uint8)), "table": table.tolist(),
    }  # fmt: skip
