"""Vector-Jacobian products of several windows with one forward pass, batched: what fills a GPU when a single image has many windows.

A product with the rows of one image is too little work for a GPU: in turn, sixteen windows took as long as seven to ten single maps.
`torch.func.vjp` and `vmap` run the backward pass once, with a leading axis for the windows, and its values are those of one window after
another, but for the order of some sums. (`torch.autograd.grad(…, is_grads_batched=True)` would not do: it is vmap's first prototype, which
runs convolutions for one window after another.)

Not every network can be transformed so: in-place writes, recomputed parts and autograd functions of its own may stand in the way.
`are_batched` tries it once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from xlli_ray.errors import NetworkError

AGREEMENT = 0.05
"""Largest relative difference (Frobenius norm) of batched products to those of one window after another: above what bfloat16 rounds, far
below what a wrong transformation does."""

Forward = Callable[[Tensor], Tensor]
Products = Callable[[Tensor, bool], Tensor]
"""Slopes (k, rows, C, sh, sw), and whether they are the last ones → gradients (k, rows, …, C, h, w)."""


def with_products(forward: Forward, x: Tensor, *, batched: bool) -> tuple[Tensor, Products]:
    """`forward(x)`, and its products: with all slopes of a call at once if `batched`, else with one after another.

    Without `batched` the output requires a gradient if the network has one.
    """
    if batched:
        output, back, *_ = torch.func.vjp(forward, x.detach())

        def together(slopes: Tensor, last: bool) -> Tensor:
            (gradients,) = torch.func.vmap(back)(slopes)
            return gradients

        return output, together
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        output = forward(x)

    def in_turn(slopes: Tensor, last: bool) -> Tensor:
        found = [
            torch.autograd.grad(output, x, slope, retain_graph=not last or j + 1 < len(slopes))[0] for j, slope in enumerate(slopes)
        ]  # fmt: skip
        return found[0][None] if len(found) == 1 else torch.stack(found)

    return output, in_turn


def are_batched(forward: Forward, x: Tensor) -> bool:
    """Whether products through `forward` can be batched and are right: tried with the first row of `x`. False for a network without a
    gradient. Raises torch.OutOfMemoryError."""
    one = x[:1]
    output, in_turn = with_products(forward, one, batched=False)
    if not output.requires_grad:
        return False
    slopes = torch.stack([output.detach(), output.detach().flip(-1, -2) - 0.5])
    expected = in_turn(slopes, True)
    try:
        _, together = with_products(forward, one, batched=True)
        found = together(slopes, True)
    except torch.OutOfMemoryError:
        raise
    except (RuntimeError, NetworkError):
        return False
    return bool(_norm(found - expected) <= AGREEMENT * _norm(expected))


def _norm(values: Tensor) -> Any:
    return values.double().norm()
