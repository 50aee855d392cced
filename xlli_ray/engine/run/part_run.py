"""One of n parts of a run, for job arrays of a batch system: its fixed share of the units, computed in this process without Ray.

Parts share nothing but the study. Whichever comes first scans and plans, holding the lease meanwhile, and the others wait for it; then each
computes every n-th unit of the plan that has no record yet. They write under the epoch of that plan, in which records are created and never
replaced, so that none can disturb another and a part that was lost is simply run again. Tables, analyses and the page are made by a plain
`xlli run`, which also computes what lost parts have left: it takes a later epoch, and a part that is still at work then stops.
"""

from __future__ import annotations

import re
import sys
import time
from collections import deque
from collections.abc import Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass

from xlli_ray.engine.events import Events
from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.local import LocalPool
from xlli_ray.engine.pools.placement import place
from xlli_ray.engine.process_end import owed
from xlli_ray.engine.run.allowed_models import admitted, make_gate
from xlli_ray.engine.run.driver import plan_study
from xlli_ray.engine.run.network_process import Apart, is_foreign
from xlli_ray.engine.run.plan_mark import planned_study
from xlli_ray.engine.run.session import import_path
from xlli_ray.engine.run.units import count_units, pending_jobs, run_units
from xlli_ray.engine.worker.environment import check_kind, own_cores, versions
from xlli_ray.engine.worker.job import UnitJob
from xlli_ray.engine.worker.tasks import WorkerSpec, make_task, with_readers
from xlli_ray.errors import LeaseError, PlanError, counted
from xlli_ray.recipe import Recipe
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.records.lease import BEAT_SECONDS, has_ended, holder_mark, last_epoch, running, superseded
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import Cell, Manifest
from xlli_ray.terminal import say
from xlli_ray.user_code import allowed

LOOKS = 20
"""Times that another run held the study or changed its plan while this part looked, before it gives up."""


@dataclass(frozen=True)
class Part:
    """Part `number` of `count`, from 1."""

    number: int
    count: int

    @classmethod
    def parse(cls, text: str, beside: Sequence[str] = ()) -> Part:
        """`3/8`. Raises PlanError, also for options `beside` it that only a whole run can heed."""
        if beside:
            raise PlanError(f"{beside[0]} does not go with --part: a part computes its share in one process, a plain run does the rest")
        match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
        part = cls(int(match[1]), int(match[2])) if match else cls(0, 0)
        if not 1 <= part.number <= part.count:
            raise PlanError(f"--part {text[:40]!r}: expected i/n with 1 ≤ i ≤ n, as in 3/8: the third of eight parts")
        return part

    def share(self, jobs: Iterable[UnitJob], cells: Sequence[Cell]) -> deque[UnitJob]:
        """Its jobs: every `count`-th unit of the plan, counted over all `cells`, so that it is the same however much is done already."""
        before = _before(cells)
        return deque(job for job in jobs if (before[job.group] + job.unit) % self.count == self.number - 1)

    def size(self, wanted: Sequence[Cell], cells: Sequence[Cell]) -> int:
        """Number of units of its share, done or not, among those of `wanted`."""
        before, units = _before(cells), {cell.group: cell.units for cell in wanted}
        return sum(len(range((self.number - 1 - before[group]) % self.count, count, self.count)) for group, count in units.items())


def _before(cells: Sequence[Cell]) -> dict[str, int]:
    """Group → number of units of the groups before it."""
    units = {cell.group: cell.units for cell in cells}
    before, total = dict[str, int](), 0
    for group in sorted(units):
        before[group], total = total, total + units[group]
    return before


@dataclass(frozen=True)
class PartSummary:
    """What a part has done."""

    study: str
    units_run: int
    left: int
    """Units of all parts without a record when this part ended."""

    def said(self, part: str) -> str:
        """For people."""
        plain = "`xlli run` without --part"
        then = f"when the other parts have ended, {plain} computes what is left and concludes"
        left = f"{counted(self.left, 'unit')} of other parts left: {then}" if self.left else f"none is left: {plain} concludes"
        return f"part {part}: {counted(self.units_run, 'unit')} computed; {left}"


class Watch:
    """In place of a lease: the epoch whose plan this part works on, while no later run has taken the study over."""

    def __init__(self, objects: Objects, epoch: int) -> None:
        self.objects, self.epoch = objects, epoch
        self._mark = holder_mark(objects, epoch)
        self._looked = time.monotonic()

    def check(self) -> None:
        """Raises LeaseError after a takeover; looks at most every BEAT_SECONDS."""
        if time.monotonic() - self._looked < BEAT_SECONDS:
            return
        self._looked = time.monotonic()
        if superseded(self.objects, self.epoch, self._mark):
            raise LeaseError(
                f"{self.objects.url}: a later run holds this study and computes what is missing; this part stops, what it finished is kept."
            )


def run_part(recipe: Recipe, out: str, options: Options, part: Part) -> PartSummary:
    """Compute a part's share of the units that have no record. Raises PlanError as a run does, LeaseError if a plain run takes the study
    over meanwhile."""
    objects = open_objects(out)
    manifest, models, epoch = _begun(recipe, objects, out, options)
    placed = place(options, threads=recipe.threads, begun=lambda: manifest.device)
    check_kind(manifest.device, placed.settled(options).device)
    watch = Watch(objects, epoch)
    spec = WorkerSpec(
        objects.url, epoch, placed.worker_device, recipe.threads, import_path(), allowed=allowed(), gpu_share=placed.share,
        only_gpu=placed.only,
    )  # fmt: skip
    pool = LocalPool(lambda task: make_task(with_readers(spec, workers=1, cores=own_cores()), task))
    archive = Archive(objects, manifest, Listing(objects))
    with closing(pool), Events(objects, epoch, quiet=options.quiet, writer=f"part{part.number:06d}") as events, owed(events.stopped):
        events.export(options.metrics)
        events.event("start", command=options.command, epoch=epoch, part=f"{part.number}/{part.count}", versions=versions())
        gate = make_gate(manifest.model(name) for name in models)
        wanted, _ = admitted(gate, manifest.cells)
        jobs = part.share(pending_jobs(archive.records, wanted, gate, retry_failed=options.retry_failed), manifest.cells)
        run = len(jobs)
        events.event("planned", units=count_units(wanted), share=part.size(wanted, manifest.cells), missing=run)
        if jobs:
            run_units(archive, jobs, lambda: pool, events, watch)
        archive.records.look_again()
        left = len(pending_jobs(archive.records, wanted, gate))
        events.event("part complete", units=run, left=left)
        return PartSummary(objects.url, run, left)


def _begun(recipe: Recipe, objects: Objects, out: str, options: Options) -> tuple[Manifest, Sequence[str], int]:
    """The study with the plan of this recipe, made if needed; ids of the recipe's models; the epoch in which it was made or confirmed."""
    told = False
    for _ in range(LOOKS):
        epoch = last_epoch(objects)
        found = _planned(recipe, objects) if epoch and has_ended(objects, epoch) else None
        if found is not None and last_epoch(objects) == epoch:
            return *found, epoch
        try:
            plan_study(recipe, out, options, adopt=True)
        except LeaseError as error:
            if not told and not options.quiet:
                say(f"waiting for whoever plans this study: {error}", sys.stderr)
            told = True
            _until_it_ends(objects)
    raise LeaseError(f"{objects.url}: other runs change the plan of this study; wait for them, then run the same command again")


def _planned(recipe: Recipe, objects: Objects) -> tuple[Manifest, list[str]] | None:
    """See `planned_study`."""
    apart = Apart(objects, foreign=is_foreign([model.network for model in recipe.models]), paths=import_path())
    try:
        return planned_study(recipe, objects, apart)
    finally:
        apart.close()


def _until_it_ends(objects: Objects) -> None:
    """Wait while the run that holds the study is alive."""
    while running(objects) is not None:
        time.sleep(BEAT_SECONDS)
