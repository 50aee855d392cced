"""Number of workers that fit: on this machine before anything starts, in a cluster once it is joined.

Ray silently waits for a GPU that does not exist.
"""

from __future__ import annotations

import importlib
import math
import os
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xlli_ray.engine.options import Options
from xlli_ray.engine.worker.environment import own_cores
from xlli_ray.errors import EnvironmentFailure, PlanError, counted

NODES_SECONDS = 8.0
"""Seconds to wait for nodes that are joining a cluster."""
POLL_SECONDS = 0.5
LESS = "omit --gpus-per-worker to compute on the CPU, or give --address of a cluster with GPUs"


def check_options(options: Options) -> None:
    """Raise PlanError for invalid numbers."""
    share = options.gpus_per_worker
    if not math.isfinite(share) or share < 0 or (share > 1 and share != int(share)):
        raise PlanError(f"--gpus-per-worker must be a fraction of one GPU (0.5) or an integer, got {share:g}")
    if options.workers is not None and options.workers < 0:
        raise PlanError(f"--workers must be an integer ≥ 0 (0 computes in this process), got {options.workers}")


def check_here(options: Options, gpus: Callable[[], int] | None = None) -> None:
    """Raise EnvironmentFailure if this machine lacks the GPUs for its workers. Starts nothing."""
    share = options.gpus_per_worker
    if not share or options.address is not None:
        return
    have = (gpus or gpus_here)()
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    seen = "" if visible is None else f" (CUDA_VISIBLE_DEVICES={visible!r})"
    if not have:
        raise EnvironmentFailure(19, f"--gpus-per-worker {share:g}: no GPU is visible here{seen}; {LESS}")
    room = room_on({"CPU": math.inf, "GPU": have}, threads=1, gpus=share)
    wanted = 1 if options.workers is None else max(options.workers, 1)
    if wanted > room:
        held = f"{wanted * share:g} GPU{'' if wanted * share == 1 else 's'}"
        holds = f"--workers {wanted} with --gpus-per-worker {share:g} need {held}, {have} visible here{seen}"
        raise EnvironmentFailure(
            11, f"{holds}: room for {counted(room, 'worker')}" + (f", --workers {room}" if room else "") + f". Or {LESS}"
        )


def gpus_here() -> int:
    """GPUs that Ray would assign to workers on this machine, without those hidden by CUDA_VISIBLE_DEVICES and similar."""
    accelerators: Any = importlib.import_module("ray._private.accelerators")
    manager = accelerators.get_accelerator_manager_for_resource("GPU")
    have = int(manager.get_current_node_num_accelerators())
    visible = manager.get_current_process_visible_accelerator_ids()
    return have if visible is None else min(have, len(visible))


def room_on(resources: Mapping[str, float], *, threads: int, gpus: float) -> int:
    """Workers of `threads` CPUs and `gpus` GPUs that fit on a node with these resources. A share never spans two GPUs."""
    small = 1e-6  # 1 / (1 / 3) is less than 3
    cpus = resources.get("CPU", 0) / threads + small
    have = math.floor(resources.get("GPU", 0) + small)
    by_gpu = math.inf if not gpus else have * math.floor(1 / gpus + small) if gpus < 1 else have // gpus
    room = min(cpus, by_gpu)
    return int(room) if math.isfinite(room) else 1 << 30


def workers_here(options: Options, threads: int) -> int:
    """One per CPU slot of this machine, or per share of its GPUs, those of one CPU slot each."""
    slots = max(1, own_cores() // threads)
    if not options.gpus_per_worker:
        return slots
    have = gpus_here()
    return max(1, min(room_on({"CPU": math.inf, "GPU": have}, threads=1, gpus=options.gpus_per_worker), max(slots, have)))


def room_in(nodes: Iterable[Mapping[str, Any]], *, threads: int, gpus: float) -> int:
    """Number of workers that fit in a cluster, by the total resources of `ray.nodes()`, in use or not."""
    return sum(room_on(node["Resources"], threads=threads, gpus=gpus) for node in nodes if node["Alive"])


def check_cluster(
    nodes: Callable[[], list[Mapping[str, Any]]], address: str, *, threads: int, gpus: float, seconds: float = NODES_SECONDS
) -> int:
    """Number of such workers that fit in the cluster. Raises EnvironmentFailure if zero, after `seconds` in which nodes may join."""
    until = time.monotonic() + seconds
    while not (room := room_in(nodes(), threads=threads, gpus=gpus)):
        if time.monotonic() > until:
            wants = f"{threads} CPU{'s' * (threads > 1)}" + (f" and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else "")
            raise EnvironmentFailure(11, f"no node of the cluster at {address} has room for a worker of {wants}: {describe(nodes())}")
        time.sleep(POLL_SECONDS)
    return room


def describe(nodes: Iterable[Mapping[str, Any]]) -> str:
    """Resources of its nodes, in words."""
    have = [
        f"{node['Resources'].get('CPU', 0):g} CPUs, {node['Resources'].get('GPU', 0):g} GPUs" for node in nodes if node["Alive"]
    ]
    kinds = [f"{have.count(kind)} × ({kind})" for kind in dict.fromkeys(have)]
    return "; ".join(kinds) if kinds else "it has no nodes"
