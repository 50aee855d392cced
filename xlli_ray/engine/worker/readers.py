"""Reader processes of a worker: started when threads cannot keep up, one task at a time each, replaced if they die.

Each has one thread here, which hands over a task, waits, and copies the inputs from memory shared with the process to their places in the
batch. The memory is an anonymous file, and the process ends with its standard input, so nothing is left of either, however this process
ends. A sample that did not come back for whatever reason is loaded here, by `load`, which knows what its failure means: a reader decides
nothing, and a study does not depend on whether and how many there are.

Consecutive samples of one file, patches, go to one reader together, and later ones of the file to the same, which has it decoded, unless
it has fallen behind: files that the first readers took would otherwise stay with them, and those that started later would have nothing.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import subprocess
import sys
import tempfile
import threading
import weakref
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import groupby
from typing import Any

import numpy as np

from xlli_ray.corpus.reader_process import Found, Place, Sent, Setup, Task, read_message, write_message
from xlli_ray.corpus.sample import Loaded, Sample
from xlli_ray.engine.worker.job import Clock

FIRST = 8
"""Readers at first; their number doubles while the worker still waits, up to the limit."""
BEHIND = 2
"""Tasks that the reader of a file may have more than the one with least to do: to decode the file again is quicker than to wait."""
LIVES = 3
"""Deaths of one reader after which it is not replaced."""
END_SECONDS = 5.0
HOMES = 4096
"""Files whose reader is remembered."""
PROGRAM = """
import sys
sys.path.extend(path for path in sys.argv[1:] if path not in sys.path)
from xlli_ray.corpus.reader_process import main
main()
"""

Load = Callable[[Sample, Clock, np.ndarray], Loaded | str]
"""Loads a sample in this process, into its place."""


class Readers:
    """Up to `limit` processes that load samples of a corpus section. Thread-safe."""

    def __init__(self, corpus: Mapping[str, Any], load: Load, *, limit: int, allowed: Sequence[tuple[str, str]] = ()) -> None:
        self._setup = {"corpus": dict(corpus), "allowed": tuple(allowed)}
        self._load, self._limit = load, limit
        self._readers: list[_Reader] = []
        self._homes: OrderedDict[str, _Reader] = OrderedDict()
        self._lock = threading.Lock()
        self._closed = False
        weakref.finalize(self, _end_all, self._readers)

    def grow(self) -> None:
        """Start more, if all that were started are ready and the limit is not reached."""
        with self._lock:
            if not self._closed and all(reader.settled for reader in self._readers):
                more = min(max(FIRST, len(self._readers)), self._limit - len(self._readers))
                self._readers += [_Reader(self._setup, self._load) for _ in range(more)]

    @property
    def ready(self) -> int:
        """Number of readers that take tasks."""
        return sum(reader.ready for reader in self._readers)

    def submit(self, samples: Sequence[Sample], clock: Clock, places: np.ndarray, together: int) -> list[Future[list[Loaded | str]]]:
        """Load these samples into `places`, float32 (n, …), at most `together` of different files a task. Futures in order, of an outcome
        for each sample. Call only if some are ready."""
        parts, start = [], 0
        for part in _parts(samples, together):
            parts.append(self._choose(part).submit(part, clock, places[start : start + len(part)]))
            start += len(part)
        return parts

    def _choose(self, samples: Sequence[Sample]) -> _Reader:
        """The reader that has the file of several samples, unless it is behind, else the one with least to do."""
        with self._lock:
            ready = [reader for reader in self._readers if reader.ready] or self._readers
            least = min(ready, key=lambda reader: reader.pending)
            if samples[0].box is None:  # a whole image is needed once
                return least
            source = samples[0].source_sha
            home = self._homes.setdefault(source, least)
            if not home.ready or home.pending > least.pending + BEHIND:
                home = self._homes[source] = least
            self._homes.move_to_end(source)
            while len(self._homes) > HOMES:
                self._homes.popitem(last=False)
            return home

    def pids(self) -> list[int]:
        """Of those that are running."""
        return [reader.pid for reader in self._readers if reader.pid]

    def close(self) -> None:
        """End all of them."""
        with self._lock:
            self._closed = True
        _end_all(self._readers)


def _end_all(readers: Sequence[_Reader]) -> None:
    for reader in readers:
        reader.close()


def _parts(samples: Sequence[Sample], together: int) -> list[Sequence[Sample]]:
    """Patches: the consecutive ones of one file are a task. Whole images: at most `together` are."""
    if samples[0].box is None:
        return [samples[i : i + together] for i in range(0, len(samples), together)]
    return [list(group) for _, group in groupby(samples, key=lambda sample: sample.files)]


class _Reader:
    """One process and its thread here."""

    def __init__(self, setup: Mapping[str, Any], load: Load) -> None:
        self._setup, self._load = setup, load
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="xlli-reader")
        self._process: subprocess.Popen[bytes] | None = None
        self._memory: mmap.mmap | None = None
        self._file = _anonymous()
        self._lives, self._closed = LIVES, False
        self._lock = threading.Lock()
        self.ready = self.settled = False
        self.pending = 0
        self._thread.submit(self._start)

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None and self._process.poll() is None else 0

    def submit(self, samples: Sequence[Sample], clock: Clock, places: np.ndarray) -> Future[list[Loaded | str]]:
        with self._lock:
            self.pending += 1
        return self._thread.submit(self._run, samples, clock, places)

    def close(self) -> None:
        """End the process; a task in progress fails over to this process."""
        self._closed, self.ready = True, False
        self._thread.shutdown(wait=False, cancel_futures=True)
        process = self._process
        if process is not None:
            process.kill()  # it has nothing to put in order
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(END_SECONDS)

    # -- in its thread ------------------------------------------------------------------------------------------

    def _start(self) -> None:
        """Start a process and wait until it is ready."""
        try:
            process = subprocess.Popen(
                [sys.executable, "-P", "-c", PROGRAM, *(path for path in sys.path if path)],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, pass_fds=(self._file.fileno(),),
            )  # fmt: skip
            self._process = process
            assert process.stdin is not None
            assert process.stdout is not None
            write_message(process.stdin, Setup(memory=self._file.fileno(), **self._setup))
            read_message(process.stdout)
            self.ready = not self._closed
        except (OSError, EOFError):
            self.ready = False
            self._end()
        self.settled = True
        if self._closed:
            self._end()

    def _end(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.kill()
        process.wait()
        for pipe in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                assert pipe is not None
                pipe.close()

    def _run(self, samples: Sequence[Sample], clock: Clock, places: np.ndarray) -> list[Loaded | str]:
        try:
            found = self._ask(samples, places) if self.ready else [None] * len(samples)
            if self._closed:
                return [""] * len(samples)  # nobody waits for them
            out: list[Loaded | str] = []
            for sample, place, one in zip(samples, places, found, strict=True):
                if one is None:
                    out.append(self._load(sample, clock, place))
                    continue
                clock.add("read", one.seconds)
                target = None if one.target is None else self._own(one.target)
                out.append(Loaded(place, target, {name: self._own(extra) for name, extra in one.extras.items()}))
            return out
        finally:
            with self._lock:
                self.pending -= 1

    def _ask(self, samples: Sequence[Sample], places: np.ndarray) -> list[Found | None]:
        """What the process found; None for each sample if it died, and then another one is started."""
        each = places[0].nbytes
        stride = -(-each // 64) * 64
        targets = max((sample.scale for sample in samples), default=0) ** 2
        self._map(len(samples) * (stride * (1 + targets) + 4096))
        assert self._memory is not None
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        task = Task(tuple(samples), places.shape[1:], stride, len(self._memory))
        try:
            write_message(self._process.stdin, task)
            found: list[Found | None] = read_message(self._process.stdout)
        except (OSError, EOFError, ValueError):
            self.ready = False
            self._lives -= 1
            self._end()
            if self._lives > 0 and not self._closed:
                self._start()
            return [None] * len(samples)
        for number, one in enumerate(found):
            if one is not None:
                np.copyto(places[number], Place(number * stride, places.shape[1:], "<f4").view(self._memory))
        return found

    def _map(self, size: int) -> None:
        """Make the shared memory at least as large."""
        if self._memory is not None and len(self._memory) >= size:
            return
        size = 1 << (size - 1).bit_length()
        os.ftruncate(self._file.fileno(), size)
        self._memory = mmap.mmap(self._file.fileno(), size)

    def _own(self, sent: Sent) -> np.ndarray:
        """A copy that outlives the task."""
        assert self._memory is not None
        return sent.view(self._memory).copy() if isinstance(sent, Place) else sent


def _anonymous() -> Any:
    """An empty file in memory without a name: nothing is left of it, whatever happens to this process."""
    if hasattr(os, "memfd_create"):
        return os.fdopen(os.memfd_create("xlli-reader"), "r+b", buffering=0)
    return tempfile.TemporaryFile(buffering=0)
