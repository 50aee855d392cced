"""Verify that a study is intact: every object is named by its plan, records or `digests.json`, and has the bytes that were written.

Reads everything once, large objects in pieces. Findings are lines with location, problem and remedy; none means that the study is as it was
written. Events, the page, notes and canaries are not checked, since no result depends on them. The figures
of the page as data have their own seal, for their readers.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from xlli_ray.errors import EnvironmentFailure, StudyError, counted
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import LocalObjects, Missing, Objects
from xlli_ray.store.records.checksum_root import KEY as ROOT_KEY
from xlli_ray.store.records.checksum_root import PARTS, Digest, Root, digest_of, pieces, read_root
from xlli_ray.store.records.digests import INDEX
from xlli_ray.store.records.documents import COPY, document_key, documents
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import Manifest
from xlli_ray.store.records.seal import check, read_json
from xlli_ray.store.records.unit_records import unfinished
from xlli_ray.store.tables.results import ROOT as RESULTS
from xlli_ray.store.tables.results import read_result
from xlli_ray.store.tables.sample_table import open_parquet, part_key
from xlli_ray.store.tables.study_tables import fingerprint
from xlli_ray.store.verify.cells import verify_cell, verify_same
from xlli_ray.store.verify.common import UNCHECKED, first_line, leases, odd_entries, page, rooted_records, scans, sealed
from xlli_ray.store.verify.findings import Finding, Kind
from xlli_ray.store.zarr.hierarchy import group_documents
from xlli_ray.store.zarr.layout import dump

FOLDERS = ("arrays.zarr", "events", "lease", "records", "report", *PARTS, "weights")


def verify(archive: Archive, *, notes: list[str] | None = None) -> Iterator[str]:
    """One line per finding. `notes` receives what could not be checked."""
    for finding in findings(archive, notes=notes):
        yield str(finding)


def findings(archive: Archive, *, notes: list[str] | None = None) -> Iterator[Finding]:
    """Every object that is not as it was written, once. Uses a new listing, not the archive's."""
    notes = [] if notes is None else notes
    told: set[str] = set()
    accounted: set[str] = set()
    for finding in _findings(archive.again(), notes, accounted):
        mark = f"{finding.key} {finding.unit}"
        if mark not in told and f"{finding.key} -1" not in told:
            told.add(mark)
            yield finding


def _findings(archive: Archive, notes: list[str], accounted: set[str]) -> Iterator[Finding]:
    objects, manifest, records = archive.objects, archive.manifest, archive.records
    yield from _plan(objects, manifest, accounted)
    if manifest.samples is None:
        yield Finding("missing", "samples", "the corpus was never scanned")
    else:
        yield from _samples(objects, manifest, notes, accounted, _named(objects))
        if not manifest.cells:
            yield Finding("missing", "study", "nothing was planned yet: the run stopped before its plan, or there was only a scan")
    yield from _weights(objects, manifest, accounted)
    digests: dict[str, Digest] = {}

    def saw(key: str, size: int, crc: str) -> None:
        digests[key] = (size, crc)

    for cell in manifest.cells:
        for place, document in group_documents(manifest, cell):
            if f"{place}/zarr.json" not in accounted:
                accounted.add(f"{place}/zarr.json")
                yield from verify_same(objects, f"{place}/zarr.json", dump(document), "document", "differs from the plan")
        yield from verify_cell(records, cell, accounted, saw)
    yield from scans(records, accounted, saw)
    complete = not unfinished(records, manifest.cells)
    yield from _tables(archive, accounted, complete=complete and bool(manifest.cells))
    yield from _results(objects, accounted)
    yield from leases(objects, accounted)
    yield from page(objects)
    yield from _root(archive, notes, accounted, digests)
    if isinstance(objects, LocalObjects):
        yield from odd_entries(objects.root, FOLDERS, (COPY, ROOT_KEY))
    for folder in FOLDERS:
        for key in objects.list(folder):
            if key not in accounted and not UNCHECKED.fullmatch(key):
                yield Finding("foreign", key, "no object of this study")


def _plan(objects: Objects, manifest: Manifest, accounted: set[str]) -> Iterator[Finding]:
    """The documents of `study/` and their copy."""
    accounted |= {COPY, ROOT_KEY}
    names = documents(objects)
    for name in names:
        accounted.add(document_key(name))
        if name != names[-1]:  # left by a run that was killed between writing its own and removing this one
            yield from sealed(objects, document_key(name), "plan")
    if manifest.format == 1 and not names:
        return
    newest = document_key(names[-1]) if names else document_key(manifest.document or "000000.000")
    if not names:
        yield Finding("plan", newest, "missing")
    try:
        copy = objects.get(COPY)
        if names and copy != objects.get(newest):
            yield Finding("plan", COPY, f"is not a copy of {newest}, which is authoritative")
    except Missing:
        yield Finding("plan", COPY, "missing")
    except StudyError as error:
        yield Finding("foreign", COPY, str(error))


def _named(objects: Objects) -> set[str]:
    """The keys that `digests.json` covers; none if it cannot be read, which `_root` reports."""
    try:
        root = read_root(objects)
    except StudyError:
        return set()
    return set(root.objects) if root is not None else set()


def _samples(
    objects: Objects, manifest: Manifest, notes: list[str], accounted: set[str], covered: set[str]
) -> Iterator[Finding]:
    """`covered`: keys with a digest in `digests.json`, which need no seal of their own."""
    table = manifest.samples
    assert table is not None
    rows, unsealed, sound = 0, False, True
    for part in range(max(1, -(-table.rows // table.part_rows))):
        accounted.add(part_key(part))
        try:
            data = bytearray()
            for piece in pieces(objects, part_key(part)):
                data += piece
            unsealed |= not check(bytes(data), part_key(part), "") and part_key(part) not in covered
            rows += open_parquet(objects, part_key(part)).metadata.num_rows
        except Missing:
            yield Finding("samples", part_key(part), "missing")
            sound = False
        except EnvironmentFailure:  # an outage is not damage
            raise
        except (StudyError, pa.ArrowException, OSError) as error:
            yield Finding("samples", part_key(part), f"damaged ({first_line(error)})")
            sound = False
    if sound and rows != table.rows:
        yield Finding("samples", "samples", f"{counted(rows, 'row')}, {table.rows} in the plan")
    key = "samples/rejected.parquet"
    accounted.add(key)
    try:
        data = bytearray(objects.get(key))
        unsealed |= not check(bytes(data), key, "") and key not in covered
        if pq.ParquetFile(pa.BufferReader(bytes(data))).read().num_rows != table.rejected:
            yield Finding("samples", key, f"does not list the {counted(table.rejected, 'file')} that the plan counts as rejected")
    except Missing:
        yield Finding("samples", key, "missing")
    except EnvironmentFailure:
        raise
    except (StudyError, pa.ArrowException, OSError) as error:
        yield Finding("samples", key, f"damaged ({first_line(error)})")
    if unsealed:
        notes.append("samples: written before seals were introduced; digests.json covers it once the same `xlli run` has ended")


def _weights(objects: Objects, manifest: Manifest, accounted: set[str]) -> Iterator[Finding]:
    """Every weights file has the sha256 in its name, and those of all models exist."""
    names = {f"weights/{model.weights_sha256}.safetensors": model.id for model in manifest.models}
    for key in sorted({*names, *objects.list("weights")}):
        if not (match := re.fullmatch(r"weights/([0-9a-f]{64})\.safetensors", key)):
            continue
        accounted.add(key)
        about = f" (model {names[key]})" if key in names else ""
        try:
            digest = hashlib.sha256()
            for piece in pieces(objects, key):
                digest.update(piece)
            if digest.hexdigest() != match[1]:
                yield Finding("weights", key, f"the bytes do not have the sha256 in the name{about}")
        except Missing:
            yield Finding("weights", key, f"missing{about}")
        except StudyError as error:
            yield Finding("foreign", key, str(error))


def _tables(archive: Archive, accounted: set[str], *, complete: bool) -> Iterator[Finding]:
    objects = archive.objects
    accounted.add(INDEX)
    try:
        index = read_json(objects.get(INDEX), INDEX, "")
        files = {f"tables/{name}.parquet": tuple(digest) for name, digest in dict(index.get("files", {})).items()}
        accounted |= {f"tables/{name}.parquet" for name in index.get("tables", [])}
    except Missing:
        accounted |= set(objects.list("tables"))
        if complete:
            yield Finding("tables", INDEX, "missing, although all units are done")
        return
    except (StudyError, ValueError, TypeError) as error:
        accounted |= set(objects.list("tables"))
        yield Finding("tables", INDEX, f"damaged ({first_line(error)})")
        return
    for key, wanted in files.items():
        try:
            if digest_of(objects, key) != wanted:
                yield Finding("tables", key, "damaged: the bytes differ from tables/index.json")
        except Missing:
            yield Finding("tables", key, "missing")
        except ValueError as error:  # StudyError, or an invalid name in the index
            yield Finding("foreign", key, str(error))
    if complete and index.get("fingerprint") != fingerprint(archive):
        yield Finding("tables", "tables", "do not correspond to the existing records")


def _results(objects: Objects, accounted: set[str]) -> Iterator[Finding]:
    """`result.json` has its seal, and each table and figure has the digest given there."""
    for name in sorted({key.split("/")[1] for key in objects.list(RESULTS) if key.count("/") == 2}):
        place = f"{RESULTS}/{name}"
        there = set(objects.list(place))
        for document in (f"{place}/failed.json", f"{place}/result.json"):
            if document in there:
                accounted.add(document)
                for finding in sealed(objects, document, "result"):
                    yield Finding("result", finding.key, finding.what, name)
        stored = read_result(objects, name) if f"{place}/result.json" in there else None
        if stored is None:
            if f"{place}/result.json" in there:
                yield Finding("result", f"{place}/result.json", "cannot be read", name)
            accounted |= there  # of a result that is being written, or unknown: the next result removes them
            continue
        for file in stored.files:
            key = f"{place}/{file.file}"
            accounted.add(key)
            try:
                if hashlib.sha256(objects.get(key)).hexdigest() != file.sha256:
                    yield Finding("result", key, "the bytes differ from result.json", name)
            except Missing:
                yield Finding("result", key, "missing", name)
            except (StudyError, ValueError) as error:
                yield Finding("foreign", key, str(error), name)


def _root(
    archive: Archive, notes: list[str], accounted: set[str], digests: dict[str, Digest]
) -> Iterator[Finding]:
    """Every object in `digests.json` exists with those bytes, and no object is missing from it."""
    objects = archive.objects
    try:
        root = read_root(objects)
    except StudyError as error:
        yield Finding("root", ROOT_KEY, str(error).split(": ", 1)[-1].split(";")[0])
        return
    if root is None:
        if archive.manifest.format == 1:
            notes.append("this study was written before digests were introduced: its sample table, tables, results and single records "
                         "were checked only against each other; the same `xlli run` adds digests")  # fmt: skip
        else:
            yield Finding("root", ROOT_KEY, "missing: the run has not finished, or someone removed it")
        return
    yield from _rooted(archive.records, root, accounted, digests)


def _rooted(records: Listing, root: Root, accounted: set[str], digests: dict[str, Digest]) -> Iterator[Finding]:
    objects = records.objects
    since = f"not as the run of lease {root.epoch} left it (digests.json)"
    same: tuple[Kind, ...] = ("lease", "samples", "tables")
    kinds: dict[str, Kind] = {"results": "result", "study": "plan", COPY: "plan", **{kind: kind for kind in same}}
    for key, wanted in root.objects.items():
        kind = kinds.get(key.split("/")[0], "foreign")
        owner = key.split("/")[1] if kind == "result" and key.count("/") == 2 else ""
        try:
            if digest_of(objects, key) != wanted:
                yield Finding(kind, key, since, owner)
        except Missing:
            yield Finding(kind, key, f"missing; {since}", owner)
        except (StudyError, ValueError) as error:
            yield Finding("foreign", key, str(error), owner)
    for part in PARTS:
        for key in objects.list(part):
            if key in accounted and key not in root.objects:
                yield Finding("root", key, f"was created after the run of lease {root.epoch} wrote digests.json")
    yield from rooted_records(records, root, digests)
