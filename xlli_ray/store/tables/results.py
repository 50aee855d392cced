"""Results of analyses as stored in a study: `results/<id>/result.json` with Parquet tables, SVG figures and their views next to it.

`result.json` is removed before any of its files changes and written last, so a result that can be read is complete. It lists its inputs
(cells with their identity and the digest of their records), its parameters and the sha256 of each file; each table and figure contains the
same inputs. There are no timestamps: the same inputs give the same bytes. Normative: `docs/store-format.md`, section 9.
"""

from __future__ import annotations

import hashlib
import html
import io
import json
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cache
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import TypeAdapter

from xlli_ray.errors import AnalysisError, StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.seal import read_json, sealed_json
from xlli_ray.store.records.strict_types import STRICT
from xlli_ray.store.records.unit_records import ARROW
from xlli_ray.store.tables.checked_names import ADVICE, IDENTIFIER, NAME, Said, check_said
from xlli_ray.store.zarr.layout import check_name

ROOT = "results"
FORMAT = 1
RESERVED = ("result", "failed")
"""Names that figures must not have: their `.json` has another meaning."""
DType = Literal["float64", "int64", "string", "bool", "image", "neighbours"]
TYPES = {
    **ARROW,
    "image": pa.struct([("bytes", pa.binary())]),
    "neighbours": pa.struct([("ids", pa.list_(pa.int64())), ("distances", pa.list_(pa.float64()))]),
}
"""Types of columns. `image` (a PNG file) and `neighbours` (rows and distances) are in the format of embedding viewers."""
BULKY = ("image", "neighbours")
"""Types for programs, not for the report."""


@dataclass(frozen=True)
class Column:
    """One column of a table of results."""

    __pydantic_config__ = STRICT

    name: str
    dtype: DType
    about: str
    """Meaning and range, as prose."""
    unit: str = ""
    """As a table's head has it: dB, pixels; "" for plain numbers, and in results of before."""
    better: Literal["higher", "lower"] | None = None
    """Which way is better; None where neither is, and in results of before."""


@dataclass(frozen=True)
class Table:
    """A table of an analysis: an SQL table of this name, with the column `stage` (the analysis' id) before its own."""

    name: str
    about: str
    columns: tuple[Column, ...]

    @property
    def schema(self) -> pa.Schema:
        return pa.schema([(column.name, TYPES[column.dtype]) for column in self.columns])


@dataclass(frozen=True)
class Figure:
    """One figure: an `<svg>` element with its caption, and the view that it was made from."""

    name: str
    svg: str
    caption: str
    view: str = ""
    """JSON text of a `plots.view.View`; empty for a figure that is only an SVG."""


@dataclass(frozen=True)
class Result:
    """Output of an analysis."""

    tables: Mapping[str, Sequence[Mapping[str, Any]] | pa.Table]
    """Rows of each table that the analysis declares, by name; columns missing from a row are null."""
    figures: Sequence[Figure] = ()
    values: Mapping[str, Any] = field(default_factory=dict)
    """The few key numbers, JSON-able; NaN becomes null."""
    flags: Sequence[str] = ()
    """Warnings about the numbers: shown above everything else, and by `xlli run`."""
    notes: Sequence[str] = ()
    """Remarks: what was left out and why, how intervals were computed."""


@dataclass(frozen=True)
class Input:
    """A cell that an analysis read: its id, the hash of its identity, the digest of its records."""

    __pydantic_config__ = STRICT

    cell: str
    identity: str
    digest: str


@dataclass(frozen=True)
class Made:
    """Provenance of a result: everything that can change it."""

    __pydantic_config__ = STRICT

    analysis: str
    """The stage's id."""
    kind: str
    version: int
    reference: str
    params: Mapping[str, Any]
    models: Any
    """Selection of models of the stage: `all`, ids, or tags."""
    seed: int
    fingerprint: str
    inputs: tuple[Input, ...]


@dataclass(frozen=True)
class StoredFile:
    """A table, a figure or a view next to `result.json`."""

    __pydantic_config__ = STRICT

    name: str
    about: str
    """Description of the table, or caption of the figure or view."""
    file: str
    sha256: str
    rows: int = 0
    columns: tuple[Column, ...] = ()


@dataclass(frozen=True)
class Stored:
    """The content of `result.json`."""

    __pydantic_config__ = STRICT

    made: Made
    tables: tuple[StoredFile, ...]
    figures: tuple[StoredFile, ...]
    values: Mapping[str, Any]
    flags: tuple[str, ...]
    notes: tuple[str, ...]
    software: Mapping[str, str]
    views: tuple[StoredFile, ...] = ()
    """Views of the figures that have one, each under its figure's name; older results have none."""
    format: int = FORMAT

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All files next to `result.json`."""
        return (*self.tables, *self.figures, *self.views)


def folder(analysis: str) -> str:
    """Key of a result's folder."""
    return f"{ROOT}/{analysis}"


def write_result(
    objects: Objects, made: Made, declared: Sequence[Table], result: Result, software: Mapping[str, str]
) -> Stored:
    """Write all files of a result, `result.json` last. Raises AnalysisError if the result does not match its declaration."""
    place = folder(made.analysis)
    about = {"analysis": made.analysis, "kind": made.kind, "fingerprint": made.fingerprint, "inputs": [asdict(i) for i in made.inputs]}
    files: dict[str, bytes] = {}
    tables = []
    for table in declared:
        rows = _rows(made.analysis, table, result)
        sink = io.BytesIO()
        pq.write_table(rows.replace_schema_metadata({"xlli_ray": _json(about)}), sink, compression="zstd")
        tables.append(_listed(files, table.name, table.about, "parquet", sink.getvalue(), rows.num_rows, table.columns))
    figures, views = [], []
    for figure in result.figures:
        check_name(figure.name, "figure")
        if figure.name in RESERVED:
            raise AnalysisError(f"{made.analysis}: a figure of {made.kind} is called {figure.name!r}; {figure.name}.json has its meaning")
        svg = figure.svg.replace(">", f">\n<metadata>{html.escape(_json(about), quote=False)}</metadata>", 1)
        figures.append(_listed(files, figure.name, figure.caption, "svg", svg.encode()))
        if figure.view:
            views.append(_listed(files, figure.name, figure.caption, "json", figure.view.encode()))
    unknown = set(result.tables) - {table.name for table in declared}
    if unknown:
        raise AnalysisError(f"{made.analysis}: {made.kind} returned the table {sorted(unknown)[0]!r}, which it does not declare")
    if len(files) != len(tables) + len(figures) + len(views):
        raise AnalysisError(f"{made.analysis}: two figures of {made.kind} have one name")
    stored = Stored(
        made, tuple(tables), tuple(figures), plain(dict(result.values)), tuple(result.flags), tuple(result.notes), dict(software),
        tuple(views),
    )
    text = sealed_json(plain(asdict(stored)), indent=1, ensure_ascii=False, allow_nan=False)
    objects.delete([f"{place}/result.json"])  # from here on there is no result until the new one is complete
    for name, data in files.items():
        objects.put(f"{place}/{name}", data)
    gone = [key for key in objects.list(place) if key.rsplit("/", 1)[-1] not in files]
    objects.delete(gone)
    objects.put(f"{place}/result.json", text)
    return stored


def _rows(analysis: str, table: Table, result: Result) -> pa.Table:
    """The rows of one table, of the declared types and in the declared order, `stage` first."""
    given = result.tables.get(table.name)
    if given is None:
        raise AnalysisError(f"{analysis}: the table {table.name} was declared, and not returned; return it empty when there is nothing")
    try:
        if not isinstance(given, pa.Table):
            extra = {name for row in given for name in row} - set(table.schema.names)
            if extra:
                raise ValueError(f"column {sorted(extra)[0]!r} is not declared")
            given = pa.Table.from_pylist([dict(row) for row in given], table.schema)
        given = given.select(table.schema.names).cast(table.schema)
    except (pa.ArrowException, KeyError, ValueError) as error:
        raise AnalysisError(f"{analysis}: the table {table.name} is not as declared: {error}") from error
    return given.add_column(0, pa.field("stage", pa.string()), pa.repeat(pa.scalar(analysis, pa.string()), given.num_rows))


def _listed(
    files: dict[str, bytes], name: str, about: str, ending: str, data: bytes, rows: int = 0, columns: tuple[Column, ...] = ()
) -> StoredFile:
    file = f"{name}.{ending}"
    files[file] = data
    return StoredFile(name, about, file, hashlib.sha256(data).hexdigest(), rows, columns)


def plain(value: Any) -> Any:
    """JSON-able copy: numpy numbers become Python's, NaN and infinity null (JSON has neither)."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):
        return plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json(value: Any) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"))


def read_results(objects: Objects) -> dict[str, Stored]:
    """Analysis id → its result, sorted; damaged ones and other formats count as missing (they are made again)."""
    out = {}
    for key in sorted(objects.list(ROOT)):
        match = re.fullmatch(rf"{ROOT}/([^/]+)/result\.json", key)
        if match and (stored := read_result(objects, match[1])) is not None:
            out[match[1]] = stored
    return out


def read_result(objects: Objects, analysis: str) -> Stored | None:
    """The result of one analysis, None if there is none that can be read. Raises StudyError for invalid names."""
    key = f"{folder(analysis)}/result.json"
    try:
        data = read_json(objects.get(key), f"{objects.url}/{key}", "")
        if data["format"] != FORMAT:
            return None
        stored = _adapter().validate_json(json.dumps(data))
    except (Missing, ValueError, KeyError, TypeError):
        return None
    _check(stored, f"{objects.url}/{key}", analysis)
    return stored


def _check(stored: Stored, where: str, analysis: str) -> None:
    """Raise StudyError naming the file `where` and the field if a name in the result of the folder `analysis` is invalid."""
    if stored.made.analysis != analysis:
        raise StudyError(f"{where}: made.analysis is {stored.made.analysis!r}, in the folder of {analysis!r}: {ADVICE}")
    check_said(where, _names(stored))
    for files, ending in ((stored.tables, "parquet"), (stored.figures, "svg"), (stored.views, "json")):
        for file in files:
            if file.file != f"{file.name}.{ending}":
                raise StudyError(f"{where}: {file.name}: file is {file.file!r}, expected {file.name}.{ending}: {ADVICE}")
    known = {figure.name for figure in stored.figures} - set(RESERVED)
    for i, view in enumerate(stored.views):
        if view.name not in known:
            raise StudyError(f"{where}: views[{i}].name is {view.name!r}, which no figure is called: {ADVICE}")


def _names(stored: Stored) -> Iterator[Said]:
    yield "made.kind", stored.made.kind, IDENTIFIER
    for i, file in enumerate(stored.tables):
        yield f"tables[{i}].name", file.name, IDENTIFIER
        for k, column in enumerate(file.columns):
            yield f"tables[{i}].columns[{k}].name", column.name, IDENTIFIER
    for i, file in enumerate(stored.figures):
        yield f"figures[{i}].name", file.name, NAME
    for i, file in enumerate(stored.views):
        yield f"views[{i}].name", file.name, NAME


@cache
def _adapter() -> TypeAdapter[Stored]:
    return TypeAdapter(Stored)


def read_file(objects: Objects, analysis: str, file: StoredFile) -> bytes:
    """Bytes of a table, a figure or a view, checked against `result.json`. Raises AnalysisError."""
    key = f"{folder(analysis)}/{file.file}"
    try:
        data = objects.get(key)
    except Missing as error:
        raise AnalysisError(f"{objects.url}/{key}: missing; run the recipe again with --replace {analysis}") from error
    if hashlib.sha256(data).hexdigest() != file.sha256:
        raise AnalysisError(f"{objects.url}/{key}: not the bytes that result.json names; run the recipe again with --replace {analysis}")
    return data


def read_table(objects: Objects, analysis: str, file: StoredFile) -> pa.Table:
    """One table of a result, with the column `stage` first. Raises AnalysisError."""
    # `pq.read_table` would load pandas and pyarrow's data sets
    return pq.ParquetFile(io.BytesIO(read_file(objects, analysis, file))).read().replace_schema_metadata(None)


def write_failure(objects: Objects, analysis: str, reason: str) -> None:
    """Record why an analysis failed: `failed.json` next to its last result, if there is one; the next result removes it."""
    objects.put(f"{folder(analysis)}/failed.json", sealed_json({"error": reason}, ensure_ascii=False))


def read_failure(objects: Objects, analysis: str) -> str:
    """Why the last attempt failed, '' if it did not."""
    try:
        data = objects.get(f"{folder(analysis)}/failed.json")
        return str(read_json(data, f"{folder(analysis)}/failed.json", "")["error"])
    except (Missing, KeyError):
        return ""
    except ValueError:
        return "its failed.json is damaged"


def result_is_whole(objects: Objects, stored: Stored) -> bool:
    """Whether each table, figure and view has the bytes that `result.json` names."""
    try:
        for file in stored.files:
            read_file(objects, stored.made.analysis, file)
    except (AnalysisError, ValueError):
        return False
    return True
