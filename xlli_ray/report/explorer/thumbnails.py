"""Thumbnails of samples, in sheets: one lossy image for many samples, since a file or a request each would be slow to open."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import Loaded
from xlli_ray.plots.pixels import shrunk, to_image
from xlli_ray.report.explorer.encoding import base64_of

SIDE = 48
"""Pixels."""
ACROSS = 16
ROWS = 256
"""Thumbnails of one sheet."""
MOST = 4096
"""Samples with thumbnails: decoding every image of a large corpus would take longer than the rest of the page."""
BLANK = 232
"""Grey level where an image is not available, and around those that are not square."""


def sheet(samples: Sequence[Loaded | str]) -> dict[str, Any]:
    """`ThumbnailsPart`: the inputs of these samples, at most ROWS, in order; grey for one that cannot be loaded."""
    return sheet_of([None if isinstance(loaded, str) else loaded.input for loaded in samples])


def sheet_of(images: Sequence[NDArray[Any] | None]) -> dict[str, Any]:
    """The same of images (C, H, W) in 0..1, or clips."""
    down = -(-len(images) // ACROSS)
    out = np.full((down * SIDE, min(ACROSS, len(images)) * SIDE, 3), BLANK, np.uint8)
    for i, planes in enumerate(images):
        if planes is not None:
            top, left = i // ACROSS * SIDE, i % ACROSS * SIDE
            out[top : top + SIDE, left : left + SIDE] = thumbnail(planes)
    return {"uri": f"data:image/webp;base64,{base64_of(_webp(out))}", "across": ACROSS}


def thumbnail(planes: NDArray[Any]) -> NDArray[np.uint8]:
    """uint8 (SIDE, SIDE, 3): the whole image, centred."""
    from PIL import Image

    small = shrunk(to_image(planes), 4 * SIDE)
    height, width = small.shape[:2]
    longest = max(height, width)
    size = max(1, round(width * SIDE / longest)), max(1, round(height * SIDE / longest))
    how = Image.Resampling.NEAREST if longest < SIDE else Image.Resampling.BOX
    pixels = np.asarray(Image.fromarray(np.ascontiguousarray(small)).resize(size, how))
    out = np.full((SIDE, SIDE, 3), BLANK, np.uint8)
    top, left = (SIDE - size[1]) // 2, (SIDE - size[0]) // 2
    out[top : top + size[1], left : left + size[0]] = pixels
    return out


def _webp(image: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "WEBP", quality=70, method=2)
    return sink.getvalue()

