"""A view: the data of a figure and how to draw them, as one frozen value without code.

The static SVG is made from it (`to_svg`), and so can other renderings be; it is stored beside the SVG as JSON (`to_json`; inverse:
`kinds.from_json`).
A kind of view is one file here and one line in `kinds.py`: a frozen dataclass of numbers, strings, tuples and further dataclasses, whose
`__post_init__` raises ValueError for inconsistent fields, and whose `draw` returns SVG text.

JSON: an object with `format` (1), `kind` and the fields. Numbers that are NaN or infinite are null, and NaN when read. A file may come
from an untrusted source: missing and additional fields, wrong types and anything that `checks` refuses are errors.
"""

from __future__ import annotations

import json
import math
import types
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, ClassVar, NewType, Union, get_args, get_origin, get_type_hints

from xlli_ray.errors import StudyError
from xlli_ray.plots.checks import LONGEST, check_png

FORMAT = 1
LARGEST = 1 << 26
"""Maximum size of a view as JSON, bytes."""
ADVICE = "restore the file, or make the result again"
Png = NewType("Png", str)
"""A PNG file in base64."""


@dataclass(frozen=True)
class View(ABC):
    """Base class of all kinds. See the module docstring."""

    KIND: ClassVar[str]

    title: str
    """Label for screen readers; must be unique on a page."""

    @abstractmethod
    def draw(self) -> str:
        """SVG text: one `<svg>` element. The same view gives the same bytes."""


def to_svg(view: View) -> str:
    """The view as SVG text, made from its JSON, so that the stored view gives the same bytes."""
    return _read(type(view), _plain(type(view), view), "").draw()


def to_json(view: View) -> str:
    """The view as JSON text with sorted keys. Raises ValueError above LARGEST."""
    data = {"format": FORMAT, "kind": view.KIND, **_plain(type(view), view)}
    text = json.dumps(data, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    if len(text) > LARGEST:
        raise ValueError(f"the view {view.title!r} would be {len(text) >> 20} MiB of JSON: draw fewer points")
    return text


def parse(text: str | bytes, where: str, kinds: Mapping[str, type[View]]) -> View:
    """The view in `text`, of one of `kinds`; `where`: the file it comes from. Raises StudyError naming file and field."""
    if len(text) > LARGEST:
        raise StudyError(f"{where}: {len(text) >> 20} MiB, a view has at most {LARGEST >> 20}: {ADVICE}")
    try:
        data = json.loads(text, parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        raise StudyError(f"{where}: not JSON ({str(error)[:80]}): {ADVICE}") from error
    try:
        if not isinstance(data, dict):
            raise _Wrong("", data, "an object")
        version, kind = data.pop("format", None), data.pop("kind", None)
        if type(version) is not int or version != FORMAT:
            raise _Wrong("format", version, f"{FORMAT}; a newer version of xlli_ray may read it")
        if not isinstance(kind, str) or kind not in kinds:
            raise _Wrong("kind", kind, f"one of {', '.join(sorted(kinds))}")
        return _read(kinds[kind], data, "")
    except _Wrong as error:
        raise StudyError(f"{where}: {error}: {ADVICE}") from error


class _Wrong(ValueError):
    def __init__(self, field: str, value: Any, expected: str) -> None:
        super().__init__(f"{field or 'the whole'} is {repr(value)[:80]}, expected {expected}")


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is not a JSON number")


@cache
def _hints(kind: type) -> dict[str, Any]:
    hints = get_type_hints(kind)
    return {item.name: hints[item.name] for item in fields(kind)}


def _plain(kind: Any, value: Any) -> Any:
    """`value` of the declared type `kind` as JSON values; non-finite numbers become None."""
    if value is None:
        return None
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return {name: _plain(hint, getattr(value, name)) for name, hint in _hints(kind).items()}
    if get_origin(kind) is tuple:
        inner = get_args(kind)
        return [_plain(inner[0] if inner[-1] is Ellipsis else inner[i], item) for i, item in enumerate(value)]
    if get_origin(kind) in (types.UnionType, Union):
        return _plain(get_args(kind)[0], value)
    if kind is float:
        return float(value) if math.isfinite(value) else None
    return str(value) if kind is Png else kind(value)


def _read(kind: Any, value: Any, field: str) -> Any:
    """`value` as the declared type `kind`. Raises _Wrong naming the field."""
    if is_dataclass(kind):
        assert isinstance(kind, type)
        return _dataclass(kind, value, field)
    if get_origin(kind) is tuple:
        return _tuple(get_args(kind), value, field)
    if get_origin(kind) in (types.UnionType, Union):
        return None if value is None else _read(get_args(kind)[0], value, field)
    if kind is float:
        if value is None:
            return math.nan
        if type(value) not in (int, float) or not abs(value) <= 1e300:  # also NaN, and integers too large for a float
            raise _Wrong(field, value, "a number or null")
        return float(value)
    if kind is Png:
        if not isinstance(value, str):
            raise _Wrong(field, value, "a PNG file in base64")
        try:
            check_png(value)
        except ValueError as error:
            raise _Wrong(field, value, f"a PNG file in base64 ({error})") from error
        return Png(value)
    if kind is int and (type(value) is not int or abs(value) > 1 << 52):
        raise _Wrong(field, value, "an integer")
    if kind is bool and not isinstance(value, bool):
        raise _Wrong(field, value, "true or false")
    if kind is str and (not isinstance(value, str) or len(value) > LONGEST):
        raise _Wrong(field, value, f"a string of at most {LONGEST} characters")
    return value


def _tuple(inner: tuple[Any, ...], value: Any, field: str) -> tuple[Any, ...]:
    if not isinstance(value, list):
        raise _Wrong(field, value, "a list")
    if inner[-1] is Ellipsis:
        return tuple(_read(inner[0], item, f"{field}[{i}]") for i, item in enumerate(value))
    if len(value) != len(inner):
        raise _Wrong(field, value, f"a list of {len(inner)}")
    return tuple(_read(kind, item, f"{field}[{i}]") for i, (kind, item) in enumerate(zip(inner, value)))


def _dataclass(kind: type, value: Any, field: str) -> Any:
    if not isinstance(value, dict):
        raise _Wrong(field, value, "an object")
    hints = _hints(kind)
    start = f"{field}." if field else ""
    for name in value:
        if name not in hints:
            raise _Wrong(f"{start}{name[:80]}", value[name], "no such field")
    for item in fields(kind):
        if item.name not in value and item.default is MISSING and item.default_factory is MISSING:
            raise _Wrong(f"{start}{item.name}", None, "a value")
    fields_read = {name: _read(hints[name], given, f"{start}{name}") for name, given in value.items()}
    try:
        return kind(**fields_read)
    except ValueError as error:
        raise _Unfit(field, error) from error


class _Unfit(_Wrong):
    """Inconsistent fields."""

    def __init__(self, field: str, error: ValueError) -> None:
        ValueError.__init__(self, f"{f'{field}: ' if field else ''}{error}")
