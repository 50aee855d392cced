"""Samples to batches, loaded ahead by threads or processes; samples that cannot be loaded keep their place as zeros, with a reason.

The bytes of files are prefetched, many at a time if they are slow (`corpus.files.prefetch`). With spare cores, reader threads decode them
while the network computes. Without, the computing thread decodes: threads that compete for busy cores cost about 5 %, since data decoded on
one core is not in another core's cache. A GPU is faster than two threads: processes (`readers`) take over from them as soon as they have
started, and more are started while the GPU waits.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from xlli_ray.corpus.files.prefetch import Ahead
from xlli_ray.corpus.sample import Loaded, Loader, Sample
from xlli_ray.engine.worker.job import Clock
from xlli_ray.engine.worker.readers import Load, Readers
from xlli_ray.engine.worker.staging import Direct, Staging
from xlli_ray.errors import SampleError
from xlli_ray.probes.measurement import Batch

if TYPE_CHECKING:
    import torch


AHEAD_SAMPLES = 64
AHEAD_BYTES = 256 << 20
LATE_SECONDS = 1e-3
"""A batch that the computing thread waited for longer than this came too late."""
TOGETHER = 8
"""Maximum number of samples per reader task."""


def batches_ahead(size: int, sample: Sample, samples: int = AHEAD_SAMPLES) -> int:
    """Number of batches of `size` samples like this one to prefetch: 64 samples, fewer for large images, at least two batches."""
    target = sample.scale**2  # no target at scale 0
    each = 4 * math.prod(sample.size.shape()) * (1 + target)  # float32, input and target
    return max(2, min(samples, AHEAD_BYTES // max(1, each)) // size)


_Places = tuple["torch.Tensor", list[Loaded | str]]
"""A batch's input, and the outcome of each of its samples."""


Batches = Iterator[tuple[range, Batch, dict[int, str]]]
"""Positions of a batch, the batch, and position in it → why that sample could not be loaded."""


class BatchReader:
    """Loads samples with `threads` reader threads; 0: the caller's thread loads the batch. `ahead`: prefetcher of files for the loader.
    `processes`: makes the reader processes, as many as may be needed at most, and their number; None: never any.

    Memory is bounded by the batches ahead and the loader's cache.
    """

    def __init__(
        self, loader: Loader, device: torch.device, *, threads: int, ahead: Ahead, staging: Staging | None = None,
        processes: Callable[[Load], Readers] | None = None, most: int = 0,
    ) -> None:  # fmt: skip
        self._loader = loader
        self._staging = staging or Direct(device)
        self._count = threads
        self._ahead = ahead
        self._readers = processes(self._reload) if processes is not None else None
        if self._readers is not None:
            self._readers.grow()  # they start while weights are loaded
        self._samples_ahead = max(AHEAD_SAMPLES, 2 * TOGETHER * most)
        self._threads = ThreadPoolExecutor(max(1, threads), thread_name_prefix="xlli-read")

    def batches(
        self, samples: Sequence[Sample], ranges: Sequence[range], crashed: set[int], clock: Clock, begun: Callable[[], None] = lambda: None
    ) -> Batches:
        """Batches in order. Does not keep them.

        The first ones are being loaded when this returns. `begun` is called once all of them are: the reader then has time for others.
        """
        largest = max(ranges, key=lambda one: len(one) * samples[one.start].height * samples[one.start].width, default=range(0))
        ahead = batches_ahead(len(largest), samples[largest.start], self._samples_ahead) if ranges else 0
        begin = self._spread if self._count else self._here
        waiting: deque[Callable[[], _Places]] = deque()
        announced: list[str] = []
        coming = deque(ranges)

        def fill() -> None:
            while coming and len(waiting) < ahead:
                following = coming.popleft()
                chosen, bad = [samples[i] for i in following], [i in crashed for i in following]
                waiting.append(begin(chosen, bad, clock, announced))
            if not coming:
                begun()

        def loaded() -> Batches:
            try:
                for current in ranges:
                    fill()
                    yield current, *self._batch([samples[i] for i in current], *waiting.popleft()())
            finally:
                self._ahead.forget(announced)

        fill()
        return loaded()

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
        return Batch(samples, self._staging.to_device(data), targets, ok, extras=extras), reasons

    def _empty(self, samples: Sequence[Sample]) -> torch.Tensor:
        return self._staging.empty((len(samples), *samples[0].size.shape()))

    def _fetch(self, samples: Sequence[Sample], crashed: Sequence[bool], announced: list[str]) -> None:
        """Prefetch the files that are needed soon."""
        uris = [uri for sample, bad in zip(samples, crashed) if not bad for uri in self._loader.files(sample)]
        self._ahead.fetch(uris)
        announced += uris

    def _spread(self, samples: Sequence[Sample], crashed: Sequence[bool], clock: Clock, announced: list[str]) -> Callable[[], _Places]:
        """Start loading a batch in the reader threads, or processes. Returns a function that waits for it."""
        data = self._empty(samples)
        if self._readers is not None and self._readers.ready and not any(crashed):
            return self._awaited(data, self._readers.submit(samples, clock, data.numpy(), TOGETHER), clock)
        self._fetch(samples, crashed, announced)
        # Several per task: the computing thread is woken once per task, and each time contends with a reader for the GIL.
        each = max(1, min(TOGETHER, -(-len(samples) // self._count)))
        parts = [
            self._threads.submit(self._some, samples[i : i + each], crashed[i : i + each], clock, data[i : i + each].numpy())
            for i in range(0, len(samples), each)
        ]
        return self._awaited(data, parts, clock)

    def _awaited(self, data: torch.Tensor, parts: Sequence[Future[list[Loaded | str]]], clock: Clock) -> Callable[[], _Places]:
        def finish() -> _Places:
            start = perf_counter()
            with clock("wait"):
                loaded = [item for part in parts for item in part.result()]
            if self._readers is not None and perf_counter() - start > LATE_SECONDS:
                self._readers.grow()
            return data, loaded

        return finish

    def _reload(self, sample: Sample, clock: Clock, place: np.ndarray) -> Loaded | str:
        return self.load(sample, False, clock, place)

    def _here(self, samples: Sequence[Sample], crashed: Sequence[bool], clock: Clock, announced: list[str]) -> Callable[[], _Places]:
        """Returns a function that loads a batch."""
        self._fetch(samples, crashed, announced)

        def finish() -> _Places:
            data = self._empty(samples)
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
        """Stop the threads and the processes."""
        if self._readers is not None:
            self._readers.close()
        self._ahead.close()
        self._threads.shutdown(wait=False, cancel_futures=True)
