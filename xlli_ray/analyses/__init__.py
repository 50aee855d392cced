"""What is concluded from what is stored. One file and one line here per analysis (`docs/extending.md`)."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from xlli_ray.errors import RecipeError, closest

if TYPE_CHECKING:
    from xlli_ray.analyses.protocol import Analysis

ANALYSES: dict[str, str] = {
    "ddr": "xlli_ray.analyses.ddr.analysis:Ddr",
    "group_means": "xlli_ray.analyses.group_means.analysis:GroupMeans",
    "lam_summary": "xlli_ray.analyses.lam_summary.analysis:LamSummary",
    "srga": "xlli_ray.analyses.srga.analysis:Srga",
}


def analysis_class(kind: str) -> type[Analysis]:
    """The class behind an analysis; imports neither torch nor ray nor matplotlib. Raises RecipeError naming the known ones."""
    if kind not in ANALYSES:
        near = closest(kind, ANALYSES)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise RecipeError(f"stages: there is no analysis {kind!r}. {hint}Analyses: {', '.join(sorted(ANALYSES))}.")
    module, name = ANALYSES[kind].split(":")
    return getattr(import_module(module), name)
