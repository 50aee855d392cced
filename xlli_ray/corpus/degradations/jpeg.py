"""JPEG compression of the 8-bit low-resolution patch; `jpeg: 50` is libjpeg's quality 50, colour at half size (4:2:0).

Encoded and decoded by Pillow's libjpeg-turbo with the accurate integer transform, which is deterministic: baseline,
standard Huffman tables, standard quantisation tables scaled by the quality, no metadata.
"""

from __future__ import annotations

from io import BytesIO
from typing import Annotated, Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, JpegImagePlugin
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from xlli_ray.corpus.degradations.degradation import Degradation, Degraded, Domain, number

_MAX_SIDE = 65_500  # of the format


def _quality(value: Any) -> int:
    if not 1 <= number(value) <= 100 or value != int(value):
        raise ValueError(f"{value:g} is not a quality; expected an integer from 1 to 100")
    return int(value)


class JpegParams(BaseModel):
    """Parameters of `jpeg`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    quality: Annotated[int, BeforeValidator(_quality)] = Field(description="libjpeg's quality, from 1 (worst) to 100")


class Jpeg(Degradation):
    """Degradation `jpeg`; the level is the quality, an integer from 1 (worst) to 100."""

    NAME: ClassVar[str] = "jpeg"
    VERSION: ClassVar[int] = 1
    ORDER: ClassVar[int] = 30
    DOMAIN: ClassVar[Domain] = "input"
    Params: ClassVar[type[BaseModel]] = JpegParams
    LEVEL: ClassVar[str] = "quality"
    AXIS: ClassVar[str] = "JPEG quality, worse to the right"
    HIGHER_IS_WORSE: ClassVar[bool] = False
    COLOUR: ClassVar[str | None] = "#E69F00"

    def apply(self, array: NDArray[Any], *, key: str) -> Degraded:
        """Compress and decompress `array`, uint8 (h, w, 3); uint8 of the same shape. `key` is not used."""
        del key  # nothing is drawn
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[2] != 3:
            raise TypeError(f"jpeg expects a uint8 patch (h, w, 3), got {array.dtype} {array.shape}")
        if max(array.shape) > _MAX_SIDE:
            raise ValueError(f"JPEG allows at most {_MAX_SIDE} pixels per side, this image has {array.shape[:2]}")
        buffer = BytesIO()
        Image.fromarray(array).save(buffer, format="JPEG", quality=int(self.level), subsampling="4:2:0")
        # The plugin, not Image.open: which would warn or refuse because of a global pixel limit.
        with JpegImagePlugin.JpegImageFile(BytesIO(buffer.getvalue())) as image:
            return Degraded(np.asarray(image.convert("RGB")))
