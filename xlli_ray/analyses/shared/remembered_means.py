"""The means that a run prints at its end, and which networks are below the baseline: remembered in `tables/index.json`.

Both go through every row. A finished study of ten million samples would take minutes to say again what it said before, so what was found
is kept beside the fingerprint of the tables, with a mark of all that it was made from.
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import pyarrow as pa
import pyarrow.ipc

from xlli_ray.analyses.shared.scalar_means import mean_tables
from xlli_ray.analyses.shared.worse_than_baseline import below_baseline
from xlli_ray.errors import StudyError
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import Missing
from xlli_ray.store.records.digests import INDEX
from xlli_ray.store.records.manifest import identity_hash
from xlli_ray.store.records.seal import read_json, sealed_json
from xlli_ray.store.tables.study_tables import connect, table_kinds, tables_are_fresh

LINES = 1
"""Of what is remembered: raised when the same tables would give other lines."""
_TYPES = {"string": pa.string(), "int64": pa.int64(), "double": pa.float64()}


@dataclass(frozen=True)
class Means:
    """`tables`: of each probe with numbers, its means and the lines below them. `below`: a flag for each network below the baseline."""

    tables: list[tuple[pa.Table, list[str]]]
    below: list[str]


def means(archive: Archive, *, keep: bool = False) -> Means:
    """As remembered if the tables are those of then, else computed. `keep`: remember them; only for the holder of the lease."""
    if not table_kinds(archive.manifest):
        return Means([], [])
    index = _index(archive)
    mark = _mark(archive, index) if index is not None and tables_are_fresh(archive) else ""
    if index is not None and mark and (held := _held(index.get("means"), mark)) is not None:
        return held
    with connect(archive) as database:
        below = below_baseline(archive.manifest, database.query)
        found = Means(mean_tables(archive.manifest, database.query, below), [f"{one.stage}: {one.text}" for one in below])
    if keep and index is not None and mark:
        index["means"] = {"made_from": mark, "tables": [[_text(table), lines] for table, lines in found.tables], "below": found.below}
        archive.objects.put(INDEX, sealed_json(index))
    return found


def _index(archive: Archive) -> dict[str, Any] | None:
    try:
        return read_json(archive.objects.get(INDEX), INDEX, "")
    except (Missing, StudyError):
        return None


def _mark(archive: Archive, index: Mapping[str, Any]) -> str:
    """Hash of what means are made from: the tables, and what says how to read them."""
    manifest = archive.manifest
    assert manifest.samples is not None
    models = [[model.id, model.network, model.channels] for model in manifest.models]
    return identity_hash(
        {"lines": LINES, "tables": index.get("fingerprint"), "files": index.get("files"), "samples": manifest.samples.hash,
         "kinds": [asdict(kind) for kind in manifest.kinds], "models": models}
    )  # fmt: skip


def _held(held: Any, mark: str) -> Means | None:
    """What is remembered, if it is of these tables; None also for what no run has written."""
    try:
        if held["made_from"] != mark:
            return None
        return Means([(_table(text), [*map(str, lines)]) for text, lines in held["tables"]], [*map(str, held["below"])])
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException):
        return None


def _text(table: pa.Table) -> str:
    """An Arrow stream, in base64. Sums over threads differ in their last digits from run to run: these are left out."""
    columns = [pa.array([_short(value) for value in table[field.name].to_pylist()], field.type) for field in table.schema]
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(pa.Table.from_arrays(columns, schema=table.schema))
    return base64.b64encode(sink.getvalue()).decode()


def _short(value: Any) -> Any:
    return float(f"{value:.13g}") if isinstance(value, float) and math.isfinite(value) else value


def _table(text: str) -> pa.Table:
    """Not from JSON: to make an array of Python's values loads pandas."""
    table = pa.ipc.open_stream(base64.b64decode(text)).read_all()
    table.validate(full=True)
    return table
