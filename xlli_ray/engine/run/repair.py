"""`xlli verify --repair`: under its own lease, rebuild what is derived from intact objects, and release what must be recomputed.

Zarr documents and `row` are derived from the plan, `valid` and the tables from the records, a document of `study/` from its copy. Damaged
records are removed, and so are the records of damaged shards: the next run computes only those units. Weights, links and foreign objects
are not touched. `digests.json` is written last.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, replace

from xlli_ray.engine.run.array_documents import finish
from xlli_ray.errors import StudyError
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import Missing, Objects, fenced, open_objects, probe_create_only
from xlli_ray.store.records.checksum_root import write_root
from xlli_ray.store.records.digests import INDEX
from xlli_ray.store.records.documents import COPY, document_key, documents, load_manifest, parse, save_manifest
from xlli_ray.store.records.fence import Fence
from xlli_ray.store.records.lease import Holder, Lease
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import Cell, Manifest
from xlli_ray.store.records.seal import sealed_json
from xlli_ray.store.records.unit_records import damaged_records, forget_units, unfinished
from xlli_ray.store.verify.check_study import findings
from xlli_ray.store.verify.findings import Finding
from xlli_ray.store.zarr.hierarchy import bucket_documents, companions, group_documents
from xlli_ray.store.zarr.layout import dump, group_key, write_companion


def repair_study(place: str, *, takeover: bool = False) -> list[str]:
    """Repair what can be repaired. Returns a line per action. Raises LeaseError during a run, StudyError if no intact plan is left."""
    open_to_all = open_objects(place)
    probe_create_only(open_to_all)
    lease = Lease.acquire(open_to_all, takeover=takeover)
    try:
        objects = fenced(open_to_all, Fence(lease))
        done: list[str] = []
        archive = Archive(objects, _plan(objects, lease.epoch, done))
        archive = _apply(archive, list(findings(archive)), lease, done).again()
        manifest = archive.manifest
        if manifest.samples is not None and manifest.cells and not unfinished(archive.records, manifest.cells):
            finish(archive, lease)
        write_root(objects, lease.epoch)
        return done
    finally:
        lease.release()


def _plan(objects: Objects, epoch: int, done: list[str]) -> Manifest:
    """The valid plan; if its document is damaged, the copy's, written as the next document."""
    try:
        manifest = load_manifest(objects)
    except StudyError as damage:
        try:
            data = objects.get(COPY)
            manifest = parse(data, f"{objects.url}/{COPY}", "")
            names = documents(objects)
            if not names or manifest.document != names[-1]:
                raise StudyError(f"{COPY} is a copy of {manifest.document or 'nothing'}")
        except (StudyError, Missing) as error:
            raise StudyError(f"{damage} And {COPY} cannot replace it ({error}): restore one of them from a copy of the study.") from damage
        manifest = save_manifest(objects, manifest, epoch=epoch)
        done.append(f"{document_key(manifest.document)}: restored from {COPY}")
        return manifest
    if manifest is None:
        raise StudyError(f"{objects.url}: not a study (no study.json)")
    names = documents(objects)
    if not names and manifest.document:  # only the copy is left
        manifest = save_manifest(objects, manifest, epoch=epoch)
        done.append(f"{document_key(manifest.document)}: restored from {COPY}")
    elif names:
        newest = objects.get(document_key(names[-1]))
        try:
            same = objects.get(COPY) == newest
        except (Missing, StudyError):
            same = False
        if not same:
            objects.put(COPY, newest)
            done.append(f"{COPY}: restored from {document_key(names[-1])}")
    return manifest


def _apply(archive: Archive, findings: Sequence[Finding], lease: Lease, done: list[str]) -> Archive:
    objects, manifest = archive.objects, archive.manifest
    cells = {cell.id: cell for cell in manifest.cells}
    free: dict[str, set[int]] = {}
    for finding in findings:
        if finding.kind == "record":
            archive.records.delete([finding.key])
            done.append(f"{finding.key}: removed")
        elif finding.kind == "shard" and finding.cell in cells:
            free.setdefault(finding.cell, set()).add(finding.unit)
        elif finding.kind == "lease":
            _mend_lease(objects, finding.key)
            done.append(f"{finding.key}: written again")
        elif finding.kind == "result":
            objects.delete([finding.key if finding.key.endswith("failed.json") else f"results/{finding.cell}/result.json"])
            done.append(f"results/{finding.cell}: removed, the next run makes it again")
        elif finding.kind == "page":
            objects.delete([finding.key])
            done.append(f"{finding.key}: removed, `xlli report` writes it again")
        elif finding.kind == "plan" and finding.key in [document_key(name) for name in documents(objects)[:-1]]:
            objects.delete([finding.key])
            done.append(f"{finding.key}: removed, a later one counts")
    for name, units in free.items():
        forget_units(archive.records, cells[name], units, epoch=lease.epoch)
        done.append(f"{name}: {len(units)} unit{' is' if len(units) == 1 else 's are'} free to be computed again")
    if any(finding.kind in ("document", "companion") for finding in findings):
        done += _mend_arrays(archive, {finding.key for finding in findings})
    if any(finding.kind in ("tables", "record", "shard", "companion") for finding in findings):
        objects.delete([INDEX])
        if any(finding.kind == "tables" for finding in findings):
            done.append("tables: are made again")
    if manifest.samples is not None and any(finding.kind == "samples" for finding in findings):
        # with a different corpus hash the next run makes the table from the scan's records, and compares it with the plan's
        table = replace(manifest.samples, corpus_hash="")
        manifest = save_manifest(objects, replace(manifest, samples=table, planned=""), epoch=lease.epoch)
        done.append("samples: the next run makes the sample table again")
    return archive.planned(manifest)


def _mend_lease(objects: Objects, key: str) -> None:
    """Rewrite the lease of a run that has ended: its holder no longer matters."""
    if key.endswith(".end"):
        objects.put(key, b"1")
    elif key.endswith(".beat"):
        objects.put(key, sealed_json({"count": 0}))
    else:
        objects.put(key, sealed_json(asdict(Holder("unknown", 0, "", ""))))


def _mend_arrays(archive: Archive, keys: set[str]) -> Iterable[str]:
    objects = archive.objects
    for cell in archive.manifest.cells:
        places = list(group_documents(archive.manifest, cell))
        for bucket in cell.buckets:
            if bucket.arrays:
                places += bucket_documents(cell, bucket)
                for name, values in companions(bucket).items():
                    place = f"{group_key(cell.id, bucket.name)}/{name}"
                    if any(key.startswith(f"{place}/c/") for key in keys):
                        write_companion(objects, place, values)
                        yield f"{place}: written again"
        for place, document in places:
            if f"{place}/zarr.json" in keys:
                keys.discard(f"{place}/zarr.json")
                objects.put(f"{place}/zarr.json", dump(document))
                yield f"{place}/zarr.json: written again"


def set_free(records: Listing, cells: Sequence[Cell]) -> list[str]:
    """Remove every invalid record. Returns their keys: the next `pending_jobs` finds their units."""
    errors = [error for cell in cells for error in damaged_records(records, cell)]
    records.delete([error.key for error in errors])
    return [error.key for error in errors]

