"""Options of a run: the arguments of `xlli run` besides the recipe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of execution; not part of any identity."""

    workers: int | None = None
    """None: one per GPU, or CPU slot; 0: in this process, without Ray."""
    address: str | None = None
    gpus_per_worker: float = 0.0
    """0: a whole GPU for each worker, or an equal share if there are more workers than GPUs."""
    device: str = "auto"
    """auto (the GPUs that are there, else the CPU), cpu, cuda, cuda:N, mps: see `pools.placement`."""
    limit: int | None = None
    takeover: bool = False
    retry_failed: bool = False
    replace: tuple[str, ...] = ()
    any_device: bool = False
    quiet: bool = False
    command: str = ""
    metrics: str | None = None
    """A local file for the run's metrics, as Prometheus text."""
