"""The driver of a training study: lease → scan → which networks are missing → trainings on the pool → models.yaml → page.

A finished network is only verified; an unfinished one resumes from its checkpoint, on any worker. One that starts from another is assigned
when that one is finished. A failed training does not affect the others; the training of a worker that dies is assigned again, from the last
checkpoint. The driver's only state is in the study: kill it and run the same command again.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from xlli_ray.corpus.scan import list_sources
from xlli_ray.engine.events import Events
from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.local import Lost
from xlli_ray.engine.pools.run_pool import Pools
from xlli_ray.engine.run.session import session
from xlli_ray.engine.run.training_digests import TrainingDigests
from xlli_ray.engine.run.training_scan import study_scan
from xlli_ray.engine.worker.environment import take_share
from xlli_ray.engine.worker.tasks import WorkerSpec
from xlli_ray.engine.worker.training import StudyFolder, TrainingWorker, TrainJob, TrainOutcome
from xlli_ray.errors import RecipeError, StudyError, counted
from xlli_ray.store.objects.client import LocalObjects, Objects, exists
from xlli_ray.store.records.documents import COPY
from xlli_ray.store.records.lease import Lease
from xlli_ray.store.tables.trainings import RESERVED, Network, Trainings, forget_failure, write_failure, write_trainings
from xlli_ray.training.folder import CHECKPOINT
from xlli_ray.training.images import Scan, rejected
from xlli_ray.training.recipe import Job, load_recipe
from xlli_ray.training.run import MODELS, check_files, finished, models_text, rejection_note, start_of, waves

MAX_LOSSES = 3
"""Workers that one network may lose in a row without a new checkpoint."""


@dataclass(frozen=True)
class Summary:
    """Summary of a run. `failed`: id → why; `models`: location of models.yaml."""

    models: str
    networks: int
    trained: int
    failed: Mapping[str, str]
    notes: tuple[str, ...] = ()


@dataclass
class _Study:
    """Context of one run."""

    objects: Objects
    lease: Lease
    events: Events
    jobs: dict[str, Job]
    pools: Pools
    scan: Scan
    digests: TrainingDigests | None = None
    notes: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)
    trained: int = 0

    def folder(self, name: str) -> StudyFolder:
        return StudyFolder(self.objects, name)


def train_recipe(
    recipe: Path, out: str, *, overrides: Sequence[str] = (), options: Options, say: Callable[[str], None] | None = None
) -> Summary:
    """Train the networks of a training recipe that are missing. `say` gets a line of progress at intervals, without workers.

    Without a number of workers: one on each GPU; on the CPU, and on a single GPU, in this process.
    Raises RecipeError before anything is trained if the recipe is wrong or the study holds another recipe's training.
    """
    loaded = load_recipe(recipe, overrides=overrides)
    jobs = loaded.jobs()
    check_files(jobs)
    order = [job for wave in waves(jobs) for job in wave]
    for job in jobs:
        if job.id in RESERVED:
            raise RecipeError(f"grid: {job.id!r} cannot be the id of a network: the study uses this name for something else")
    options = replace(options, device=_device(options.device, jobs))
    with session(out, options, max(job.train.threads for job in jobs), cpu_workers=0) as (objects, lease, events, spec, options):
        if exists(objects, COPY):
            raise StudyError(f"{objects.url} holds a study of measurements (study.json): use a separate --out for trainings")
        events.event("start", what="train", command=options.command, epoch=lease.epoch)
        seen = [list_sources(job.corpus.scanned(), ".")[0].files[0] for job in jobs] if options.address is not None else []
        pools = Pools(options, spec, objects, list(dict.fromkeys(seen)), in_flight=1, notice=events.notice)
        scan = study_scan(objects, pools, events, stop=lease.check, epoch=lease.epoch)
        study = _Study(objects, lease, events, {job.id: job for job in jobs}, pools, scan)
        if lease.after_crash and isinstance(objects, LocalObjects):
            for job in jobs:
                objects.sweep(job.id)
        try:
            _run(study, loaded.name, order, options, spec, say)
        finally:
            pools.close()
        text, left_out = models_text(jobs, study.folder, out)
        objects.put(MODELS, text)
        if study.digests is not None:
            study.digests.write(lease.epoch)
        if others := [name for name in left_out if name not in study.failed]:
            study.notes.append(f"{MODELS} does not list {', '.join(others)}: trained by another recipe")
        return Summary(f"{objects.url.rstrip('/')}/{MODELS}", len(jobs), study.trained, study.failed, tuple(study.notes))


def _device(wanted: str, jobs: Sequence[Job]) -> str:
    """The value of --device: as given; for `auto`, that of the recipe if all its networks have the same. RecipeError if they contradict."""
    named = {job.train.device for job in jobs}
    if wanted == "auto":
        return named.pop() if len(named) == 1 else wanted
    kind = wanted.partition(":")[0]
    if other := sorted(name for name in named if name != "auto" and name.partition(":")[0] != kind):
        raise RecipeError(f"train.device is {other[0]} in the recipe, --device is {wanted}: leave one of them out")
    return wanted


def _run(
    study: _Study, name: str, order: Sequence[Job], options: Options, spec: WorkerSpec, say: Callable[[str], None] | None
) -> None:
    """Scan, and train what is missing."""
    scans = {id(rows): rows for rows in (study.scan(job.corpus.scanned()) for job in order)}
    study.notes += [f"corpus: {note}" for note in map(rejection_note, scans.values()) if note]
    missing = [job for job in order if not _is_finished(study, job)]
    known = study.jobs
    study.digests = TrainingDigests(study.objects, list(known), [job.id for job in missing])
    networks = [Network(j.id, j.train.iterations, str(j.train.init) if j.train.init in known else "", j.tags) for j in known.values()]
    bad = dict.fromkeys(pair for rows in scans.values() for pair in rejected(rows))
    write_trainings(study.objects, Trainings(name, tuple(networks), options.command, tuple(bad)))
    if missing:
        _train(study, missing, options, spec, say)


def _is_finished(study: _Study, job: Job) -> bool:
    """Whether its weights exist and are those of this training. Raises RecipeError, WeightsError."""
    first = study.jobs.get(str(job.train.init))
    if not exists(study.objects, f"{job.id}/card.json") or (first and not exists(study.objects, f"{first.id}/card.json")):
        return False
    sha = None
    if job.train.init is not None:
        from xlli_ray.models.checkpoint import read_state_dict

        start = start_of(job, study.jobs, study.folder)
        assert start is not None
        sha = read_state_dict(start.data, name=start.name).weights_sha256
    done = finished(job, study.folder(job.id), sha, study.scan(job.corpus.scanned()))
    if done is not None and done.note:
        study.notes.append(f"{job.id}: {done.note}")
    return done is not None


def _train(study: _Study, missing: Sequence[Job], options: Options, spec: WorkerSpec, say: Callable[[str], None] | None) -> None:
    """Run everything that is missing. Afterwards `failed` holds networks without weights."""
    events = study.events
    waiting = {job.id: job for job in missing}
    ready: deque[TrainJob] = deque()
    losses: dict[str, tuple[int, bytes]] = {}

    def give_out() -> None:
        for job in list(waiting.values()):
            first = study.jobs.get(str(job.train.init))
            if first is not None and first.id in study.failed:
                _fail(study, waiting.pop(job.id).id, f"it starts from {first.id}, which has no weights")
                give_out()
                return
            if first is None or first.id not in unfinished:
                forget_failure(study.objects, waiting.pop(job.id).id)
                rows = tuple(study.scan(job.corpus.scanned()))
                ready.append(TrainJob(job.model_dump(mode="json"), rows, None if first is None else first.model_dump(mode="json")))

    unfinished = {job.id for job in missing}
    give_out()
    events.event("begin", phase="train", total=len(missing))
    for job, outcome in _outcomes(study, ready, options, spec, say):
        if isinstance(outcome, Lost):
            events.event("lost", id=job.id, reason=outcome.reason, taken=outcome.taken)
            if outcome.taken:
                ready.append(job)
                continue
            checkpoint = hashlib.sha256(study.folder(job.id).get(CHECKPOINT) or b"").digest()
            count, before = losses.get(job.id, (0, b""))
            losses[job.id] = (count + 1 if checkpoint == before or not count else 1, checkpoint)
            if losses[job.id][0] < MAX_LOSSES:
                ready.append(job)
                continue
            outcome = TrainOutcome(job.id, error=f"its worker was lost {MAX_LOSSES} times without a new checkpoint: {outcome.reason}")
        unfinished.discard(job.id)
        if study.digests is not None:
            study.digests.wrote(outcome.digests)
        if outcome.error:
            _fail(study, job.id, outcome.error)
        else:
            study.trained += 1
            study.notes += [f"{job.id}: {outcome.note}"] if outcome.note else []
            times = {"began": round(outcome.began, 3), "ended": round(outcome.ended, 3)}
            events.event("trained", id=job.id, **times, **asdict(outcome.place))
            events.tell(f"{job.id}: trained ({study.trained} of {counted(len(missing), 'network')})")
        give_out()
    study.lease.check()
    events.event("end", phase="train", done=study.trained, failed=len(study.failed))


def _outcomes(
    study: _Study, ready: deque[TrainJob], options: Options, spec: WorkerSpec, say: Callable[[str], None] | None
) -> Iterator[tuple[TrainJob, Any]]:
    """Trainings as they end; `ready` may grow meanwhile. Without workers: in this process, one after another."""
    if options.workers == 0:
        take_share(spec.device, spec.gpu_share)
        worker = TrainingWorker(spec.study, spec.epoch, None if say is None else lambda step: say(step.line), device=spec.device)
        while ready:
            study.lease.check()
            job = ready.popleft()
            yield job, worker.run(job)
        return
    yield from study.pools().run("train", ready, study.lease.check)
    study.pools.cool()


def _fail(study: _Study, name: str, why: str) -> None:
    study.failed[name] = why
    write_failure(study.objects, name, why)
    study.events.event("failed", id=name, reason=why)
