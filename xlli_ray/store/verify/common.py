"""Checks of `xlli verify` for studies of measurements and of trainings alike: seals, leases, records of scans, foreign entries."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Collection, Iterator, Mapping

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.checksum_root import Digest, Root, digest_of, folder_digest
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.seal import check, crc_hex, is_sealed, read_json
from xlli_ray.store.records.unit_records import DamagedRecord, Seen, read_object
from xlli_ray.store.verify.findings import Finding, Kind

PAGE_VIEWS = "report/views.json"
UNCHECKED = re.compile(r"(events|report)/.*|lease/(probe|canary)-.*|records/.*\.progress")
"""Not checked, as documented in docs/store-format.md."""


def sealed(objects: Objects, key: str, kind: Kind, *, must: bool = False) -> Iterator[Finding]:
    """Checks an object's own seal. `must`: it must have one."""
    try:
        data = objects.get(key)
        if not check(data, key, "") and must:
            yield Finding(kind, key, "damaged: its seal is missing")
        if key.endswith(".json"):
            read_json(data, key, "")
    except Missing:
        yield Finding(kind, key, "missing")
    except StudyError as error:
        yield Finding(kind, key, str(error).removeprefix(f"{key}: ").rstrip("; "))


def page(objects: Objects) -> Iterator[Finding]:
    """The figures of the page as data: a note with a seal of its own. The page itself is not looked at."""
    if PAGE_VIEWS in objects.list("report"):
        yield from sealed(objects, PAGE_VIEWS, "page", must=True)


def leases(objects: Objects, accounted: set[str]) -> Iterator[Finding]:
    """Each lease, heartbeat and end is intact."""
    for key in objects.list("lease"):
        if match := re.fullmatch(r"lease/\d{6}\.(json|beat|end)", key):
            accounted.add(key)
            try:
                if match[1] == "end" and objects.get(key) != b"1":
                    yield Finding("lease", key, "damaged")
                elif match[1] != "end":
                    yield from _sealed_lease(objects, key)
            except Missing:
                continue  # of a run that is ending now
            except StudyError as error:
                yield Finding("foreign", key, str(error))


def _sealed_lease(objects: Objects, key: str) -> Iterator[Finding]:
    data = objects.get(key)
    old = data.isdigit() if key.endswith(".beat") else not is_sealed(data) and data.startswith(b'{"host"') and _is_json(data)
    try:
        if not old and not check(data, key, ""):
            yield Finding("lease", key, "damaged: its seal is missing")
    except StudyError:
        yield Finding("lease", key, "damaged")


def _is_json(data: bytes) -> bool:
    try:
        json.loads(data)
    except ValueError:
        return False
    return True


def scans(records: Listing, accounted: set[str], saw: Seen) -> Iterator[Finding]:
    """Records of scans: needed only to rebuild the sample table, or to train what is missing."""
    objects = records.objects
    for folder, keys in records.folders().items():
        if not folder.startswith("scan-") or "/" in folder:
            continue
        for key in keys:
            accounted.add(key)
            try:
                data = objects.get(key)
                saw(key, len(data), crc_hex(data))
                read_object(objects, folder, key, data)
            except DamagedRecord as error:
                yield Finding("record", key, error.why, folder)
            except StudyError as error:
                yield Finding("foreign", key, str(error), folder)


def rooted_records(records: Listing, root: Root, digests: Mapping[str, Digest]) -> Iterator[Finding]:
    """The records are those in `digests.json`. `digests`: of records that were read before."""
    folders = records.folders()
    for folder, written in root.records.items():
        keys = folders.get(folder, [])
        try:
            now = folder_digest(keys, lambda key: digests.get(key) or digest_of(records.objects, key))
        except (Missing, StudyError):
            continue  # reported already
        if now != written:
            what = "were added or removed" if now[0] != written[0] else "have changed"
            yield Finding("root", f"records/{folder}", f"its records {what} since the run of lease {root.epoch} wrote digests.json")


def first_line(error: Exception) -> str:
    """The message of an error, in one line."""
    return (str(error).strip(": ;").splitlines() or [type(error).__name__])[0][:200]


def odd_entries(root: os.PathLike[str], folders: Collection[str], files: Collection[str]) -> Iterator[Finding]:
    """Entries that do not belong in a study with these folders and top-level files: links, FIFOs, devices, invalid keys."""
    top = os.path.realpath(root)
    for folder, below, names in os.walk(top):
        here = os.path.relpath(folder, top).removeprefix(".").removeprefix("/")
        for name in [*below, *names]:
            path, key = os.path.join(folder, name), f"{here}/{name}" if here else name
            mode = os.lstat(path).st_mode
            shown = key.encode("utf-8", "backslashreplace").decode()
            if stat.S_ISLNK(mode):
                target = os.path.realpath(path)
                inside = target == top or target.startswith(top + os.sep)
                yield Finding("foreign", shown, f"a link{'' if inside else ' that leads outside the study'} (to {target})")
            elif not (stat.S_ISDIR(mode) or stat.S_ISREG(mode)):
                yield Finding("foreign", shown, "a FIFO, socket or device")
            elif stat.S_ISREG(mode) and not (name.startswith(".") and name.endswith(".partial")):
                known = here.split("/")[0] in folders if here else name in files
                if not re.fullmatch(r"[A-Za-z0-9_=\-][A-Za-z0-9_.=\-]*", name) or not known:
                    yield Finding("foreign", shown, "not a name of an object of a study")
