"""What `attribution` sums over the nodes of one window, for several images at once and without leaving the device.

No number is looked at on the way: each look would wait for everything queued on a GPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from xlli_ray.probes.lam.quadrature import FACTOR


@dataclass
class DeviceSums:
    """What `attribution` sums over the nodes of one window, for several images at once, without leaving the device."""

    shape: Sequence[int]
    items: int
    device: torch.device
    errors: bool
    factor: float = FACTOR
    """Of E, as of `quadrature.SecondDifferences`."""
    total: Tensor = field(init=False)
    """(items, …, C, h, w) float64."""

    def __post_init__(self) -> None:
        self.total = torch.zeros(self.items, *self.shape, dtype=torch.float64, device=self.device)
        self._bad = torch.zeros(self.items, dtype=torch.int64, device=self.device)
        self._squares = torch.zeros(self.items, dtype=torch.float64, device=self.device)
        self._count = 0
        self._by_node: list[Tensor] = []
        self._last: tuple[Tensor, Tensor] | None = None

    def add(self, gradients: Tensor, steps: Tensor) -> None:
        """The next nodes in path order: both (items, nodes, …, C, h, w)."""
        bad = ~torch.isfinite(gradients)
        self._bad += bad.flatten(1).sum(1)
        gradients = gradients.masked_fill(bad, 0.0)
        product = gradients.double() * steps.double()
        self.total += product.sum(1)
        self._by_node.append(product.flatten(2).sum(2))
        self._count += gradients.shape[1]
        if self.errors:
            if self._last is not None:
                gradients, steps = (torch.cat([old, new], 1) for old, new in zip(self._last, (gradients, steps)))
            terms = ((gradients[:, 2:] - 2 * gradients[:, 1:-1] + gradients[:, :-2]) * steps[:, 1:-1]).sum(-3)
            self._squares += terms.double().square().flatten(1).sum(1)
            self._last = gradients[:, -2:].clone(), steps[:, -2:].clone()

    def numbers(self) -> Tensor:
        """(items, 2): E (`quadrature`) and the number of entries that were not finite."""
        norm = self.total.sum(-3).flatten(1).norm(dim=1)
        error = self.factor * self._squares.sqrt() / norm
        unknown = torch.zeros_like(error, dtype=torch.bool) if self.errors and self._count > 2 else torch.ones_like(error, dtype=torch.bool)
        return torch.stack([error.masked_fill(unknown | (norm == 0), float("nan")), self._bad.double()], 1)

    def by_node(self) -> Tensor:
        """Σ A at each node: (items, nodes)."""
        return torch.cat(self._by_node, 1)
