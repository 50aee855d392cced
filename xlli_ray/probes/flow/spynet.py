"""SPyNet: the network that BasicVSR and PSRT use to align, with weights from their checkpoints or its own.

A. Ranjan, M. Black, "Optical Flow Estimation using a Spatial Pyramid Network", CVPR 2017, arXiv 1611.00850 (`models.blocks.spynet`).
`weights` is a checkpoint of SPyNet, or of a network that has one at `spynet.`: its flow is then the one that this network aligns with,
tuned for super-resolution.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from xlli_ray.errors import WeightsError
from xlli_ray.probes.flow.estimator import PairwiseEstimator

if TYPE_CHECKING:
    from torch import nn

PREFIX = "spynet."


class Spynet(PairwiseEstimator):
    """`spynet`."""

    VERSION: ClassVar[int] = 1
    REFERENCE: ClassVar[str] = "Ranjan, Black, CVPR 2017"
    WEIGHTS: ClassVar[bool] = True

    def __init__(self, args: Any, weights: str = "", sha256: str = "") -> None:
        super().__init__(args, weights, sha256)
        self._network: nn.Module | None = None

    def prepare(self, frame: NDArray[np.float32]) -> NDArray[np.float32]:
        return frame.copy()  # not the batch's memory

    def estimate(self, here: NDArray[Any], there: NDArray[Any]) -> NDArray[np.float32]:
        import torch

        self._network = self._network or network(self.weights, self.sha256)
        with torch.no_grad():
            flow: NDArray[np.float32] = self._network(*(torch.from_numpy(frame)[None] for frame in (here, there)))[0].numpy()
        return flow


def network(weights: str, sha256: str) -> nn.Module:
    """SPyNet with the weights of a file. Raises WeightsError."""
    from xlli_ray.models.blocks.spynet import SPyNet
    from xlli_ray.models.checkpoint import read_state_dict

    tensors = read_state_dict(weights, name="flow", sha256=sha256 or None).tensors
    own = {name.removeprefix(PREFIX): tensor for name, tensor in tensors.items() if name.startswith(PREFIX)} or dict(tensors)
    module = SPyNet()
    buffers = {name for name, _ in module.named_buffers()}
    wanted, found = set(module.state_dict()) - buffers, set(own) - buffers
    if missing := sorted(wanted ^ found):
        raise WeightsError(
            f"flow: {weights} has no weights of SPyNet: {missing[0]} is {'missing' if missing[0] in wanted else 'not one of its tensors'}. "
            f"Expected a checkpoint of SPyNet, or of a network that has one at `{PREFIX}` (BasicVSR)"
        )
    module.load_state_dict(own, strict=False)
    return module.eval().requires_grad_(False)
