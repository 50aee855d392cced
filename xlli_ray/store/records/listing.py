"""The names of all records of a study, listed once: what is done follows from names alone, and a LIST of a bucket is paid by the call.

A `Listing` asks the store at its first use and from then on answers by what it saw, and by what its holder says that it wrote or removed.
It looks again when it is told to: the driver before it deals out units and once they ran, a notebook with each question
(`store.archive`).
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
    """Where the newest record of a unit is."""

    unit: int
    epoch: int
    key: str
    packed: bool


def cell_id(cell: Cell | str) -> str:
    """`stage/model/what`; scans have no more than a name."""
    return cell if isinstance(cell, str) else cell.id


class Listing:
    """Which records there are in a folder or bucket. One LIST, whatever the number of cells."""

    def __init__(self, objects: Objects) -> None:
        self.objects = objects
        self._folders: dict[str, set[str]] | None = None

    def __reduce__(self) -> tuple[Any, ...]:
        return Listing, (self.objects,)  # elsewhere it looks for itself

    def look_again(self) -> None:
        """Forget what was seen: the next question asks the store."""
        self._folders = None

    def _seen(self) -> dict[str, set[str]]:
        if self._folders is None:
            self._folders = {}
            for key in self.objects.list(ROOT):
                self._folders.setdefault(_folder(key), set()).add(key)
        return self._folders

    def keys(self, cell: Cell | str) -> list[str]:
        """Keys of everything in the cell's folder, notes of crashes too, sorted."""
        return sorted(self._seen().get(cell_id(cell), ()))

    def folders(self) -> dict[str, list[str]]:
        """Folder below `records/` → keys of the records and packs in it, sorted; notes are left out."""
        kept = {folder: sorted(key for key in keys if key.endswith((".arrow", ".parquet"))) for folder, keys in self._seen().items()}
        return {folder: keys for folder, keys in sorted(kept.items()) if keys}

    def entries(self, cell: Cell | str) -> dict[int, Entry]:
        """Unit → its newest record. Of a `Cell` only the units that are planned."""
        found: dict[int, Entry] = {}

        def offer(entry: Entry) -> None:
            old = found.get(entry.unit)
            if isinstance(cell, Cell) and entry.unit >= cell.units:
                return
            if old is None or (entry.epoch, entry.packed) > (old.epoch, old.packed):
                found[entry.unit] = entry

        for key in self.keys(cell):
            name = key.rsplit("/", 1)[-1]
            if match := RECORD_NAME.fullmatch(name):
                offer(Entry(int(match[1]), int(match[2]), key, packed=False))
            elif match := PACK_NAME.fullmatch(name):
                first, epoch = int(match[1]), int(match[2])
                for unit in range(first, first + PACK):
                    offer(Entry(unit, epoch, key, packed=True))
        return found

    def wrote(self, key: str) -> None:
        """The holder wrote this record or pack."""
        if self._folders is not None:
            self._folders.setdefault(_folder(key), set()).add(key)

    def delete(self, keys: Iterable[str]) -> None:
        """Remove these objects from the store, and from what was seen."""
        keys = list(keys)
        self.objects.delete(keys)
        for key in keys if self._folders is not None else ():
            self._seen().get(_folder(key), set()).discard(key)


def _folder(key: str) -> str:
    return key.rsplit("/", 1)[0].removeprefix(f"{ROOT}/")
