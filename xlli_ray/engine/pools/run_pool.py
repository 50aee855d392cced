"""The pool of a run: created when first needed, or earlier in the background, and closed as soon as it is no longer needed.

Starting a private Ray takes seconds, mostly waiting for its daemons. Loading torch and planning take seconds, too. So a run that has work
starts Ray in a thread meanwhile, and shuts it down while tables are written. A study of seconds has worker processes without Ray
(`process_pool`), unless a number of workers is given.
"""

from __future__ import annotations

import secrets
import sys
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.draining import Notice, silent
from xlli_ray.engine.pools.local import LocalPool, Pool
from xlli_ray.engine.pools.slots import check_cluster, workers_here
from xlli_ray.engine.worker.environment import loading, own_cores
from xlli_ray.engine.worker.tasks import WorkerSpec, make_task, with_readers
from xlli_ray.engine.worker.warm import warm_ahead
from xlli_ray.store.objects.client import Objects


class Pools:
    """Provides the run's pool. A complete study starts no Ray. `in_flight`: concurrent jobs per worker, `notice`: told of nodes that leave,
    as in `RayPool`."""

    def __init__(
        self, options: Options, spec: WorkerSpec, objects: Objects, corpus: Sequence[str], *, in_flight: int | None = None,
        notice: Notice = silent,
    ) -> None:  # fmt: skip
        self._in_flight, self._notice = in_flight, notice
        self._options, self._spec, self._objects, self._corpus = options, spec, objects, corpus
        self._pool: Pool | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="xlli-pool")
        self._coming: Future[Pool] | None = None
        self._going: Future[None] | None = None
        self._loading = ExitStack()
        self._ahead: Future[None] | None = None
        self._leaving = threading.Event()
        self.without_ray = False

    def warm(self, *, brief: bool = False) -> None:
        """Start the workers in a thread; errors are raised where the pool is needed. `brief`: there seem to be but seconds of work."""
        if self._options.workers == 0:
            warm_ahead(self._spec.device)
        if self._options.address is None and self._options.workers != 0 and self._coming is None:
            self.without_ray = brief and self._options.workers is None and not self._options.gpus_per_worker
            self._loading.enter_context(loading())
            self._coming = self._thread.submit(self._make)

    def meanwhile(self, load: Callable[[], None]) -> None:
        """Load in that thread what this process will need once there is no more work (`cool`): with workers it only waits until then."""
        self._ahead = self._thread.submit(_quietly, load)

    def fill(self) -> None:
        """There is work for all: a worker without Ray for each CPU slot, not one."""
        if self.without_ray:
            from xlli_ray.engine.pools.process_pool import ProcessPool

            if isinstance(pool := self(), ProcessPool):
                pool.grow(default_workers(self._options, self._spec.threads))

    def outgrow(self) -> None:
        """There is more work than was thought: workers without Ray end, the next are Ray's."""
        if self.without_ray:
            self().close()
            self.without_ray, self._pool, self._coming = False, None, None
            self.warm()

    def __call__(self) -> Pool:
        """The pool, ready for work."""
        if self._pool is None:
            try:
                self._pool = self._coming.result() if self._coming is not None else self._make()
            finally:
                self._loading.close()
        return self._pool

    def _make(self) -> Pool:
        options = self._options
        if options.workers == 0:
            spec = with_readers(self._spec, workers=1, cores=own_cores())
            readers = own_cores() if spec.device != "cpu" else 2  # a GPU's one worker has the machine's cores for the scan
            return LocalPool(lambda task: make_task(spec, task), scans=readers)
        if self.without_ray:
            from xlli_ray.engine.pools.process_pool import ProcessPool

            return ProcessPool(self._spec)  # one: a second would load torch while the first and this process do
        workers = options.workers or default_workers(options, self._spec.threads)
        from xlli_ray.engine.pools.ray_pool import RayPool, nodes_see

        pool = RayPool(
            self._spec, workers=workers, gpus=options.gpus_per_worker, address=options.address, leaving=self._leaving,
            in_flight=self._in_flight, notice=self._notice,
        )  # fmt: skip
        try:
            if options.address is not None:
                token = secrets.token_bytes(16)
                key = f"lease/canary-{self._spec.epoch:06d}"
                self._objects.put(key, token)
                nodes_see(self._spec.study, key, token, list(self._corpus))
            pool.wait_ready()
            if pool.room < workers and not options.quiet:
                place = options.address or "the Ray of this process"
                sys.stderr.write(f"room for {pool.room} of {workers} workers at {place}; the others begin when nodes come\n")
        except BaseException:
            pool.close()
            raise
        return pool

    def cool(self) -> None:
        """No more work: start closing, in a thread. What was to be loaded meanwhile is loaded."""
        if self._ahead is not None:
            self._ahead.result()
        if self._going is None and (self._pool is not None or self._coming is not None):
            self._going = self._thread.submit(self._end)

    def _end(self) -> None:
        pool = self._pool
        if pool is None and self._coming is not None and self._coming.exception() is None:
            pool = self._coming.result()
        if pool is not None:
            pool.close()

    def close(self) -> None:
        """Close the pool and wait until it is closed."""
        self._leaving.set()
        self._loading.close()
        self.cool()
        self._thread.shutdown(wait=True)
        try:
            if self._going is not None:
                self._going.result()
        finally:
            leave_cluster()


def _quietly(load: Callable[[], None]) -> None:
    """Errors are left to whoever needs what was loaded."""
    with suppress(Exception), loading():
        load()


def leave_cluster() -> None:
    """Disconnect from a cluster that was joined only to ask it."""
    if "xlli_ray.engine.pools.ray_pool" in sys.modules:
        from xlli_ray.engine.pools.ray_pool import leave

        leave()


def default_workers(options: Options, threads: int) -> int:
    """One worker per CPU slot of this machine, or GPU share or CPU slot of the cluster."""
    if options.address is None:
        return workers_here(threads)
    from xlli_ray.engine.pools.ray_pool import join

    join(options.address)
    import ray

    return check_cluster(ray.nodes, f"the cluster at {options.address}", threads=threads, gpus=options.gpus_per_worker)
