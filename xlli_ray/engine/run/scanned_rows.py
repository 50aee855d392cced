"""The rows of a scan, held as compressed text: a million of them as dictionaries are 2 GB, as text a twentieth of that."""

from __future__ import annotations

import json
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, overload

import pyarrow as pa

Row = dict[str, Any]


class ScannedRows(Sequence[Row]):
    """Rows in the order given, parsed anew each time they are asked for. Those of one record are held together.

    Going through all of them costs about 5 µs a row; a row by its number costs the parsing of its record.
    """

    def __init__(self, records: Iterable[Sequence[str]]) -> None:
        """`records`: of each record, the JSON texts of its rows."""
        self._codec = pa.Codec("zstd")
        self._parts: list[tuple[int, bytes]] = []
        """(bytes before compression, compressed JSON list)"""
        self._ends: list[int] = []
        """Rows up to and with each part."""
        for texts in records:
            whole = f"[{','.join(texts)}]".encode()
            self._parts.append((len(whole), self._codec.compress(whole, asbytes=True)))
            self._ends.append(len(self) + len(texts))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __iter__(self) -> Iterator[Row]:
        for number in range(len(self._parts)):
            yield from self._rows(number)

    @overload
    def __getitem__(self, index: int) -> Row: ...
    @overload
    def __getitem__(self, index: slice) -> list[Row]: ...
    def __getitem__(self, index: int | slice) -> Row | list[Row]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        wanted = range(len(self))[index]
        number = bisect_right(self._ends, wanted)
        return self._rows(number)[wanted - (self._ends[number - 1] if number else 0)]

    def _rows(self, number: int) -> list[Row]:
        size, compressed = self._parts[number]
        rows: list[Row] = json.loads(self._codec.decompress(compressed, size, asbytes=True))
        return rows
