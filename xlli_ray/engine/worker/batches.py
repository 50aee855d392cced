"""Samples to batches, prefetched by threads; samples that cannot be loaded keep their place as zeros, with a reason.

The bytes of files are prefetched, many at a time if they are slow (`corpus.files.prefetch`). With spare cores, reader threads decode them
while the network computes. Without, the computing thread decodes: threads that compete for busy cores cost about 5 %, since data decoded on
one core is not in another core's cache.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from xlli_ray.corpus.files.prefetch import Ahead
from xlli_ray.corpus.sample import Loaded, Loader, Sample
from xlli_ray.engine.worker.job import Clock
from xlli_ray.errors import SampleError
from xlli_ray.probes.measurement import Batch

if TYPE_CHECKING:
    import torch


AHEAD_SAMPLES = 64
AHEAD_BYTES = 256 << 20
TOGETHER = 8
"""Maximum number of samples per reader task."""


def batches_ahead(size: int, sample: Sample) -> int:
    """Number of batches of `size` samples like this one to prefetch: 64 samples, fewer for large images, at least two batches."""
    target = sample.scale**2  # no target at scale 0
    each = 4 * math.prod(sample.size.shape()) * (1 + target)  # float32, input and target
    return max(2, min(AHEAD_SAMPLES, AHEAD_BYTES // max(1, each)) // size)


_Places = tuple["torch.Tensor", list[Loaded | str]]
"""A batch's input, and the outcome of each of its samples."""


def _empty(samples: Sequence[Sample]) -> torch.Tensor:
    import torch

    return torch.empty(len(samples), *samples[0].size.shape())


class BatchReader:
    """Loads samples with `threads` reader threads; 0: the caller's thread loads the batch. `ahead`: prefetcher of files for the loader.

    Memory is bounded by the batches ahead and the loader's cache.
    """

    def __init__(self, loader: Loader, device: torch.device, *, threads: int, ahead: Ahead) -> None:
        self._loader = loader
        self._device = device
        self._count = threads
        self._ahead = ahead
        self._threads = ThreadPoolExecutor(max(1, threads), thread_name_prefix="xlli-read")

    def batches(
        self, samples: Sequence[Sample], ranges: Sequence[range], crashed: set[int], clock: Clock
    ) -> Iterator[tuple[range, Batch, dict[int, str]]]:
        """Batches in order, each with its positions, and position in the batch → why it could not be loaded. Does not keep batches."""
        largest = max(ranges, key=lambda one: len(one) * samples[one.start].height * samples[one.start].width, default=range(0))
        ahead = batches_ahead(len(largest), samples[largest.start]) if ranges else 0
        begin = self._spread if self._count else self._here
        waiting: deque[Callable[[], _Places]] = deque()
        index = 0
        try:
            for current in ranges:
                while index < len(ranges) and len(waiting) < ahead:
                    chosen, bad = [samples[i] for i in ranges[index]], [i in crashed for i in ranges[index]]
                    self._fetch(chosen, bad)
                    waiting.append(begin(chosen, bad, clock))
                    index += 1
                yield current, *self._batch([samples[i] for i in current], *waiting.popleft()())
        finally:
            self._ahead.forget()

    def _batch(self, samples: Sequence[Sample], data: torch.Tensor, loaded: Sequence[Loaded | str]) -> tuple[Batch, dict[int, str]]:
        import torch

        shape = tuple(data.shape[1:])
        ok = np.zeros(len(samples), bool)
        targets: list[np.ndarray | None] = [None] * len(samples)
        extras: list[Mapping[str, np.ndarray]] = [{} for _ in samples]
        reasons: dict[int, str] = {}
        for i, item in enumerate(loaded):
            if isinstance(item, str):
                if item:
                    reasons[i] = item
            elif item.input.shape != shape:
                reasons[i] = f"changed since scan: the input is now {item.input.shape[-1]}×{item.input.shape[-2]} pixels"
            else:
                targets[i], extras[i] = item.target, item.extras
                ok[i] = True
        if not ok.all():
            # A failed sample keeps its place as zeros: the batch is part of the numbers, so its size never changes.
            data[torch.from_numpy(~ok)] = 0.0
        return Batch(samples, data.to(self._device), targets, ok, extras=extras), reasons

    def _fetch(self, samples: Sequence[Sample], crashed: Sequence[bool]) -> None:
        """Prefetch the files that are needed soon."""
        self._ahead.fetch([uri for sample, bad in zip(samples, crashed) if not bad for uri in self._loader.files(sample)])

    def _spread(self, samples: Sequence[Sample], crashed: Sequence[bool], clock: Clock) -> Callable[[], _Places]:
        """Start loading a batch in the reader threads. Returns a function that waits for it."""
        data = _empty(samples)
        # Several per task: the computing thread is woken once per task, and each time contends with a reader for the GIL.
        each = max(1, min(TOGETHER, -(-len(samples) // self._count)))
        parts = [
            self._threads.submit(self._some, samples[i : i + each], crashed[i : i + each], clock, data[i : i + each].numpy())
            for i in range(0, len(samples), each)
        ]

        def finish() -> _Places:
            with clock("wait"):
                return data, [item for part in parts for item in part.result()]

        return finish

    def _here(self, samples: Sequence[Sample], crashed: Sequence[bool], clock: Clock) -> Callable[[], _Places]:
        """Returns a function that loads a batch."""

        def finish() -> _Places:
            data = _empty(samples)
            return data, self._some(samples, crashed, clock, data.numpy())

        return finish

    def _some(self, samples: Sequence[Sample], crashed: Sequence[bool], clock: Clock, places: np.ndarray) -> list[Loaded | str]:
        """Load samples, each directly into its place, while it is in the cache of the core that decoded it."""
        return [self.load(sample, bad, clock, place) for sample, bad, place in zip(samples, crashed, places)]

    def load(self, sample: Sample, crashed: bool, clock: Clock, into: np.ndarray | None = None) -> Loaded | str:
        """One sample, or why it could not be loaded; '' for one that is known to kill its worker."""
        if crashed:
            return ""
        with clock("read"):
            try:
                return self._loader.load(sample, into=into)
            except SampleError as error:
                return str(error)
            except MemoryError:
                return "out of memory while decoding"

    def close(self) -> None:
        """Stop the threads."""
        self._ahead.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
