"""Batches to the device and results back: `Direct` for the CPU, `Streamed` for a GPU, which then never waits for either.

A copy between pageable host memory and a GPU stops both sides. From page-locked ("pinned") memory it is asynchronous, and on a stream of
its own it runs beside the kernels (NVIDIA, CUDA C++ Programming Guide, "Asynchronous Concurrent Execution"):

    in          batch k + 2 ──► device                    copied as soon as it is decoded
    compute     batch k + 1                               launched before the results of batch k are read
    out         results of batch k ──► host               one event for all arrays of a batch, waited for once

Pinned buffers come from torch's allocator, which hands one out again only after the copies from or to it have ended; so readers decode
into them directly. The kernels, their order and the batches are those of `Direct`: staging changes no number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

if TYPE_CHECKING:
    import torch

Key = Any


class Staging(Protocol):
    """How tensors cross between host and device."""

    depth: int
    """Batches that may be launched and not yet read: 0 if the device is the host."""

    def empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        """A float32 tensor in host memory for one batch, to be filled and given to `to_device`."""

    def to_device(self, data: torch.Tensor) -> torch.Tensor:
        """The batch on the device, for kernels launched from now on. The host memory may be freed at once."""

    def to_host(self, tensors: Mapping[Key, torch.Tensor]) -> Callable[[], dict[Key, np.ndarray]]:
        """Start copying tensors of the current stream. The returned function waits for all of them and returns them, contiguous or not as
        they were."""


def staging_for(device: torch.device) -> Staging:
    """The staging of a worker on `device`."""
    return Streamed(device, Cuda(device)) if device.type == "cuda" else Direct(device)


class Direct:
    """The CPU: nothing is copied. Other devices without streams of their own: copied at once."""

    depth = 0

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        return torch.empty(shape)

    def to_device(self, data: torch.Tensor) -> torch.Tensor:
        return data.to(self._device)

    def to_host(self, tensors: Mapping[Key, torch.Tensor]) -> Callable[[], dict[Key, np.ndarray]]:
        arrays = {name: tensor.cpu().numpy() for name, tensor in tensors.items()}
        return lambda: arrays


class Event(Protocol):
    """A point in the work of a stream (`torch.cuda.Event`)."""

    def record(self, stream: Any) -> None: ...

    def synchronize(self) -> None: ...


class Card(Protocol):
    """What `Streamed` needs of a GPU. Tests have one that only notes the order of events."""

    def stream(self) -> Any: ...

    def current(self) -> Any: ...

    def on(self, stream: Any) -> AbstractContextManager[Any]: ...

    def event(self) -> Event: ...

    def wait(self, stream: Any, event: Event) -> None: ...

    def used_on(self, tensor: torch.Tensor, stream: Any) -> None: ...

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor: ...


class Cuda:
    """The GPU `device`, by torch.cuda."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._device, self._torch = device, torch

    def stream(self) -> Any:
        return self._torch.cuda.Stream(self._device)

    def current(self) -> Any:
        return self._torch.cuda.current_stream(self._device)

    def on(self, stream: Any) -> AbstractContextManager[Any]:
        return self._torch.cuda.stream(stream)

    def event(self) -> Event:
        return self._torch.cuda.Event(blocking=True)  # a thread that waits leaves its core to the readers

    def wait(self, stream: Any, event: Event) -> None:
        stream.wait_event(event)

    def used_on(self, tensor: torch.Tensor, stream: Any) -> None:
        tensor.record_stream(stream)

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return self._torch.empty(shape, dtype=dtype, pin_memory=True)


class Streamed:
    """A GPU: a stream for batches, one for results, pinned memory at the host's end of both."""

    depth = 1

    def __init__(self, device: torch.device, card: Card) -> None:
        self._device, self._card = device, card
        self._in, self._out = card.stream(), card.stream()

    def empty(self, shape: tuple[int, ...]) -> torch.Tensor:
        import torch

        return self._card.pinned(shape, torch.float32)

    def to_device(self, data: torch.Tensor) -> torch.Tensor:
        compute, copied = self._card.current(), self._card.event()
        with self._card.on(self._in):
            batch = data.to(self._device, non_blocking=True)
            copied.record(self._in)
        self._card.wait(compute, copied)
        self._card.used_on(batch, compute)  # its memory was taken on the other stream: it must not be reused before the kernels end
        return batch

    def to_host(self, tensors: Mapping[Key, torch.Tensor]) -> Callable[[], dict[Key, np.ndarray]]:
        compute, computed, copied = self._card.current(), self._card.event(), self._card.event()
        computed.record(compute)
        self._card.wait(self._out, computed)
        arrays: dict[Key, torch.Tensor] = {}
        with self._card.on(self._out):
            for name, tensor in tensors.items():
                arrays[name] = self._card.pinned(tuple(tensor.shape), tensor.dtype)
                arrays[name].copy_(tensor, non_blocking=True)
                self._card.used_on(tensor, self._out)
            copied.record(self._out)

        def read() -> dict[Key, np.ndarray]:
            copied.synchronize()
            return {name: array.numpy() for name, array in arrays.items()}

        return read
