"""The features of one set of samples, kept until it is complete: on the GPU that computed them, in memory, or in a scratch file.

Where they are is planned from the memory that is free, not tried, and changes no number: the Gram matrix of a set has the same bytes from
all three on one device (`stats.gram` on a CPU, `device_gram` on a GPU).
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.stats.gram import blocks, gram_of_blocks

if TYPE_CHECKING:
    import torch

MEMORY = 1 << 30
"""A set of more bytes than this is kept in a scratch file, not in memory."""


class Gathered:
    """The features of one set, collected sample by sample; `probes.measurement.Gathering`."""

    def __init__(
        self, samples: int, device: str = "cpu", *, memory: int = MEMORY, folder: str | None = None,
        room: Callable[[torch.Tensor, int], int] | None = None,
    ) -> None:  # fmt: skip
        """`memory`: bytes that may be held in memory. `room`: bytes free on the device of a tensor, for sets of so many samples."""
        self._samples, self._device, self._memory, self._room = samples, device, memory, room
        self._folder = Path(folder or tempfile.gettempdir())
        self._values: np.ndarray | None = None
        self._rows: torch.Tensor | None = None
        self._file: Any = None
        self._width = 0

    def add(self, position: int, arrays: Mapping[str, Any]) -> None:
        """Keep the features of the sample at `position`, any shape, float32: an array, or a tensor of the device. Raises EnvironmentFailure
        if the disk is full."""
        given = arrays["features"]
        width = int(np.prod(given.shape, dtype=np.int64))
        if not self._width:
            self._begin(width, None if isinstance(given, np.ndarray) else given)
        if width != self._width:
            raise ValueError(f"{width} features, expected {self._width} as for the other samples of the set")
        if self._rows is not None:
            self._rows[position] = given.reshape(-1)  # after the kernels that make it: the same stream
            return
        row = np.ascontiguousarray(given if isinstance(given, np.ndarray) else given.cpu().numpy(), dtype=np.float32).ravel()
        if self._values is not None:
            self._values[position] = row
            return
        with self._disk():
            os.pwrite(self._file.fileno(), row.tobytes(), position * row.nbytes)

    def _begin(self, width: int, tensor: torch.Tensor | None) -> None:
        self._width = width
        size = self._samples * width * 4
        if tensor is not None:
            from xlli_ray.probes.device_gram import room_on

            if size <= (self._room or room_on)(tensor, self._samples):
                self._rows = tensor.new_empty((self._samples, width))
                return
        if size <= self._memory:
            self._values = np.zeros((self._samples, width), np.float32)
            return
        with self._disk():
            # anonymous: nothing is left of it, whatever happens to this process
            self._file = tempfile.TemporaryFile(dir=self._folder, buffering=0)  # noqa: SIM115
            self._file.truncate(size)

    @contextmanager
    def _disk(self) -> Iterator[None]:
        """Turns errors of the scratch file into one with advice."""
        try:
            yield
        except OSError as error:
            why = "no space left" if error.errno == errno.ENOSPC else str(error)
            raise EnvironmentFailure(
                error.errno or errno.EIO,
                f"{self._folder}: no space for the features of a set, {self._samples} × {self._width} × 4 bytes = "
                f"{self._samples * self._width * 4 / 1e9:.1f} GB ({why}). Set TMPDIR to a larger local disk, or use fewer patches; "
                "finished work is kept, run the same command again",
            ) from error

    def conclude(self, ok: np.ndarray) -> Mapping[str, np.ndarray]:
        """`gram`: float64 (samples, samples); rows and columns of samples that are not `ok` are NaN."""
        out = np.full((self._samples, self._samples), np.nan)
        good = np.flatnonzero(ok)
        if len(good):
            out[np.ix_(good, good)] = self._gram(None if len(good) == self._samples else good)
        return {"gram": out}

    def _gram(self, rows: np.ndarray | None) -> np.ndarray:
        """Of these rows, None: of all."""
        count = self._samples if rows is None else len(rows)
        values = self._values
        if self._file is not None:
            values = np.memmap(self._file, np.float32, "r", shape=(self._samples, self._width))
        if self._rows is None and self._device == "cpu":
            assert values is not None
            return gram_of_blocks(_columns(values, rows), count)
        from xlli_ray.probes.device_gram import device_gram

        kept = self._rows if self._rows is not None else values
        assert kept is not None
        return device_gram(kept, rows, self._device)

    def close(self) -> None:
        """Release memory and file."""
        self._values = self._rows = None
        if self._file is not None:
            self._file.close()
            self._file = None


def _columns(values: np.ndarray, rows: np.ndarray | None) -> Iterator[np.ndarray]:
    return (values[:, start:stop] if rows is None else values[rows, start:stop] for start, stop in blocks(values.shape[1]))
