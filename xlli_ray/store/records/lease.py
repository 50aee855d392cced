"""One driver at a time: `lease/<epoch>` is create-only, a heartbeat counter shows that its holder is alive.

A second driver that sees the counter change stops and names host and pid. Clocks of two machines are never compared: the waiting one only
measures its own time while it watches the other's counter. Records have the epoch in their key (`records`), so a driver or worker that was
presumed dead and returns cannot change what its successor wrote.
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import socket
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from xlli_ray.errors import EnvironmentFailure, LeaseError, StudyError
from xlli_ray.store.objects.client import Missing, Objects, exists
from xlli_ray.store.records.seal import read_json, sealed_json

BEAT_SECONDS = 2.0
_HELD: set[tuple[str, int]] = set()
"""(study, epoch) of the leases held by this process."""
PATIENCE_SECONDS = 12.0  # six missed beats: a driver that is alive but starved of CPU still beats


def lease_key(epoch: int) -> str:
    return f"lease/{epoch:06d}.json"


def _beat_key(epoch: int) -> str:
    return f"lease/{epoch:06d}.beat"


def _end_key(epoch: int) -> str:
    return f"lease/{epoch:06d}.end"


@dataclass(frozen=True)
class Holder:
    """Holder of an epoch. `machine` decides whether its pid can be looked up here."""

    host: str
    pid: int
    started: str
    machine: str

    @classmethod
    def here(cls) -> Holder:
        return cls(socket.gethostname(), os.getpid(), _process_start(os.getpid()), _machine())

    def is_dead_here(self) -> bool | None:
        """True or False if the holder ran on this machine and in this pid namespace, None if unknown."""
        if self.machine != _machine() or not self.machine or self.host != socket.gethostname():
            return None
        return _process_start(self.pid) != self.started


def _machine() -> str:
    """Id of this boot of this machine and this pid namespace, or '' without /proc."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _process_start(pid: int) -> str:
    """Start time of a process in clock ticks, as text; '' if it is not alive (a zombie counts as dead)."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except (OSError, IndexError):
        return ""
    return "" if fields[0] in "ZX" else fields[19]


_LEASE = re.compile(r"lease/(\d{6})\.json")


def last_epoch(objects: Objects) -> int:
    """The highest epoch ever taken, 0 if none."""
    return max((int(match[1]) for key in objects.list("lease") if (match := _LEASE.fullmatch(key))), default=0)


def has_ended(objects: Objects, epoch: int) -> bool:
    """Whether the holder of `epoch` released it."""
    return exists(objects, _end_key(epoch))


def holder_mark(objects: Objects, epoch: int) -> bytes:
    """Holder of `epoch`, as bytes for comparison; empty if there is none."""
    try:
        return objects.get(lease_key(epoch))
    except Missing:
        return b""


def superseded(objects: Objects, epoch: int, mark: bytes = b"") -> bool:
    """Whether a later driver has taken over the study. `mark`: of the holder of this work; a different one with the same number means that
    the folder was removed and a new study started in its place."""
    return exists(objects, lease_key(epoch + 1)) or (bool(mark) and holder_mark(objects, epoch) != mark)


class Lease:
    """Held from `acquire` to `release`; `check` raises LeaseError once another driver has taken over."""

    def __init__(self, objects: Objects, epoch: int, *, after_crash: bool = False, mark: bytes = b"") -> None:
        self.objects = objects
        self.epoch = epoch
        self._mark = mark
        self.after_crash = after_crash
        """The last holder did not release its lease."""
        _HELD.add((objects.url, epoch))
        self._stop = threading.Event()
        self._lost: str | None = None
        self._thread = threading.Thread(target=self._beat, name="xlli-lease", daemon=True)
        self._thread.start()

    @classmethod
    def acquire(cls, objects: Objects, *, takeover: bool = False) -> Lease:
        """Take the next epoch. Raises LeaseError while another driver is alive, unless `takeover`."""
        last = last_epoch(objects)
        unended = bool(last) and not exists(objects, _end_key(last))
        if unended and not takeover:
            holder = _holder(objects, last)
            if _is_alive(objects, last, holder):
                raise LeaseError(
                    f"{objects.url}: another run holds this study: {_who(objects, last)}. "
                    "Wait for it, stop it there, or take the study over with --takeover."
                )
        # the token identifies this attempt if a response is lost and the lease is read to see whose it is
        own = sealed_json({**asdict(Holder.here()), "token": secrets.token_hex(8)})
        if not objects.create(lease_key(last + 1), own):
            raise LeaseError(
                f"{objects.url}: another run started at the same time: {_who(objects, last + 1)}. "
                "Wait for it, or run the same command again when it has ended."
            )
        return cls(objects, last + 1, after_crash=unended, mark=own)

    def _beat(self) -> None:
        count = 0
        while True:
            try:
                self.objects.put(_beat_key(self.epoch), sealed_json({"count": count}))
                if superseded(self.objects, self.epoch):
                    self._lost = _who(self.objects, self.epoch + 1)
            except (EnvironmentFailure, StudyError, OSError):
                pass  # the work itself will hit the same error and report it better
            count += 1
            if self._stop.wait(BEAT_SECONDS):
                return

    def check(self) -> None:
        """Raise LeaseError if another driver has taken over, as of the last heartbeat."""
        if self._lost:
            raise LeaseError(f"{self.objects.url}: the study was taken over by {self._lost}; this run stops.")

    def confirm(self) -> None:
        """Like `check`, but reads the lease now."""
        self.check()
        if exists(self.objects, lease_key(self.epoch + 1)):
            raise LeaseError(f"{self.objects.url}: the study was taken over by {_who(self.objects, self.epoch + 1)}; this run stops.")
        if self._mark and holder_mark(self.objects, self.epoch) != self._mark:
            raise LeaseError(f"{self.objects.url}: {lease_key(self.epoch)} is not of this run: was the folder removed? This run stops.")

    def release(self) -> None:
        """End the lease: the next run starts without waiting."""
        self._stop.set()
        self._thread.join(timeout=BEAT_SECONDS)
        _HELD.discard((self.objects.url, self.epoch))
        with contextlib.suppress(EnvironmentFailure, StudyError, OSError):  # the next run then checks whether this process is alive
            self.objects.put(_end_key(self.epoch), b"1")


def read_holder(objects: Objects, epoch: int) -> Holder:
    """Holder of an epoch. Raises StudyError if it cannot be read."""
    where, way_out = f"{objects.url}/{lease_key(epoch)}", "if no other run is in progress, use --takeover"
    fields = read_json(objects.get(lease_key(epoch)), where, way_out)
    try:
        return Holder(str(fields["host"]), int(fields["pid"]), str(fields["started"]), str(fields["machine"]))
    except (KeyError, ValueError, TypeError) as error:
        raise StudyError(f"{where}: not as the store format says ({error!r}); {way_out}") from error


def _who(objects: Objects, epoch: int) -> str:
    try:
        holder = read_holder(objects, epoch)
    except (Missing, StudyError):
        return f"an unknown host (its {lease_key(epoch)} cannot be read)"
    return f"host {holder.host}, pid {holder.pid}"


def _holder(objects: Objects, epoch: int) -> Holder | None:
    """None if the lease cannot be read: then only its heartbeat tells whether the holder is alive."""
    try:
        return read_holder(objects, epoch)
    except (Missing, StudyError):
        return None


def _is_alive(objects: Objects, epoch: int, holder: Holder | None) -> bool:
    if holder == Holder.here():
        # This very process: an earlier run that could not write its end (disk full) no longer holds anything.
        return (objects.url, epoch) in _HELD
    dead = holder.is_dead_here() if holder else None
    if dead is not None:
        return not dead
    first = last_beat(objects, epoch)
    end = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < end:
        time.sleep(BEAT_SECONDS / 4)
        if last_beat(objects, epoch) != first:
            return True
    return False


def last_beat(objects: Objects, epoch: int) -> bytes:
    """The stored heartbeat, empty before the first one."""
    try:
        return objects.get(_beat_key(epoch))
    except Missing:
        return b""


def _beats(objects: Objects, epoch: int) -> int:
    """Number of heartbeats of the holder; 0 if it cannot be read."""
    data = last_beat(objects, epoch)
    if data.isdigit():  # versions that wrote only the number
        return int(data)
    try:
        count = read_json(data, _beat_key(epoch), "").get("count")
    except StudyError:
        return 0
    return count if isinstance(count, int) else 0


def running(objects: Objects) -> dict[str, object] | None:
    """The run that holds this study now: `host`, `pid`, and `seconds` since it started, by its own heartbeat; None if there is none.

    If the holder is on another machine its heartbeat is watched for a few seconds. Never raises because of a lease's content.
    """
    last = last_epoch(objects)
    if not last or exists(objects, _end_key(last)):
        return None
    holder = _holder(objects, last)
    if not _is_alive(objects, last, holder):
        return None
    seconds = BEAT_SECONDS * _beats(objects, last)
    return {"host": holder.host if holder else "an unknown host", "pid": holder.pid if holder else 0, "seconds": seconds}
