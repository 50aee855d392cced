"""What is measured for samples with a model. One file and one line here per probe (`docs/extending.md`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xlli_ray.errors import RecipeError, closest

if TYPE_CHECKING:
    from xlli_ray.probes.protocol import Probe

PROBES: dict[str, str] = {
    "restore": "xlli_ray.probes.restore:Restore",
    "features": "xlli_ray.probes.features:Features",
    "gram": "xlli_ray.probes.gram:Gram",
    "inputs": "xlli_ray.probes.inputs:Inputs",
    "lam": "xlli_ray.probes.lam.probe:Lam",
}


def probe_class(kind: str) -> type[Probe]:
    """The class behind a stage kind; imports no torch. Raises RecipeError naming the known kinds."""
    if kind not in PROBES:
        near = closest(kind, PROBES)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise RecipeError(f"stages: there is no stage {kind!r}. {hint}Stages: {', '.join(sorted(PROBES))}.")
    module, name = PROBES[kind].split(":")
    return getattr(import_module(module), name)
