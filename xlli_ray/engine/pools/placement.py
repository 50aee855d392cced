"""Where a run computes: on which device, with how many workers, and what share of a GPU each has. Decided before anything starts.

By default all GPUs of the machine are used, one worker each, and one line says so; without a GPU, the CPU, and nothing is said. Ray waits
silently for a GPU that does not exist, so what cannot be had is refused here, with what there is. A study that has a plan continues on the
kind of device that it was planned for, because its numbers are promised to be the same on one kind of device only.
"""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools.gpus import VISIBLE, Gpus, gpus_here, torch_computes_on_gpus
from xlli_ray.engine.pools.slots import check_options, room_in, room_on
from xlli_ray.engine.worker.environment import own_cores
from xlli_ray.errors import EnvironmentFailure, PlanError, counted

LESS = "--device cpu computes on the CPU, --address on a cluster with GPUs"
MOST_SHARED = 16
"""Workers on one GPU, unless --gpus-per-worker says more: each has its own memory of CUDA, hundreds of megabytes."""
Nodes = Callable[[str], Iterable[Mapping[str, Any]]]
"""Address of a cluster → `ray.nodes()` of it."""


@dataclass(frozen=True)
class Placement:
    """`device`: a torch device as this process names it. `workers`: 0 is this process, None as many as there are CPU slots, or on a
    cluster, room. `share`: GPUs a worker. `said`: a line for people, '' if there is nothing to say. `only`: the GPU that private workers
    see, as CUDA_VISIBLE_DEVICES names it; '' for all."""

    device: str
    workers: int | None
    share: float = 0.0
    said: str = ""
    only: str = ""

    @property
    def worker_device(self) -> str:
        """The torch device as a worker names it: Ray shows each process only its own GPUs."""
        return self.device if self.workers == 0 else self.device.partition(":")[0]

    def settled(self, options: Options) -> Options:
        """The options with what was decided."""
        return replace(options, device=self.device, workers=self.workers, gpus_per_worker=self.share)


def place(
    options: Options, *, threads: int = 1, begun: Callable[[], str] = str, gpus: Callable[[], Gpus] | None = None,
    nodes: Nodes | None = None, cpu_workers: int | None = None, samples_alone: bool = False,
) -> Placement:  # fmt: skip
    """Decide. `begun`: the device in the plan of a study that has cells, else ''. `gpus`, `nodes`: what there is, asked only if it matters.
    `cpu_workers`: number of workers on the CPU of this machine if none is given. `samples_alone`: no network is run, so that a new study
    is measured on the CPU. Raises PlanError for options that contradict each other, EnvironmentFailure for what is not there."""
    check_options(options)
    if samples_alone:
        options = replace(options, device="cpu" if _kind(begun()) in ("", "cpu") else "auto", gpus_per_worker=0.0)
    wanted, local = options.device, options.address is None or options.workers == 0
    if wanted == "cpu" and options.gpus_per_worker:
        raise PlanError(f"--gpus-per-worker {options.gpus_per_worker:g} and --device cpu contradict each other: leave one of them out")
    if wanted == "auto" and not options.gpus_per_worker:
        return _automatic(options, local, threads, begun, gpus or gpus_here, nodes or _nodes_at, cpu_workers)
    kind = "cuda" if wanted == "auto" else wanted.partition(":")[0]
    if _kind(planned := begun()) not in ("", kind) and not options.any_device:
        raise EnvironmentFailure(
            95, f"this study was planned for {planned}, and {_asked(options)} was requested: numbers could differ. Leave it out to "
            "continue on the device of the plan, or use a new --out",
        )  # fmt: skip
    if kind == "cpu":
        return _on_cpu(options, local, cpu_workers)
    if kind == "mps":
        return _on_apple(options, local)
    if not local:
        return _on_cluster(options, threads, nodes or _nodes_at)
    return _on_gpus(options, (gpus or gpus_here)())


def _automatic(
    options: Options, local: bool, threads: int, begun: Callable[[], str], gpus: Callable[[], Gpus], nodes: Nodes, cpu_workers: int | None
) -> Placement:
    if not local:
        planned = _kind(begun())
        if planned == "cuda" or (not planned and any(_gpus_of(node) for node in nodes(str(options.address)))):
            return _on_cluster(options, threads, nodes)
        return _on_cpu(options, local, cpu_workers)
    here = gpus()
    planned = begun() if here.count or platform.system() == "Darwin" else ""
    if _kind(planned) == "mps":
        return _on_apple(options, local)
    on_cpu = _on_cpu(options, local, cpu_workers)
    if not here.count:
        return on_cpu
    if _kind(planned) == "cpu":
        there = f"{'is' if here.count == 1 else 'are'} here, but this study was planned for {planned} and continues there"
        return replace(on_cpu, said=f"{here} {there}; with a new --out it would compute on the GPU")
    if not torch_computes_on_gpus():
        without = f"{'is' if here.count == 1 else 'are'} here, but the installed torch is built without CUDA"
        return replace(on_cpu, said=f"{here} {without}: computing on the CPU")
    return _on_gpus(options, here)


def _on_cpu(options: Options, local: bool, cpu_workers: int | None) -> Placement:
    return Placement("cpu", cpu_workers if options.workers is None and local else options.workers)


def _on_gpus(options: Options, here: Gpus) -> Placement:
    """On the GPUs of this machine."""
    share, number, asked = options.gpus_per_worker, options.device.partition(":")[2], _asked(options)
    if not here.count:
        raise EnvironmentFailure(19, f"{asked}: no GPU is visible here{_setting()}; {LESS}")
    if not torch_computes_on_gpus():
        raise EnvironmentFailure(19, f"{asked}: {here} here, but the installed torch is built without CUDA; {LESS}")
    if number and int(number) >= here.count:
        known = ", ".join(f"cuda:{index} ({name})" for index, name in enumerate(here.names))
        raise EnvironmentFailure(19, f"{asked}: the GPUs visible here{_setting()} are {known}; {LESS}")
    if len(set(here.names)) > 1 and not options.any_device:
        number = number or "0"  # workers of another model than planned for would refuse
    have = Gpus((here.names[int(number)],), (here.ids[int(number)],)) if number else here
    workers = options.workers
    if not share:
        each = max(1, math.ceil((workers or 0) / have.count))
        if each > MOST_SHARED:
            most = MOST_SHARED * have.count
            raise PlanError(f"--workers {workers} on {have}: at most {MOST_SHARED} share one, --workers {most}; {LESS}")
        share, workers = 1 / each, have.count if workers is None else workers
    else:
        room = room_on({"CPU": math.inf, "GPU": have.count}, threads=1, gpus=share)
        if max(workers or 1, 1) > room:
            raise _too_many(options, have, room)
        workers = min(room, max(own_cores(), have.count)) if workers is None else workers
    if options.workers is None and workers == 1:
        workers = 0  # one worker needs no other process
    only = have.ids[0] if number and workers else ""
    device = f"cuda:{number}" if number else "cuda"
    return Placement(device, workers, share, _line(options, here, device, workers, share), only)


def _line(options: Options, here: Gpus, device: str, workers: int, share: float) -> str:
    if ":" in device:
        several = ", a study is computed on one model" if ":" not in options.device else ""
        whole = f"{device} of {here}{several}" if here.count > 1 else f"{here}"
    else:
        whole = f"{here}"
    if share < 1 and workers:
        how = f"{counted(workers, 'worker')}, {share:.3g} of a GPU each"
    elif workers > 1:
        how = f"{workers} workers, " + ("one GPU each" if share == 1 else f"{share:g} GPUs each")
    else:
        first = here.count > 1 and ":" not in device
        how = "1 worker on " + ("the first of them" if first else "it")
    return f"{whole}: {how}" + ("; --device cpu for the CPU" if options.device == "auto" else "")


def _too_many(options: Options, have: Gpus, room: int) -> EnvironmentFailure:
    share, wanted = options.gpus_per_worker, max(options.workers or 1, 1)
    held = f"{wanted * share:g} GPU{'' if wanted * share == 1 else 's'}"
    what = f"--workers {wanted} with --gpus-per-worker {share:g} need {held}, {have.count} visible here{_setting()}"
    more = f", --workers {room}" if room else ""
    return EnvironmentFailure(11, f"{what}: room for {counted(room, 'worker')}{more}. {LESS}")


def _on_apple(options: Options, local: bool) -> Placement:
    """On the GPU of an Apple computer, which has one, for one worker."""
    if not local:
        raise PlanError("--device mps is the GPU of this computer: with --address, --device cuda takes those of the cluster")
    if platform.system() != "Darwin":
        raise EnvironmentFailure(19, f"--device mps is the GPU of an Apple computer, this is {platform.system()}; {LESS}")
    if (options.workers or 0) > 1 or options.gpus_per_worker not in (0, 1):
        raise PlanError("--device mps: there is one GPU, for one worker; leave --workers and --gpus-per-worker out")
    return Placement("mps", options.workers or 0, 0.0, "Apple's GPU (mps): 1 worker on it")


def _on_cluster(options: Options, threads: int, nodes: Nodes) -> Placement:
    """On the GPUs of a cluster, which assigns them."""
    if options.device not in ("auto", "cuda"):
        raise PlanError(f"--device {options.device} with --address: the cluster assigns its GPUs; write --device cuda")
    share, workers, address = options.gpus_per_worker, options.workers, str(options.address)
    if share:
        return Placement("cuda", workers, share)
    there = list(nodes(address))
    have = sum(_gpus_of(node) for node in there)
    each = 1
    if workers is not None and have:
        fits = (n for n in range(1, workers + 1) if room_in(there, threads=threads, gpus=1 / n) >= workers)
        each = next(fits, 1)  # 1: the others begin when nodes come
    how = "one worker each" if workers is None else counted(workers, "worker")
    if each > 1:
        how += f", {1 / each:.3g} of a GPU each"
    said = f"{counted(have, 'GPU')} in the cluster at {address}: {how}; --device cpu for its CPUs"
    return Placement("cuda", workers, 1 / each, said if have and options.device == "auto" else "")


def _gpus_of(node: Mapping[str, Any]) -> int:
    return int(node["Resources"].get("GPU", 0)) if node["Alive"] else 0


def _nodes_at(address: str) -> Iterable[Mapping[str, Any]]:
    from xlli_ray.engine.pools.ray_pool import join

    join(address)
    import ray

    return ray.nodes()


def _kind(planned: str) -> str:
    """`cuda` of `cuda/NVIDIA H200`; '' if nothing is planned, or for any device."""
    kind = planned.partition("/")[0]
    return "" if kind == "any" else kind


def _asked(options: Options) -> str:
    return f"--device {options.device}" if options.device != "auto" else f"--gpus-per-worker {options.gpus_per_worker:g}"


def _setting() -> str:
    value = os.environ.get(VISIBLE)
    return "" if value is None else f" ({VISIBLE}={value!r})"
