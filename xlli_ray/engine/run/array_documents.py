"""The store's part of a run: create all Zarr documents before the first unit, and update `valid` and the tables after the last."""

from __future__ import annotations

from typing import TYPE_CHECKING

from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import exists
from xlli_ray.store.records.lease import Lease
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.records.unit_records import forget_records, pack_records
from xlli_ray.store.tables.study_tables import count_failed, tables_are_fresh, write_tables
from xlli_ray.store.zarr.hierarchy import bucket_documents, companions, group_documents
from xlli_ray.store.zarr.layout import ROOT, create_document, group_key, write_companion
from xlli_ray.store.zarr.read import valid_by_bucket

if TYPE_CHECKING:
    from xlli_ray.engine.run.plan import Plan


def create_arrays(archive: Archive, plan: Plan) -> None:
    """Create all zarr.json and `row` companions before the first unit; existing ones must be equal."""
    objects, groups = archive.objects, set[str]()
    for cell in plan.cells:
        for key, document in group_documents(archive.manifest, cell):
            if key not in groups:
                create_document(objects, key, document)
                groups.add(key)
        for bucket in cell.buckets:
            if not bucket.arrays:
                continue
            key = group_key(cell.id, bucket.name)
            whole, made = exists(objects, f"{key}/row/zarr.json"), companions(bucket)
            for place, document in bucket_documents(cell, bucket):
                name = place.removeprefix(f"{key}/")
                if whole and (name == "valid" or name in made):
                    continue
                if name in made:
                    write_companion(objects, place, made[name])
                create_document(objects, place, document)


def forget_replaced(records: Listing, plan: Plan) -> None:
    """Remove records and arrays of cells that are recomputed or superseded by others."""
    planned = {cell.id for cell in plan.cells}
    for cell in plan.replaced:
        forget_records(records, cell)
        records.objects.delete(list(records.objects.list(f"{ROOT}/{cell}")))
        if cell not in planned:
            records.objects.delete([f"{ROOT}/{cell.rsplit('/', 1)[0]}/zarr.json"])


def finish(archive: Archive, lease: Lease) -> int:
    """Pack records, write `valid`, create the tables. Returns the number of failed samples (counted once per model).

    Skipped if the tables already cover exactly these records: their index is written last, so a run that was killed here does it
    again.
    """
    if not tables_are_fresh(archive, read=True):
        for cell in archive.manifest.cells:
            lease.check()
            pack_records(archive.records, cell, epoch=lease.epoch)
            _write_valid(archive.records, cell)
        write_tables(archive)
    return count_failed(archive)


def _write_valid(records: Listing, cell: Cell) -> None:
    objects = records.objects
    seen = objects.fence.saw if objects.fence else None  # digests.json needs each record's crc32c: records are read here
    for name, valid in valid_by_bucket(records, cell, seen=seen).items():
        if cell.bucket(name).arrays:
            write_companion(objects, f"{group_key(cell.id, name)}/valid", valid)
