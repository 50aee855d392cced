"""The pool protocol, and the pool that runs in this process.

A pool takes jobs from a queue that the driver may extend while it runs (retries), and yields outcomes as they arrive. It makes no
decisions: retries, marking and stopping are up to the driver.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any, Protocol, TypeVar

Job = TypeVar("Job")
MAX_FRUITLESS = 24
"""Consecutive losses, without a finished job or an identified culprit, after which a run stops."""


GIVE_UP_SECONDS = 5.0
"""For jobs in flight when a run ends before they do; they stop by themselves between two batches, and are left to that after it."""


@dataclass(frozen=True)
class Lost:
    """The worker died, or its node did, while this job was in flight."""

    reason: str
    taken: bool = False
    """Its node was taken away, as announced: the job is not to blame."""
    killed: bool = False
    """Known to be by SIGKILL."""


Outcome = Any
"""The job's result, or Lost. Errors of the environment and of the program are raised instead."""


class Pool(Protocol):
    """Runs jobs. `task` names the workers' function: see `tasks.make_task`."""

    workers: int

    def run(self, task: str, jobs: deque[Any], stop: Callable[[], None]) -> Iterator[tuple[Any, Outcome]]:
        """Yield (job, outcome) until `jobs` is empty and nothing is in flight. `stop` is called often and may raise."""

    def close(self) -> None: ...


class LocalPool:
    """Everything in this process: one worker, two jobs in flight (one computes while the other is being written); `scans` of a scan."""

    workers = 1

    def __init__(self, make: Callable[[str], Callable[[Any], Any]], *, scans: int = 2) -> None:
        self._make, self._scans = make, scans
        self._functions: dict[str, Callable[[Any], Any]] = {}

    def run(self, task: str, jobs: deque[Any], stop: Callable[[], None]) -> Iterator[tuple[Any, Outcome]]:
        if task == "scan":  # only decodes: needs no torch, and must not wait for it
            yield from self._run(task, jobs, stop, self._scans)
            return
        with _settings_kept():
            yield from self._run(task, jobs, stop)

    def _run(self, task: str, jobs: deque[Any], stop: Callable[[], None], at_once: int = 2) -> Iterator[tuple[Any, Outcome]]:
        if task not in self._functions:
            self._functions[task] = self._make(task)
        work = self._functions[task]
        flying: dict[Future[Any], Any] = {}
        threads = ThreadPoolExecutor(at_once, thread_name_prefix="xlli-unit")
        try:
            while jobs or flying:
                stop()
                while jobs and len(flying) < at_once:
                    job = jobs.popleft()
                    flying[threads.submit(work, job)] = job
                ready, _ = wait(flying, timeout=1.0, return_when=FIRST_COMPLETED)
                for future in ready:
                    job = flying.pop(future)
                    yield job, future.result()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            self._give_up([future for future in flying if future.running()])

    def _give_up(self, flying: list[Future[Any]]) -> None:
        """End jobs that are in progress: nobody waits for a unit of minutes when a machine is taken away."""
        if flying:
            for work in self._functions.values():
                if give_up := getattr(getattr(work, "__self__", None), "give_up", None):
                    give_up()
            wait(flying, timeout=GIVE_UP_SECONDS)
            self.close()

    def close(self) -> None:
        for work in self._functions.values():
            if close := getattr(getattr(work, "__self__", None), "close", None):  # a worker's threads and reader processes
                close()
        self._functions.clear()


_FLAGS = ("backends.cuda.matmul.allow_tf32", "backends.cudnn.allow_tf32", "backends.cudnn.benchmark", "backends.cudnn.deterministic")


@contextmanager
def _settings_kept() -> Iterator[None]:
    """Restores torch's thread count and the flags that a worker sets, so that a run in a notebook has no side effects."""
    import torch

    threads = torch.get_num_threads()
    flags = {name: attrgetter(name)(torch) for name in _FLAGS}
    try:
        yield
    finally:
        torch.set_num_threads(threads)
        for name, value in flags.items():
            place, _, field = name.rpartition(".")
            if attrgetter(name)(torch) != value:
                setattr(attrgetter(place)(torch), field, value)
