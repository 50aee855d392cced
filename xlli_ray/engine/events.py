"""Events of a run: always one JSON line each; a progress bar on a terminal, one plain line per interval elsewhere (`progress`)."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Protocol, TextIO

from xlli_ray.engine.run.progress import Progress
from xlli_ray.engine.run_log import RunLog, ending
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.run_status.reasons import without_secrets
from xlli_ray.store.run_status.status import Ended
from xlli_ray.terminal import say

INTERVAL_SECONDS = 30.0
FREE_TEXT = ("command", "reason", "traceback")
"""Fields of events in which a URL with its signature may occur."""


class Reporter(Protocol):
    """Receiver of events."""

    def event(self, kind: str, **fields: Any) -> None: ...
    def begin(self, progress: Progress) -> None: ...
    def update(self, progress: Progress) -> None: ...
    def end(self, progress: Progress) -> None: ...
    def close(self) -> None: ...


class Events:
    """Log and status of the run in the study (`run_log`), and lines or a bar to a stream. As a context: says how the run ended.

    `writer`: of several that share an epoch, part of the names of its files, followed by the time of its start: one that runs again keeps
    the log of before.
    """

    def __init__(self, objects: Objects, epoch: int, *, stream: TextIO | None = None, quiet: bool = False, writer: str = "") -> None:
        self._log = RunLog(objects, epoch, f"{writer}-{time.time_ns() // 1_000_000}" if writer else "")
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._spoken = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __enter__(self) -> Events:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(ending(kind, error))

    def stopped(self) -> None:
        """The last word of a run whose time to end is up."""
        self.close(ending(KeyboardInterrupt, KeyboardInterrupt()))

    def export(self, file: str | None) -> None:
        """Keep the run's metrics in this local file. Raises PlanError."""
        if file is not None:
            self._log.export(file)

    def event(self, kind: str, **fields: Any) -> None:
        texts = {name: without_secrets(fields[name]) for name in FREE_TEXT if isinstance(fields.get(name), str)}
        self._log.event(kind, {**fields, **texts})

    def tell(self, text: str) -> None:
        """One line for people, none if quiet."""
        if not self._quiet:
            say(text, self._stream)
            self._stream.flush()

    def notice(self, kind: str, text: str, **fields: Any) -> None:
        """An event, and the same in one line for people."""
        self.event(kind, text=text, **fields)
        self.tell(text)

    @contextmanager
    def beating(self, text: Callable[[], str]) -> Iterator[None]:
        """During a long operation without output of its own: `text()` and the elapsed time, every interval."""
        ended, started = threading.Event(), time.monotonic()

        def beat() -> None:
            while not ended.wait(INTERVAL_SECONDS):
                self.tell(f"{text()}, {time.monotonic() - started:.0f} s so far")

        thread = threading.Thread(target=beat, name="xlli-heartbeat", daemon=True)
        thread.start()
        try:
            yield
        finally:
            ended.set()
            thread.join()

    def begin(self, progress: Progress) -> None:
        self.event("begin", phase=progress.phase, total=progress.total)
        self._spoken = time.monotonic()
        if self._quiet or not self._stream.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[rest]}"), console=Console(file=self._stream),
        )  # fmt: skip
        self._bar.start()
        self._task = self._bar.add_task(progress.phase, total=progress.total, rest="")

    def update(self, progress: Progress) -> None:
        self._log.progress(progress)
        if self._bar is not None:
            rest = f"{progress.failed} failed, {progress.paces()} {progress.shares()}"
            self._bar.update(self._task, completed=progress.done, rest=rest)
        elif not self._quiet and time.monotonic() - self._spoken > INTERVAL_SECONDS:
            self._spoken = time.monotonic()
            say(progress.line(), self._stream)
            self._stream.flush()
            self.event("progress", line=progress.line())

    def end(self, progress: Progress) -> None:
        self.update(progress)
        if self._bar is not None:
            self._bar.stop()
            self._bar = None
        elif not self._quiet:
            say(progress.line(), self._stream)
        self.event("end", phase=progress.phase, done=progress.done, failed=progress.failed, split=progress.split)

    def close(self, ended: Ended | None = None) -> None:
        if self._bar is not None:
            self._bar.stop()
        self._log.close(ended)
