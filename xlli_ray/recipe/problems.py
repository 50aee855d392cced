"""What is wrong with a recipe, said for people: the path inside the file, its line, what was expected, the nearest valid name."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

from xlli_ray.errors import RecipeError, closest
from xlli_ray.recipe.yaml_text import Lines, place, written

Path = tuple[str | int, ...]


@dataclass(frozen=True)
class Source:
    """A recipe, or a file that it takes models from: its name for messages, its lines, and which fields `--set` changed."""

    name: str
    lines: Lines = field(default_factory=Lines)
    changed: tuple[Path, ...] = ()

    def place(self, path: Path) -> str:
        """`stages[2].restore.save (line 14): `; '' for the whole file."""
        if any(path[: len(one)] == one for one in self.changed):
            return f"{written(path)} (--set): "
        return place(path, self.lines)

    def error(self, path: Path, message: str) -> RecipeError:
        """One problem at one place."""
        return RecipeError(f"{self.name}: {self.place(path)}{message}")


def collected(source: Source, problems: Iterable[str]) -> RecipeError:
    """All problems of one recipe, one line each."""
    return RecipeError(f"{source.name}: " + "\n  ".join(dict.fromkeys(problems)))


def explain(
    error: ValidationError,
    model: type[BaseModel],
    data: Any,
    place: Callable[[Path], str],
    *,
    keep: Callable[[Path], bool] = lambda _: True,
) -> list[str]:
    """All problems of a validation, one line each; an unknown key gets the nearest valid ones.

    `data`: what was validated, to tell its keys from the names that pydantic gives to members of a union. `place` writes a path in `data`
    as the recipe has it. `keep`: which paths to tell of.
    """
    lines = []
    for problem in error.errors(include_url=False, include_context=False, include_input=False):
        loc = problem["loc"]
        path = _path(loc, data, whole=problem["type"] in ("extra_forbidden", "missing"))
        if not keep(path):
            continue
        if problem["type"] == "extra_forbidden":
            key = str(loc[-1])
            valid = _fields_at(model, loc[:-1])
            near = closest(key, valid, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            message = f"there is no key {key!r}: {hint}Valid here: {', '.join(valid) or 'nothing'}"
        elif problem["type"] == "missing":
            message = "missing"
        else:
            message = problem["msg"].removeprefix("Value error, ")
        lines.append(f"{place(path)}{message}")
    return list(dict.fromkeys(lines))


def _path(loc: Sequence[str | int], data: Any, *, whole: bool) -> Path:
    """Where in `data` a problem is: pydantic's path without the names of union members and validators."""
    here, path = data, []
    for number, part in enumerate(loc):
        last = whole and number == len(loc) - 1
        if isinstance(here, Mapping) and (part in here or last):
            path.append(part)
            here = here.get(part)
        elif isinstance(here, list | tuple) and isinstance(part, int) and part < len(here):
            path.append(part)
            here = here[part]
        elif last:
            path.append(part)
    return tuple(path)


def _fields_at(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Valid keys of the nested model that `path` leads to."""
    here: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        found = getattr(here, "model_fields", {}).get(part)
        annotation = found.annotation if found is not None else getattr(here, "annotation_of", lambda _: None)(part)
        if annotation is None:
            continue  # a union member's name in pydantic's path
        stack, inner = [annotation], None
        while stack and inner is None:
            candidate = stack.pop()
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                inner = candidate
            stack.extend(get_args(candidate))
        here = inner
    more: list[str] = getattr(here, "more_keys", list)()
    return [*more, *(found.alias or name for name, found in getattr(here, "model_fields", {}).items())]
