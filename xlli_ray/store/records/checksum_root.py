"""`digests.json`: the root of the checksums of all objects of a study.

Its seal covers itself. It lists the study's document, leases, the sample table, the tables and the results with bytes and crc32c, and for
each folder of records one digest over their names, bytes and crc32c. The rest follows from these: the document determines the Zarr
documents and `row`, and the sha256 of weights; a record has the crc32c of its shards and determines `valid`; `result.json` has the sha256
of its files. It is written last, by the holder of the lease, from the bytes as written (`fence`); objects not touched by a run keep their
digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from functools import cache

from pydantic import TypeAdapter, ValidationError

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.atomic_file import environment_errors
from xlli_ray.store.objects.client import LocalObjects, Missing, Objects, check_key, open_regular
from xlli_ray.store.records.documents import COPY
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.seal import is_sealed, read_json, sealed_json
from xlli_ray.store.records.strict_types import STRICT, Natural

KEY = "digests.json"
FORMAT = 1
PARTS = ("samples", "study", "tables", "results")
"""Folders whose objects are listed individually."""
WAY_OUT = "the same `xlli run`, or `xlli verify --repair`, writes it again"
_PIECE = 4 << 20
_RANGE = 32 << 20  # of an object in a bucket: one request each

Digest = tuple[int, str]
"""(bytes, crc32c as 8 hex digits)"""


@dataclass(frozen=True)
class Root:
    """The content of `digests.json`."""

    __pydantic_config__ = STRICT

    epoch: Natural
    """Epoch of the run that wrote it."""
    objects: dict[str, tuple[Natural, str]]
    records: dict[str, tuple[str, str]]
    """Folder of records → (mark of their names, digest of their bytes)."""
    format: int = FORMAT


def pieces(objects: Objects, key: str) -> Iterator[bytes]:
    """The object in pieces, so that a large one is never held in memory. Raises Missing; ValueError for an invalid key: lists of keys may
    come from an untrusted file."""
    if not isinstance(objects, LocalObjects):
        at, size = 0, objects.size(key)
        if size <= _RANGE:
            yield objects.get(key)
            return
        while at < size:  # no request for what is one piece, and few for what is many
            yield objects.get_range(key, at, min(_RANGE, size - at))
            at += _RANGE
        return
    with environment_errors(objects.url), open_regular(objects.root / check_key(key)) as file:
        while piece := file.read(_PIECE):
            yield piece


def digest_of(objects: Objects, key: str) -> Digest:
    """Bytes and crc32c of an object as stored. Raises like `pieces`."""
    import google_crc32c

    value = size = 0
    for piece in pieces(objects, key):
        value, size = google_crc32c.extend(value, piece), size + len(piece)
    return size, f"{value:08x}"


def folder_digest(keys: list[str], digest: Callable[[str], Digest]) -> tuple[str, str]:
    """(mark of the names, digest over names, bytes and crc32c) of a folder of records."""
    names, all_ = hashlib.sha256(), hashlib.sha256()
    for key in sorted(keys):
        size, crc = digest(key)
        names.update(f"{key}\n".encode())
        all_.update(f"{key} {size} {crc}\n".encode())
    return names.hexdigest()[:16], all_.hexdigest()[:16]


def write_root(objects: Objects, epoch: int, *, trained: Mapping[str, Digest] | None = None) -> None:
    """Write `digests.json`. Only for the holder of the lease, after everything else. `trained`: all objects of a training study that are
    neither leases nor records."""
    known = objects.fence.known if objects.fence else {}
    try:
        old = read_root(objects)
    except StudyError:
        old = None

    def digest(key: str) -> Digest:
        return known.get(key) or digest_of(objects, key)

    named: dict[str, Digest] = dict(trained or {})
    leases = [key for key in objects.list("lease") if key.endswith(".json")]
    for key in leases if trained is not None else [COPY, *leases, *(key for part in PARTS for key in objects.list(part))]:
        try:
            named[key] = known.get(key) or (old.objects.get(key) if old else None) or digest_of(objects, key)
        except (Missing, StudyError):
            continue  # a FIFO, a folder: not part of the study, and reported by verify
    records = {}
    for folder, keys in Listing(objects).folders().items():
        previous = old.records.get(folder) if old else None
        mark = hashlib.sha256("".join(f"{key}\n" for key in sorted(keys)).encode()).hexdigest()[:16]
        untouched = previous is not None and previous[0] == mark and not any(key in known for key in keys)
        records[folder] = previous if untouched and previous is not None else folder_digest(keys, digest)
    root = Root(epoch, named, records)
    data = sealed_json(asdict(root), indent=1)
    if root != old:
        objects.put(KEY, data)


@cache
def _adapter() -> TypeAdapter[Root]:
    return TypeAdapter(Root)


def read_root(objects: Objects) -> Root | None:
    """None if there is none. Raises StudyError if it is damaged."""
    where = f"{objects.url}/{KEY}"
    try:
        data = objects.get(KEY)
    except Missing:
        return None
    members = read_json(data, where, WAY_OUT)
    if members.get("format") != FORMAT or not is_sealed(data):
        raise StudyError(f"{where}: format {members.get('format')}, this version reads {FORMAT} with its seal; {WAY_OUT}")
    try:
        return _adapter().validate_json(data[: data.rindex(b",")] + b"}")
    except ValidationError as error:
        raise StudyError(f"{where}: not as the store format says ({error.errors()[0]['msg']}); {WAY_OUT}") from error
