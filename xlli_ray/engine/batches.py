"""Samples to batches, read ahead by threads; what cannot be loaded keeps its place as zeros and says why."""

from __future__ import annotations

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
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="xlli-read")

    def batches(
        self, samples: Sequence[Sample], ranges: Sequence[range], crashed: set[int], clock: Clock
    ) -> Iterator[tuple[Batch, dict[int, str]]]:
        """Batches in order, loaded ahead by the reader threads; with them: position in the batch → why it could not be loaded."""
        import torch

        ahead = batches_ahead(len(ranges[0]), samples[0]) if ranges else 0
        waiting: list[list[Future[Loaded | str]]] = []
        index = 0
        for current in ranges:
            while index < len(ranges) and len(waiting) < ahead:
                waiting.append([self._threads.submit(self.load, samples[i], i in crashed, clock) for i in ranges[index]])
                index += 1
            with clock("wait"):
                loaded = [future.result() for future in waiting.pop(0)]
            chosen = [samples[i] for i in current]
            height, width = chosen[0].height, chosen[0].width
            data = torch.empty(len(current), 3, height, width)
            ok = np.zeros(len(current), bool)
            targets: list[np.ndarray | None] = [None] * len(current)
            reasons: dict[int, str] = {}
            for i, item in enumerate(loaded):
                if isinstance(item, str):
                    if item:
                        reasons[i] = item
                elif item.input.shape != (3, height, width):
                    reasons[i] = f"changed since scan: the input is now {item.input.shape[2]}×{item.input.shape[1]} pixels"
                else:
                    data[i] = torch.from_numpy(item.input)
                    targets[i] = item.target
                    ok[i] = True
            if not ok.all():
                # A failed sample keeps its place as zeros: the batch is part of the numbers, so its size never changes.
                data[torch.from_numpy(~ok)] = 0.0
            yield Batch(chosen, data.to(self._device), targets, ok), reasons

    def load(self, sample: Sample, crashed: bool, clock: Clock) -> Loaded | str:
        if crashed:
            return ""
        with clock("read"):
            try:
                return self._loader.load(sample)
            except SampleError as error:
                return str(error)
            except MemoryError:
                return "out of memory while decoding"

    def close(self) -> None:
        """Stop the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)
