"""What a Ray worker loads before it has work: torch and all that a unit needs."""

from __future__ import annotations

from xlli_ray.engine.worker.environment import loading

with loading():
    import xlli_ray.engine.worker.worker  # noqa: F401
