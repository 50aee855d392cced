"""Problems of a recipe, for people: the path inside the file, its line, what was expected, the nearest valid name."""

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
    """A recipe, or a file of models: its name in messages, its lines, and the fields changed by `--set`."""

    name: str
    lines: Lines = field(default_factory=Lines)
    changed: tuple[Path, ...] = ()

    def place(self, path: Path) -> str:
        """`stages[2].restore.save (line 14): `; '' for the whole file."""
        if any(path[: len(field)] == field for field in self.changed):
            return f"{written(path)} (--set): "
        return place(path, self.lines)

    def error(self, path: Path, message: str) -> RecipeError:
        """One problem at one location."""
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

    `data`: what was validated, to distinguish its keys from the names of union members in pydantic's paths. `place` formats a path in
    `data` as in the recipe. `keep`: which paths to report.
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
    """Path in `data` of a problem: pydantic's path without the names of union members and validators."""
    node, path = data, []
    for number, part in enumerate(loc):
        last = whole and number == len(loc) - 1
        if isinstance(node, Mapping) and (part in node or last):
            path.append(part)
            node = node.get(part)
        elif isinstance(node, list | tuple) and isinstance(part, int) and part < len(node):
            path.append(part)
            node = node[part]
        elif last:
            path.append(part)
    return tuple(path)


def _fields_at(model: type[BaseModel], path: Sequence[Any]) -> list[str]:
    """Valid keys of the nested model that `path` leads to."""
    node: Any = model
    for part in path:
        if isinstance(part, int):
            continue
        field = getattr(node, "model_fields", {}).get(part)
        annotation = field.annotation if field is not None else getattr(node, "annotation_of", lambda _: None)(part)
        if annotation is None:
            continue  # a union member's name in pydantic's path
        stack, inner = [annotation], None
        while stack and inner is None:
            candidate = stack.pop()
            if isinstance(candidate, type) and issubclass(candidate, BaseModel):
                inner = candidate
            stack.extend(get_args(candidate))
        node = inner
    more: list[str] = getattr(node, "more_keys", list)()
    return [*more, *(field.alias or name for name, field in getattr(node, "model_fields", {}).items())]
