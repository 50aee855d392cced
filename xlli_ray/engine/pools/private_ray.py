"""A private Ray: a one-node cluster for the duration of a run, started fast, quietly, and inaccessible to others.

It listens only on the loopback interface, with its own random token, because anyone who can reach Ray's daemons can run code; its sockets
and logs are in a folder that only its user can enter (`folder`). `ray.init()` without `address="local"` would join any local cluster.
Its isolation, and start and end within five seconds instead of nine (two cores, docs/log.md), have no setting in Ray 2.60, so functions of
Ray are patched while it starts; a Ray without these functions starts as usual.
"""

from __future__ import annotations

import atexit
import contextlib
import functools
import importlib
import logging
import os
import secrets
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from xlli_ray.engine.pools.gpus import VISIBLE
from xlli_ray.engine.pools.ray_folder import MARK, make_folder, remove_folder
from xlli_ray.errors import EnvironmentFailure, XlliError

STORE_BYTES = 150 << 20
PRELOAD = "xlli_ray.engine.worker.preload"
QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
HELPERS = ("start_monitor", "start_api_server", "start_log_monitor")
"""Autoscaler, API server, log monitor: Python processes that Ray starts one after the other, two seconds of a start and one of the end;
of no use to one node without a dashboard."""
SMALL = "--minimal --disable-metrics-collection"
LOOPBACK = "127.0.0.1"
LOG_BYTES = 1 << 20
"""Of each log file before rotation: a Ray agent complains once a second that no dashboard was started."""
LEAVE_SECONDS = 10.0
POLL_SECONDS = 0.02
PATIENCE = 180.0
"""Seconds of waiting for a starting node whose daemons live: Ray's own 30 are too few for two busy cores. After that Ray reports it."""


def process_settings(threads: int) -> dict[str, str]:
    """Settings before a worker process starts: thread counts before torch and BLAS load, glibc's arenas before Ray's own threads have
    created one each (`environment.one_arena`)."""
    return {**dict.fromkeys(THREADS, str(threads)), "MALLOC_ARENA_MAX": "1"}


def keep_signals() -> None:
    """Leave signals to Python. Ray's C++ would answer SIGTERM with a stack trace and an abort after three seconds, finished or not, and
    after disconnecting from Ray, SIGTERM would end this process at once. Also for existing clusters. Read when Ray's libraries load."""
    os.environ.setdefault("RAY_DISABLE_FAILURE_SIGNAL_HANDLER", "1")


def prepare() -> None:
    """Set what Ray's libraries read when they load. No effect if Ray is loaded, or the user has chosen an authentication mode."""
    if "RAY_AUTH_MODE" not in os.environ and "ray" not in sys.modules:
        os.environ["RAY_AUTH_MODE"], os.environ["RAY_AUTH_TOKEN"] = "token", secrets.token_hex(32)


class _Fixed(list[str]):
    """A list that Ray cannot extend."""

    def extend(self, _: Any) -> None:
        pass


def job_config() -> Any:
    """Workers use the driver's import path (`WorkerSpec.paths`), without its current folder and its script's, which Ray prepends: a file of
    a study there could be run as `numpy`. The folder of this package is added if it is not installed."""
    import sysconfig

    from ray.job_config import JobConfig

    config = JobConfig()
    package = str(Path(__file__).resolve().parents[3])
    config._py_driver_sys_path = _Fixed([] if package in sysconfig.get_paths().values() else [package])
    return config


def silence() -> None:
    """Suppress the raylet's page-long notices of each lost worker, which `log_to_driver` does not; our own events report them. Also for
    existing clusters."""
    module: Any = importlib.import_module("ray._private.worker")
    if hasattr(module, "_worker_logs_enabled"):
        module._worker_logs_enabled = False


def start(cpus: int, threads: int, gpus: int = 0, only_gpu: str = "") -> None:
    """Start it, with `cpus` slots and `gpus` GPUs, and join it. `only_gpu`: see `WorkerSpec`. Raises EnvironmentFailure if it does not
    start, as on a machine so busy that its daemons take minutes, and without a place for its sockets."""
    global _folder, _threads
    import ray

    folder = make_folder()
    # The daemons pass on their environment: cheaper than a runtime_env, which restarts each worker.
    # Ray starts workers at nice 15, so that they starve on a shared machine.
    # Workers load torch while this process is still connecting.
    settings = {
        **process_settings(threads), "RAY_worker_niceness": "0", "RAY_preload_python_modules": PRELOAD, MARK: str(folder),
        **({VISIBLE: only_gpu} if only_gpu else {}), "RAY_ROTATION_MAX_BYTES": str(LOG_BYTES), "RAY_ROTATION_BACKUP_COUNT": "1",
    }  # fmt: skip
    node: Any = getattr(importlib.import_module("ray._private.node"), "Node", None)
    services: Any = importlib.import_module("ray._private.services")
    daemons: list[Any] = []
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(_environment(settings))
            for name in HELPERS:
                stack.enter_context(_replaced(node, name, lambda _kept: lambda *_args, **_given: None))
            stack.enter_context(_replaced(services, "get_node", lambda kept: _once_registered(kept, daemons)))
            # Ray takes the machine's own address for 127.0.0.1, and then its daemons listen on all interfaces.
            stack.enter_context(_replaced(services, "resolve_ip_for_localhost", lambda _kept: lambda host: host))
            stack.enter_context(_replaced(services, "start_ray_process", _with_a_small_agent))
            stack.enter_context(_replaced(services, "ConsolePopen", lambda kept: functools.partial(_daemon, kept, daemons)))
            ray.init(
                address="local", num_cpus=cpus, num_gpus=gpus, include_dashboard=False, object_store_memory=STORE_BYTES,
                _node_ip_address=LOOPBACK, _temp_dir=str(folder), job_config=job_config(), **QUIET,
            )  # fmt: skip
    except BaseException as error:
        remove_folder(folder, patience=0.0)
        if isinstance(error, XlliError) or not isinstance(error, Exception):
            raise
        said = (str(error).strip() or "no message").splitlines()[0][:300]
        raise EnvironmentFailure(
            f"Ray did not start: {type(error).__name__}: {said} If the machine is busy, run the same command again; --workers 0 runs in "
            "this process, without Ray."
        ) from error
    folder.chmod(0o700)  # Ray makes its folder world-accessible
    _folder, _threads = folder, threads


_folder: Path | None = None
"""Folder of the private Ray that this process has started and not stopped."""
_threads = 0


def has_settings(threads: int) -> bool:
    """Whether this process has joined a private Ray of its own, whose workers start with `process_settings(threads)`."""
    return _folder is not None and _threads == threads


def stop(*, lost: bool = False) -> None:
    """Disconnect, end its processes and remove its folder; without a private Ray, disconnect from the cluster. `lost`: it is known to be
    dead, so its remaining processes are ended first and disconnecting is limited to seconds. Does not raise."""
    global _folder
    folder, _folder = _folder, None
    if lost:
        if folder is not None:
            remove_folder(folder, patience=0.0)
        leaver = threading.Thread(target=_leave, daemon=True)
        leaver.start()
        leaver.join(LEAVE_SECONDS)
        if leaver.is_alive():
            abandon()
            # An ObjectRef that is freed from now on would ask a core worker that is half gone, which ends the process with exit code 1.
            vars(importlib.import_module("ray._private.worker").global_worker).pop("core_worker", None)
        return
    _leave()
    if folder is not None:
        remove_folder(folder)


def _leave() -> None:
    import ray

    with contextlib.suppress(Exception):
        ray.shutdown()


def abandon() -> None:
    """Ray does not respond: do not wait for it again at the end of this process."""
    atexit.unregister(importlib.import_module("ray._private.worker").shutdown)


def _with_a_small_agent(start_ray_process: Callable[..., Any]) -> Callable[..., Any]:
    """Start the raylet's agent as if Ray were installed without its dashboard, and without metrics: then it serves no HTTP."""

    def begin(command: list[str], *args: Any, **given: Any) -> Any:
        agent = "--dashboard_agent_command="
        return start_ray_process([f"{word} {SMALL}" if word.startswith(agent) else word for word in command], *args, **given)

    return begin


def _daemon(popen: Callable[..., Any], daemons: list[Any], *args: Any, **given: Any) -> Any:
    """Start one of Ray's processes, and note it in `daemons`. A signal to the driver's process group (a batch system, `timeout`) is for the
    driver: it ends its daemons itself, in order."""
    process = popen(*args, process_group=0, **given)
    daemons.append(process)
    return process


def _once_registered(get_node: Callable[..., Any], daemons: Sequence[Any]) -> Callable[..., Any]:
    """Ray's `get_node` sleeps a second if a node does not exist yet, and Ray gives up after half a minute; this one first polls for any
    node, every 20 ms, as long as its `daemons` live."""

    def wait_and_get(gcs_address: str, node_id: str) -> Any:
        with contextlib.suppress(Exception):
            client = importlib.import_module("ray._raylet").GcsClient(address=gcs_address)
            until = time.monotonic() + PATIENCE
            while not _exists(client) and time.monotonic() < until and not any(daemon.poll() is not None for daemon in daemons):
                time.sleep(POLL_SECONDS)
        return get_node(gcs_address, node_id)

    return wait_and_get


def _exists(client: Any) -> bool:
    try:
        return bool(client.get_all_node_info(timeout=1.0))
    except Exception:  # a busy GCS does not answer within a second
        return False


@contextlib.contextmanager
def _replaced(owner: Any, name: str, make: Callable[[Any], Any]) -> Iterator[None]:
    """Replaces `owner.name` by `make(owner.name)`; no effect if there is no such name."""
    kept = getattr(owner, name, None)
    if kept is None:
        yield
        return
    setattr(owner, name, make(kept))
    try:
        yield
    finally:
        setattr(owner, name, kept)


@contextlib.contextmanager
def _environment(values: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
