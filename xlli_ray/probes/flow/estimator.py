"""Flow estimators: the motion between neighbouring frames of a clip.

One is named by a recipe, `flow: {estimator: dis}`, from `registry.FLOW_ESTIMATORS`, from an entry point of the group
`xlli_ray.flow_estimators`, or from code beside the recipe, `estimator: mine.py:Mine`. Importing its file must import neither torch nor
OpenCV. To add one: a subclass of `PairwiseEstimator` with `prepare` and `estimate`, or of `FlowEstimator` with `clip` for one that looks at
a clip as a whole.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from xlli_ray.errors import RecipeError
from xlli_ray.registry import FLOW_ESTIMATORS

Frames = NDArray[np.float32]
"""(T, 3, H, W), RGB in 0..1."""


@dataclass(frozen=True)
class Flows:
    """The motion between neighbouring frames, in pixels, x first: float32 (T − 1, 2, H, W) each (as stored: float16)."""

    next: NDArray[np.floating]
    """Frame t → t + 1."""
    previous: NDArray[np.floating]
    """Frame t + 1 → t."""
    occluded_next: NDArray[np.bool_] | None = None
    """Where points of frame t are hidden in frame t + 1, if that is known: bool (T − 1, H, W); otherwise it follows from the flows."""
    occluded_previous: NDArray[np.bool_] | None = None
    """Where points of frame t + 1 are hidden in frame t."""


class NoArgs(BaseModel):
    """No arguments."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FlowEstimator(ABC):
    """See the module docstring. A worker makes one instance, which is used by one thread at a time."""

    VERSION: ClassVar[int] = 1
    """Raised by hand when numbers change; part of the identity of the flow."""
    REFERENCE: ClassVar[str] = ""
    Args: ClassVar[type[BaseModel]] = NoArgs
    """Its arguments, the mapping `args` of the stage."""
    WEIGHTS: ClassVar[bool] = False
    """Whether it needs a file of weights, the stage's `weights`."""

    def __init__(self, args: Any, weights: str = "", sha256: str = "") -> None:
        """`args`: an instance of `Args`. `weights`: path of a file whose bytes have that sha256; both "" without one."""
        self.args, self.weights, self.sha256 = args, weights, sha256

    @abstractmethod
    def clip(self, frames: Frames, extras: Mapping[str, NDArray[Any]]) -> Flows:
        """The motion in a clip of two or more frames. `extras`: by-products of making the sample (`Batch.extras`).

        Raises SampleError with the reason for a clip whose motion it cannot estimate.
        """


class PairwiseEstimator(FlowEstimator):
    """An estimator that looks at two frames at a time. Of windows that overlap, common frames are looked at once."""

    def __init__(self, args: Any, weights: str = "", sha256: str = "") -> None:
        super().__init__(args, weights, sha256)
        self._last: tuple[list[NDArray[Any]], Flows] | None = None

    @abstractmethod
    def prepare(self, frame: NDArray[np.float32]) -> NDArray[Any]:
        """(3, H, W) RGB in 0..1 → what `estimate` looks at: all that the flow depends on."""

    @abstractmethod
    def estimate(self, here: NDArray[Any], there: NDArray[Any]) -> NDArray[np.float32]:
        """Two prepared frames → the flow from the first to the second, float32 (2, H, W)."""

    def clip(self, frames: Frames, extras: Mapping[str, NDArray[Any]]) -> Flows:
        prepared = [self.prepare(frame) for frame in frames]
        first, shared = self._shared(prepared)
        following, preceding = (np.empty((len(frames) - 1, 2, *frames.shape[2:]), np.float32) for _ in range(2))
        if shared > 1 and self._last is not None:
            known = slice(first, first + shared - 1)
            following[: shared - 1], preceding[: shared - 1] = self._last[1].next[known], self._last[1].previous[known]
        for pair in range(max(0, shared - 1), len(frames) - 1):
            following[pair] = self.estimate(prepared[pair], prepared[pair + 1])
            preceding[pair] = self.estimate(prepared[pair + 1], prepared[pair])
        found = Flows(following, preceding)
        self._last = (prepared, found)
        return found

    def _shared(self, prepared: list[NDArray[Any]]) -> tuple[int, int]:
        """The frame of the last clip with which this one begins, and how many frames follow that both have; (0, 0) if they share none."""
        before = self._last[0] if self._last is not None else []
        for first in range(len(before)):
            both = list(zip(before[first:], prepared))
            if all(np.array_equal(old, new) for old, new in both):
                return first, len(both)
        return 0, 0


def grey8(frame: NDArray[np.float32]) -> NDArray[np.uint8]:
    """(3, H, W) RGB in 0..1 → uint8 (H, W): the grey image of OpenCV, after rounding to 8 bit."""
    import cv2

    scaled = frame * np.float32(255)
    np.rint(scaled, out=scaled)
    planes = np.clip(scaled, 0, 255, out=scaled).astype(np.uint8)
    grey: NDArray[np.uint8] = cv2.cvtColor(cv2.merge(list(planes)), cv2.COLOR_RGB2GRAY)
    return grey


def one_thread() -> None:
    """Let OpenCV use one thread in this process: with more, it cuts images into strips, and its flow depends on their number."""
    import cv2

    cv2.setNumThreads(1)


def estimator_class(name: str) -> type[FlowEstimator]:
    """The estimator with that name or location. Raises RecipeError with the nearest names, or if it is none."""
    cls = FLOW_ESTIMATORS.load(name)
    if not (isinstance(cls, type) and issubclass(cls, FlowEstimator)):
        raise RecipeError(f"flow estimator {name!r}: expected a subclass of FlowEstimator or PairwiseEstimator, got {cls!r:.80}")
    return cls
