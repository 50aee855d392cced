"""Adam without PyTorch's compiler, which an optimizer loads only to mark its functions as "not to be compiled".

That takes as long as half of loading PyTorch itself, in each process that trains; see `models.without_compiler`. The arithmetic is
PyTorch's own (Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from xlli_ray.models.without_compiler import without_compiler


class Adam(torch.optim.Adam):
    """`torch.optim.Adam`, fused: the same numbers, states and errors."""

    def __init__(self, parameters: Iterable[Tensor], *, lr: float, betas: tuple[float, float]) -> None:
        with without_compiler():
            super().__init__(parameters, lr=lr, betas=betas, fused=True)

    def zero_grad(self, set_to_none: bool = True) -> None:
        """See `torch.optim.Optimizer.zero_grad`."""
        with without_compiler():
            super().zero_grad(set_to_none)

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """See `torch.optim.Adam.step`."""
        with without_compiler():
            return super().step(closure)

    def state_dict(self) -> dict[str, Any]:
        """See `torch.optim.Optimizer.state_dict`."""
        with without_compiler():
            return super().state_dict()

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """See `torch.optim.Optimizer.load_state_dict`."""
        with without_compiler():
            super().load_state_dict(state_dict)
