"""Worker processes of this machine without Ray, for a study of seconds: Ray's daemons would take longer to start than the study to run.

What a worker is, and what happens when one dies, is as on Ray (`ray_pool`): it has a process of its own and at most two jobs in flight, its
death is a `Lost` for each of them, and another takes its place. Each loads torch as soon as it starts, while the driver checks the
recipe. It ends with the driver, however that ends.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import count
from multiprocessing.connection import Connection, wait
from typing import Any

from xlli_ray.engine.pools.local import Lost, Outcome
from xlli_ray.engine.pools.private_ray import process_settings
from xlli_ray.engine.pools.ray_pool import IN_FLIGHT
from xlli_ray.engine.run.network_process import die_with_parent
from xlli_ray.engine.worker.actor import Actor
from xlli_ray.engine.worker.environment import own_cores
from xlli_ray.engine.worker.tasks import WorkerSpec, with_readers

POLL_SECONDS = 1.0
LAST_WORDS = 2000
"""Bytes of what a worker wrote to stderr in which its last line is looked for."""
_SERVE = "import sys; sys.path[:] = {paths!r}; from xlli_ray.engine.pools.process_pool import serve; serve({handle})"


class ProcessPool:
    """`workers` processes on the CPU; more of them later with `grow`."""

    def __init__(self, spec: WorkerSpec, *, workers: int = 1) -> None:
        self.workers = 0
        self._spec = spec
        self._numbers = count()
        self._processes: list[_Process] = []
        self.grow(workers)

    def grow(self, workers: int) -> None:
        """Start processes until there are `workers`. Those that are there keep the number of readers that they began with."""
        self.workers = max(workers, self.workers)
        self._spec = with_readers(self._spec, workers=self.workers, cores=own_cores())
        self._processes += [_Process(self._spec) for _ in range(self.workers - len(self._processes))]

    def run(self, task: str, jobs: deque[Any], stop: Callable[[], None]) -> Iterator[tuple[Any, Outcome]]:
        try:
            while jobs or any(process.flying for process in self._processes):
                stop()
                while jobs:  # every worker's first slot before any second
                    free = min(self._processes, key=lambda process: len(process.flying))
                    if len(free.flying) >= IN_FLIGHT:
                        break
                    free.give(next(self._numbers), task, jobs.popleft())
                ready = wait([process.line for process in self._processes], timeout=POLL_SECONDS)
                for process in [one for one in self._processes if one.line in ready]:
                    try:
                        number, kind, value = process.line.recv()
                    except (EOFError, OSError):
                        reason = self._replaced(process)
                        for job in process.flying.values():
                            yield job, Lost(reason, killed=process.died == -signal.SIGKILL)
                        continue
                    if number not in process.flying:
                        continue  # of a run that was given up
                    job = process.flying.pop(number)
                    if kind == "error":
                        raise value
                    if kind != "ok":
                        raise RuntimeError(f"error in a worker:\n{value}")
                    yield job, value
        finally:
            for process in self._processes:
                process.flying.clear()

    def _replaced(self, process: _Process) -> str:
        """Another in place of one that died; none for one without a job, which may die as soon as it starts. Returns how it ended."""
        reason, place = process.end(), self._processes.index(process)
        self._processes[place : place + 1] = [_Process(self._spec)] if process.flying or len(self._processes) == 1 else []
        return reason

    def close(self) -> None:
        for process in self._processes:
            process.end()


class _Process:
    """One worker, and the connection to it. `flying`: number of a job in it → the job."""

    def __init__(self, spec: WorkerSpec) -> None:
        own, its = socket.socketpair()
        self._said = tempfile.TemporaryFile()  # noqa: SIM115  (it lives as long as the process)
        with its:
            code = _SERVE.format(paths=list(spec.paths), handle=its.fileno())
            # a group of its own: a signal to that of the driver is for the driver, which then ends its workers
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=self._said,
                pass_fds=(its.fileno(),), process_group=0, env={**os.environ, **process_settings(spec.threads)},
            )  # fmt: skip
        self.line = Connection(own.detach())
        self.flying: dict[int, Any] = {}
        self.died: int | None = None
        """How it ended by itself, once `end` was called."""
        self._send(spec)

    def give(self, number: int, task: str, job: Any) -> None:
        self.flying[number] = job
        self._send((number, task, job))

    def _send(self, item: Any) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):  # it died, which is noticed when its answer is read
            self.line.send(item)

    def end(self) -> str:
        """End it, if it has not ended. Returns how it ended, and its last words."""
        if self._said.closed:
            return "it was ended before"
        died = self._process.poll()
        if died is None:
            with suppress(subprocess.TimeoutExpired):  # its line was closed a moment before it is gone
                died = self._process.wait(0.5) if self.flying else None
        self.died = died
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # with processes that a network has started
        self._process.wait()
        self.line.close()
        with self._said:
            self._said.seek(max(0, self._said.seek(0, os.SEEK_END) - LAST_WORDS))
            lines = self._said.read().decode(errors="replace").strip().splitlines()
        if died is None:
            return f"worker {self._process.pid} was ended"
        how = f"by signal {-died}" if died < 0 else f"with exit code {died}"
        more = ", as from the kernel when memory runs out" if died == -signal.SIGKILL else f": {lines[-1]}" if lines else ""
        return f"worker {self._process.pid} ended {how}{more}"


def serve(handle: int) -> None:
    """The worker: runs jobs from the socket `handle`, two at a time, until it is closed."""
    die_with_parent()
    os.set_inheritable(handle, False)
    line, sending = Connection(handle), threading.Lock()
    actor = Actor(line.recv())
    threading.Thread(target=_preload, name="xlli-preload", daemon=True).start()

    def work(number: int, task: str, job: Any) -> None:
        kind, value = actor.run(task, job)
        with sending:
            line.send((number, kind, value))

    with ThreadPoolExecutor(IN_FLIGHT, thread_name_prefix="xlli-unit") as threads:
        while True:
            try:
                threads.submit(work, *line.recv())
            except (EOFError, OSError):
                os._exit(0)  # the driver has closed the line, or is gone


def _preload() -> None:
    import xlli_ray.engine.worker.preload  # noqa: F401
