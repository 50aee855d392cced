"""Precision of a network's arithmetic: float32, or less for speed.

    float32   every product and sum with 24 bits of mantissa; no TensorFloat-32.
    tf32      factors of convolutions and matrix products are rounded to 11 bits, sums are float32: NVIDIA GPUs since Ampere.
    bf16      torch's autocast: convolutions and matrix products in bfloat16, 8 bits of mantissa with the range of float32; normalisations,
              softmax and sums that need it in float32.
    fp16      the same in float16: 11 bits, from 6e-8 to 65504. What is larger becomes infinite, and its sample a failed row; gradients are
              often smaller and would become 0, so that probes with gradients refuse it.

Only the network is computed this way, with its gradient: its input is float32, its output and captured layers are float32 again before
anything is measured. Which operations torch rounds is torch's decision and may change with its version, which every record names.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch
    from torch import Tensor

VERSION = 1
DTYPES = {"bf16": "bfloat16", "fp16": "float16"}
AMPERE = 8
"""Compute capability of the first NVIDIA GPUs with TensorFloat-32 and bfloat16."""


def refusal(precision: str, device: str) -> str:
    """Why a network cannot be computed in `precision` on `device` (`cpu/AVX512`, `cuda/NVIDIA H200`, … as in a plan); '' if it can."""
    import torch

    kind, _, name = device.partition("/")
    if precision == "float32":
        return ""
    if kind == "cuda":
        if precision != "fp16" and torch.cuda.is_available() and torch.cuda.get_device_capability()[0] < AMPERE:
            return f"{precision} needs an NVIDIA GPU of the Ampere generation or later, this study is planned for {name}"
        return ""
    if precision == "tf32":
        return f"tf32 needs an NVIDIA GPU, this study is planned for {device}"
    if kind == "mps":
        return f"{precision} was never tried on Apple's GPU (mps): use float32"
    with torch.autocast("cpu", dtype=getattr(torch, DTYPES[precision])):
        able = torch.is_autocast_enabled("cpu")  # torch warns and computes in float32 where it cannot
    return "" if able else f"torch {torch.__version__} cannot compute in {precision} on a CPU"


@contextmanager
def computing(precision: str, device: torch.device) -> Iterator[None]:
    """Context of a forward pass in `precision`. TensorFloat-32 is a setting of the process: it is as before afterwards."""
    import torch

    if precision in DTYPES:
        with torch.autocast(device.type, dtype=getattr(torch, DTYPES[precision]), cache_enabled=False):
            yield
    elif precision == "tf32":
        before = _tf32()
        allow_tf32((True, True))
        try:
            yield
        finally:
            allow_tf32(before)
    else:
        yield


def follow(precision: str, x: Tensor, y: Tensor) -> None:
    """Let the backward pass from a network's output `y` to its input `x` be as its forward pass. Autocast's operations differentiate in
    their own precision; TensorFloat-32 is switched on where the backward pass enters the network, and off where it leaves it."""
    if precision != "tf32" or not (x.requires_grad and y.requires_grad):
        return
    before = _tf32()
    y.register_hook(lambda _: allow_tf32((True, True)))
    x.register_hook(lambda _: allow_tf32(before))


def allow_tf32(allowed: tuple[bool, bool]) -> None:
    """Whether (matrix products, convolutions) may use TensorFloat-32 on a GPU."""
    import torch

    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = allowed


def _tf32() -> tuple[bool, bool]:
    import torch

    return torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
