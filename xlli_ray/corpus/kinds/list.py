"""Kind `list`: a Parquet file of URIs, whose columns say which of the other kinds they are."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from xlli_ray.corpus.files.sources import absolute, read_bytes
from xlli_ray.corpus.kinds.kind import Kind, Paths, Source
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, SampleError

_KINDS = {("image",): "images", ("input",): "inputs", ("input", "target"): "pairs"}
"""Columns of files → the kind that scans and loads them."""


class Listed(Kind):
    """`list: files.parquet`: columns `image`, or `input`, or `input` and `target`, relative to the file's own folder."""

    Given: ClassVar[Any] = str

    def makes(self, corpus: CorpusSpec) -> bool:
        """Only images have a scale."""
        return corpus.scale is not None

    def check(self, corpus: CorpusSpec) -> None:
        """Known once the file is read: `sources`."""

    def resolve(self, given: Any, paths: Paths) -> Any:
        return paths.path(given) if isinstance(given, str) else given

    def sources(self, given: str, corpus: CorpusSpec, base: Path | str) -> list[Source]:
        uri = absolute(given, base)
        try:
            table = pq.read_table(BytesIO(read_bytes(uri)))
        except SampleError as error:
            raise RecipeError(f"corpus.list: {error}") from error
        except pa.ArrowException as error:
            raise RecipeError(f"corpus.list: {uri} is no Parquet file: {error}") from error
        names = tuple(name for name in ("image", "input", "target") if name in table.column_names)
        if names not in _KINDS:
            raise RecipeError(
                f"corpus.list: {uri} has columns {', '.join(table.column_names)};"
                " expected image, or input, or input and target"
            )
        if names == ("image",) and corpus.scale is None:
            raise RecipeError(
                "corpus.scale is missing: the list holds images; how many times smaller is the input? 1 for the same size"
            )
        if names != ("image",) and (corpus.scale is not None or corpus.degradations is not None or corpus.pies is not None):
            raise RecipeError(
                "corpus.scale, corpus.degradations and corpus.pies go only with images, and the list holds inputs: leave them out"
            )
        columns = []
        for name in names:
            column = table[name]
            if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or column.null_count:
                raise RecipeError(f"corpus.list: column {name} of {uri} must hold a text in every row")
            columns.append([absolute(entry, Path(uri).parent) for entry in column.to_pylist()])
        return [Source(_KINDS[names], *entry) for entry in zip(*columns, strict=True)]
