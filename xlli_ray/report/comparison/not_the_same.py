"""What is not the same in two studies: the recipe, the networks, what enters the identity of their cells, software."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from xlli_ray.store.records.manifest import Manifest, ModelRecord

LONGEST = 240
"""Characters of a value that are shown."""
DIGITS = 16
"""Of a sha256."""
NOTHING = "–"
_OF_MODELS = ("weights_sha256", "network", "network_version", "scale", "channels", "range", "output", "sizes")
_SAID_BEFORE = ("weights sha256", "sample table")


@dataclass(frozen=True)
class Unlike:
    """One thing, in both studies."""

    what: str
    one: str
    other: str


@dataclass(frozen=True)
class UnlikeGroup:
    """Things of one kind that differ."""

    title: str
    rows: list[Unlike]


def not_the_same(one: Manifest, other: Manifest) -> list[UnlikeGroup]:
    """Groups with at least one line."""
    groups = [
        UnlikeGroup("Recipe", list(_differing(_flat(one.recipe), _flat(other.recipe)))),
        UnlikeGroup("Networks", list(_models(one, other))),
        UnlikeGroup("How it was measured", list(_cells(one, other))),
        UnlikeGroup("Software and device", list(_differing(_software(one), _software(other)))),
    ]
    return [group for group in groups if group.rows]


def _differing(one: Mapping[str, Any], other: Mapping[str, Any]) -> Iterator[Unlike]:
    for key in dict.fromkeys([*one, *other]):
        first, second = _text(one, key), _text(other, key)
        if first != second:
            yield Unlike(key, _short(first), _short(second))


def _text(values: Mapping[str, Any], key: str) -> str:
    if key not in values:
        return NOTHING
    value = values[key]
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)


def _short(text: str) -> str:
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}…"


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    """Path → value. What has an id is found by it, whatever its place in a list."""
    if isinstance(value, list) and value and all(isinstance(item, dict) and isinstance(item.get("id"), str) for item in value):
        value = {item["id"]: {name: part for name, part in item.items() if name != "id"} for item in value}
    if not isinstance(value, Mapping) or not value:
        return {path: value}
    out: dict[str, Any] = {}
    for name, part in value.items():
        if path or name != "name":
            out |= _flat(part, f"{path}.{name}" if path else str(name))
    return out


def _models(one: Manifest, other: Manifest) -> Iterator[Unlike]:
    sides: list[dict[str, ModelRecord]] = [{model.id: model for model in manifest.models} for manifest in (one, other)]
    for name in dict.fromkeys([*sides[0], *sides[1]]):
        first, second = (side.get(name) for side in sides)
        if first is None or second is None:
            yield Unlike(name, *("has it" if model is not None else NOTHING for model in (first, second)))
            continue
        for field in _OF_MODELS:
            values = getattr(first, field), getattr(second, field)
            if values[0] != values[1]:
                shown = (str(value)[:DIGITS] if field == "weights_sha256" else _short(str(value)) for value in values)
                yield Unlike(f"{name}: {field.replace('_', ' ')}", *shown)


def _cells(one: Manifest, other: Manifest) -> Iterator[Unlike]:
    """Fields of the identity of cells that both studies have, each difference once."""
    theirs = {cell.id: cell for cell in other.cells}
    seen: dict[tuple[str, str, str], list[str]] = {}
    both = [(cell, theirs[cell.id]) for cell in one.cells if cell.id in theirs]
    for first, second in both:
        sides = _flat(dict(first.identity)), _flat(dict(second.identity))
        for found in _differing(*({key: value for key, value in side.items() if key not in _SAID_BEFORE} for side in sides)):
            seen.setdefault((found.what, found.one, found.other), []).append(first.id)
    for (what, *values), cells in seen.items():
        where = "" if len(cells) == len(both) else f" ({cells[0]})" if len(cells) == 1 else f" ({len(cells)} cells, {cells[0]} first)"
        yield Unlike(f"{what}{where}", *values)


def _software(manifest: Manifest) -> dict[str, Any]:
    table = manifest.samples
    facts = {"device": manifest.device, "store format": manifest.format, "sample table": table.hash if table else NOTHING}
    return {**manifest.versions, **facts}
