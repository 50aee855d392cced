"""The store's side of a run: make all Zarr documents before the first unit, and bring `valid` and the tables up to date after the last."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.store.layout import (
    ROOT,
    array_document,
    companion_document,
    create_document,
    group_document,
    group_key,
    write_companion,
)
from xlli_ray.store.lease import Lease
from xlli_ray.store.manifest import Cell, Manifest
from xlli_ray.store.objects import Missing, Objects
from xlli_ray.store.read import valid_by_bucket
from xlli_ray.store.records import pack_records
from xlli_ray.store.tables import query, tables_are_fresh, write_tables

if TYPE_CHECKING:
    from xlli_ray.engine.plan import Plan


def create_arrays(objects: Objects, manifest: Manifest, plan: Plan) -> None:
    """Make all zarr.json and `row` companions before the first unit; existing ones must be the same."""
    groups: set[str] = set()

    def group(key: str, attributes: dict[str, Any] | None = None) -> None:
        if key not in groups:
            create_document(objects, key, group_document(attributes or {}))
            groups.add(key)

    for cell in plan.cells:
        if not any(bucket.arrays for bucket in cell.buckets):
            continue
        group(ROOT, {"xlli_ray": {"format": manifest.format}})
        group(f"{ROOT}/{cell.stage}")
        group(f"{ROOT}/{cell.stage}/{cell.model}")
        model = manifest.model(cell.model)
        facts = {"cell": cell.hash, "kind": cell.kind, "weights_sha256": model.weights_sha256, "network": model.network}
        group(f"{ROOT}/{cell.id}", facts)
        for bucket in cell.buckets:
            if not bucket.arrays:
                continue
            key = group_key(cell.id, bucket.name)
            group(key, {"height": bucket.height, "width": bucket.width})
            for meta in bucket.arrays:
                create_document(objects, f"{key}/{meta.name}", array_document(meta))
            if _has(objects, f"{key}/row/zarr.json"):
                continue
            about = {"valid": "only rows with true may be read", "row": "row number in the sample table"}
            rows = np.concatenate([np.arange(first, first + count) for first, count in bucket.segments])
            write_companion(objects, f"{key}/row", rows.astype(np.int64))
            create_document(objects, f"{key}/valid", companion_document(bucket.rows, "bool", {"about": about["valid"]}))
            # `row` comes last: its document says that the group is whole
            create_document(objects, f"{key}/row", companion_document(bucket.rows, "int64", {"about": about["row"]}))


def _has(objects: Objects, key: str) -> bool:
    try:
        objects.get(key)
    except Missing:
        return False
    return True


def finish(objects: Objects, manifest: Manifest, lease: Lease) -> int:
    """Pack records, write `valid`, make the tables. Returns the number of failed samples (counted once per model).

    Skipped when the tables already tell of exactly these records: their index is written last, so a run that was killed in here
    does it again.
    """
    if not tables_are_fresh(objects, manifest):
        for cell in manifest.cells:
            lease.check()
            pack_records(objects, cell.id, epoch=lease.epoch)
            _write_valid(objects, cell)
        write_tables(objects, manifest)
    failures = query(objects, manifest, "select count(*) as n from (select distinct model, row from failures where stage <> 'scan')")
    return int(failures["n"][0].as_py())


def _write_valid(objects: Objects, cell: Cell) -> None:
    for name, valid in valid_by_bucket(objects, cell).items():
        if cell.bucket(name).arrays:
            write_companion(objects, f"{group_key(cell.id, name)}/valid", valid)
