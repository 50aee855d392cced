"""Units of a run: which are missing, how they are assigned, and what happens to one whose worker was lost.

A unit whose worker is lost runs again; lost twice, it comes back in probe mode (see `worker`), and the sample that was in progress when a
worker died is marked `crash` and skipped. Which of two units in flight killed the worker is determined from their notes, one per attempt.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from typing import Protocol

from xlli_ray.engine.events import Events
from xlli_ray.engine.pools.local import MAX_FRUITLESS, Lost, Pool
from xlli_ray.engine.run.allowed_models import Gate, models_of
from xlli_ray.engine.run.own_passes import with_own_passes
from xlli_ray.engine.run.progress import Progress
from xlli_ray.engine.worker.job import UnitJob
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.probes import probe_class
from xlli_ray.store.archive import Archive
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.records.unit_records import COMPUTED, PASSED, read_crash_note, read_receipts


class Epoch(Protocol):
    """Under which units are recorded: a lease, or what a part of a run has in place of one."""

    epoch: int

    def check(self) -> None:
        """Raises LeaseError if a later run has taken over."""


def count_units(cells: Sequence[Cell]) -> int:
    return sum({cell.group: cell.units for cell in cells}.values())


def pending_jobs(records: Listing, cells: Sequence[Cell], gate: Gate, *, retry_failed: bool = False) -> deque[UnitJob]:
    """Units without a record in some cell (or, with `retry_failed`, have failed samples), model by model. `gate` admits their models."""
    groups: dict[str, list[Cell]] = {}
    by_id = {cell.id: cell for cell in cells}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    jobs: deque[UnitJob] = deque()
    for group in sorted(groups, key=lambda name: (groups[name][0].model, name)):
        members = groups[group]
        missing: dict[int, list[str]] = {}
        for cell in members:
            done = set(records.entries(cell))
            if retry_failed:
                done -= {receipt.unit for receipt in read_receipts(records, cell) if receipt.failed}
            for unit in range(cell.units):
                if unit not in done:
                    missing.setdefault(unit, []).append(cell.id)
        models = tuple((name, gate[name]) for name in models_of(members, by_id.__getitem__)) if missing else ()
        jobs.extend(UnitJob(group, unit, tuple(names), models=models) for unit, names in sorted(missing.items()))
    return jobs


def run_units(
    archive: Archive, jobs: deque[UnitJob], pools: Callable[[], Pool], events: Events, lease: Epoch
) -> int:
    """Run them all. Returns the number of losses with a worker, repeats included. Afterwards the archive refreshes its listing."""
    manifest = archive.manifest

    def size(job: UnitJob) -> int:
        _, start, stop = manifest.cell(job.cells[0]).unit(job.unit)
        return stop - start

    def work(job: UnitJob) -> tuple[str, float]:
        """The unit's kind of output, and the network's multiply-adds: cells that share a forward pass are counted once."""
        cells = [manifest.cell(name) for name in job.cells]
        noun = getattr(probe_class(cells[0].kind, cells[0].code), "ROW", "")
        costs = [cell.unit(job.unit)[0].macs for cell in cells]
        done = size(job) * max(1.0, sum(costs) if with_own_passes(cells) else max(costs)) if cells[0].model else 0.0
        return noun or "sample", done

    progress = Progress("run", sum(size(job) for job in jobs))
    for job in jobs:
        progress.expect(*work(job))
    events.begin(progress)

    def watch() -> None:
        lease.check()
        events.update(progress)  # a unit may take minutes, and one line per interval shows that it is running

    lost: dict[tuple[str, int], int] = {}
    losses = fruitless = 0
    for job, outcome in pools().run("unit", jobs, watch):
        if isinstance(outcome, Lost):
            losses += 1
            events.event(
                "lost", group=job.group, unit=job.unit, attempt=job.attempt, mode=job.mode, reason=outcome.reason, taken=outcome.taken
            )  # fmt: skip
            if outcome.taken:
                jobs.appendleft(replace(job, attempt=job.attempt + 1))
                continue
            lost[job.key] = lost.get(job.key, 0) + 1
            note = read_crash_note(archive.objects, job.cells[0], job.unit, lease.epoch, job.attempt)
            again = after_loss(job, lost[job.key], note)
            fruitless = 0 if len(again.skip) > len(job.skip) else fruitless + 1
            if fruitless > MAX_FRUITLESS:
                raise EnvironmentFailure(
                    12, f"workers were lost {fruitless} times in a row and no unit was finished (last: unit {job.unit} of {job.group}, "
                    f"{outcome.reason}). Look for lack of memory (fewer --workers, a smaller batch) or nodes that die; "
                    "finished work is kept, run the same command again",
                )  # fmt: skip
            jobs.appendleft(again)
            continue
        fruitless = 0
        noun, done = work(job)
        made = outcome.samples if noun == progress.noun else outcome.rows
        progress.add(outcome.samples, outcome.failed, outcome.bytes, outcome.seconds, noun=noun, made=made, work=done)
        events.event(
            "unit", group=job.group, unit=job.unit, attempt=job.attempt, mode=job.mode, samples=outcome.samples, rows=outcome.rows,
            failed=outcome.failed, reasons=dict(outcome.reasons), bytes=outcome.bytes, began=round(outcome.began, 3),
            ended=round(outcome.ended, 3), seconds=dict(outcome.seconds), done_before=outcome.done_before, **asdict(outcome.place),
        )  # fmt: skip
        events.update(progress)
    events.end(progress)
    archive.records.look_again()
    return losses


def after_loss(job: UnitJob, lost: int, note: int | None) -> UnitJob:
    """How a unit whose worker died runs next. `note`: the sample in progress; PASSED if each had run alone and the batches were
    running; COMPUTED if only writing was left; None if the attempt had not started, or was not a search.
    """
    again = replace(job, attempt=job.attempt + 1)
    if job.mode == "batches":
        return replace(again, mode="probe") if lost >= 2 else again
    if note is None or note == COMPUTED:
        return again  # the worker died because of another unit
    if note != PASSED:
        return replace(again, skip=(*job.skip, note))
    return replace(again, mode="alone")
