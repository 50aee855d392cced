"""Probes: measurements of samples. One class per stage kind, in its own file (`registry.PROBES`, `docs/extending.md`)."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from xlli_ray.errors import RecipeError, closest
from xlli_ray.registry import PROBES

if TYPE_CHECKING:
    from xlli_ray.probes.probe import Probe

KIND = re.compile(r"[a-z][a-z0-9_]*")
"""Form of a KIND, which is also the name of an SQL table."""


def probe_class(kind: str, code: str = "") -> type[Probe]:
    """The class behind a stage kind; imports no torch. `code`: its location, if it is in no registry.

    Raises RecipeError with the known kinds, or with the reason why the class cannot be used.
    """
    if not code and kind not in PROBES:
        PROBES.check_form(kind)
        near = closest(kind, PROBES)
        hint = f"Did you mean {near[0]!r}? " if near else ""
        raise RecipeError(f"stages: there is no stage {kind!r}. {hint}Stages: {', '.join(sorted(PROBES))}; or package.module:Class.")
    cls: Any = PROBES.load(code or kind)
    from xlli_ray.probes.probe import Probe

    if not (isinstance(cls, type) and issubclass(cls, Probe) and hasattr(cls, "KIND")):
        raise RecipeError(f"stage {code or kind!r}: expected a subclass of xlli_ray.probes.probe.Probe with a KIND, got {cls!r:.80}")
    if kind != cls.KIND or not KIND.fullmatch(kind):
        raise RecipeError(f"stage {code or kind!r}: {cls.__name__}.KIND is {cls.KIND!r}, expected {kind!r}, of a-z, 0-9 and _")
    return cls


def make_probe(kind: str, params: Mapping[str, Any], spec: Mapping[str, Any], code: str = "") -> Probe:
    """The probe of one cell. Raises RecipeError as `probe_class` does, and ValidationError for invalid parameters."""
    cls = probe_class(kind, code)
    return cls(cls.Params(**params), spec)


def described(cls: type) -> list[str]:
    """The paragraphs of the docstring of a class's module, one line each, without examples."""
    module = inspect.cleandoc(sys.modules[cls.__module__].__doc__ or "")
    return [re.sub(r"\s*\n\s*", " ", part) for part in module.split("\n\n") if part and not part.startswith((" ", ">>>"))]
