"""The true motion, of a corpus that knows it: that of kind `motion`, or any whose samples have these by-products.

`flow_next`, `flow_previous`: float32 (T, H, W, 2), from each frame to its neighbours, x first; NaN where there is no such frame.
`occluded_next`, `occluded_previous`, if given: bool (T, H, W), hidden there; what leaves the frame follows from the flow.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import SampleError
from xlli_ray.probes.flow.estimator import FlowEstimator, Flows, Frames


class Known(FlowEstimator):
    """`known`."""

    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "how the corpus made the frames"

    def clip(self, frames: Frames, extras: Mapping[str, NDArray[Any]]) -> Flows:
        wanted = {"flow_next": slice(None, -1), "flow_previous": slice(1, None)}
        if missing := [name for name in wanted if name not in extras]:
            raise SampleError(
                f"the true motion is not known: the sample has no `{missing[0]}`; `estimator: known` takes a corpus that makes "
                "its motion (`motion`), others need an estimator (dis)"
            )
        following, preceding = (np.ascontiguousarray(extras[name][part].transpose(0, 3, 1, 2), np.float32) for name, part in wanted.items())
        hidden = [extras[name][part] if (name := f"occluded_{side}") in extras else None
                  for side, part in (("next", slice(None, -1)), ("previous", slice(1, None)))]  # fmt: skip
        return Flows(following, preceding, hidden[0], hidden[1])
