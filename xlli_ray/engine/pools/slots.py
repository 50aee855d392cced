"""Number of workers that fit on a machine or, once it is joined, in a cluster. Ray silently waits for a GPU that does not exist."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from xlli_ray.engine.options import Options
from xlli_ray.engine.worker.environment import own_cores
from xlli_ray.errors import EnvironmentFailure, PlanError

NODES_SECONDS = 4.0
"""Seconds to wait for nodes that are joining a cluster."""
POLL_SECONDS = 0.5
LEAST_SHARE = 1e-3
"""Ray counts ten-thousandths of a GPU."""


def check_options(options: Options) -> None:
    """Raise PlanError for an unknown device or invalid numbers."""
    share = options.gpus_per_worker
    if not math.isfinite(share) or 0 < share < LEAST_SHARE or share < 0 or (share > 1 and share != int(share)):
        raise PlanError(f"--gpus-per-worker must be a fraction of one GPU (0.5, at least {LEAST_SHARE:g}) or an integer, got {share:g}")
    if not re.fullmatch(r"auto|cpu|mps|cuda(:\d{1,3})?", options.device):
        raise PlanError(f"--device must be auto, cpu, cuda, cuda:0, cuda:1, … or mps, got {options.device!r}")
    if options.workers is not None and options.workers < 0:
        raise PlanError(f"--workers must be an integer ≥ 0 (0 computes in this process), got {options.workers}")


def room_on(resources: Mapping[str, float], *, threads: int, gpus: float) -> int:
    """Workers of `threads` CPUs and `gpus` GPUs that fit on a node with these resources. A share never spans two GPUs."""
    small = 1e-6  # 1 / (1 / 3) is less than 3
    cpus = resources.get("CPU", 0) / threads + small
    have = math.floor(resources.get("GPU", 0) + small)
    by_gpu = math.inf if not gpus else have * math.floor(1 / gpus + small) if gpus < 1 else have // gpus
    room = min(cpus, by_gpu)
    return int(room) if math.isfinite(room) else 1 << 30


def gpus_for(workers: int, share: float) -> int:
    """GPUs that so many workers of a share need."""
    a_gpu = room_on({"CPU": math.inf, "GPU": 1}, threads=1, gpus=share)
    return 0 if not share else math.ceil(workers / a_gpu) if share <= 1 else workers * int(share)


def workers_here(threads: int) -> int:
    """One per CPU slot of this machine."""
    return max(1, own_cores() // threads)


def room_in(nodes: Iterable[Mapping[str, Any]], *, threads: int, gpus: float) -> int:
    """Number of workers that fit in a cluster, by the total resources of `ray.nodes()`, in use or not."""
    return sum(room_on(node["Resources"], threads=threads, gpus=gpus) for node in nodes if node["Alive"])


def check_cluster(
    nodes: Callable[[], list[Mapping[str, Any]]], place: str, *, threads: int, gpus: float, seconds: float = NODES_SECONDS
) -> int:
    """Number of such workers that fit in the cluster. Raises EnvironmentFailure if zero, after `seconds` in which nodes may join."""
    until = time.monotonic() + seconds
    while not (room := room_in(nodes(), threads=threads, gpus=gpus)):
        if time.monotonic() > until:
            wants = f"{threads} CPU{'s' * (threads > 1)}" + (f" and {gpus:g} GPU{'s' * (gpus > 1)}" if gpus else "")
            raise EnvironmentFailure(11, f"no node of {place} has room for a worker of {wants}: {describe(nodes())}")
        time.sleep(POLL_SECONDS)
    return room


def describe(nodes: Iterable[Mapping[str, Any]]) -> str:
    """Resources of its nodes, in words."""
    have = [
        f"{node['Resources'].get('CPU', 0):g} CPUs, {node['Resources'].get('GPU', 0):g} GPUs" for node in nodes if node["Alive"]
    ]
    kinds = [f"{have.count(kind)} × ({kind})" for kind in dict.fromkeys(have)]
    return "; ".join(kinds) if kinds else "it has no nodes"
