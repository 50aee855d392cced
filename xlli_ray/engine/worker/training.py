"""One training of a study, as run by a worker: files go through the study's objects, and a superseded run writes no more."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from xlli_ray.corpus.files.outages import Watch
from xlli_ray.engine.worker.job import Clock, Place
from xlli_ray.errors import EnvironmentFailure, LeaseError, XlliError
from xlli_ray.store.objects.client import Missing, Objects, open_objects
from xlli_ray.store.records.checksum_root import Digest
from xlli_ray.store.records.lease import holder_mark, superseded
from xlli_ray.store.records.seal import crc_hex


@dataclass(frozen=True)
class TrainJob:
    """A training as sent to a worker. `job`: a `training.recipe.Job`, JSON-serializable; `rows`: the scan of its corpus; `first`: the job
    of the network it starts from."""

    job: Mapping[str, Any]
    rows: tuple[Mapping[str, Any], ...]
    first: Mapping[str, Any] | None = None

    @property
    def id(self) -> str:
        return str(self.job["id"])


@dataclass(frozen=True)
class TrainOutcome:
    """The outcome of a training. `error`: why there are no weights, '' if there are."""

    id: str
    note: str = ""
    error: str = ""
    digests: Mapping[str, Digest | None] = field(default_factory=dict)
    """Key → (bytes, crc32c) of every object written; None: removed."""
    place: Place = field(default_factory=Place)
    began: float = 0.0
    ended: float = 0.0
    """By the clock of its machine, seconds since 1970."""


@dataclass(frozen=True)
class StudyFolder:
    """The files of one training within a study. `holder`: (epoch, mark) of the run that may write; None: the holder of `objects`. `written`
    receives the digest of everything written."""

    objects: Objects
    name: str
    holder: tuple[int, bytes] | None = None
    written: dict[str, Digest | None] = field(default_factory=dict)

    @property
    def where(self) -> str:
        return f"{self.objects.url.rstrip('/')}/{self.name}"

    def get(self, name: str) -> bytes | None:
        try:
            return self.objects.get(f"{self.name}/{name}")
        except Missing:
            return None

    def put(self, name: str, data: bytes) -> None:
        self._check()
        self.objects.put(f"{self.name}/{name}", data)
        self.written[f"{self.name}/{name}"] = (len(data), crc_hex(data))

    def delete(self, name: str) -> None:
        self._check()
        self.objects.delete([f"{self.name}/{name}"])
        self.written[f"{self.name}/{name}"] = None

    def _check(self) -> None:
        if self.holder is not None and superseded(self.objects, *self.holder):
            raise LeaseError(f"{self.objects.url}: another run took this study over; {self.name} stops at its last checkpoint")


class TrainingWorker:
    """Trains one network after another, each until it is finished or fails."""

    def __init__(self, study: str, epoch: int, progress: Callable[[Any], None] | None = None, *, device: str = "cpu") -> None:
        self._objects = open_objects(study)
        self._holder = (epoch, holder_mark(self._objects, epoch))
        self._progress, self._device = progress, device

    def run(self, job: TrainJob) -> TrainOutcome:
        """Errors of this network are its outcome; those of the environment are raised and end the run."""
        from xlli_ray.training.images import witnesses
        from xlli_ray.training.recipe import Job
        from xlli_ray.training.run import start_of, train_one

        clock = Clock()
        parsed = Job.model_validate(job.job)
        known = {} if job.first is None else {str(job.first["id"]): Job.model_validate(job.first)}
        folder = self._folder(parsed.id)
        try:
            start = start_of(parsed, known, self._folder)
            read = Watch(lambda: witnesses(job.rows))  # an outage must not look like missing files
            done = train_one(parsed, folder, job.rows, start, self._progress, read=read, device=self._device)
            place = Place.here(str(self._device))
            return TrainOutcome(parsed.id, done.note, digests=folder.written, place=place, began=clock.began, ended=clock.now())
        except (EnvironmentFailure, LeaseError):
            raise
        except XlliError as error:
            why = f"{type(error).__name__}: {error}"
        except (RuntimeError, ValueError, TypeError, MemoryError) as error:  # of a network's own code, or out of memory
            why = f"{type(error).__name__}: {(str(error).splitlines() or ['no message'])[0]}"
        return TrainOutcome(parsed.id, error=why, digests=folder.written)

    def _folder(self, name: str) -> StudyFolder:
        return StudyFolder(self._objects, name, self._holder)
