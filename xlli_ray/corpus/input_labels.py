"""Information given with inputs that were degraded elsewhere: a label, parameters if known, and further columns of the sample table.

A label is a readable name of the degradation, e.g. `rain100l`; tables group by it and figures colour it like a degradation that is made
here. Parameters, `{blur: 1.6}` or `{rain: {amount: 0.006}}`, are written like a recipe's degradations and determine the label's type and
levels. A further column has the type that it has in its file.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Any

import pyarrow as pa

from xlli_ray.corpus.degradations import CLEAN, GIVEN, Mixture, is_real, parse
from xlli_ray.corpus.degradations.mixture import LABEL
from xlli_ray.errors import RecipeError

Columns = tuple[tuple[str, str, Any], ...]
"""(name, type, cell) of each further column of one source. Types are the keys of `TYPES`."""
TYPES: Mapping[str, pa.DataType] = {"string": pa.string(), "int64": pa.int64(), "float64": pa.float64(), "bool": pa.bool_()}
NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
RESERVED = frozenset(
    ("stage", "model", "what", "status", "valid", "sample", "frame", "channel", "y", "x", "parameters", "mask", "mask_sha", "clip",
     "first_frame", "frames", "frame_sources", "frame_shas", "target_frame_sources", "target_frame_shas")
)  # fmt: skip
"""Reserved, besides the columns of every sample table: those that other kinds add, those of probes' tables, and names of axes."""


def said(label: str | None, parameters: Mapping[str, Any] | None) -> tuple[str, str]:
    """(label, parameters as JSON), both "" if nothing is given; without a label, that of the parameters. Raises RecipeError."""
    if parameters is not None and "label" in parameters:
        raise RecipeError(f"parameters {dict(parameters)}: the label belongs beside them, not among them")
    text = "" if parameters is None else json.dumps(parameters, sort_keys=True)
    if label is None:
        return (meaning_of(text).label if text else ""), text
    if not LABEL.fullmatch(label) or label == GIVEN or is_real(label) or (label == CLEAN and text):
        raise RecipeError(
            f"label {label!r}: expected letters, digits, `_`, `.`, `+`, `~`, `-`, starting with a letter or digit; not {GIVEN}, real-…, "
            f"nor {CLEAN} with parameters"
        )
    meaning_of(text)
    return label, text


@cache
def meaning_of(parameters: str) -> Mixture:
    """The degradations with these parameters (JSON); none for "". Raises RecipeError."""
    return parse(json.loads(parameters)) if parameters else Mixture()


def check_one_meaning(told: Iterable[tuple[str, str]]) -> None:
    """Raise RecipeError if two of these (label, parameters) have the same label and different parameters."""
    meaning: dict[str, str] = {}
    for label, parameters in set(told):
        if meaning.setdefault(label, parameters) != parameters:
            both = " and ".join(sorted(text or "none" for text in (meaning[label], parameters)))
            raise RecipeError(f"label {label!r} has two sets of parameters, {both}; expected one, or two labels")


def check_columns(names: Sequence[str], taken: Sequence[str]) -> None:
    """Raise RecipeError for a further column with an invalid name, or with that of a column of the sample table (`taken`).

    SQL column names are case-insensitive.
    """
    others = {name.casefold() for name in (*taken, *RESERVED)}
    for name in names:
        if not NAME.fullmatch(name):
            raise RecipeError(f"column {name[:80]!r}: expected at most 63 letters, digits and `_`, not starting with a digit: rename it")
        if name.casefold() in others:
            raise RecipeError(f"column {name!r}: the sample table, or one joined with it, has a column with that name: rename it")
        others.add(name.casefold())


def typed(column: pa.ChunkedArray) -> tuple[str, pa.ChunkedArray]:
    """(type, cells) of one column: texts, integers, numbers or booleans; null for a missing cell. Raises ValueError."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    if pa.types.is_null(kind) or pa.types.is_string(kind) or pa.types.is_large_string(kind):
        name = "string"
    elif pa.types.is_boolean(kind):
        name = "bool"
    elif pa.types.is_integer(kind):
        name = "int64"
    elif pa.types.is_floating(kind):
        name = "float64"
    else:
        raise ValueError(f"its type is {column.type}; expected texts, numbers or booleans: cast it, or omit it")
    try:
        cells = column.cast(TYPES[name])
        return name, cells.cast(pa.large_string()) if name == "string" else cells
    except (pa.ArrowException, ValueError) as error:
        raise ValueError(f"it cannot be read as {name}: {str(error).splitlines()[0][:200]}") from error
