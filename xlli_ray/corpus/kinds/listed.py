"""Kind `list`: a Parquet file of URIs, whose columns determine which of the other kinds they are.

    image; input; input, target; input, target, mask      files
    label, parameters                                      for pairs: how each input was degraded (`corpus.input_labels`)
    others                                                 further columns of the sample table
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from xlli_ray.corpus.files.sources import absolute, read_bytes
from xlli_ray.corpus.files.urls import SCHEME
from xlli_ray.corpus.input_labels import check_columns, check_one_meaning, meaning_of, said, typed
from xlli_ray.corpus.kinds.kind import CorpusKind, Paths, Source
from xlli_ray.corpus.kinds.listed_rows import sorted_rows
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.corpus.table import schema_of
from xlli_ray.errors import RecipeError, SampleError

_FILES = ("image", "input", "target", "mask")
_SAID = ("label", "parameters")
_KINDS = {("image",): "images", ("input",): "inputs", ("input", "target"): "pairs", _FILES[1:]: "pairs"}
"""Columns with files → the kind that scans and loads them."""
_BLOCK = 1 << 16  # rows that are Python objects at once


class Listed(CorpusKind):
    """`list: files.parquet`: columns `image`, or `input`, or `input` and `target`, relative to the file's own folder."""

    Given: ClassVar[Any] = str

    def makes(self, corpus: CorpusSpec) -> bool:
        """Only images have a scale."""
        return corpus.scale is not None

    def check(self, corpus: CorpusSpec) -> None:
        """Known only once the file is read: see `sources`."""

    def resolve(self, given: Any, paths: Paths) -> Any:
        return paths.path(given) if isinstance(given, str) else given

    def sources(self, given: str, corpus: CorpusSpec, base: Path | str) -> Sequence[Source]:
        uri = absolute(given, base)
        try:
            data = BytesIO(read_bytes(uri))
        except SampleError as error:
            raise RecipeError(f"corpus.list: {error}") from error
        try:
            table = pq.read_table(data)
            table.validate(full=True)  # texts that are no UTF-8 are found here, not by whoever reads them
        except (pa.ArrowException, OSError) as error:  # arrow's word for damaged bytes is OSError; nothing is read from outside here
            raise RecipeError(f"corpus.list: {uri} is not a Parquet file, or is damaged: {error}") from error
        names = tuple(name for name in _FILES if name in table.column_names)
        if names not in _KINDS:
            raise RecipeError(
                f"corpus.list: {uri} has columns {', '.join(table.column_names)};"
                " expected image, or input, or input and target, optionally mask"
            )
        if names == ("image",) and corpus.scale is None:
            raise RecipeError(
                "corpus.scale is missing: the list has images; the factor by which the input is smaller, 1 for the same size"
            )
        if names != ("image",) and (corpus.scale is not None or corpus.degradations is not None or corpus.pies is not None):
            raise RecipeError(
                "corpus.scale, corpus.degradations and corpus.pies are only for images, but the list has inputs: omit them"
            )
        kind, told = _KINDS[names], [name for name in _SAID if name in table.column_names]
        if told and kind != "pairs":
            raise RecipeError(f"corpus.list: {uri} has a column {told[0]}, which is only for input and target: rename it")
        texts: dict[str, pa.ChunkedArray] = {}
        try:
            said_texts, meanings = _told(table, told)
            mixtures = [*corpus.mixtures, *(meaning_of(text) for text in meanings if text)]
            others = [name for name in table.column_names if name not in (*names, *told)]
            check_columns(others, schema_of(mixtures).names)
            columns = {name: _cells(table, name) for name in others}
        except RecipeError as error:
            raise RecipeError(f"corpus.list: {uri}: {error}") from error
        for name in names:
            texts["uri" if name in ("image", "input") else name] = _addresses(table, name, uri)
            table = table.drop_columns(name)
        texts.update(said_texts)
        return sorted_rows(kind, texts, columns)


def _addresses(table: pa.Table, name: str, uri: str) -> pa.ChunkedArray:
    """Absolute addresses of one column of files; "" for a missing mask."""
    column = table[name]
    is_text = pa.types.is_string(column.type) or pa.types.is_large_string(column.type) or (name == "mask" and pa.types.is_null(column.type))
    if not is_text or (column.null_count and name != "mask"):
        raise RecipeError(f"corpus.list: column {name} of {uri} must contain a text{'' if name == 'mask' else ' in every row'}")
    blocks = (column.slice(start, _BLOCK).to_pylist() for start in range(0, len(column), _BLOCK))
    return _texts([_beside(uri, entry) if entry else "" for entry in block] for block in blocks)


def _beside(uri: str, entry: str) -> str:
    """The absolute address of an entry of the list at `uri`, relative to the list's folder, which may be in a bucket or an archive."""
    if not SCHEME.match(uri) or SCHEME.match(entry) or entry.startswith(("/", "~")):
        return absolute(entry, os.path.dirname(uri))
    head, chain, tail = uri.partition("::")
    return f"{head.rpartition('/')[0]}/{entry}{chain}{tail}"


def _texts(blocks: Iterable[list[str]]) -> pa.ChunkedArray:
    return pa.chunked_array([pa.array(block, pa.large_string()) for block in blocks], pa.large_string())


def _cells(table: pa.Table, name: str) -> tuple[str, pa.ChunkedArray]:
    try:
        return typed(table[name])
    except ValueError as error:
        raise RecipeError(f"column {name!r}: {error}") from error


def _told(table: pa.Table, names: list[str]) -> tuple[dict[str, pa.ChunkedArray], list[str]]:
    """Columns `label` and `parameters` of all rows, none without `names`, and the parameters that occur. Raises RecipeError naming the
    row."""
    cells = {name: _cells(table, name) for name in names}
    for name, (dtype, _) in cells.items():
        if dtype != "string":
            raise RecipeError(f"column {name!r}: its type is {table[name].type}; expected texts")
    if not names:
        return {}, []
    meaning: dict[tuple[str | None, str | None], tuple[str, str]] = {}
    blocks: list[list[tuple[str, str]]] = []
    for start in range(0, table.num_rows, _BLOCK):
        nothing = [None] * min(_BLOCK, table.num_rows - start)
        label, parameters = (cells[name][1].slice(start, _BLOCK).to_pylist() if name in cells else nothing for name in _SAID)
        for row, one in enumerate(zip(label, parameters), start):
            if one not in meaning:
                try:
                    meaning[one] = said(one[0] or None, _parameters(one[1]))
                except RecipeError as error:
                    raise RecipeError(f"row {row}: {error}") from error
        blocks.append([meaning[one] for one in zip(label, parameters)])
    check_one_meaning(meaning.values())
    columns = {name: _texts([one[place] for one in block] for block in blocks) for place, name in enumerate(_SAID)}
    return columns, list(dict.fromkeys(text for _, text in meaning.values()))


def _parameters(text: str | None) -> dict[str, Any] | None:
    if not text:
        return None
    try:
        parameters = json.loads(text)
    except ValueError:
        parameters = text
    if not isinstance(parameters, dict):
        raise RecipeError(f'parameters {text[:80]!r}: expected JSON such as {{"blur": 1.6}} or {{"noise": {{"sigma": 10}}}}')
    return parameters
