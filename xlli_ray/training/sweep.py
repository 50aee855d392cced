"""The sweep of a training recipe: some fields with several values each, and every combination of them is a training.

    sweep:
      seed: [0, 1, 2]
      corpus.count: [8, 64, 512]
      corpus.degradations: {clean: [clean], blur: [{blur: [0, 4]}]}

A key is the path of a field of the recipe. A list holds plain values; a mapping names its values, as needed for lists and mappings.
Each combination is a `Point`: what it changes, its part of the id (`seed0-count8-blur`), and its tags (`seed: 0, count: 8,
degradations: blur`). Combinations come in the order of the file, the last field changing fastest. Nothing here imports torch.
"""

from __future__ import annotations

import itertools
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from xlli_ray.errors import RecipeError

MAX_POINTS = 1000
"""More combinations than this are assumed to be a mistake: each is a network to train."""
ROOTS = ("seed", "corpus", "train")
NAME = re.compile(r"[A-Za-z0-9_.-]+")
Tag = str | int | float | bool
Sweep = Mapping[str, Sequence[Any] | Mapping[str, Any]]


@dataclass(frozen=True)
class Value:
    """One value of one field: `part` of the id, `tag` of the network, and the value itself."""

    part: str
    tag: Tag
    value: Any


@dataclass(frozen=True)
class Point:
    """One combination. `change`: nested like the recipe; `fields`: the paths that it sets; `suffix`: of the id, with its hyphen."""

    suffix: str
    tags: Mapping[str, Tag]
    change: Mapping[str, Any]
    fields: tuple[str, ...]


WHOLE = Point("", {}, {}, ())
"""The one point of a recipe without a sweep."""


def points(sweep: Sweep) -> list[Point]:
    """Every combination; `[WHOLE]` for an empty sweep. Raises RecipeError for unknown fields, missing values and values without a name."""
    if not sweep:
        return [WHOLE]
    short = _short_names(list(sweep))
    axes = [[(field, short[field], value) for value in _values(field, short[field], given)] for field, given in sweep.items()]
    if (count := math.prod(map(len, axes))) > MAX_POINTS:
        raise RecipeError(f"{count} combinations, each a network to train; at most {MAX_POINTS} are allowed")
    return [_point(combination) for combination in itertools.product(*axes)]


def nested(field: str, value: Any) -> dict[str, Any]:
    """`corpus.count`, 8 → `{corpus: {count: 8}}`."""
    for key in reversed(field.split(".")):
        value = {key: value}
    result: dict[str, Any] = value
    return result


def _point(combination: Sequence[tuple[str, str, Value]]) -> Point:
    change: dict[str, Any] = {}
    for field, _, value in combination:
        _lay(change, nested(field, value.value))
    return Point(
        "".join(f"-{value.part}" for _, _, value in combination),
        {name: value.tag for _, name, value in combination},
        change,
        tuple(field for field, _, _ in combination),
    )


def _lay(below: dict[str, Any], above: Mapping[str, Any]) -> None:
    for key, value in above.items():
        if isinstance(value, Mapping) and isinstance(below.get(key), dict):
            _lay(below[key], value)
        else:
            below[key] = value


def _short_names(fields: Sequence[str]) -> dict[str, str]:
    """The last part of each path; the whole path, with underscores, if it is not unique. These are the names of tags."""
    for field in fields:
        parts = field.split(".")
        if parts[0] not in ROOTS or not all(map(NAME.fullmatch, parts)) or (parts[0] == "seed") != (len(parts) == 1):
            raise RecipeError(f"{field} is not a field of a training; seed and fields of corpus and train can be swept, as in corpus.count")
    for outer, inner in itertools.permutations(fields, 2):
        if inner.startswith(f"{outer}."):
            raise RecipeError(f"{outer} and {inner}: the first contains the second")
    last = Counter(field.rsplit(".", 1)[-1] for field in fields)
    return {field: name if last[name := field.rsplit(".", 1)[-1]] == 1 else field.replace(".", "_") for field in fields}


def _values(field: str, short: str, given: Sequence[Any] | Mapping[str, Any]) -> list[Value]:
    if not given:
        raise RecipeError(f"{field}: no value; give a list such as [0, 1, 2], or omit the field")
    values = [_named(field, *item) for item in given.items()] if isinstance(given, Mapping) else [_plain(field, short, v) for v in given]
    twice = [part for part, count in Counter(value.part for value in values).items() if count > 1]
    if twice:
        raise RecipeError(f"{field}: two values would both be called {twice[0]!r}")
    return values


def _named(field: str, name: Any, value: Any) -> Value:
    if not NAME.fullmatch(str(name)):
        raise RecipeError(f"{field}: {name!r} is not a valid name of a value: letters, digits and . _ - become part of a folder's name")
    return Value(str(name), str(name), value)


def _plain(field: str, short: str, value: Any) -> Value:
    if not isinstance(value, Tag):
        raise RecipeError(f"{field}: {value!r} has no short name; give names: {{{field}: {{NAME: {value!r}, …}}}}")
    if isinstance(value, bool):
        part = f"{short}_{str(value).lower()}"
    elif isinstance(value, str):
        part = f"{short}_{value}"
    else:
        part = f"{short}{value}".replace("+", "")
    if not NAME.fullmatch(part):
        raise RecipeError(f"{field}: {value!r} cannot be part of a folder's name; give it a name: {{{field}: {{NAME: {value!r}, …}}}}")
    return Value(part, value, value)
