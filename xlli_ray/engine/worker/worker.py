"""The worker: read → decode → batch → network → encode → one object per shard and array, then the record.

A plain class, independent of Ray: the same object runs in this process and as an actor. One thread computes, a few read ahead, one
encodes; queues are bounded, so memory does not grow with the unit. Without a core to spare (`readers=0`) one thread does all three, and
files are fetched ahead: the same bytes in less time. `run` may be called from two threads at once: while one unit waits for the disk, the
next one computes, and its first batches are read as soon as the last ones of the unit before are being read.

On a GPU (`staging`) a batch is launched before the results of the last one are read, and processes decode (`readers`).

Crashes: a unit that was lost twice is run again with `mode="probe"`: each sample first runs alone, under a note of which one is in
progress, and only then the usual batches, so that survivors keep the bytes of an undisturbed run. If even that is lost without a sample
to blame, `mode="alone"` keeps batches of one, and the record says so.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np

from xlli_ray.corpus.files.outages import Watch, Witness
from xlli_ray.corpus.files.prefetch import Ahead
from xlli_ray.corpus.sample import Sample, sample_from_row, study_loader
from xlli_ray.engine.run.allowed_models import check_gate, models_of
from xlli_ray.engine.worker.batch_run import BatchRun
from xlli_ray.engine.worker.batches import Batches, BatchReader
from xlli_ray.engine.worker.cell_writer import CellPart
from xlli_ray.engine.worker.environment import check_device, device_name, keep_freed_memory, versions
from xlli_ray.engine.worker.job import Clock, GivenUp, Place, UnitJob, UnitResult
from xlli_ray.engine.worker.readers import Readers
from xlli_ray.engine.worker.run_probes import Measuring
from xlli_ray.engine.worker.staging import staging_for
from xlli_ray.engine.worker.study_model import load_study_model
from xlli_ray.errors import LeaseError, StudyError
from xlli_ray.models.model import Model
from xlli_ray.models.precision import allow_tf32
from xlli_ray.probes.measurement import Batch, Measurement
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.documents import load_manifest
from xlli_ray.store.records.lease import holder_mark, superseded
from xlli_ray.store.records.manifest import BucketPlan
from xlli_ray.store.records.unit_records import COMPUTED, PASSED, Failure, Receipt, write_crash_note, write_record
from xlli_ray.store.run_status.reasons import count
from xlli_ray.store.tables.sample_table import SampleReader

Results = Callable[[], list[Measurement]]


class Worker:
    """Computes units of one study. `device` is a torch device; `threads` are torch threads; `readers` load images in parallel, with one
    thread that encodes (0: neither); up to so many `processes` take over from them, which may import what is `allowed` (`user_code`)."""

    def __init__(
        self, study: str, epoch: int, *, device: str = "cpu", threads: int = 1, readers: int = 2, processes: int = 0,
        allowed: Sequence[tuple[str, str]] = (),
    ) -> None:  # fmt: skip
        import torch

        keep_freed_memory()
        self.objects = open_objects(study)
        manifest = load_manifest(self.objects)
        if manifest is None or manifest.samples is None:
            raise StudyError(f"{study}: there is no study.json with a sample table; a worker starts after the plan")
        self.manifest = manifest
        self.epoch = epoch
        self._mark = holder_mark(self.objects, epoch)
        self._overlaps = readers > 0
        self.device = torch.device(device)
        self.threads = threads
        self._samples = SampleReader(self.objects, manifest.samples)
        self._sample_lock = threading.Lock()
        self._reading, self._compute = threading.Lock(), threading.Lock()
        self._over = threading.Event()
        self._watch = Watch(self._witnesses)
        ahead = Ahead(self._watch)
        corpus = manifest.recipe["corpus"]
        loader = study_loader(corpus, read=ahead, blame=self._watch.blame)
        self._staging = staging_for(self.device)
        begin = partial(Readers, corpus, limit=processes, allowed=allowed) if processes else None
        self._reader = BatchReader(
            loader, self.device, threads=readers, ahead=ahead, staging=self._staging, processes=begin, most=processes
        )  # fmt: skip
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
        """Compute, write and record one unit. Raises EnvironmentFailure, LeaseError and GivenUp; bad samples become failed rows."""
        cells = [self.manifest.cell(name) for name in job.cells]
        bucket, start, stop = cells[0].unit(job.unit)
        clock = Clock()
        parts: list[CellPart] = []
        reading = _Turn(self._reading)  # before the turn to compute, and over as soon as its last batches are being read
        try:
            forwards = bucket.forwards(start, stop)
            low, high = min([start, *(first for first, _ in forwards)]), max([stop, *(last for _, last in forwards)])
            samples = self._read_rows(bucket, low, high)  # also those of batches cut by its boundary, run but not stored
            own = slice(start - low, stop - low)
            crashed = {i for i, sample in enumerate(samples) if sample.row in job.skip}
            ranges = [range(first - low, last - low) for first, last in forwards]
            if job.mode == "alone":
                ranges = [range(i, i + 1) for several in ranges for i in several]
            later = self._staging.depth > 0 and job.mode == "batches"  # whether the last results are read in the next unit's time
            batches: Batches | None = None
            if self._overlaps and job.mode == "batches":
                batches = self._reader.batches(samples, ranges, crashed, clock, reading.end)
            with self._compute:
                self._go_on()
                parts = [CellPart.begin(self.objects, cell, job.unit, str(self.device), lead=start - low) for cell in cells]
                for part in parts:
                    part.fail("crash", dict.fromkeys(crashed, "the worker died on this sample twice"))
                    part.fail("sample", {row - low: reason for row, reason in bucket.refusals(start, stop).items()})
                run: BatchRun | None = None
                if forwards:
                    for name in models_of(cells, self.manifest.cell):
                        check_gate(dict(job.models), self.manifest.model(name), self.objects.url)
                    measuring = Measuring(cells, [part.probe for part in parts], self.manifest.cell, self._companion, self.device)
                    model = self.model(cells[0].model) if measuring.needs_model else None
                    run = BatchRun(model, measuring, parts, self._staging, self._encoder, clock)
                    if job.mode == "probe":
                        self._try_alone(job, run, samples, crashed)
                    batches = batches or self._reader.batches(samples, ranges, crashed, clock)
                    self._compute_all(job, run, batches)
                    if not later:
                        run.finish(stop - start)
            reading.end()
            if run is not None and later:
                run.finish(stop - start, turn=self._compute)
            one_by_one = run is not None and run.one_by_one
            return self._finish(job, parts, samples[own], bucket, start, stop, clock, one_by_one)
        finally:
            reading.end()
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

    def _compute_all(self, job: UnitJob, run: BatchRun, batches: Batches) -> None:
        """Run all batches of a unit; one that was lost before leaves notes of how far it came."""
        import torch

        torch.set_num_threads(self.threads)
        run.run(self._while_wanted(batches), note=partial(self._note, job) if job.mode == "alone" else None, whole=job.mode != "batches")
        if job.mode != "batches":
            self._note(job, COMPUTED)  # from here on another unit may be computing and kill the worker: not this one's fault

    def _companion(self, model_id: str) -> Model:
        """Another model whose output a probe needs; all of them are kept."""
        if model_id not in self._companions:
            self._companions[model_id] = load_study_model(self.objects, self.manifest.model(model_id), self.device)
        return self._companions[model_id]

    def _try_alone(self, job: UnitJob, run: BatchRun, samples: Sequence[Sample], crashed: set[int]) -> None:
        """Run each sample alone under a note, results thrown away: a sample that kills the process is then named by the note."""
        for i, sample in enumerate(samples):
            if i in crashed:
                continue
            self._go_on()
            self._note(job, sample.row)
            loaded = self._reader.load(sample, False, Clock())
            if isinstance(loaded, str):
                continue
            import torch

            data = torch.from_numpy(loaded.input)[None].to(self.device)
            run.measured(Batch([sample], data, [loaded.target], np.ones(1, bool), extras=[loaded.extras]))
        self._note(job, PASSED)

    def _note(self, job: UnitJob, row: int) -> None:
        write_crash_note(self.objects, job.cells[0], job.unit, self.epoch, job.attempt, row)

    # -- writing ------------------------------------------------------------------------------------------------

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
        reasons = {i: reason for part in parts for i, (_, reason) in part.failed.items()}
        rows = max(len(part.columns.get("position", ())) for part in parts)
        return UnitResult(
            job, len(samples), len(reasons), total, clock.seconds(), done_before=not new, rows=rows, reasons=count(reasons.values()),
            place=Place.here(str(self.device)), began=clock.began, ended=clock.now(),
        )  # fmt: skip

    def give_up(self) -> None:
        """The run ends: units in progress stop before their next batch, with GivenUp; one whose batches are done is still recorded."""
        self._over.set()

    def _go_on(self) -> None:
        if self._over.is_set():
            raise GivenUp

    def _while_wanted(self, batches: Batches) -> Batches:
        for one in batches:
            self._go_on()
            yield one

    def close(self) -> None:
        """Stop the threads."""
        self._reader.close()
        if self._encoder is not None:
            self._encoder.shutdown(wait=False, cancel_futures=True)


class _Turn:
    """Holds a lock from its creation to `end`, which any thread may call, repeatedly."""

    def __init__(self, lock: threading.Lock) -> None:
        lock.acquire()
        self._held, self._ending = lock, threading.Lock()
        self._over = False

    def end(self) -> None:
        with self._ending:
            over, self._over = self._over, True
        if not over:
            self._held.release()
