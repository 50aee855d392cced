"""Running a network for its shapes only: on the meta device where that works, on real zeros otherwise.

The twin is a copy of the module whose weights are on PyTorch's meta device: they have shapes and no memory, so that a
forward pass costs microseconds per layer at any image size. It is a copy because some networks cache tensors that
they create in the forward pass (attention masks, coordinates); run on the module itself, cached meta tensors would
break the next real pass. Networks that read values (`.item()`, numpy) or hold tensors outside their parameters
cannot run on the meta device; they raise, and real zeros are used.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from xlli_ray.models.model import Model
from xlli_ray.models.without_compiler import without_compiler

T = TypeVar("T")


def twin(module: nn.Module) -> nn.Module:
    """A copy of `module` on the meta device. No data is copied: every parameter and buffer is replaced along the way."""
    memo: dict[int, Any] = {}
    for parameter in module.parameters():
        empty = torch.empty_like(parameter, device="meta")
        memo[id(parameter)] = nn.Parameter(empty, requires_grad=False)
    for buffer in module.buffers():
        memo[id(buffer)] = torch.empty_like(buffer, device="meta", requires_grad=False)
    return copy.deepcopy(module, memo)


class OnMeta:
    """Forward passes of a model's twin, which is made for the first of them: a copy takes about as long as a pass."""

    def __init__(self, model: Model) -> None:
        self._model = model
        self._twin: nn.Module | None = None

    def __call__(self, visit: Callable[[nn.Module, Tensor], T], *, shape: tuple[int, ...]) -> T:
        """`visit(module, x)` with the twin and a batch of `shape`. Raises whatever a network that cannot run on the meta device raises; the
        next call then has another twin, since this one may have been left in any state."""
        module, self._twin = twin(self._model.module) if self._twin is None else self._twin, None
        with without_compiler(), torch.device("meta"):  # for tensors that the forward pass creates without a device
            result = visit(module, torch.zeros(shape))
        self._twin = module
        return result


def dry_run(
    model: Model, visit: Callable[[nn.Module, Tensor], T], *, shape: tuple[int, ...], on_meta: OnMeta | None = None
) -> tuple[T, bool]:
    """`visit(module, x)` on the meta device; if that raises, again with the module itself and real zeros.

    `shape` must be one that the module can take (see `Model.padded`). `on_meta`: of this model, for several runs. Returns the result of
    `visit`, and whether it came from real zeros. `visit` should only observe, and raise nothing itself. Errors of the second call
    propagate: a real image would fail in the same way.
    """
    try:
        return (on_meta or OnMeta(model))(visit, shape=shape), False
    except Exception:
        dtype = next((p.dtype for p in model.module.parameters() if p.is_floating_point()), torch.float32)
        return visit(model.module, torch.full(shape, model.range.lo, dtype=dtype, device=model.device)), True
