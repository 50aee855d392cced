"""The YAML subset of recipes: plain values only, no duplicate keys, no expansion while reading.

YAML allows more than recipes need: duplicate keys (the last one silently wins), keys that are not strings, dates, infinite numbers, `010`
(8) and `1:30` (90), aliases that expand to gigabytes, nesting deeper than the interpreter's stack. All of it is refused with its line. The
reader keeps the tree of marks, so that later schema errors can name their line, too.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import ConstructorError
from yaml.nodes import MappingNode, Node, ScalarNode, SequenceNode

from xlli_ray.errors import RecipeError

MAX_BYTES = 4 * 2**20
MAX_DEPTH = 32
MAX_VALUES = 200_000
MAX_DIGITS = 18
"""So that every integer fits in 64 bits."""

_WHOLE = re.compile(r"[-+]?(0|[1-9][0-9_]*)")
_BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")


class _Loader(yaml.SafeLoader):
    """`SafeLoader` with the restrictions of the module's docstring."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth = self.nodes = 0

    def compose_node(self, parent: Node | None, index: Any) -> Node | None:
        self.depth += 1
        self.nodes += 1
        if self.depth > MAX_DEPTH:
            raise ConstructorError(None, None, f"nested more than {MAX_DEPTH} deep", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        if self.nodes > MAX_VALUES:
            raise ConstructorError(None, None, f"more than {MAX_VALUES} values", self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: Node | None = super().compose_node(parent, index)  # type: ignore[no-untyped-call]
        self.depth -= 1
        return node

    def flatten_mapping(self, node: MappingNode) -> None:
        """`<<: *defaults` merged below the mapping's own keys; also a short list of them."""
        own: list[tuple[Node, Node]] = []
        below: dict[Any, tuple[Node, Node]] = {}
        for name, value in node.value:
            if name.tag != "tag:yaml.org,2002:merge":
                own.append((name, value))
                continue
            sources = value.value if isinstance(value, SequenceNode) else [value]
            if len(sources) > 16 or not all(isinstance(source, MappingNode) for source in sources):
                raise ConstructorError(None, None, "<<: expected one mapping, or a list of at most 16", name.start_mark)
            for source in sources:
                if source is node:
                    raise ConstructorError(None, None, "<<: a mapping cannot be merged into itself", name.start_mark)
                self.flatten_mapping(source)
                for pair in source.value:
                    below.setdefault(_key(pair[0]), pair)
        if below:
            said = {_key(name) for name, _ in own}
            node.value = [*(pair for key, pair in below.items() if key not in said), *own]

    def construct_mapping(self, node: Node, deep: bool = False) -> dict[Any, Any]:
        if isinstance(node, MappingNode):
            seen: dict[Any, int] = {}
            for name, _ in node.value:
                line = name.start_mark.line + 1
                if not isinstance(name, ScalarNode):
                    raise ConstructorError(None, None, "a key must be a string, not a list or mapping", name.start_mark)
                if name.tag == "tag:yaml.org,2002:merge":
                    continue
                if name.value in seen:
                    first = seen[name.value]
                    raise ConstructorError(
                        None, None, f"duplicate key {name.value!r}, first in line {first}; remove one", name.start_mark
                    )
                seen[name.value] = line
        out: dict[Any, Any] = super().construct_mapping(node, deep=deep)  # type: ignore[arg-type]
        return out

    def construct_yaml_int(self, node: ScalarNode) -> int:
        text = str(node.value)
        if not _WHOLE.fullmatch(text):
            raise ConstructorError(None, None, f"write {_short(text)} as a plain number, or in quotes if it is a string", node.start_mark)
        if len(text.replace("_", "").lstrip("+-")) > MAX_DIGITS:
            raise ConstructorError(None, None, f"{_short(text)}: an integer of more than {MAX_DIGITS} digits", node.start_mark)
        return int(text.replace("_", ""))

    def construct_yaml_float(self, node: ScalarNode) -> float:
        try:
            if ":" not in node.value:
                return float(super().construct_yaml_float(node))
        except ValueError:  # `!!float x`
            pass
        shown = _short(node.value)
        raise ConstructorError(None, None, f"write {shown} as a plain number, or in quotes if it is a string", node.start_mark)

    def refuse(self, node: Node) -> Any:
        """Tags other than those of plain values."""
        kind = node.tag.rpartition(":")[2]
        raise ConstructorError(None, None, f"{kind} is not allowed in recipes; write a string in quotes", node.start_mark)


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)
for _tag in ("timestamp", "binary", "omap", "pairs", "set"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.refuse)


def _key(node: Node) -> Any:
    return node.value if isinstance(node, ScalarNode) else id(node)


def _short(text: str) -> str:
    return repr(text if len(text) <= 40 else f"{text[:20]}…{text[-8:]}")


class Lines:
    """Line numbers of the values of a YAML text."""

    def __init__(self, root: Node | None = None) -> None:
        self._root = root

    def of(self, path: Sequence[str | int]) -> int | None:
        """Line (from 1) of the value at `path`, or of the deepest part of the path that exists; None if unknown."""
        node, line = self._root, None
        for part in path:
            if isinstance(node, MappingNode):
                match = next(((name, value) for name, value in node.value if isinstance(name, ScalarNode) and name.value == part), None)
                if match is None:
                    break
                line, node = match[0].start_mark.line + 1, match[1]
            elif isinstance(node, SequenceNode) and isinstance(part, int) and 0 <= part < len(node.value):
                node = node.value[part]
                line = node.start_mark.line + 1
            else:
                break
        return line


def read_file(path: str | Path, what: str = "recipe") -> tuple[Any, Lines]:
    """The content of a YAML file, and its lines. Raises RecipeError if missing, a folder, not text, not YAML, or too large."""
    path = Path(path)
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        raise RecipeError(f"{what} {path}: {reason}. Give the path of a YAML file.") from error
    if len(data) > MAX_BYTES:
        raise RecipeError(f"{what} {path}: larger than {MAX_BYTES >> 20} MiB. Give the path of a YAML file.")
    try:
        text = data.decode("utf-16" if data.startswith(_BYTE_ORDER_MARKS) else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise RecipeError(f"{what} {path}: not text in UTF-8 (byte {error.start}). Give the path of a YAML file.") from error
    return read_text(text, f"{what} {path}")


def read_text(text: str, where: str) -> tuple[Any, Lines]:
    """The content of a YAML text, and its lines. Raises RecipeError that begins with `where`."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()  # type: ignore[no-untyped-call]
            value = None if node is None else loader.construct_document(node)  # type: ignore[no-untyped-call]
        finally:
            loader.dispose()  # type: ignore[no-untyped-call]
    except yaml.YAMLError as error:
        raise RecipeError(f"{where}: not YAML: {_described(error)}") from error
    lines = Lines(node)
    check_plain(value, where, lines)
    return value, lines


def _described(error: yaml.YAMLError) -> str:
    """The error with its location, in one line."""
    mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    problem = getattr(error, "problem", None) or str(error).splitlines()[0]
    advice = "; indent with spaces, not tabs" if "\\t" in problem else ""
    return f"{f'line {mark.line + 1}, column {mark.column + 1}: ' if mark else ''}{problem}{advice}"


def check_plain(value: Any, where: str, lines: Lines | None = None) -> None:
    """Raise RecipeError unless `value` is made of mappings with string keys, lists, strings, booleans, finite numbers and null.

    Aliases count once per use: the number of values and the depth are limited.
    """
    lines = lines or Lines()
    stack: list[tuple[Any, tuple[str | int, ...]]] = [(value, ())]
    seen = 0
    while stack:
        node, path = stack.pop()
        seen += 1
        problem = ""
        if seen > MAX_VALUES:
            raise RecipeError(f"{where}: more than {MAX_VALUES} values after expanding aliases")
        if len(path) > MAX_DEPTH:
            problem = f"nested more than {MAX_DEPTH} deep"
        elif isinstance(node, Mapping):
            if wrong := [key for key in node if not isinstance(key, str) or not _encodable(key)]:
                problem = f"the key {wrong[0]!r} is not a string; write it in quotes"
            else:
                stack += [(item, (*path, key)) for key, item in node.items()]
        elif isinstance(node, list | tuple):
            stack += [(item, (*path, number)) for number, item in enumerate(node)]
        elif isinstance(node, float) and not math.isfinite(node):
            problem = f"{node} is not a finite number"
        elif isinstance(node, int) and abs(node) >= 10**MAX_DIGITS:
            problem = f"an integer of more than {MAX_DIGITS} digits"
        elif node is not None and not isinstance(node, str | int | float):
            problem = f"{type(node).__name__} is not allowed in recipes; write a string in quotes"
        elif isinstance(node, str) and ("\0" in node or not _encodable(node)):
            problem = "a string with a null character, or half of a surrogate pair"
        if problem:
            raise RecipeError(f"{where}: {place(path[:MAX_DEPTH], lines)}{problem}")


def _encodable(text: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in text)


def written(path: Sequence[str | int]) -> str:
    """`stages[2].restore.save`."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def place(path: Sequence[str | int], lines: Lines | None = None) -> str:
    """`stages[2].restore.save (line 14): `; '' for the whole."""
    line = lines.of(path) if lines else None
    name = written(path)
    return f"{name}{f' (line {line})' if line else ''}: " if name else ""
