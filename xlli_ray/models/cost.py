"""What one forward pass costs: multiply-adds, and bytes of activations. Planning uses both; neither runs the network on
real numbers where that can be avoided (see `dryrun`)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from xlli_ray.models.dryrun import dry_run
from xlli_ray.models.model import Model


def multiply_adds(model: Model, height: int, width: int, *, batch: int = 1) -> int:
    """Multiply-adds of one forward pass over a batch of images of (height, width), as PyTorch's counter has them: those
    of convolutions, matrix products and attention; additions of biases, activations and resizing are not counted."""

    def visit(module: nn.Module, x: Tensor) -> int:
        with torch.no_grad(), FlopCounterMode(display=False) as counter:
            model.run(module, x)
        return int(counter.get_total_flops())

    flops, _ = dry_run(model, visit, shape=(batch, model.channels, *model.padded(height, width)))
    return flops // 2  # the counter has two operations per multiply-add


def activation_bytes(model: Model, height: int, width: int, *, batch: int = 1) -> int:
    """Bytes of all outputs of modules without children, over one forward pass: what a network would hold if it freed
    nothing. Functions called outside of modules (joins, sums) are not seen, and without gradients far less is alive at
    once: this is a measure for choosing batches, not a peak."""

    def visit(module: nn.Module, x: Tensor) -> int:
        total = 0

        def count(_: nn.Module, __: tuple[object, ...], output: object) -> None:
            nonlocal total
            for value in output if isinstance(output, tuple | list) else (output,):
                if isinstance(value, Tensor):
                    total += value.numel() * value.element_size()

        leaves = [m for m in module.modules() if next(m.children(), None) is None]
        handles = [leaf.register_forward_hook(count) for leaf in leaves]
        try:
            with torch.no_grad():
                model.run(module, x)
        finally:
            for handle in handles:
                handle.remove()
        return total

    return dry_run(model, visit, shape=(batch, model.channels, *model.padded(height, width)))[0]
