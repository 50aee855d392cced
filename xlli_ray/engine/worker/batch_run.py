"""The batches of one unit through its probes, their results into its cells.

On a GPU a batch is launched before the results of the last one are read, and the last ones of a unit are read while the next unit already
launches (`Staging.depth`); on a CPU each is read where it was computed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from xlli_ray.engine.worker.cell_writer import CellPart
from xlli_ray.engine.worker.job import Clock
from xlli_ray.engine.worker.run_probes import SAMPLE_FAULTS, Measuring
from xlli_ray.engine.worker.staging import Staging
from xlli_ray.models.model import Model
from xlli_ray.probes.measurement import Batch, Measurement

if TYPE_CHECKING:
    from xlli_ray.engine.worker.batches import Batches

Results = Callable[[], list[Measurement]]


class BatchRun:
    """Measures the batches of one unit with `measuring`, for its `parts`. `encoder`: the thread that encodes, None: the caller's."""

    def __init__(
        self, model: Model | None, measuring: Measuring, parts: Sequence[CellPart], staging: Staging, encoder: ThreadPoolExecutor | None,
        clock: Clock,
    ) -> None:  # fmt: skip
        self._model, self._measuring, self._parts = model, measuring, parts
        self._staging, self._encoder, self._clock = staging, encoder, clock
        self._launched: deque[tuple[range, Batch, Results | None]] = deque()
        self._encoding: deque[Future[None]] = deque()
        self.one_by_one = False
        """Whether some samples ran alone."""

    def run(self, batches: Batches, *, note: Callable[[int], None] | None = None, whole: bool = False) -> None:
        """Run all of `batches`. `note`: told the row of each one's sample before it is run; all are alone then. With `whole`, all results
        are written when this returns; else the last ones may be left to `finish`."""
        depth = 0 if whole else self._staging.depth
        self.one_by_one = note is not None
        try:
            for positions, batch, reasons in batches:
                for part in self._parts:
                    part.fail("sample", {positions[i]: reason for i, reason in reasons.items()})
                if note is not None:
                    note(batch.samples[0].row)
                if not batch.ok.any():
                    continue
                with self._clock("compute"):
                    self._launched.append((positions, batch, self._launch(batch)))
                del batch  # the next one reuses its memory
                while len(self._launched) > depth:
                    self._collect()
            if not depth:
                self._written()
        except BaseException:
            wait(self._encoding)  # nothing may write to a unit's files while they are discarded
            raise

    def finish(self, samples: int, turn: AbstractContextManager[object] | None = None) -> None:
        """Write what is left, and the arrays of complete sets, of `samples`. `turn`: taken for what is still to be computed, if another
        unit may be computing."""
        try:
            while self._launched:
                self._collect(turn)
            self._written()
        except BaseException:
            wait(self._encoding)
            raise
        with turn or nullcontext(), self._clock("conclude"):
            for part in self._parts:
                part.conclude(samples)

    def measured(self, batch: Batch) -> list[list[Measurement]]:
        """All cells' measurements of a batch, which are not written."""
        return self._results(batch, self._launch(batch))[0]

    def _launch(self, batch: Batch) -> Results | None:
        """Start a batch: the function that returns its measurements. None if it failed as a whole."""
        try:
            return self._measuring.launch(self._model, batch, self._staging)
        except SAMPLE_FAULTS:
            return None

    def _results(
        self, batch: Batch, launched: Results | None, turn: AbstractContextManager[object] | None = None
    ) -> tuple[list[list[Measurement]], bool]:
        """All cells' measurements of a batch. Falls back to one sample at a time if the batch as a whole failed."""
        if launched is not None:
            with suppress(*SAMPLE_FAULTS):
                return [launched()], False
        # running each sample alone shows which one fails: the others must not fail with it
        with turn or nullcontext():
            if batch.input.is_cuda:
                import torch

                torch.cuda.empty_cache()
            each = []
            for i in np.flatnonzero(batch.ok).tolist():
                each.append([_place(m, i, len(batch.ok)) for m in self._measuring.alone(self._model, batch.only(i))])
        return each, True

    def _collect(self, turn: AbstractContextManager[object] | None = None) -> None:
        """Read the results of the oldest batch that was launched, and encode them."""
        positions, batch, launched = self._launched.popleft()
        with self._clock("compute"):
            results, alone = self._results(batch, launched, turn)
        self.one_by_one |= alone or any(result.narrowed for some in results for result in some)
        with self._clock("write"):
            while len(self._encoding) >= 2:
                self._encoding.popleft().result()
        for result in results:
            if self._encoder is None:
                self._encode(positions, batch.ok, result)
            else:
                self._encoding.append(self._encoder.submit(self._encode, positions, batch.ok, result))

    def _encode(self, positions: range, ok: np.ndarray, results: Sequence[Measurement]) -> None:
        with self._clock("encode"):
            for part, result in zip(self._parts, results):
                part.add(positions, ok, result)

    def _written(self) -> None:
        with self._clock("write"):
            while self._encoding:
                self._encoding.popleft().result()


def _place(measured: Measurement, position: int, size: int) -> Measurement:
    """The measurement of a single sample, moved to `position` in a batch of `size`."""
    count = len(next(iter(measured.columns.values()), [None]))
    rows = [position] * (count if measured.positions is None else len(measured.positions))
    arrays = {name: _Shifted(array, position) for name, array in measured.arrays.items()}
    failed = {position: next(iter(measured.failed.values()))} if measured.failed else {}
    return replace(measured, arrays=arrays, positions=rows, failed=failed)  # type: ignore[arg-type]


class _Shifted:
    """An array of one sample, indexed by its position in the batch."""

    def __init__(self, array: np.ndarray, position: int) -> None:
        self._array, self._position = array, position

    def __getitem__(self, index: int) -> np.ndarray:
        if index != self._position:
            raise IndexError(index)
        return self._array[0]
