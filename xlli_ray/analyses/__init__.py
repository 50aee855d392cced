"""Analyses: conclusions from stored measurements. One class per stage kind, in its own file (`registry.ANALYSES`, `docs/extending.md`)."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from xlli_ray.errors import RecipeError, closest
from xlli_ray.registry import ANALYSES

if TYPE_CHECKING:
    from xlli_ray.analyses.analysis import Analysis

KIND = re.compile(r"[a-z][a-z0-9_]*")


def analysis_class(kind: str, code: str = "") -> type[Analysis]:
    """The class behind an analysis; imports neither torch nor ray nor matplotlib. `code`: its location, if it is in no registry.

    Raises RecipeError with the known names, or with the reason why the class cannot be used.
    """
    if not code and kind not in ANALYSES:
        ANALYSES.check_form(kind)
        near = closest(kind, ANALYSES)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise RecipeError(
            f"stages: there is no analysis {kind!r}. {hint}Analyses: {', '.join(sorted(ANALYSES))}; or package.module:Class."
        )
    cls = ANALYSES.load(code or kind)
    missing = [name for name in ("KIND", "VERSION", "REFERENCE", "TABLES", "Params", "inputs", "run") if not hasattr(cls, name)]
    if missing:
        raise RecipeError(
            f"stage {code or kind!r}: expected an analysis class (docs/extending.md), got {cls!r:.80} without {', '.join(missing)}"
        )
    if kind != cls.KIND or not KIND.fullmatch(kind):
        raise RecipeError(f"stage {code or kind!r}: {cls.__name__}.KIND is {cls.KIND!r}, expected {kind!r}, of a-z, 0-9 and _")
    return cast("type[Analysis]", cls)
