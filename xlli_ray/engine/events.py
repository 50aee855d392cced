"""What happens, as events: one JSON line each, always; a bar on a terminal, one plain line an interval elsewhere.

Every line shows done/total, failed, samples a second, and how the workers' time splits into reading, computing and writing, which
tells at once whether the network starves.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TextIO

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.store.objects import Objects
from xlli_ray.terminal import say

INTERVAL_SECONDS = 30.0
SEGMENT_SECONDS = 60.0


@dataclass
class Progress:
    """Counts of one phase (scan or run)."""

    phase: str
    total: int
    done: int = 0
    failed: int = 0
    units: int = 0
    bytes: int = 0
    started: float = field(default_factory=time.monotonic)
    split: dict[str, float] = field(default_factory=dict)

    def add(self, samples: int, failed: int, nbytes: int, seconds: Mapping[str, float]) -> None:
        self.done += samples
        self.failed += failed
        self.units += 1
        self.bytes += nbytes
        for kind, value in seconds.items():
            self.split[kind] = self.split.get(kind, 0.0) + value

    @property
    def rate(self) -> float:
        """Samples a second since the phase began."""
        return self.done / max(1e-6, time.monotonic() - self.started)

    def shares(self) -> str:
        """`read 12 % · compute 80 % · write 8 %` of the workers' busy time."""
        groups = {"read": ("read",), "compute": ("compute",), "write": ("encode", "put")}
        sums = {name: sum(self.split.get(kind, 0.0) for kind in kinds) for name, kinds in groups.items()}
        total = sum(sums.values())
        return " · ".join(f"{name} {100 * value / total:.0f} %" for name, value in sums.items()) if total else ""

    def line(self) -> str:
        left = (self.total - self.done) / self.rate if self.done else float("nan")
        eta = f", {left:.0f} s left" if 0 < left < 1e7 else ""
        split = f" ({self.shares()})" if self.split else ""
        return f"{self.phase}: {self.done}/{self.total} samples, {self.failed} failed, {self.rate:.1f}/s{eta}{split}"


class Reporter(Protocol):
    """Where events go."""

    def event(self, kind: str, **fields: Any) -> None: ...
    def begin(self, progress: Progress) -> None: ...
    def update(self, progress: Progress) -> None: ...
    def end(self, progress: Progress) -> None: ...
    def close(self) -> None: ...


class Events:
    """JSONL into the study (`events/<epoch>-<n>.jsonl`), and lines or a bar to a stream."""

    def __init__(self, objects: Objects, epoch: int, *, stream: TextIO | None = None, quiet: bool = False) -> None:
        self._objects, self._epoch = objects, epoch
        self._stream = sys.stderr if stream is None else stream
        self._quiet = quiet
        self._lines: list[str] = []
        self._segment = 0
        self._flushed = self._spoken = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def event(self, kind: str, **fields: Any) -> None:
        self._lines.append(json.dumps({"time": time.time(), "event": kind, **fields}))
        if time.monotonic() - self._flushed > SEGMENT_SECONDS:
            self._flush()

    def _flush(self) -> None:
        if self._lines:
            data = ("\n".join(self._lines) + "\n").encode()
            self._objects.put(f"events/{self._epoch:06d}-{self._segment:05d}.jsonl", data)
            self._segment += 1
            self._lines = []
        self._flushed = time.monotonic()

    def tell(self, text: str) -> None:
        """One line for people, nothing when quiet."""
        if not self._quiet:
            say(text, self._stream)
            self._stream.flush()

    def begin(self, progress: Progress) -> None:
        self.event("begin", phase=progress.phase, total=progress.total)
        self._spoken = time.monotonic()
        if self._quiet or not self._stream.isatty():
            return
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bar

        self._bar = Bar(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[rest]}"), TimeRemainingColumn(), console=Console(file=self._stream),
        )  # fmt: skip
        self._bar.start()
        self._task = self._bar.add_task(progress.phase, total=progress.total, rest="")

    def update(self, progress: Progress) -> None:
        if self._bar is not None:
            rest = f"{progress.failed} failed, {progress.rate:.1f}/s {progress.shares()}"
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

    def close(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        with contextlib.suppress(EnvironmentFailure, OSError):  # the disk is full: the error that ends the run says so already
            self._flush()
