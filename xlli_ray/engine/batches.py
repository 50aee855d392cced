"""Samples to batches, read ahead by threads; what cannot be loaded keeps its place as zeros and says why."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np

from xlli_ray.corpus.sample import Loaded, Loader, Sample
from xlli_ray.engine.job import Clock
from xlli_ray.errors import SampleError
from xlli_ray.probes.protocol import Batch

if TYPE_CHECKING:
    import torch


AHEAD_SAMPLES = 64
AHEAD_BYTES = 256 << 20
TOGETHER = 8
"""Most samples that a reader takes at once."""


def batches_ahead(size: int, sample: Sample) -> int:
    """How many batches of `size` samples like this one are read ahead: 64 samples, fewer where pictures are large, two batches at least."""
    target = 0 if sample.kind == "inputs" else max(1, sample.scale) ** 2
    each = 3 * 4 * sample.height * sample.width * (1 + target)  # float32 RGB, input and target
    return max(2, min(AHEAD_SAMPLES, AHEAD_BYTES // max(1, each)) // size)


class BatchReader:
    """Loads samples with a few threads; memory is bounded by the batches ahead and the loader's cache."""

    def __init__(self, loader: Loader, device: torch.device, *, threads: int) -> None:
        self._loader = loader
        self._device = device
        self._count = threads
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="xlli-read")

    def batches(
        self, samples: Sequence[Sample], ranges: Sequence[range], crashed: set[int], clock: Clock
    ) -> Iterator[tuple[Batch, dict[int, str]]]:
        """Batches in order, loaded ahead by the reader threads; with them: position in the batch → why it could not be loaded."""
        import torch

        ahead = batches_ahead(len(ranges[0]), samples[0]) if ranges else 0
        waiting: deque[tuple[torch.Tensor, list[Future[list[Loaded | str]]]]] = deque()
        index = 0
        for current in ranges:
            while index < len(ranges) and len(waiting) < ahead:
                waiting.append(self._begin([samples[i] for i in ranges[index]], [i in crashed for i in ranges[index]], clock))
                index += 1
            data, parts = waiting.popleft()
            with clock("wait"):
                loaded = [item for part in parts for item in part.result()]
            chosen = [samples[i] for i in current]
            shape = tuple(data.shape[1:])
            ok = np.zeros(len(current), bool)
            targets: list[np.ndarray | None] = [None] * len(current)
            reasons: dict[int, str] = {}
            for i, item in enumerate(loaded):
                if isinstance(item, str):
                    if item:
                        reasons[i] = item
                elif item.input.shape != shape:
                    reasons[i] = f"changed since scan: the input is now {item.input.shape[2]}×{item.input.shape[1]} pixels"
                else:
                    targets[i] = item.target
                    ok[i] = True
            if not ok.all():
                # A failed sample keeps its place as zeros: the batch is part of the numbers, so its size never changes.
                data[torch.from_numpy(~ok)] = 0.0
            yield Batch(chosen, data.to(self._device), targets, ok), reasons

    def _begin(
        self, samples: Sequence[Sample], crashed: Sequence[bool], clock: Clock
    ) -> tuple[torch.Tensor, list[Future[list[Loaded | str]]]]:
        """Have the readers load a batch, each sample straight into its place, while it is in the reader's cache."""
        import torch

        data = torch.empty(len(samples), 3, samples[0].height, samples[0].width)
        places = data.numpy()

        def some(first: int, last: int) -> list[Loaded | str]:
            return [self.load(samples[i], crashed[i], clock, places[i]) for i in range(first, last)]

        # Several a task: the computing thread is woken once a task, and each time it and a reader contend for the interpreter.
        each = max(1, min(TOGETHER, -(-len(samples) // self._count)))
        return data, [self._threads.submit(some, i, min(i + each, len(samples))) for i in range(0, len(samples), each)]

    def load(self, sample: Sample, crashed: bool, clock: Clock, into: np.ndarray | None = None) -> Loaded | str:
        """One sample, or why it could not be loaded; '' for one that is known to kill."""
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
        self._threads.shutdown(wait=False, cancel_futures=True)
