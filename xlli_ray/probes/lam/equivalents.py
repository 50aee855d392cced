"""Equivalent operations that CPU libraries compute faster, for gradients with respect to a network's input.

An attention network spends much of a gradient on four operations that are slow in PyTorch on a CPU, and each has a faster equivalent:

- **Products with a narrow result.** Attention multiplies many small matrices, and of the six products that PyTorch computes for a layer,
  backward pass included, three have a result of tokens by head width: 64 × 8 in CRAFT, 64 × 10 or 64 × 30 in SwinIR. Its transpose, a wide
  matrix, takes a fifth of the time at best: (bᵀ aᵀ)ᵀ.
- **Depthwise convolutions backwards.** With frozen weights that is a convolution with the mirrored kernel, three times as fast.
- **The variance** of layer normalisations written out (as in Restormer): the mean square of the centred values, 20 times as fast.
- **Max-pooling** of tensors that are not channels-last: six times as fast after conversion.

The sums are the same, but not their order: results differ in the last digits, and are no further from those in double precision (tested).
The speed-up for CRAFT is in docs/log.md. Everything else, and everything on a GPU, is left unchanged.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

NARROW = 32
"""Columns from which on a product is at least as fast as its transpose (measured with 64 to 1,024 rows); so are multiples of 16."""


def product(a: Tensor, b: Tensor) -> Tensor:
    """a (…, m, k) times b (…, k, n): (…, m, n), as a view of its transpose where the result is narrow."""
    columns = b.shape[-1]
    if columns < NARROW and columns % 16 and columns < a.shape[-2]:
        return (b.mT @ a.mT).mT
    return a @ b


class _Product(torch.autograd.Function):
    """`product`, with `product` for both gradients."""

    @staticmethod
    def forward(ctx: Any, a: Tensor, b: Tensor) -> Tensor:
        ctx.save_for_backward(a, b)
        return product(a, b).contiguous()  # as from `@`: the following code may take a view

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None]:
        (gradient,), (a, b) = gradients, ctx.saved_tensors
        return (
            product(gradient, b.mT) if ctx.needs_input_grad[0] else None,
            product(a.mT, gradient) if ctx.needs_input_grad[1] else None,
        )


class _Depthwise(torch.autograd.Function):
    """A depthwise convolution of stride 1 with frozen weights; its backward pass is one with the mirrored kernel."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, int]) -> Tensor:
        ctx.save_for_backward(weight)
        ctx.padding = tuple(k - 1 - p for k, p in zip(weight.shape[2:], padding))
        return F.conv2d(x, weight, bias, padding=padding, groups=len(weight))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (weight,) = ctx.saved_tensors
        return F.conv2d(gradients[0], weight.flip(2, 3), padding=ctx.padding, groups=len(weight)), None, None, None


class _Variance(torch.autograd.Function):
    """Σ (x − mean)² / `count` along `dim`, kept as an axis of one."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, dim: Any, count: float) -> Tensor:
        centred = x - x.mean(dim, keepdim=True)
        ctx.save_for_backward(centred)
        ctx.count = count
        return centred.square().sum(dim, keepdim=True).div_(count)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (centred,) = ctx.saved_tensors
        return centred * (gradients[0] * (2 / ctx.count)), None, None  # the mean contributes zero, since centred values sum to zero


class Equivalents(TorchFunctionMode):
    """Within the context, a network's operations are replaced by those above where they apply; not for gradients of its weights."""

    def __init__(self) -> None:
        super().__init__()
        self.used = False
        """Whether any operation has been replaced."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        given = dict(kwargs or {})
        form = _FORMS.get(func)
        if form is not None and args and _plain(args[0]):
            try:
                result = form(*args, **given)
            except TypeError:  # a call with other arguments: passed to the function itself
                result = None
            if result is not None:
                self.used = True
                return result
        return func(*args, **given)


def _plain(values: Any) -> bool:
    return (
        isinstance(values, Tensor) and values.device.type == "cpu" and values.dtype == torch.float32
        and not torch.is_autocast_enabled("cpu")
    )  # fmt: skip


def _product(a: Tensor, b: Any) -> Tensor | None:
    """For equal numbers of matrices on both sides; others are broadcast or multiply by one matrix, without any gain."""
    if not _plain(b) or a.ndim < 3 or a.shape[:-2] != b.shape[:-2] or a.shape[-1] != b.shape[-2]:
        return None
    return _Product.apply(a, b)  # type: ignore[no-any-return, no-untyped-call]


def _depthwise(
    input: Tensor, weight: Tensor, bias: Any = None, stride: Any = 1, padding: Any = 0, dilation: Any = 1, groups: int = 1
) -> Tensor | None:
    if groups == 1 or input.ndim != 4 or weight.shape[:2] != (groups, 1) or input.shape[1] != groups or weight.requires_grad:
        return None
    if isinstance(padding, str) or _pair(stride) != (1, 1) or _pair(dilation) != (1, 1):
        return None
    high, wide = _pair(padding)
    if high >= weight.shape[2] or wide >= weight.shape[3]:
        return None
    return _Depthwise.apply(input, weight, bias, (high, wide))  # type: ignore[no-any-return, no-untyped-call]


def _variance(
    input: Tensor, dim: Any = None, unbiased: bool | None = None, keepdim: bool = False, *, correction: Any = None
) -> Tensor | None:
    if dim is None or isinstance(dim, bool) or (unbiased is not None and correction is not None):
        return None
    dims = (dim,) if isinstance(dim, int) else tuple(dim)
    less = (1 if unbiased is None or unbiased else 0) if correction is None else correction
    count = torch.Size([input.shape[d] for d in dims]).numel() - less
    if not dims or count <= 0:
        return None
    out: Tensor = _Variance.apply(input, dims, float(count))  # type: ignore[no-untyped-call]
    return out if keepdim else out.squeeze(dims)


def _max_pool(
    input: Tensor, kernel_size: Any, stride: Any = None, padding: Any = 0, dilation: Any = 1, ceil_mode: bool = False,
    return_indices: bool = False,
) -> Tensor | None:  # fmt: skip
    if return_indices or input.ndim != 4 or not input.is_contiguous():
        return None
    out = F.max_pool2d(input.contiguous(memory_format=torch.channels_last), kernel_size, stride, padding, dilation, ceil_mode)
    return out.contiguous()


_FORMS: dict[Any, Callable[..., Tensor | None]] = {
    torch.matmul: _product, torch.bmm: _product, Tensor.matmul: _product, Tensor.bmm: _product, Tensor.__matmul__: _product,
    F.conv2d: _depthwise,
    torch.var: _variance, Tensor.var: _variance,
    F.max_pool2d: _max_pool, torch.max_pool2d: _max_pool,
}  # fmt: skip


def _pair(value: Any) -> tuple[int, int]:
    both = (value, value) if isinstance(value, int) else tuple(value)
    return both if len(both) == 2 else both * 2
