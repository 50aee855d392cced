"""Dense inverse search, OpenCV's implementation: the default, accurate enough for alignment and a hundred times faster than a network.

T. Kroeger, R. Timofte, D. Dai, L. Van Gool, "Fast Optical Flow using Dense Inverse Search", ECCV 2016, arXiv 1603.03590: displacements of
patches by inverse search, coarse to fine, then a variational refinement. It sees grey images of 8 bit and gives what
`api.DISOpticalFlow` gives on one thread.
"""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.probes.flow.estimator import PairwiseEstimator, grey8, one_thread


class DisArgs(BaseModel):
    """Arguments of `dis`."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    preset: Literal["ultrafast", "fast", "medium"] = Field(default="medium", description="of OpenCV: speed against accuracy")


class Dis(PairwiseEstimator):
    """`dis`."""

    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "Kroeger et al., ECCV 2016; OpenCV"
    Args: ClassVar[type[BaseModel]] = DisArgs

    def __init__(self, args: DisArgs, weights: str = "", sha256: str = "") -> None:
        super().__init__(args, weights, sha256)
        self._search: Any = None

    def prepare(self, frame: NDArray[np.float32]) -> NDArray[np.uint8]:
        return grey8(frame)

    def estimate(self, here: NDArray[Any], there: NDArray[Any]) -> NDArray[np.float32]:
        import cv2

        api: Any = cv2  # its stubs lack the classes of optical flow
        if self._search is None:
            one_thread()
            presets = {"ultrafast": api.DISOPTICAL_FLOW_PRESET_ULTRAFAST, "fast": api.DISOPTICAL_FLOW_PRESET_FAST,
                       "medium": api.DISOPTICAL_FLOW_PRESET_MEDIUM}  # fmt: skip
            self._search = api.DISOpticalFlow_create(presets[self.args.preset])
        flow: NDArray[np.float32] = self._search.calc(here, there, None).transpose(2, 0, 1)
        return flow
