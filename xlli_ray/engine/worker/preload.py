"""Imports of a Ray worker before it has work: torch and everything that a unit needs."""

from __future__ import annotations

from xlli_ray.engine.worker.environment import loading

with loading():
    import xlli_ray.engine.worker.worker  # noqa: F401
