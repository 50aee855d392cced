"""Cost and shapes of one forward pass: multiply-adds, bytes of activations, shapes at taps. Planning gets all three from
one pass per input size; none runs the network on real numbers where that can be avoided (see `dryrun`)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from xlli_ray.corpus.size import Size
from xlli_ray.models.dryrun import dry_run
from xlli_ray.models.layers import arranged
from xlli_ray.models.model import Model
from xlli_ray.models.tap import Tap
from xlli_ray.models.trace import first_tensor


@dataclass(frozen=True)
class Survey:
    """One forward pass over one image or clip.

    `multiply_adds`     those of convolutions, matrix products and attention, as counted by PyTorch; bias additions,
                        activations and resizing are not counted.
    `activation_bytes`  bytes of all outputs of modules without children: the memory of a network that freed nothing. Functions
                        called outside modules are not counted, and without gradients far less is alive at once: a measure for
                        choosing batch sizes, not a peak.
    `shapes`            of one sample at each tap, without the batch axis, as `capture` returns it.
    """

    multiply_adds: int
    activation_bytes: int
    shapes: Mapping[Tap, tuple[int, ...]]


def survey(model: Model, taps: Sequence[Tap], size: Size) -> Survey:
    """Run `model` once for an input of `size`, on the meta device if possible. `taps` as returned by `layers.resolve`."""

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
        shapes = {tap: arranged(tap, tensors[tap.call if isinstance(tap.call, int) else -1], size.frames) for tap, tensors in calls.items()}
        return Survey(int(counter.get_total_flops()) // 2, total, shapes)

    padded = Size(*model.padded(size.height, size.width), size.frames)
    return dry_run(model, visit, shape=model.shape(padded))[0]


def multiply_adds(model: Model, height: int, width: int) -> int:
    """Multiply-adds per image (see `Survey`)."""
    return survey(model, (), Size(height, width)).multiply_adds


def activation_bytes(model: Model, height: int, width: int) -> int:
    """Bytes of activations per image (see `Survey`)."""
    return survey(model, (), Size(height, width)).activation_bytes
