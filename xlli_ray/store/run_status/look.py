"""A reader's view of a run from anywhere that sees its study: a few small objects each time, whatever the size of the study.

For a run with a driver four requests: whether there is a later lease, whether this one has ended, its heartbeat, its status. For the parts
of a job array a listing of `events/`, and the status of each part that has not ended. Whether a writer is alive is told by its
counter, watched by this process's own clock; clocks of two machines are never compared.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects, exists
from xlli_ray.store.records.lease import Holder, has_ended, last_beat, last_epoch, lease_key, read_holder
from xlli_ray.store.run_status.status import Name, RunStatus, parse_key, read_status, status_key

SILENT_SECONDS = 60.0
"""Without a heartbeat, after which a driver on another machine counts as gone: 30 missed beats."""
PART_SILENT_SECONDS = 180.0
"""The same for a part, whose status is put at least each minute."""


@dataclass(frozen=True)
class Life:
    """Whether a writer is alive. `silent`: seconds of the reader's clock since its counter last changed, or since the first look.
    `alive`: by the process table of this machine; elsewhere by the counter, None before it has changed while it was watched."""

    silent: float
    alive: bool | None


@dataclass(frozen=True)
class Seen:
    """The status of a driver or part."""

    status: RunStatus
    life: Life


@dataclass(frozen=True)
class Look:
    """What was seen at once. `epoch`: 0 if there has never been a run. `holder`: None if its lease cannot be read."""

    epoch: int
    holder: Holder | None
    held: bool
    """The lease has not ended."""
    life: Life
    driver: Seen | None
    """None for a run of an earlier version, or before its first status."""
    parts: tuple[Seen, ...] = ()
    """The last attempt of each, by number."""


class Pulse:
    """The counter of one writer, watched by this process's clock."""

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._last: object = None
        self._since = time.monotonic()
        self._moved = False

    def life(self, counter: object, holder: Holder | None) -> Life:
        now = time.monotonic()
        if counter != self._last:
            self._moved, self._since = self._last is not None, now
            self._last = counter
        silent, dead = now - self._since, holder.is_dead_here() if holder is not None else None
        if dead is not None:
            return Life(silent, not dead)
        return Life(silent, False if silent > self._patience else True if self._moved else None)


class Observer:
    """Looks at one study again and again. Raises EnvironmentFailure if the store cannot be read."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._begin(0)

    def _begin(self, epoch: int) -> None:
        self._epoch, self._ended = epoch, False
        self._holder: Holder | None = None
        self._pulses: dict[str, Pulse] = {}
        self._final: dict[str, RunStatus] = {}

    def look(self) -> Look:
        if not self._epoch or exists(self.objects, lease_key(self._epoch + 1)):
            self._begin(last_epoch(self.objects))
            self._holder = self._read_holder() if self._epoch else None
        if not self._epoch:
            return Look(0, None, False, Life(0.0, False), None)
        self._ended = self._ended or has_ended(self.objects, self._epoch)
        beat = b"" if self._ended else last_beat(self.objects, self._epoch)
        life = Life(0.0, False) if self._ended else self._pulse("", SILENT_SECONDS).life(beat, self._holder)
        parts = self._parts() if self._ended else ()
        return Look(self._epoch, self._holder, not self._ended, life, self._seen(status_key(self._epoch), life), parts)

    def _read_holder(self) -> Holder | None:
        try:
            return read_holder(self.objects, self._epoch)
        except (Missing, StudyError):
            return None

    def _pulse(self, name: str, patience: float) -> Pulse:
        return self._pulses.setdefault(name, Pulse(patience))

    def _seen(self, key: str, life: Life | None = None) -> Seen | None:
        """With its own counter as its life if it has no other. A status that has ended, or that is a driver's without a lease, is final."""
        status = self._final.get(key) or self._read(key)
        if status is None:
            return None
        if status.ended is not None:
            self._final[key] = status
            life = Life(0.0, False)
        return Seen(status, life or self._pulse(key, PART_SILENT_SECONDS).life(status.count, status.holder))

    def _read(self, key: str) -> RunStatus | None:
        try:
            return read_status(self.objects, key)
        except StudyError:  # a note: damage to it must not hide the rest
            return None

    def _parts(self) -> tuple[Seen, ...]:
        latest: dict[int, Name] = {}
        for key in self.objects.list("events"):
            name = parse_key(key)
            if name is not None and name.epoch == self._epoch and name.part:
                before = latest.get(name.part)
                latest[name.part] = name if before is None or name.start > before.start else before
        found = (self._seen(name.key) for _, name in sorted(latest.items()))
        return tuple(seen for seen in found if seen is not None)
