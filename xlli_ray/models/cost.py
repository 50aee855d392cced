"""What one forward pass costs and gives: multiply-adds, bytes of activations, shapes at taps. Planning asks for all three in
one pass per input size; none runs the network on real numbers where that can be avoided (see `dryrun`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from xlli_ray.corpus.size import Size
from xlli_ray.models.dryrun import dry_run
from xlli_ray.models.layers import Tap, arranged
from xlli_ray.models.model import Model
from xlli_ray.models.trace import first_tensor


@dataclass(frozen=True)
class Survey:
    """One forward pass over one image or clip.

    `multiply_adds`     those of convolutions, matrix products and attention, as PyTorch's counter has them; additions of biases,
                        activations and resizing are not counted.
    `activation_bytes`  bytes of all outputs of modules without children: what a network would hold if it freed nothing. Functions
                        called outside of modules are not seen, and without gradients far less is alive at once: a measure for
                        choosing batches, not a peak.
    `shapes`            of one sample at each tap, without the batch axis, as `capture` gives it.
    """

    multiply_adds: int
    activation_bytes: int
    shapes: Mapping[Tap, tuple[int, ...]]


def survey(model: Model, taps: Sequence[Tap], size: Size) -> Survey:
    """Run `model` once for an input of `size`, on the meta device where it can. `taps` as `layers.resolve` gives them."""

    def visit(module: nn.Module, x: Tensor) -> Survey:
        total = 0
        calls: dict[Tap, list[tuple[int, ...]]] = {tap: [] for tap in taps}

        def count(_: nn.Module, __: tuple[object, ...], output: object) -> None:
            nonlocal total
            for value in output if isinstance(output, tuple | list) else (output,):
                if isinstance(value, Tensor):
                    total += value.numel() * value.element_size()

        def note(tap: Tap, value: object) -> None:
            tensor = first_tensor(value)
            calls[tap].append(tuple(tensor.shape) if tensor is not None else ())

        modules = dict(module.named_modules())
        handles = [m.register_forward_hook(count) for m in modules.values() if next(m.children(), None) is None]
        for tap in taps:
            if tap.side == "output":
                handles.append(modules[tap.module].register_forward_hook(lambda _, __, output, tap=tap: note(tap, output)))
            else:
                handles.append(
                    modules[tap.module].register_forward_pre_hook(
                        lambda _, args, kwargs, tap=tap: note(tap, (*args, *kwargs.values())[:1]), with_kwargs=True
                    )
                )
        try:
            with torch.no_grad(), FlopCounterMode(display=False) as counter:
                model.run(module, x)
        finally:
            for handle in handles:
                handle.remove()
        # the counter has two operations per multiply-add
        shapes = {tap: arranged(tap, found[tap.call if isinstance(tap.call, int) else -1], size.frames) for tap, found in calls.items()}
        return Survey(int(counter.get_total_flops()) // 2, total, shapes)

    padded = Size(*model.padded(size.height, size.width), size.frames)
    return dry_run(model, visit, shape=model.shape(padded))[0]


def multiply_adds(model: Model, height: int, width: int) -> int:
    """Multiply-adds of one image (see `Survey`)."""
    return survey(model, (), Size(height, width)).multiply_adds


def activation_bytes(model: Model, height: int, width: int) -> int:
    """Bytes of activations of one image (see `Survey`)."""
    return survey(model, (), Size(height, width)).activation_bytes
