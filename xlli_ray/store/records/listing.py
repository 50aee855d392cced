"""The names of all records of a study, listed once: finished work follows from names alone, and each LIST call of a bucket costs.

A `Listing` lists the store at its first use and then answers from memory, updated by what its holder reports as written or removed. It is
refreshed on request: by the driver before it assigns units and after they ran, by a notebook with each query (`store.archive`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.manifest import Cell

PACK = 1000
"""Units in one pack."""
RECORD_NAME = re.compile(r"(\d{7})\.(\d{6})\.arrow")
PACK_NAME = re.compile(r"pack-(\d{7})\.(\d{6})\.parquet")
ROOT = "records"


@dataclass(frozen=True)
class Entry:
    """Location of the newest record of a unit."""

    unit: int
    epoch: int
    key: str
    packed: bool


def cell_id(cell: Cell | str) -> str:
    """`stage/model/what`; scans have only a name."""
    return cell if isinstance(cell, str) else cell.id


class Listing:
    """The records in a folder or bucket. One LIST for any number of cells."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._folders: dict[str, set[str]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Listing, (self.objects,)  # listed anew elsewhere

    def look_again(self) -> None:
        """Drop the listing: the next query lists the store again."""
        self._folders = None

    def _seen(self) -> dict[str, set[str]]:
        if self._folders is None:
            self._folders = {}
            for key in self.objects.list(ROOT):
                self._folders.setdefault(_folder(key), set()).add(key)
        return self._folders

    def keys(self, cell: Cell | str) -> list[str]:
        """Keys of everything in the cell's folder, including crash notes, sorted."""
        return sorted(self._seen().get(cell_id(cell), ()))

    def folders(self) -> dict[str, list[str]]:
        """Folder below `records/` → keys of the records and packs in it, sorted; without notes."""
        kept = {folder: sorted(key for key in keys if key.endswith((".arrow", ".parquet"))) for folder, keys in self._seen().items()}
        return {folder: keys for folder, keys in sorted(kept.items()) if keys}

    def entries(self, cell: Cell | str) -> dict[int, Entry]:
        """Unit → its newest record. For a `Cell` only planned units."""
        newest: dict[int, Entry] = {}

        def offer(entry: Entry) -> None:
            old = newest.get(entry.unit)
            if isinstance(cell, Cell) and entry.unit >= cell.units:
                return
            if old is None or (entry.epoch, entry.packed) > (old.epoch, old.packed):
                newest[entry.unit] = entry

        for key in self.keys(cell):
            name = key.rsplit("/", 1)[-1]
            if match := RECORD_NAME.fullmatch(name):
                offer(Entry(int(match[1]), int(match[2]), key, packed=False))
            elif match := PACK_NAME.fullmatch(name):
                first, epoch = int(match[1]), int(match[2])
                for unit in range(first, first + PACK):
                    offer(Entry(unit, epoch, key, packed=True))
        return newest

    def wrote(self, key: str) -> None:
        """Note that the holder wrote this record or pack."""
        if self._folders is not None:
            self._folders.setdefault(_folder(key), set()).add(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove these objects from the store and from the listing."""
        keys = list(keys)
        self.objects.delete(keys)
        for key in keys if self._folders is not None else ():
            self._seen().get(_folder(key), set()).discard(key)


def _folder(key: str) -> str:
    return key.rsplit("/", 1)[0].removeprefix(f"{ROOT}/")
