"""The worker: read → decode → batch → network → encode → one object per shard and array, then the record.

A plain class, independent of Ray: the same object runs in this process and as an actor. One thread computes, a few read ahead, one
encodes; queues are bounded, so memory does not grow with the unit. Without a core to spare (`readers=0`) one thread does all three, and
files are fetched ahead: the same bytes in less time. `run` may be called from two threads at once: while one unit waits for the disk, the
next one computes.

Crashes: a unit that was lost twice is run again with `mode="probe"`: each sample first runs alone, under a note of which one is in
progress, and only then the usual batches, so that survivors keep the bytes of an undisturbed run. If even that is lost without a sample
to blame, `mode="alone"` keeps batches of one, and the record says so.
"""

from __future__ import annotations

import os
import socket
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import replace
from typing import Any

import numpy as np

from xlli_ray.corpus.files.outages import Watch, Witness
from xlli_ray.corpus.files.prefetch import Ahead
from xlli_ray.corpus.sample import CACHE_BYTES, Loader, Sample, sample_from_row, study_loader
from xlli_ray.engine.run.allowed_models import check_gate, models_of
from xlli_ray.engine.run.study_weights import load_study_model
from xlli_ray.engine.worker.batches import BatchReader
from xlli_ray.engine.worker.cell_writer import CellPart
from xlli_ray.engine.worker.environment import check_device, device_name, keep_freed_memory, versions
from xlli_ray.engine.worker.job import Clock, UnitJob, UnitResult
from xlli_ray.engine.worker.run_probes import SAMPLE_FAULTS, Measuring
from xlli_ray.errors import LeaseError, StudyError
from xlli_ray.models.model import Model
from xlli_ray.models.precision import allow_tf32
from xlli_ray.probes.measurement import Batch, Measurement
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.documents import load_manifest
from xlli_ray.store.records.lease import holder_mark, superseded
from xlli_ray.store.records.manifest import BucketPlan
from xlli_ray.store.records.unit_records import COMPUTED, PASSED, Failure, Receipt, write_crash_note, write_record
from xlli_ray.store.tables.sample_table import SampleReader


def make_loader(corpus: Mapping[str, Any], watch: Watch, read: Callable[[str], bytes]) -> Loader:
    """The loader for a recipe's corpus section, reading files with `read` (`watch`, or a prefetcher that uses it).

    Decoded images are cached only if they are needed again soon, for the next patch or the next degradation.
    """
    needed_again = bool(corpus.get("patches") or corpus.get("pies")) or len(corpus.get("degradations") or ()) > 1
    cache = CACHE_BYTES if needed_again else 0
    return study_loader(corpus, cache_bytes=cache, read=read, blame=watch.blame)


class Worker:
    """Computes units of one study. `device` is a torch device; `threads` are torch threads; `readers` load images in parallel, with one
    thread that encodes (0: neither)."""

    def __init__(self, study: str, epoch: int, *, device: str = "cpu", threads: int = 1, readers: int = 2) -> None:
        import torch

        keep_freed_memory()
        self.objects = open_objects(study)
        manifest = load_manifest(self.objects)
        if manifest is None or manifest.samples is None:
            raise StudyError(f"{study}: there is no study.json with a sample table; a worker starts after the plan")
        self.manifest = manifest
        self.epoch = epoch
        self._mark = holder_mark(self.objects, epoch)
        self.device = torch.device(device)
        self.threads = threads
        self._samples = SampleReader(self.objects, manifest.samples)
        self._sample_lock = threading.Lock()
        self._compute = threading.Lock()
        self._watch = Watch(self._witnesses)
        ahead = Ahead(self._watch)
        loader = make_loader(manifest.recipe["corpus"], self._watch, ahead)
        self._reader = BatchReader(loader, self.device, threads=readers, ahead=ahead)
        self._encoder = ThreadPoolExecutor(1, thread_name_prefix="xlli-encode") if readers else None
        self._model: tuple[str, Model] | None = None
        self._companions: dict[str, Model] = {}
        check_device(manifest.device, device_name(device))
        if self.device.type == "cuda":
            # The same bytes in every run: no reduced-precision products, no choice of algorithms by timing.
            allow_tf32((False, False))
            torch.backends.cudnn.benchmark, torch.backends.cudnn.deterministic = False, True

    # -- one unit -----------------------------------------------------------------------------------------------

    def run(self, job: UnitJob) -> UnitResult:
        """Compute, write and record one unit. Raises EnvironmentFailure and LeaseError; bad samples become failed rows."""
        cells = [self.manifest.cell(name) for name in job.cells]
        bucket, start, stop = cells[0].unit(job.unit)
        clock = Clock()
        parts: list[CellPart] = []
        try:
            with self._compute:
                forwards = bucket.forwards(start, stop)
                low, high = min([start, *(first for first, _ in forwards)]), max([stop, *(last for _, last in forwards)])
                samples = self._read_rows(bucket, low, high)  # also those of batches cut by its boundary, run but not stored
                own = slice(start - low, stop - low)
                parts = [CellPart.begin(self.objects, cell, job.unit, str(self.device), lead=start - low) for cell in cells]
                crashed = {i for i, sample in enumerate(samples) if sample.row in job.skip}
                for part in parts:
                    part.fail("crash", dict.fromkeys(crashed, "the worker died on this sample twice"))
                    part.fail("sample", {row - low: reason for row, reason in bucket.refusals(start, stop).items()})
                one_by_one = False
                if forwards:
                    for name in models_of(cells, self.manifest.cell):
                        check_gate(dict(job.models), self.manifest.model(name), self.objects.url)
                    measuring = Measuring(cells, [part.probe for part in parts], self.manifest.cell, self._companion, self.device)
                    model = self.model(cells[0].model) if measuring.needs_model else None
                    if job.mode == "probe":
                        self._try_alone(job, model, measuring, samples, crashed)
                    ranges = [range(first - low, last - low) for first, last in forwards]
                    one_by_one = self._measure(job, model, measuring, parts, samples, crashed, ranges, clock)
                    with clock("conclude"):
                        for part in parts:
                            part.conclude(stop - start)
                samples = samples[own]
            return self._finish(job, parts, samples, bucket, start, stop, clock, one_by_one)
        finally:
            # committed shards stay; everything else of a unit that ends in an error is discarded
            for part in parts:
                part.abandon()

    def _read_rows(self, bucket: BucketPlan, start: int, stop: int) -> list[Sample]:
        with self._sample_lock:
            tables = [self._samples.rows(first, last) for first, last in bucket.table_rows(start, stop)]
        return [sample_from_row(row) for table in tables for row in table.to_pylist()]

    def _witnesses(self) -> list[Witness]:
        """The first, the middle and the last file of the corpus: whether they can be read decides what a bad file means."""
        assert self.manifest.samples is not None
        last = self.manifest.samples.rows - 1
        with self._sample_lock:
            rows = [self._samples.rows(row, row + 1).to_pylist()[0] for row in sorted({0, last // 2, last})]
        return list(dict.fromkeys(sample_from_row(row).files[0] for row in rows))

    def model(self, model_id: str) -> Model:
        """The model, loaded from the study's own weights; the last one is kept."""
        if self._model is None or self._model[0] != model_id:
            self._model = (model_id, load_study_model(self.objects, self.manifest.model(model_id), self.device))
        return self._model[1]

    # -- measuring ----------------------------------------------------------------------------------------------

    def _measure(
        self,
        job: UnitJob,
        model: Model | None,
        measuring: Measuring,
        parts: Sequence[CellPart],
        samples: Sequence[Sample],
        crashed: set[int],
        ranges: Sequence[range],
        clock: Clock,
    ) -> bool:
        """Run all batches of the unit. True if some ran sample by sample."""
        import torch

        torch.set_num_threads(self.threads)
        one_by_one = job.mode == "alone"
        if one_by_one:
            ranges = [range(i, i + 1) for several in ranges for i in several]
        encoding: deque[Future[None]] = deque()
        try:
            for positions, batch, reasons in self._reader.batches(samples, ranges, crashed, clock):
                for part in parts:
                    part.fail("sample", {positions[i]: reason for i, reason in reasons.items()})
                if job.mode == "alone":
                    self._note(job, samples[positions[0]].row)
                if not batch.ok.any():
                    continue
                with clock("compute"):
                    results, alone = self._measure_batch(model, measuring, batch)
                one_by_one |= alone or any(result.narrowed for some in results for result in some)
                with clock("write"):
                    while len(encoding) >= 2:
                        encoding.popleft().result()
                for result in results:
                    if self._encoder is None:
                        self._encode(parts, positions, batch.ok, result, clock)
                    else:
                        encoding.append(self._encoder.submit(self._encode, parts, positions, batch.ok, result, clock))
                del batch, results, result  # the next batch reuses their memory
            with clock("write"):
                while encoding:
                    encoding.popleft().result()
        finally:
            wait(encoding)  # also after an error: nothing may write to a unit's files while they are discarded
        if job.mode != "batches":
            self._note(job, COMPUTED)  # from here on another unit may be computing and kill the worker: not this one's fault
        return one_by_one

    def _measure_batch(
        self, model: Model | None, measuring: Measuring, batch: Batch
    ) -> tuple[list[list[Measurement]], bool]:
        """All cells' measurements of a batch. Falls back to one sample at a time if the batch as a whole fails."""
        import torch

        try:
            return [measuring.together(model, batch)], False
        except SAMPLE_FAULTS:
            pass  # running each sample alone shows which one fails: the others must not fail with it
        if self.device.type == "cuda":
            torch.cuda.empty_cache()
        each = []
        for i in np.flatnonzero(batch.ok).tolist():
            each.append([_place(m, i, len(batch.ok)) for m in measuring.alone(model, batch.only(i))])
        return each, True

    def _companion(self, model_id: str) -> Model:
        """Another model whose output a probe needs; all of them are kept."""
        if model_id not in self._companions:
            self._companions[model_id] = load_study_model(self.objects, self.manifest.model(model_id), self.device)
        return self._companions[model_id]

    def _try_alone(
        self, job: UnitJob, model: Model | None, measuring: Measuring, samples: Sequence[Sample], crashed: set[int]
    ) -> None:
        """Run each sample alone under a note, results thrown away: a sample that kills the process is then named by the note."""
        for i, sample in enumerate(samples):
            if i in crashed:
                continue
            self._note(job, sample.row)
            loaded = self._reader.load(sample, False, Clock())
            if isinstance(loaded, str):
                continue
            import torch

            data = torch.from_numpy(loaded.input)[None].to(self.device)
            self._measure_batch(model, measuring, Batch([sample], data, [loaded.target], np.ones(1, bool), extras=[loaded.extras]))
        self._note(job, PASSED)

    def _note(self, job: UnitJob, row: int) -> None:
        write_crash_note(self.objects, job.cells[0], job.unit, self.epoch, job.attempt, row)

    # -- writing ------------------------------------------------------------------------------------------------

    @staticmethod
    def _encode(
        parts: Sequence[CellPart], positions: range, ok: np.ndarray, results: Sequence[Measurement], clock: Clock
    ) -> None:
        with clock("encode"):
            for part, result in zip(parts, results):
                part.add(positions, ok, result)

    def _finish(
        self,
        job: UnitJob,
        parts: Sequence[CellPart],
        samples: Sequence[Sample],
        bucket: BucketPlan,
        start: int,
        stop: int,
        clock: Clock,
        one_by_one: bool,
    ) -> UnitResult:
        """Put all shards, unless the study was taken over meanwhile, or files were unreadable only temporarily; then create the records."""
        bad = [samples[i] for i in sorted({i for part in parts for i, (kind, _) in part.failed.items() if kind == "sample"})]
        self._watch.confirm(uri for sample in bad for uri, _ in sample.files)
        with clock("put"):
            if superseded(self.objects, self.epoch, self._mark):
                raise LeaseError(f"{self.objects.url}: another run took this study over; this unit is dropped")
            shards = [part.commit() for part in parts]
        total = sum(shard.bytes for some in shards for shard in some.values())
        new = True
        for part, some in zip(parts, shards):
            receipt = Receipt(
                cell=part.cell.id,
                unit=job.unit,
                epoch=self.epoch,
                bucket=bucket.name,
                start=start,
                stop=stop,
                shards=some,
                failed=tuple(
                    Failure(samples[i].row, start + i, samples[i].sample_id, kind, reason)
                    for i, (kind, reason) in sorted(part.failed.items())
                ),
                seconds=clock.seconds(),
                host=socket.gethostname(),
                pid=os.getpid(),
                attempt=job.attempt,
                one_by_one=one_by_one,
                versions=versions(),
            )
            new &= write_record(self.objects, receipt, part.table(samples))
        failed = len({i for part in parts for i in part.failed})
        rows = max(len(part.columns.get("position", ())) for part in parts)
        return UnitResult(job, len(samples), failed, total, clock.seconds(), done_before=not new, rows=rows)

    def close(self) -> None:
        """Stop the threads."""
        self._reader.close()
        if self._encoder is not None:
            self._encoder.shutdown(wait=False, cancel_futures=True)


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
