"""Farnebäck's flow, OpenCV's implementation: quadratic polynomials are fitted to each neighbourhood, and their shift is the motion.

G. Farnebäck, "Two-Frame Motion Estimation Based on Polynomial Expansion", SCIA 2003. Smoother than DIS at the edges of objects; the window
sets how smooth.
"""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.probes.flow.estimator import PairwiseEstimator, grey8, one_thread


class FarnebackArgs(BaseModel):
    """Arguments of `farneback`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    levels: int = Field(default=5, ge=1, le=12, description="levels of the pyramid, each half as large as the one below")
    window: int = Field(default=15, ge=3, le=255, description="side of the window over which motion is averaged, in pixels")
    iterations: int = Field(default=5, ge=1, le=100, description="per level")
    neighbourhood: int = Field(default=5, ge=3, le=15, description="side of the neighbourhood of a polynomial, in pixels")


class Farneback(PairwiseEstimator):
    """`farneback`."""

    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "Farnebäck, SCIA 2003; OpenCV"
    Args: ClassVar[type[BaseModel]] = FarnebackArgs

    def prepare(self, frame: NDArray[np.float32]) -> NDArray[np.uint8]:
        return grey8(frame)

    def estimate(self, here: NDArray[Any], there: NDArray[Any]) -> NDArray[np.float32]:
        import cv2

        one_thread()
        args = self.args
        sigma = 0.22 * args.neighbourhood  # OpenCV's documentation: 1.1 for 5 pixels, 1.5 for 7
        found: Any = cv2.calcOpticalFlowFarneback(
            here, there, None, 0.5, args.levels, args.window, args.iterations, args.neighbourhood, sigma, 0
        )  # fmt: skip
        flow: NDArray[np.float32] = found.transpose(2, 0, 1)
        return flow
