"""A process that loads samples for another one: files are read, decoded and degraded beside its interpreter, not within it.

Threads share one interpreter with the thread that launches a GPU's kernels: decoding releases it, the conversions around it do not. A
process of its own imports numpy, Pillow and `xlli_ray.corpus`, neither torch nor Ray, and is told what to do by its standard input:

    first    Setup: corpus section, descriptor of the shared memory
    then     Task: samples, and where their inputs belong in the shared memory
    back     None (ready); then for each task one `Found` a sample, None if anything went wrong with it

It judges nothing: whoever asked loads a failed sample again, and finds the reason there (`files.outages`). It ends with its standard input,
or when its parent is gone.
"""

from __future__ import annotations

import mmap
import os
import pickle
import select
import signal
import struct
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from xlli_ray.corpus.files.prefetch import Ahead
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.sample import Loader, Sample, study_loader
from xlli_ray.user_code import allow

POLL_SECONDS = 2.0
"""Between two looks at whether the parent still lives."""
INLINE_BYTES = 4096
"""Smaller arrays travel within the message."""


@dataclass(frozen=True)
class Setup:
    """How to load."""

    allowed: tuple[tuple[str, str], ...]
    corpus: Mapping[str, Any]
    memory: int
    """Descriptor of the shared memory, inherited."""


@dataclass(frozen=True)
class Task:
    """Samples whose inputs have one shape. Input number i belongs at byte `i * stride`; what else they have goes behind the last one."""

    samples: tuple[Sample, ...]
    shape: tuple[int, ...]
    stride: int
    size: int
    """Bytes of the shared memory by now."""


@dataclass(frozen=True)
class Place:
    """An array in the shared memory."""

    offset: int
    shape: tuple[int, ...]
    dtype: str

    def view(self, memory: mmap.mmap) -> np.ndarray:
        count = int(np.prod(self.shape, dtype=np.int64))
        return np.frombuffer(memory, np.dtype(self.dtype), count, self.offset).reshape(self.shape)


Sent = Place | np.ndarray


@dataclass(frozen=True)
class Found:
    """A loaded sample, its input in place."""

    target: Sent | None
    extras: Mapping[str, Sent]
    seconds: float


def write_message(pipe: IO[bytes], message: object) -> None:
    """One object, after its length."""
    data = pickle.dumps(message, pickle.HIGHEST_PROTOCOL)
    pipe.write(struct.pack("<q", len(data)))
    pipe.write(data)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> Any:
    """The next object. Raises EOFError at the end."""
    head = pipe.read(8)
    if len(head) < 8:
        raise EOFError
    (length,) = struct.unpack("<q", head)
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return pickle.loads(data)


class _Memory:
    """The shared memory, mapped as large as it is, and filled from the front."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self.map: mmap.mmap | None = None
        self._end = 0

    def begin(self, size: int, end: int) -> mmap.mmap:
        if self.map is None or len(self.map) != size:
            self.map = mmap.mmap(self._descriptor, size)
        self._end = end
        return self.map

    def put(self, array: np.ndarray) -> Sent:
        """Where the array is from now on; the array itself if it is small or there is no room."""
        assert self.map is not None
        offset = -(-self._end // 64) * 64
        if array.nbytes < INLINE_BYTES or array.dtype.hasobject or offset + array.nbytes > len(self.map):
            return np.ascontiguousarray(array)
        place = Place(offset, array.shape, array.dtype.str)
        np.copyto(place.view(self.map), array)
        self._end = offset + array.nbytes
        return place


def load_all(task: Task, loader: Loader, ahead: Ahead, memory: _Memory) -> list[Found | None]:
    """The samples of a task."""
    room = memory.begin(task.size, len(task.samples) * task.stride)
    ahead.fetch([uri for sample in task.samples for uri in loader.files(sample)])
    found: list[Found | None] = []
    for number, sample in enumerate(task.samples):
        start = time.perf_counter()
        place = Place(number * task.stride, task.shape, "<f4").view(room)
        try:
            loaded = loader.load(sample, into=place)
            if loaded.input is not place:
                found.append(None)
                continue
            target = None if loaded.target is None else memory.put(loaded.target)
            extras = {name: memory.put(extra) for name, extra in loaded.extras.items()}
            found.append(Found(target, extras, time.perf_counter() - start))
        except Exception:
            found.append(None)
    ahead.forget()
    return found


def _wait(descriptor: int, parent: int) -> bool:
    """Wait until there is something to read. False if the parent is gone meanwhile."""
    while os.getppid() == parent:
        if select.select([descriptor], [], [], POLL_SECONDS)[0]:
            return True
    return False


def main() -> None:
    """Serve the process that started this one."""
    parent = os.getppid()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends this process
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # whatever a library prints is not an answer
    setup: Setup = read_message(requests)
    allow(setup.allowed)
    ahead = Ahead(read_bytes)
    loader = study_loader(setup.corpus, read=ahead)
    memory = _Memory(setup.memory)
    write_message(answers, None)
    while _wait(requests.fileno(), parent):  # one request at a time, so none is waiting in the buffer
        try:
            task: Task = read_message(requests)
        except EOFError:
            return
        write_message(answers, load_all(task, loader, ahead, memory))
