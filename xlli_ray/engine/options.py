"""Options of a run: the arguments of `xlli run` besides the recipe."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """Options of execution; not part of any identity."""

    workers: int | None = None
    """None: one per CPU slot; 0: in this process, without Ray."""
    address: str | None = None
    gpus_per_worker: float = 0.0
    device: str | None = None
    """None: cuda when gpus_per_worker > 0, else cpu."""
    limit: int | None = None
    takeover: bool = False
    retry_failed: bool = False
    replace: tuple[str, ...] = ()
    any_device: bool = False
    quiet: bool = False
    command: str = ""
