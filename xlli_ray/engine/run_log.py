"""What a run leaves for those who watch it: its log, its status, and its metrics, written by a thread beside the work.

The log (`events/<epoch>-<n>.jsonl`) is one JSON line for each event. Its last segment is put again each minute with all its lines until it
holds SEGMENT_BYTES, so that a usual run has one file and a run of a week tens, not one for each minute; a kill costs at most the last
minute. The status (`store.run_status`) is replaced every few seconds at first and every half a minute later. The metrics are the
same as Prometheus text, in a local file. Errors of the store are left to the work itself, which meets and reports them.
"""

from __future__ import annotations

import contextlib
import json
import re
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xlli_ray.engine.process_end import STOPPED, TERMINATED, stopped_code, was_asked
from xlli_ray.engine.run.progress import Progress
from xlli_ray.engine.run.tally import Tally
from xlli_ray.errors import ClusterLost, EnvironmentFailure, LeaseError, PlanError, StudyError
from xlli_ray.store.objects.client import LocalObjects, Objects
from xlli_ray.store.run_status.prometheus import metrics_text
from xlli_ray.store.run_status.reasons import cut, without_secrets
from xlli_ray.store.run_status.status import Ended, RunStatus, status_key, to_bytes

SEGMENT_SECONDS = 60.0
SEGMENT_BYTES = 4 << 20
SOONEST_SECONDS, LATEST_SECONDS = 2.0, 30.0
"""Between two statuses: a sixtieth of the time since the start, within these."""
METRICS_SECONDS = 10.0
"""Between two statuses at most, if there is a file of metrics: Prometheus reads it every 15 s or so."""
BEAT_SECONDS = 60.0
"""After which a status is put even if nothing has changed: a part has no other heartbeat."""
TURN_SECONDS = 5.0
"""That the end of a run waits for an unfinished put of the thread."""
_SUPPRESSED = (EnvironmentFailure, StudyError, OSError)


class RunLog:
    """Log, status and metrics of one run. `writer`: see `status_key`. `metrics`: a local file. Thread-safe."""

    def __init__(self, objects: Objects, epoch: int, writer: str = "") -> None:
        self._objects, self._study = objects, objects.url
        self._names = f"events/{epoch:06d}-{f'{writer}-' if writer else ''}"
        self._status_key = status_key(epoch, writer)
        self._metrics: tuple[LocalObjects, str] | None = None
        self._tally = Tally(epoch)
        self._lock, self._putting = threading.Lock(), threading.Lock()
        self._lines: list[bytes] = []
        self._put_lines = self._segment = self._count = 0
        self._dirty = False
        self._began = self._flushed = self._told = time.monotonic()
        self._seen = -1, -1e9
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def export(self, file: str) -> None:
        """Keep the metrics in this local file from now on. Raises PlanError for a place where no file can be."""
        path = Path(file).expanduser().absolute()
        if not re.fullmatch(r"[A-Za-z0-9_=-][A-Za-z0-9_.=-]*", path.name) or path.is_dir() or not path.parent.is_dir():
            raise PlanError(f"--metrics {file}: expected a file in an existing folder, such as /var/lib/node_exporter/xlli.prom")
        self._metrics = LocalObjects(path.parent), path.name
        self._put_metrics(self._tally.status(0))
        self._dirty = True
        self._begin()

    def event(self, kind: str, fields: Mapping[str, Any]) -> None:
        """One line, with the time."""
        line = json.dumps({"time": time.time(), "event": kind, **fields}).encode() + b"\n"
        with self._lock:
            self._lines.append(line)
            self._tally.event(kind, fields)
            self._dirty = True
        self._begin()

    def progress(self, progress: Progress) -> None:
        """How far the phase is; called often, looked at after each unit and once a second. Only by the thread that changes `progress`."""
        now = time.monotonic()
        if now - self._seen[1] < 1.0 and progress.units == self._seen[0]:
            return
        self._seen = progress.units, now
        with self._lock:
            self._tally.progress(progress)
            self._dirty = True

    def close(self, ended: Ended | None = None) -> None:
        """Write what is left. Nothing if nothing has happened; no thread is left."""
        self._stop.set()
        if self._thread is None:
            return
        self._thread.join(timeout=TURN_SECONDS)
        with self._lock:
            self._tally.ended(ended or Ended("finished"))
        if self._putting.acquire(timeout=TURN_SECONDS):
            try:
                with contextlib.suppress(*_SUPPRESSED):  # disk full: already reported by the error that ends the run
                    self._put_segment()
                    self._put_status()
            finally:
                self._putting.release()

    def _begin(self) -> None:
        if self._thread is None and not self._stop.is_set():
            self._thread = threading.Thread(target=self._work, name="xlli-log", daemon=True)
            self._thread.start()

    def _work(self) -> None:
        while not self._stop.wait(1.0):
            with self._putting, contextlib.suppress(*_SUPPRESSED):
                now = time.monotonic()
                most = METRICS_SECONDS if self._metrics else LATEST_SECONDS
                pause = min(most, max(SOONEST_SECONDS, (now - self._began) / 60))
                if now - self._told >= (pause if self._dirty else BEAT_SECONDS):
                    self._told = now
                    self._put_status()
                if now - self._flushed >= SEGMENT_SECONDS:
                    self._flushed = now
                    self._put_segment()

    def _put_segment(self) -> None:
        with self._lock:
            lines, number = list(self._lines), self._segment
        if len(lines) == self._put_lines:
            return
        data = b"".join(lines)
        self._objects.put(f"{self._names}{number:05d}.jsonl", data)
        with self._lock:
            self._put_lines = len(lines)
            if len(data) >= SEGMENT_BYTES:
                del self._lines[: len(lines)]
                self._put_lines, self._segment = 0, number + 1

    def _put_status(self) -> None:
        with self._lock:
            self._dirty = False
            self._count += 1
            status = self._tally.status(self._count)
        if self._metrics is not None:
            self._put_metrics(status)
        self._objects.put(self._status_key, to_bytes(status))

    def _put_metrics(self, status: RunStatus) -> None:
        assert self._metrics is not None
        folder, name = self._metrics
        folder.put(name, metrics_text(status, self._study).encode())


def ending(kind: type[BaseException] | None, error: BaseException | None) -> Ended:
    """How a run ended that left its session with this exception, or without one."""
    if kind is None or error is None:
        return Ended("finished")
    text = error.strerror if isinstance(error, EnvironmentFailure) and error.strerror else str(error)
    reason = cut(without_secrets((text.splitlines() or [""])[0]))
    if was_asked() or issubclass(kind, KeyboardInterrupt):
        return Ended("stopped", stopped_code() if was_asked() else STOPPED, "it was told to end")
    codes = ((PlanError, 2), (ClusterLost, TERMINATED), (EnvironmentFailure, 3), (LeaseError, 4))
    code = next((code for one, code in codes if issubclass(kind, one)), 1)
    return Ended("stopped", code, f"{kind.__name__}: {reason}" if reason else kind.__name__)
