"""Thumbnails of samples, in sheets: one lossy image for many samples, since a file or a request each would be slow to open."""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.plots.pixels import shrunk, to_image
from xlli_ray.report.explorer.encoding import base64_of

SIDE = 48
"""Pixels."""
ACROSS = 16
ROWS = 256
"""Thumbnails of one sheet."""
MOST = 4096
"""Samples with thumbnails: decoding every image of a large corpus would take longer than the rest of the page."""
EACH = 512
"""In a study of more samples, those of one content share the thumbnail of the first: degrading each would take longer, too."""
BLANK = 232
"""Grey level where an image is not available, and around those that are not square."""
EMPTY: NDArray[np.uint8] = np.full((SIDE, SIDE, 3), BLANK, np.uint8)


def sheet(thumbnails: Sequence[NDArray[np.uint8]]) -> dict[str, Any]:
    """`ThumbnailsPart` of at most ROWS thumbnails, in order."""
    down = -(-len(thumbnails) // ACROSS)
    out = np.full((down * SIDE, min(ACROSS, len(thumbnails)) * SIDE, 3), BLANK, np.uint8)
    for i, pixels in enumerate(thumbnails):
        top, left = i // ACROSS * SIDE, i % ACROSS * SIDE
        out[top : top + SIDE, left : left + SIDE] = pixels
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

