"""One traced forward pass: which modules run, how often, with what shapes, and which convolution ends the path.

**The last convolution on the path.** "Last executed" alone is not enough: a network may run convolutions whose result
does not enter the image (an auxiliary head, a side output computed at the end). "Nearest to the output" is not unique
where branches join. So both are combined: the autograd graph, walked back from the output, holds exactly the
convolutions that the output depends on; of those, the one executed last is taken, by the sequence numbers of autograd
nodes. Each node is matched by identity with the module call that created it, recorded in a hook right after the call,
so that later in-place operations do not matter.

A 1x1 convolution whose weight is diagonal mixes no channels and is skipped: EDSR, RCAN and CARN store the training
mean that they add to the final image this way, and its input is that image, not features.
If the output of a network has no graph (it uses `no_grad` itself), the last convolution executed is taken.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from xlli_ray.corpus.size import Size
from xlli_ray.models.dryrun import OnMeta, dry_run
from xlli_ray.models.model import Model

# The larger pass of `trace` adds this many pixels (times the network's multiple): divisible by every stride in use
# (2, 3, 4, 6, 8, 12, 16, 24, 48), so that the growth of a feature gives its stride exactly.
GROWTH = 48
WIDE_BATCH = 2  # not 1, to distinguish the batch axis from an axis of length 1


@dataclass(frozen=True)
class Call:
    """Shapes, batch first, of the first input tensor and of the output tensor; None: not a single tensor."""

    input: tuple[int, ...] | None
    output: tuple[int, ...] | None


@dataclass(frozen=True)
class Trace:
    """`calls`: module name -> its calls, in order, for a batch of 1 of `size`; modules in the network's order.
    `wide_calls`: the same for a batch of WIDE_BATCH of `wide_size` (one frame more, if the network takes any number), empty if that
    would have needed real numbers.
    `last_conv`: (module, call), or None and `last_conv_problem`."""

    size: Size
    calls: dict[str, list[Call]]
    wide_size: Size
    wide_calls: dict[str, list[Call]]
    last_conv: tuple[str, int] | None
    last_conv_problem: str


_KNOWN: WeakKeyDictionary[Model, dict[tuple[Size, bool], Trace]] = WeakKeyDictionary()


@dataclass(frozen=True)
class _Made:
    """A module call, with the autograd nodes of its input (None: the image) and of its output, recorded as it ran."""

    module: str
    call: int
    before: Any
    after: Any


@dataclass
class _Seen:
    calls: dict[str, list[Call]] = field(default_factory=dict)
    made: list[_Made] = field(default_factory=list)  # in the order in which calls end: inner before outer
    ended: list[str] = field(default_factory=list)  # names in the order in which calls ended
    output: Any = None


def first_tensor(value: Any) -> Tensor | None:
    """`value` if it is a tensor, or its only element if it is a sequence of one; None for anything else."""
    if isinstance(value, tuple | list) and len(value) == 1:
        value = value[0]
    return value if isinstance(value, Tensor) else None


def trace(model: Model, size: Size, *, graph: bool) -> Trace:
    """Trace one forward pass over zeros of `size`, which the module must accept; with `graph`, also find the last
    convolution. On the meta device a second, larger pass gives strides and identifies the batch axis. Traces are cached
    as long as the model exists: planning needs them several times, and a large network takes seconds."""
    known = _KNOWN.setdefault(model, {})
    if (size, graph) not in known and (size, True) not in known:
        known[size, graph] = _traced(model, size, graph=graph)
    return known.get((size, graph)) or known[size, True]


def _traced(model: Model, size: Size, *, graph: bool) -> Trace:

    def visit(module: nn.Module, x: Tensor) -> _Seen:
        return _watch(model, module, x, graph=graph)

    def visit_wide(module: nn.Module, x: Tensor) -> _Seen:
        return _watch(model, module, x, graph=False)

    on_meta = OnMeta(model)
    seen, real = dry_run(model, visit, shape=model.shape(size), on_meta=on_meta)
    more = GROWTH * model.multiple
    wide_size = Size(*model.padded(size.height + more, size.width + more), size.frames)
    if wide_size.frames and not model.takes(longer := replace(wide_size, frames=size.frames + 1)):
        wide_size = longer
    wide = _Seen()
    if not real:
        with suppress(Exception):  # a network of one fixed size: strides come from ratios then
            wide = on_meta(visit_wide, shape=model.shape(wide_size, WIDE_BATCH))
    last, problem = _last_convolution(model.module, seen) if graph else (None, "it was not looked for")
    calls = {name: seen.calls[name] for name, _ in model.module.named_modules() if name in seen.calls}
    return Trace(size, calls, wide_size, wide.calls, last, problem)


def _watch(model: Model, module: nn.Module, x: Tensor, *, graph: bool) -> _Seen:
    """Run `module` on `x` and record every call of every module inside it."""
    seen = _Seen()
    running: list[tuple[tuple[int, ...] | None, Any]] = []  # input shape and node of each call that has not ended

    def begin(_: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        tensor = first_tensor((*args, *kwargs.values())[:1])
        running.append((None, None) if tensor is None else (tuple(tensor.shape), tensor.grad_fn))

    def end(name: str) -> Any:
        def note(_: nn.Module, args: tuple[Any, ...], output: Any) -> None:
            shape, before = running.pop()
            tensor = first_tensor(output)
            calls = seen.calls.setdefault(name, [])
            seen.ended.append(name)
            if tensor is not None and tensor.grad_fn is not None:
                seen.made.append(_Made(name, len(calls), before, tensor.grad_fn))
            calls.append(Call(shape, None if tensor is None else tuple(tensor.shape)))

        return note

    handles = []
    try:
        for name, inside in module.named_modules():
            if name:
                handles.append(inside.register_forward_pre_hook(begin, with_kwargs=True))
                handles.append(inside.register_forward_hook(end(name)))
        with torch.set_grad_enabled(graph):
            seen.output = model.run(module, x.requires_grad_(graph))
    finally:
        for handle in handles:
            handle.remove()
    return seen


def _last_convolution(module: nn.Module, seen: _Seen) -> tuple[tuple[str, int] | None, str]:
    """(module, call) of the last convolution on the path to the output, or None and the reason in words."""
    output = first_tensor(seen.output)
    if output is None or output.grad_fn is None:
        return _last_executed(module, seen)
    made: dict[Any, _Made] = {}
    for call in seen.made:
        made.setdefault(call.after, call)  # the innermost: a Sequential passes on the node of its last module
    convolutions = [node for node in _behind(output.grad_fn) if "Convolution" in node.name()]
    for node in sorted(convolutions, key=lambda node: node._sequence_nr(), reverse=True):
        maker = made.get(node)
        owner = None if maker is None else module.get_submodule(maker.module)
        if maker is not None and owner is not None:
            if _mixes_nothing(owner):
                continue
            if isinstance(owner, _ConvNd) or _takes(node, maker.before):
                return (maker.module, maker.call), ""
        return None, (
            "the last convolution on the path to the output is called as a function, so that its input is not the"
            " input of a module; name a layer instead (xlli layers WEIGHTS)"
        )
    return None, "no convolution is on the path to the output; name a layer instead (xlli layers WEIGHTS)"


def _last_executed(module: nn.Module, seen: _Seen) -> tuple[tuple[str, int] | None, str]:
    """Without a graph: the convolution whose only or last call came last."""
    for name in reversed(seen.ended):
        owner = module.get_submodule(name)
        if isinstance(owner, _ConvNd) and not _mixes_nothing(owner):
            return (name, len(seen.calls[name]) - 1), ""
    return None, "the network has no convolution; name a layer instead (xlli layers WEIGHTS)"


def _behind(node: Any) -> set[Any]:
    """All autograd nodes that `node` depends on, itself included."""
    nodes, todo = {node}, [node]
    while todo:
        for previous, _ in todo.pop().next_functions:
            if previous is not None and previous not in nodes:
                nodes.add(previous)
                todo.append(previous)
    return nodes


def _takes(node: Any, before: Any) -> bool:
    """Whether a convolution's node takes its input directly from the node `before` (None: from the network's input)."""
    previous = node.next_functions[0][0]
    return previous is before if before is not None else previous is None or "AccumulateGrad" in previous.name()


def _mixes_nothing(owner: nn.Module) -> bool:
    """Whether a module's weight is that of a 1x1 convolution that scales each channel separately."""
    weight = getattr(owner, "weight", None)
    if not isinstance(weight, Tensor) or weight.ndim < 3 or any(size != 1 for size in weight.shape[2:]):
        return False
    matrix = weight.detach().flatten(1)
    if matrix.shape[1] == 1:
        return getattr(owner, "groups", 1) == matrix.shape[0]
    return matrix.shape[0] == matrix.shape[1] and bool((matrix == torch.diag(matrix.diagonal())).all())
