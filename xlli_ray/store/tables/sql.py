"""SQL restricted to the tables of a study: DuckDB in memory, without access to files, network, extensions and settings.

A study may come from an untrusted source, and so may a statement to run on it. So tables are passed, not named by paths: Arrow tables, or
Parquet objects behind `study://N.parquet`, a read-only address of this connection. Paths of a study never appear in SQL, whatever they
contain (brackets, quotes, `seed=7`), and Parquet in a bucket is read by ranges as on a disk. Then access is disabled:
`enable_external_access = false`, `lock_configuration = true`. Data too large for memory spills into a folder of mode 0700 that is removed
with the connection.

Identifiers enter SQL only through `quoted`, values only through `?` or `text`.
"""

from __future__ import annotations

import io
import os
import re
import shutil
import tempfile
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol

import pyarrow as pa
from fsspec.spec import AbstractFileSystem

from xlli_ray.errors import StudyError, XlliError
from xlli_ray.store.objects.client import LocalObjects, Missing, Objects, check_key, regular_handle

SCHEME = "study://"
HELD_BYTES = 16 << 20
"""An object of a bucket up to this size is fetched whole, once per connection; a larger one by ranges."""
MEMORY = 2 << 30
MEMORY_A_THREAD = 256 << 20
SHUT = (
    ("allowed_directories", f"['{SCHEME}']"),
    ("autoinstall_known_extensions", "false"),
    ("autoload_known_extensions", "false"),
    ("allow_persistent_secrets", "false"),
    ("enable_external_access", "false"),
    ("lock_configuration", "true"),
)
"""Settings of `Database.shut`, in this order."""
RENAMED = b"xlli_ray.renamed"
"""Key of a result's schema metadata: which columns were numbered, `psnr_y → psnr_y_1`."""
REFUSED = (
    "SQL over a study reads its tables and nothing else: no files, no network, no settings (docs/security.md). "
    "`xlli query --unsafe`, or `study.sql(…, unsafe=True)`, lifts that for a statement that you trust."
)


def quoted(name: str) -> str:
    """`name` as an SQL identifier."""
    return '"' + name.replace('"', '""') + '"'


def text(value: str) -> str:
    """`value` as an SQL string literal."""
    return "'" + value.replace("'", "''") + "'"


def photograph_of(samples: str = "") -> str:
    """SQL for the unit of intervals, as text: what the rows of one photograph have in common, however many patches, windows, degradations
    or input files it has. The clean file of a pair, the folder or video of a clip. `samples`: name of the sample table in the statement."""
    name = f"{samples}." if samples else ""
    return f"coalesce(case when {name}kind = 'clips' then {name}source else {name}target_sha end, {name}source_sha, {name}content)"


PHOTOGRAPHS = f"(select row, label, hash({photograph_of()}) as photograph, hash(content) as content from samples)"
"""SQL for each row's degradation, and photograph and content as numbers: joined with ten million rows, texts would be gigabytes."""


def mentions(statement: str, name: str) -> bool:
    """Whether a statement may use the table `name`: what it does not name it can use only by asking what there is."""
    return name.lower() in statement.lower() or _ASKING.search(statement) is not None


_ASKING = re.compile(r"(?i)\b(show|describe|summarize|information_schema|pragma\w*|query|query_table)\b|duckdb_|pg_|sqlite_")


def unique(names: Sequence[str]) -> list[str]:
    """The names, repeated ones with a number: `psnr_y`, `psnr_y_1`, so that no column hides another."""
    taken, used = set(names), set[str]()
    out: list[str] = []
    for name in names:
        new, number = name, 0
        while new in used or (number and new in taken):
            number += 1
            new = f"{name}_{number}"
        used.add(new)
        out.append(new)
    return out


class Database:
    """A connection. Add tables, then `shut`, then query. A context manager; not thread-safe."""

    def __init__(self) -> None:
        import duckdb

        self._error = duckdb.Error
        self._spill = tempfile.mkdtemp(prefix="xlli-sql-")
        self._files = _Files()
        self._connection = duckdb.connect(":memory:")
        self._connection.register_filesystem(self._files)
        self._connection.execute(f"set temp_directory = {text(self._spill)}")
        if (least := _memory()) < _bytes(self._connection.execute("select current_setting('memory_limit')").fetchone()):
            self._connection.execute(f"set memory_limit = '{least >> 20}MiB'")
        self._connection.execute("set python_enable_replacements = false")  # else `from x` would find variables of the caller
        self._names: list[str] = []
        self._absent: list[str] = []

    def __enter__(self) -> Database:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def add(self, name: str, table: pa.Table, *, where: str = "") -> None:
        """`table` under `name`; `where`: a condition; only rows that satisfy it are visible."""
        inner = f"_every_{name}" if where else name
        self._connection.register(inner, table)
        if where:
            self._connection.execute(f"create view {quoted(name)} as select * from {quoted(inner)} where {where}")
        self._names.append(name)

    def add_parquet(self, name: str, objects: Objects, keys: Sequence[str], *, where: str = "", union: bool = False) -> None:
        """Parquet objects as one table, read on demand. `union`: they may differ in columns. Raises StudyError."""
        listed = ", ".join(text(self._files.address(objects, key)) for key in keys)
        options = f"hive_partitioning = false{', union_by_name = true' if union else ''}"
        condition = f" where {where}" if where else ""
        with self._told():
            self._connection.execute(f"create view {quoted(name)} as select * from read_parquet([{listed}], {options}){condition}")
        self._names.append(name)

    def knows(self, name: str) -> None:
        """Name a table that the statement does not use in the message of an error."""
        self._names.append(name)

    def lacks(self, reason: str) -> None:
        """Note a table that cannot be read, to be reported with the error of a failing statement."""
        self._absent.append(reason)

    def shut(self) -> None:
        """Restrict statements to the tables, permanently."""
        for name, value in SHUT:
            self._connection.execute(f"set {name} = {value}")

    def query(self, statement: str, values: Sequence[Any] = ()) -> pa.Table:
        """The result of one statement, duplicate columns numbered (`unique`); `values` are bound to its `?`. Raises StudyError."""
        with self._told():
            relation = self._connection.sql(statement, params=list(values))
            if relation is None:  # a statement without a result
                return pa.table({})
            # DuckDB 2 names it to_arrow_table; `arrow` gave a table before
            table = relation.to_arrow_table() if hasattr(relation, "to_arrow_table") else relation.arrow()
        table = table if isinstance(table, pa.Table) else table.read_all()
        names = unique(table.column_names)
        if names == table.column_names:
            return table
        changed = [f"{old} → {new}" for old, new in zip(table.column_names, names) if old != new]
        return table.rename_columns(names).replace_schema_metadata({RENAMED: ", ".join(changed)})

    @contextmanager
    def _told(self) -> Iterator[None]:
        """DuckDB's errors as StudyError: its reason, or that it is refused on purpose, and the available tables."""
        self._files.trouble = None
        try:
            yield
        except self._error as error:
            trouble, reason = self._files.trouble, self._files.named(str(error).strip())
            if isinstance(trouble, _ReadOnly):
                raise StudyError(f"{trouble}\n{REFUSED}") from error
            if isinstance(trouble, XlliError):
                raise trouble from error
            if trouble is not None:
                raise StudyError(f"{trouble}; run `xlli verify`") from error
            if any(words in reason for words in ("by configuration", "through configuration", "configuration has been locked")):
                raise StudyError(f"{reason}\n{REFUSED}") from error
            more = [f"Tables: {', '.join(sorted(self._names))}"] if self._names else []
            raise StudyError("\n".join([reason, *self._absent, *more])) from error

    def close(self) -> None:
        self._connection.close()
        self._files.close()
        shutil.rmtree(self._spill, ignore_errors=True)


def _memory() -> int:
    """Bytes that a statement may hold before it spills: enough for DuckDB's threads, and far from what a driver's machine has."""
    return max(MEMORY, MEMORY_A_THREAD * len(os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else range(os.cpu_count() or 1)))


def _bytes(row: tuple[Any, ...] | None) -> float:
    """DuckDB's `18.7 GiB` as a number; it is 80 % of the machine's or the container's memory."""
    amount, unit = str(row[0] if row else "0 bytes").split()
    return float(amount) * {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}.get(unit, 1)


class _ReadOnly(PermissionError):
    """A statement tried to write to a table."""


class _Files(AbstractFileSystem):  # type: ignore[misc]
    """File system for DuckDB to read Parquet: only addresses that were issued; read-only.

    Each object is opened once, so that a connection sees a consistent snapshot, also while a run writes new tables.
    """

    protocol = "study"
    cachable = False

    def __init__(self) -> None:
        super().__init__()
        self._places: dict[str, tuple[Objects, str]] = {}
        self._sources: dict[str, _Source] = {}
        self._opening = threading.Lock()
        self.trouble: Exception | None = None
        """Errors raised here, which DuckDB shows as a traceback."""

    def address(self, objects: Objects, key: str) -> str:
        """An address for an object."""
        name = f"{len(self._places)}.parquet"
        self._places[name] = (objects, key)
        return SCHEME + name

    def named(self, message: str) -> str:
        """A DuckDB message with addresses replaced by the names of the objects."""
        for name, (objects, key) in self._places.items():
            message = message.replace(SCHEME + name, f"{objects.url}/{key}")
        return message

    def close(self) -> None:
        """Close all objects; idempotent."""
        while self._sources:
            self._sources.popitem()[1].end()

    @classmethod
    def _strip_protocol(cls, path: Any) -> Any:
        return path.removeprefix(SCHEME)

    def open(self, path: str, mode: str = "rb", *args: Any, **kwargs: Any) -> io.RawIOBase:
        name = self._strip_protocol(path)
        try:
            if mode != "rb" or name not in self._places:
                raise _ReadOnly(f"{path}: the tables of a study are read only")
            with self._opening:
                if name not in self._sources:
                    self._sources[name] = _source(*self._places[name])
                return _Reader(self, self._sources[name])
        except Exception as error:
            self.trouble = error
            raise

    def info(self, path: str, **kwargs: Any) -> dict[str, Any]:
        with self.open(path) as file:
            return {"name": self._strip_protocol(path), "size": file.seek(0, 2), "type": "file"}

    def exists(self, path: str, **kwargs: Any) -> bool:
        return self._strip_protocol(path) in self._places

    def glob(self, path: str, *args: Any, **kwargs: Any) -> list[str]:
        return [self._strip_protocol(path)] if self.exists(path) else []

    def ls(self, path: str, detail: bool = True, **kwargs: Any) -> list[Any]:
        return []

    def modified(self, path: str) -> datetime:
        return datetime.fromtimestamp(0, UTC)


class _Source(Protocol):
    """Positional, thread-safe reads of an object."""

    size: int

    def bytes(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`."""

    def end(self) -> None:
        """Close the object."""


def _source(objects: Objects, key: str) -> _Source:
    try:
        if isinstance(objects, LocalObjects):
            return _Local(objects.root / check_key(key))
        size = objects.size(key)
        return _Ranges(objects, key, size) if size > HELD_BYTES else _Held(objects.get(key))
    except Missing as error:
        raise StudyError(f"{objects.url}/{key} is gone; run the recipe again") from error


class _Local:
    """A file, kept open so that it stays the same one."""

    def __init__(self, path: Path) -> None:
        self._handle = regular_handle(path)
        self.size = os.fstat(self._handle).st_size

    def bytes(self, start: int, length: int) -> bytes:
        return os.pread(self._handle, length, start)

    def end(self) -> None:
        os.close(self._handle)


class _Held:
    """A small object of a bucket, whole."""

    def __init__(self, data: bytes) -> None:
        self._data, self.size = data, len(data)

    def bytes(self, start: int, length: int) -> bytes:
        return self._data[start : start + length]

    def end(self) -> None:
        self._data = b""


class _Ranges:
    """A large object of a bucket, one request per range."""

    def __init__(self, objects: Objects, key: str, size: int) -> None:
        self._objects, self._key, self.size = objects, key, size

    def bytes(self, start: int, length: int) -> bytes:
        return self._objects.get_range(self._key, start, length) if length else b""

    def end(self) -> None:
        pass


class _Reader(io.RawIOBase):
    """A file for DuckDB's threads: each has its own position, so that no `seek` of another interferes before a `read`."""

    def __init__(self, files: _Files, source: _Source) -> None:
        self._files, self._source = files, source
        self._local = threading.local()

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return getattr(self._local, "at", 0)

    def seek(self, offset: int, whence: int = 0) -> int:
        self._local.at = offset + (0, self.tell(), self._source.size)[whence]
        return self.tell()

    def read(self, size: int = -1) -> bytes:
        left = max(0, self._source.size - self.tell())
        try:
            data = self._source.bytes(self.tell(), left if size is None or size < 0 else min(size, left))
        except Exception as error:
            self._files.trouble = error
            raise
        self._local.at = self.tell() + len(data)
        return data
