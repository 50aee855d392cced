"""Does what an output pixel can depend on lie in a fixed place, whatever the input? Asked of networks for clips before they are cropped.

A network for clips may look where its input tells it to: it warps features by optical flow, or gathers them by attention scores. On noise
without motion such a network seems to look next to the window only, so trying it proves nothing. What is proved here: it runs nothing but
operations whose reach does not depend on values (convolutions, sums, fixed resizing, …), as seen by PyTorch's dispatcher, below any Python
code. Reading a value into Python (a branch on it), comparing, sampling at computed places, or an operation not listed here: not proved, and
the network gets whole frames.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from xlli_ray.errors import NetworkError
from xlli_ray.models.model import Model

FIXED = frozenset({
    "convolution", "mkldnn_convolution", "_convolution", "linear", "mm", "bmm", "addmm", "baddbmm", "_softmax", "native_layer_norm",
    "native_group_norm", "native_batch_norm", "_native_batch_norm_legit_no_training", "add", "sub", "rsub", "mul", "div", "neg", "abs",
    "square", "pow", "exp", "sqrt", "rsqrt", "relu", "leaky_relu", "prelu", "_prelu_kernel", "sigmoid", "tanh", "gelu", "silu", "elu",
    "softplus", "hardtanh", "clamp", "clamp_min", "clamp_max", "maximum", "minimum", "mean", "sum", "var", "var_mean", "amax",
    "max_pool2d_with_indices", "avg_pool2d", "adaptive_avg_pool2d", "_adaptive_avg_pool2d", "pixel_shuffle", "pixel_unshuffle",
    "upsample_nearest2d", "upsample_bilinear2d", "upsample_bicubic2d", "reflection_pad2d", "replication_pad2d", "constant_pad_nd", "view",
    "_unsafe_view", "reshape", "permute", "transpose", "t", "expand", "slice", "select", "unbind", "split", "split_with_sizes", "chunk",
    "cat", "stack", "squeeze", "unsqueeze", "clone", "contiguous", "detach", "alias", "lift_fresh", "copy", "_to_copy", "zeros", "ones",
    "full", "empty", "empty_like", "zeros_like", "ones_like", "full_like", "new_zeros", "new_ones", "new_empty", "new_full", "fill",
    "zero", "repeat", "repeat_interleave", "roll", "flip", "im2col", "as_strided", "_reshape_alias", "empty_strided", "new_empty_strided",
    "flatten", "unflatten",
})  # fmt: skip
"""Operations of PyTorch, without the underscore of those in place. With these a NaN reaches everything that depends on it."""


class _Seen(TorchDispatchMode):
    """Notes the names of all operations."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        space, name = str(func).split(".")[:2]
        self.names.add(name.rstrip("_") if space == "aten" else str(func))
        return func(*args, **dict(kwargs or {}))


def unproved(model: Model, x: Tensor) -> list[str]:
    """Operations of a forward pass on `x`, a batch as in `model.AXES`, whose reach is not fixed; empty: all are. A network that raises has
    proved nothing: `["error"]`."""
    seen = _Seen()
    try:
        with torch.no_grad(), seen:
            model.forward(x)
    except (RuntimeError, NetworkError):
        return ["error"]
    return sorted(seen.names - FIXED)
