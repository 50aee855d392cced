"""Phase correlation: one motion for the whole frame, or one for each tile.

C. Kuglin, D. Hines, "The Phase Correlation Image Alignment Method", IEEE Conference on Cybernetics and Society, 1975; the peak's position
between pixels by an upsampled Fourier transform, M. Guizar-Sicairos, S. Thurman, J. Fienup, Optics Letters 33, 2008 (scikit-image). As a
whole it fits pans, and nothing else; with `tile` the flow is constant in each tile. Frames are windowed (Hann) first, since a Fourier
transform takes opposite edges for neighbours.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.probes.flow.estimator import PairwiseEstimator, grey8


class PhaseArgs(BaseModel):
    """Arguments of `phase`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    tile: int | None = Field(default=None, ge=8, description="side of a tile in pixels; null: one motion for the whole frame")
    upsampling: int = Field(default=20, ge=1, le=1000, description="motion is found to 1 / this of a pixel")


class Phase(PairwiseEstimator):
    """`phase`."""

    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "Kuglin, Hines, 1975; Guizar-Sicairos et al., Optics Letters 33, 2008"
    Args: ClassVar[type[BaseModel]] = PhaseArgs

    def prepare(self, frame: NDArray[np.float32]) -> NDArray[np.uint8]:
        return grey8(frame)

    def estimate(self, here: NDArray[Any], there: NDArray[Any]) -> NDArray[np.float32]:
        height, width = here.shape
        flow = np.empty((2, height, width), np.float32)
        for rows in pieces(height, self.args.tile):
            for columns in pieces(width, self.args.tile):
                flow[:, rows, columns] = self._shift(here[rows, columns], there[rows, columns])[:, None, None]
        return flow

    def _shift(self, here: NDArray[np.uint8], there: NDArray[np.uint8]) -> NDArray[np.float64]:
        """(x, y) of the motion from one to the other."""
        from skimage.registration import phase_cross_correlation

        if here.std() == 0 or there.std() == 0:  # flat: any motion fits
            return np.zeros(2)
        window = np.hanning(here.shape[0] + 2)[1:-1, None] * np.hanning(here.shape[1] + 2)[1:-1]
        one, two = ((image - image.mean()) * window for image in (here, there))
        shift, *_ = phase_cross_correlation(one, two, upsample_factor=self.args.upsampling)
        return -np.asarray(shift, np.float64)[::-1]  # `shift` moves the second onto the first


def pieces(length: int, tile: int | None) -> list[slice]:
    """An axis in tiles; a remainder of less than half a tile belongs to the last one."""
    count = 1 if tile is None else max(1, round(length / tile))
    size = length if tile is None else tile
    return [slice(i * size, length if i == count - 1 else (i + 1) * size) for i in range(count)]
