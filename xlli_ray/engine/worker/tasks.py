"""Tasks of a worker process, by name: the in-process pool and the Ray actors call the same functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from xlli_ray.engine.worker.environment import take_share
from xlli_ray.user_code import allow


@dataclass(frozen=True)
class WorkerSpec:
    """How workers are made. JSON-able; crosses to actors once."""

    study: str
    epoch: int
    device: str = "cpu"
    threads: int = 1
    paths: tuple[str, ...] = ()
    """The driver's import path: a network of the user's (`package.module:factory`) must import in workers too."""
    readers: int = 2
    """Threads that load images in addition to those that compute; 0 if there are no cores for them."""
    processes: int = 0
    """Processes that may take over from these threads."""
    gpu_share: float = 0.0
    """Share of its GPU that a worker may fill with its memory, if between 0 and 1."""
    only_gpu: str = ""
    """The one GPU that private workers see, as CUDA_VISIBLE_DEVICES names it; '' for all."""
    allowed: tuple[tuple[str, str], ...] = ()
    """Code of the user's recipe that workers may load, each with its recipe's folder (`user_code.allow`)."""


@dataclass(frozen=True)
class Call:
    """A function of the study's objects to be called in a worker; it and its arguments can be pickled."""

    function: Callable[..., Any]
    args: tuple[Any, ...] = ()
    named: Mapping[str, Any] = field(default_factory=dict)


MOST_PROCESSES = 12
"""Readers of one worker at most: each holds an interpreter, and a cache of decoded images where these are needed again."""


def with_readers(spec: WorkerSpec, *, workers: int, cores: float) -> WorkerSpec:
    """`spec` with the number of loader threads and processes per worker.

    None if single-threaded workers fill the cores: they decode by themselves (`batches`). A network on several threads would leave all but
    one idle while an image is decoded, so there threads are kept. A GPU should not wait at all: processes, if it needs them, on the cores
    that the workers leave.
    """
    fills = spec.device == "cpu" and spec.threads == 1 and workers >= cores
    spare = int(cores - 1) // max(workers, 1) if spec.device.startswith("cuda") else 0
    return replace(spec, readers=0 if fills else spec.readers, processes=min(spare, MOST_PROCESSES))


def make_task(spec: WorkerSpec, task: str) -> Callable[[Any], Any]:
    """`unit` → runs a UnitJob; `scan` → runs a ScanJob; `train` → runs a TrainJob; `call` → makes a Call."""
    allow(spec.allowed)
    if task not in ("scan", "call"):
        take_share(spec.device, spec.gpu_share)
    if task == "unit":
        from xlli_ray.engine.worker.worker import Worker

        return Worker(
            spec.study, spec.epoch, device=spec.device, threads=spec.threads, readers=spec.readers, processes=spec.processes,
            allowed=spec.allowed,
        ).run  # fmt: skip
    if task == "scan":
        from xlli_ray.engine.run.scan_runner import Scanner

        return Scanner(spec.study, spec.epoch).run
    if task == "call":
        from xlli_ray.store.objects.client import open_objects

        return lambda call: call.function(open_objects(spec.study), *call.args, **call.named)
    if task == "train":
        from xlli_ray.engine.worker.training import TrainingWorker

        return TrainingWorker(spec.study, spec.epoch, device=spec.device).run
    raise ValueError(f"no task {task!r}")
