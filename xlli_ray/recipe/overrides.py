"""`--set key.path=value`: one field of a recipe, changed on the command line, or with `list.+=value` an item added to a list."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from xlli_ray.errors import RecipeError
from xlli_ray.recipe.yaml_text import read_text, written


def read_override(override: str) -> tuple[list[str], Any]:
    """`corpus.patches.size=64` → (`[corpus, patches, size]`, 64). Raises RecipeError."""
    path, sign, text = override.partition("=")
    keys = path.strip().split(".")
    if not sign or not all(keys):
        raise RecipeError(f"--set {override!r}: write key.path=value, as in --set limits.hours=48")
    value, _ = read_text(text, f"--set {override!r}")
    return keys, value


def apply_override(raw: dict[str, Any], override: str) -> tuple[str | int, ...]:
    """Apply one `key.path=value` (value in YAML; list items by index, `+` for a new one) to `raw` in place; returns its path.

    Raises RecipeError.
    """
    keys, value = read_override(override)
    node: Any = raw
    path: list[str | int] = []
    for number, key in enumerate(keys):
        last = number == len(keys) - 1
        if isinstance(node, list) and key == "+" and last:
            part: str | int = len(node)
            node.append(None)
        elif isinstance(node, list):
            part = _item(node, key, path, override)
        elif isinstance(node, dict):
            part = key
            if not last and node.get(key) is None:
                node[key] = {}
        else:
            raise RecipeError(f"--set {override!r}: {written(path)} is a plain value without fields, so there is no {key!r} in it")
        path.append(part)
        if last:
            node[part] = value
        else:
            node = node[part]  # type: ignore[index]
    return tuple(path)


def _item(items: list[Any], key: str, path: list[str | int], override: str) -> int:
    if key.isascii() and key.isdigit() and len(key) < 10 and int(key) < len(items):
        return int(key)
    listed = ", ".join(f"{number} ({_called(item)})" for number, item in enumerate(items[:8]))
    raise RecipeError(f"--set {override!r}: {key!r} is not an item of the list {written(path)}; items by number: {listed or 'none'}")


def _called(item: Any) -> str:
    if isinstance(item, Mapping):
        return str(item.get("id") or next(iter(item), "empty"))
    return str(item)[:30]
