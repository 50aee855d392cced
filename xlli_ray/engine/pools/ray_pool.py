"""Ray Core actors, one per GPU or CPU slot, at most two jobs in flight each.

`max_restarts=-1` restarts a lost actor; `max_task_retries=0` leaves retries to the driver, so that no unit is rerun without the
records. Only jobs and small results pass through Ray (`docs/decisions/001-ray-core.md`). Without an address a private cluster is
started (`private_ray`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

from xlli_ray.engine.pools import private_ray
from xlli_ray.engine.pools.cluster import JOIN_SECONDS, quiet_libraries, reach, use_token, within
from xlli_ray.engine.pools.draining import Notice, Places, silent
from xlli_ray.engine.pools.local import Lost, Outcome
from xlli_ray.engine.pools.ray_watch import Watch
from xlli_ray.engine.pools.slots import check_cluster, describe, gpus_for, room_on
from xlli_ray.engine.worker.actor import Actor
from xlli_ray.engine.worker.environment import own_cores
from xlli_ray.engine.worker.tasks import WorkerSpec, with_readers
from xlli_ray.errors import EnvironmentFailure

IN_FLIGHT = 2
START_SECONDS = 120
BUSY_SECONDS = 20.0
"""Seconds to wait for a slot on a cluster whose slots are all in use."""
POLL_SECONDS = 0.5
LOSSES = ("RayActorError", "WorkerCrashedError", "ObjectLostError", "RaySystemError", "TaskUnschedulableError", "GetTimeoutError")
GET_SECONDS = 10.0
"""Seconds to fetch a ready result; it takes milliseconds."""
RESTART_POLL_SECONDS = 0.2


class _Actor(Actor):
    """The worker as a Ray actor."""

    _sees = False

    def where(self) -> tuple[str, tuple[str, int, str]]:
        """Host, pid, and id of the node."""
        import socket

        import ray

        return "ok", (socket.gethostname(), os.getpid(), ray.get_runtime_context().get_node_id())

    def run(self, task: str, job: Any) -> tuple[str, Any]:
        if not self._sees and (trouble := unseen(self._spec)):
            return "error", EnvironmentFailure(2, trouble)
        self._sees = True
        return super().run(task, job)


def _reason(error: BaseException) -> str:
    """The line of Ray's message with the cause: the last one, below the stack trace."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1] if lines else type(error).__name__


def connect(address: str | None, *, cpus: int, threads: int = 1, gpus: int = 0, only_gpu: str = "") -> bool:
    """Join the cluster at `address`, or start a private one of `cpus` slots and `gpus` GPUs (`only_gpu`: see `WorkerSpec`). True if this
    call started Ray. Raises EnvironmentFailure, in less than 30 s, if there is none to join."""
    private_ray.keep_signals()
    if address is None:
        private_ray.prepare()
    else:
        use_token(anywhere=address == "auto")
    import ray

    if ray.is_initialized():
        return False
    private_ray.silence()
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # keeps the driver's GPU visibility unchanged
    try:
        if address is None:
            private_ray.start(cpus, threads, gpus, only_gpu)
        else:
            _join(reach(address))
    except EnvironmentFailure:
        raise
    except (ConnectionError, RuntimeError, ValueError, OSError, ray.exceptions.RayError) as error:
        place = f"the cluster at {address}" if address else "a private Ray on this machine"
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise EnvironmentFailure(111, f"cannot reach {place}: {text}. Check with `xlli doctor`, or run with --workers 0.") from error
    return True


def _join(address: str) -> None:
    """`ray.init`, which has no timeout of its own, with one."""
    import ray

    own = {} if address.startswith("ray://") else {"job_config": private_ray.job_config()}  # a client's is created by its server
    try:
        with quiet_libraries():
            within(JOIN_SECONDS, lambda: ray.init(address=address, **own, **private_ray.QUIET))
    except (TimeoutError, KeyboardInterrupt):
        private_ray.abandon()
        raise


_ahead = False
"""Whether this process joined a cluster before its pool was created; the pool then disconnects."""


def join(address: str) -> None:
    """Join the cluster at `address` before the pool exists, to query it."""
    global _ahead
    _ahead |= connect(address, cpus=1)


def leave() -> None:
    """Disconnect from a cluster that was joined for a pool that was never created."""
    if _take():
        private_ray.stop()


def _take() -> bool:
    global _ahead
    was, _ahead = _ahead, False
    return was


class RayPool:
    """Actors on a cluster. `gpus` per worker may be a fraction. No waiting once `leaving` is set. `in_flight`: concurrent jobs
    per actor, in its own threads; 1 if a job changes process-wide state. `notice`: told of nodes that leave."""

    def __init__(
        self, spec: WorkerSpec, *, workers: int, gpus: float = 0.0, address: str | None = None, leaving: threading.Event | None = None,
        in_flight: int | None = None, notice: Notice = silent,
    ) -> None:  # fmt: skip
        self._in_flight = in_flight or IN_FLIGHT
        self._started = connect(
            address, cpus=workers * spec.threads, threads=spec.threads, gpus=gpus_for(workers, gpus), only_gpu=spec.only_gpu
        ) | _take()
        import ray

        self.workers = workers
        self._ray = ray
        self._watch = Watch(address)
        self._leaving = leaving or threading.Event()
        self._calling: dict[Any, int] = {}
        self._places = Places(self._watch.draining, notice)
        cores = own_cores() if address is None else ray.cluster_resources().get("CPU", 0)
        spec = with_readers(spec, workers=workers, cores=cores)
        self.room = workers
        self._busy = False
        if address is not None or gpus:
            place = f"the cluster at {address}" if address is not None else "the Ray of this process"
            try:
                if spec.only_gpu and not self._started:
                    raise EnvironmentFailure(11, "Ray runs in this process already and assigns the GPUs: --workers 0 for this one")
                self.room = check_cluster(ray.nodes, place, threads=spec.threads, gpus=gpus)
                # queried before our own workers take free resources
                self._busy = not room_on(ray.available_resources(), threads=spec.threads, gpus=gpus)
            except EnvironmentFailure:
                self._actors: list[Any] = []
                self.close()
                raise
        # An existing cluster has its own environment; with a runtime_env each worker is a process more, started when it is asked for.
        there = address is None and private_ray.has_settings(spec.threads)
        runtime_env = None if there else {"env_vars": private_ray.process_settings(spec.threads)}
        actor = ray.remote(_Actor).options(
            num_cpus=spec.threads, num_gpus=gpus, max_restarts=-1, max_task_retries=0,
            max_concurrency=self._in_flight, runtime_env=runtime_env,
        )  # fmt: skip
        self._actors = [actor.remote(spec) for _ in range(workers)]

    def wait_ready(self) -> list[tuple[str, int]]:
        """Host and pid of each worker that has started by the time the first has. Raises EnvironmentFailure if the cluster has no room for
        it, ClusterLost if Ray dies meanwhile."""
        refs = [actor.where.remote() for actor in self._actors]
        began = time.monotonic()
        ready: list[Any] = []
        while not ready and not self._leaving.is_set():
            self._watch.check()
            waited = time.monotonic() - began
            if waited > START_SECONDS or (waited > BUSY_SECONDS and self._busy):
                free = {name: value for name, value in self._ray.available_resources().items() if name in ("CPU", "GPU")}
                raise EnvironmentFailure(
                    11, f"no worker could start within {waited:.0f} s. The nodes have {describe(self._ray.nodes())}; free now: {free}. "
                    "Wait for others to end, or request a smaller --gpus-per-worker or fewer threads.",
                )  # fmt: skip
            ready, _ = self._ray.wait(refs, num_returns=1, timeout=POLL_SECONDS)
        ready, late = self._ray.wait(refs, num_returns=len(refs), timeout=0 if self._leaving.is_set() else 5)
        # Workers without a slot get no work yet; late ones, on nodes that join late, do.
        self._calling = {ref: refs.index(ref) for ref in late}
        try:
            found = {refs.index(ref): self._ray.get(ref, timeout=GET_SECONDS)[1] for ref in ready}
        except self._ray.exceptions.RayError as error:
            self._watch.check()
            raise EnvironmentFailure(12, f"a worker could not start: {_reason(error)}. Can each node import xlli_ray?") from error
        for index, (_, _, node) in found.items():
            self._places.found(index, node)
        return [(host, pid) for host, pid, _ in found.values()]

    def run(self, task: str, jobs: deque[Any], stop: Callable[[], None]) -> Iterator[tuple[Any, Outcome]]:
        ray = self._ray
        flying: dict[Any, tuple[int, Any]] = {}
        load = [0] * len(self._actors)
        # An actor that died or moves gets no work until it responds again: a call while it restarts would be lost too.
        calling = self._calling
        try:
            while jobs or flying:
                stop()
                self._watch.check()
                leaving = self._places.leaving()
                for index in [i for i in leaving if not load[i] and i not in calling.values()]:
                    ray.kill(self._actors[index], no_restart=False)
                    self._call(index)
                self._places.working(len(load) - len(set(calling.values())), lambda: describe(ray.nodes()))
                while jobs:
                    free = [i for i in range(len(load)) if load[i] < self._in_flight and i not in {*calling.values(), *leaving}]
                    if not free:
                        break
                    # fill every worker's first slot before any second
                    index = min(free, key=load.__getitem__)
                    job = jobs.popleft()
                    flying[self._actors[index].run.remote(task, job)] = (index, job)
                    load[index] += 1
                ready, _ = ray.wait([*flying, *calling], num_returns=1, timeout=1.0)
                for ref in ready:
                    if ref in calling:
                        index, outcome = calling.pop(ref), self._result(ref)
                        if isinstance(outcome, Lost):
                            time.sleep(RESTART_POLL_SECONDS)
                            self._call(index)
                        else:
                            self._places.found(index, outcome[2])
                        continue
                    index, job = flying.pop(ref)
                    load[index] -= 1
                    outcome = self._result(ref)
                    if isinstance(outcome, Lost):
                        outcome = replace(outcome, taken=outcome.taken or index in leaving)
                        if index not in calling.values():
                            self._call(index)
                    yield job, outcome
        finally:
            for ref in () if self._watch.lost else flying:
                with contextlib.suppress(Exception):
                    ray.cancel(ref, force=False)

    def _call(self, index: int) -> None:
        """Ask a worker that is not where it was where it is now."""
        self._places.left(index)
        self._calling[self._actors[index].where.remote()] = index

    def _result(self, ref: Any) -> Outcome:
        from ray import exceptions as ray_errors

        try:
            kind, value = self._ray.get(ref, timeout=GET_SECONDS)
        except tuple(getattr(ray_errors, name) for name in LOSSES) as error:
            self._watch.check()
            return Lost(str(error).splitlines()[0], taken=bool(getattr(error, "preempted", False)))
        if kind == "ok":
            return value
        if kind == "error":
            raise value
        raise RuntimeError(f"error in a worker:\n{value}")

    def close(self) -> None:
        self._watch.close()
        if not self._watch.lost:
            for actor in self._actors:
                with contextlib.suppress(Exception):
                    self._ray.kill(actor)
        if self._started:
            private_ray.stop(lost=bool(self._watch.lost))


def unseen(spec: WorkerSpec) -> str:
    """Why a worker on this node cannot work for the run of `spec`, '' if it can: nodes that join later were not asked by `nodes_see`."""
    import socket

    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.lease import holder_mark

    try:
        trouble = "" if holder_mark(open_objects(spec.study), spec.epoch) else f"does not see the run of {spec.study}"
    except Exception as error:
        trouble = f"does not see {spec.study} ({type(error).__name__})"
    return trouble and f"node {socket.gethostname()} {trouble}: use a path that all nodes share, or s3://. Finished work is kept"


def nodes_see(study: str, key: str, expected: bytes, corpus: list[str]) -> None:
    """Check that every node of the cluster sees the study folder and the corpus. Raises EnvironmentFailure naming the node."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    def look(study: str, key: str, expected: bytes, corpus: list[str]) -> str:
        from xlli_ray.corpus.files.sources import read_bytes
        from xlli_ray.store.objects.client import open_objects

        try:
            if open_objects(study).get(key) != expected:
                return f"sees another folder at {study}"
        except Exception as error:
            return f"does not see {study} ({type(error).__name__})"
        for uri in corpus:
            try:
                read_bytes(uri)
            except Exception as error:
                return f"does not see {uri} ({error})"
        return ""

    remote = ray.remote(num_cpus=0, max_retries=1)(look)
    nodes = [node for node in ray.nodes() if node["Alive"]]
    refs = {
        remote.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node["NodeID"], soft=False)).remote(
            study, key, expected, corpus
        ): node
        for node in nodes
    }
    for ref, node in refs.items():
        try:
            trouble = ray.get(ref, timeout=60)
        except Exception as error:
            trouble = f"does not respond about {study}: {str(error).splitlines()[0]}"
        if trouble:
            name = node.get("NodeManagerHostname") or node["NodeManagerAddress"]
            raise EnvironmentFailure(
                2, f"node {name} {trouble}: use a path that all nodes share, or s3://; nothing was computed"
            )
