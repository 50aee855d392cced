"""JPEG compression of the 8-bit low-resolution patch; `jpeg: 50` is libjpeg's quality 50, colour at half size (4:2:0).

Encoded and decoded by Pillow's libjpeg-turbo with the accurate integer transform, which is deterministic: baseline,
standard Huffman tables, standard quantisation tables scaled by the quality, no metadata.
"""

from __future__ import annotations

from io import BytesIO
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin

from xlli_ray.errors import RecipeError

_MAX_SIDE = 65_500  # of the format


class Jpeg:
    """Degradation `jpeg`; the level is the quality, a whole number from 1 (worst) to 100."""

    NAME: Final = "jpeg"
    VERSION: Final = 1
    ORDER: Final = 30
    DOMAIN: Final[Literal["input"]] = "input"
    INTEGER: Final = True

    def check(self, level: float) -> None:
        """Raise RecipeError unless `level` is a whole number from 1 to 100."""
        if not 1 <= level <= 100 or level != int(level):
            raise RecipeError(f"degradation jpeg: {level:g} is no quality; expected a whole number from 1 to 100")

    def apply(self, array: NDArray[Any], level: float, *, key: str) -> NDArray[Any]:
        """Compress and decompress `array`, uint8 (h, w, 3); returns uint8 of the same shape. `key` is not used."""
        del key  # nothing is drawn
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise TypeError(f"jpeg takes a uint8 patch (h, w, 3), not {array.dtype} {array.shape}")
        if max(array.shape) > _MAX_SIDE:
            raise ValueError(f"JPEG holds at most {_MAX_SIDE} pixels a side, this image has {array.shape[:2]}")
        buffer = BytesIO()
        Image.fromarray(array).save(buffer, format="JPEG", quality=int(level), subsampling="4:2:0")
        # The plugin, not Image.open: that one would warn or refuse by a global pixel limit that is not ours.
        with JpegImagePlugin.JpegImageFile(BytesIO(buffer.getvalue())) as image:
            return np.asarray(image.convert("RGB"))


JPEG = Jpeg()
