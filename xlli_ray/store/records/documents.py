"""The document of a study, `study/<epoch>.<number>.json`: created, never replaced; the highest is valid.

So a driver that was stopped while planning, and continues after another took over, cannot change its successor's plan: its document has a
lower epoch. `study.json` is a copy of the highest one, for people and in case that one is damaged; it is used only if there is no other, as
in studies of format 1.
"""

from __future__ import annotations

import re
from dataclasses import asdict, replace
from functools import cache

from pydantic import TypeAdapter, ValidationError

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.manifest import FORMAT, SIZES, BucketPlan, Cell, Manifest, SampleTable
from xlli_ray.store.records.seal import is_sealed, read_json, sealed_json
from xlli_ray.store.records.unit_records import ARROW
from xlli_ray.store.tables.checked_names import check_manifest
from xlli_ray.store.zarr.layout import DTYPES, check_name

COPY = "study.json"
_DOCUMENT = re.compile(r"study/(\d{6}\.\d{3})\.json")
_ROWS = 1 << 40
"""More samples than any study has: a larger number means damage."""


def document_key(name: str) -> str:
    """Key of the document `<epoch>.<number>`."""
    return f"study/{name}.json"


def documents(objects: Objects) -> list[str]:
    """Names of the existing documents, the valid one last."""
    return sorted(match[1] for key in objects.list("study") if (match := _DOCUMENT.fullmatch(key)))


def save_manifest(objects: Objects, manifest: Manifest, *, epoch: int | None = None) -> Manifest:
    """Write the next document of this epoch, then the copy; remove older documents. Returns it as written.

    Only for the holder of the lease, with its epoch; studies made by hand use that of the last document.
    """
    existing = documents(objects)
    if epoch is None:
        epoch = int(existing[-1][:6]) if existing else 0
    own = [name for name in existing if name.startswith(f"{epoch:06d}.")]
    name = f"{epoch:06d}.{int(own[-1][-3:]) + 1 if own else 0:03d}"
    manifest = replace(manifest, format=FORMAT, document=name)
    data = sealed_json(asdict(manifest), indent=1)
    if not objects.create(document_key(name), data):
        raise StudyError(f"{objects.url}/{document_key(name)}: another run created it at the same time; run the same command again")
    objects.put(COPY, data)
    objects.delete(document_key(old) for old in existing if old < name)
    return manifest


def load_manifest(objects: Objects) -> Manifest | None:
    """The valid plan, None if there is none. Raises StudyError if it is damaged or of a later format."""
    for _ in range(5):
        names = documents(objects)
        key = document_key(names[-1]) if names else COPY
        try:
            return parse(objects.get(key), f"{objects.url}/{key}", _way_out(key))
        except Missing:
            if not names:
                return None  # else it was replaced by a newer one since the listing
    raise StudyError(f"{objects.url}: its documents (study/) keep changing; read it again when the run there has ended")


def _way_out(key: str) -> str:
    if key == COPY:
        return "restore it from a copy, or use a new --out"
    return f"`xlli verify --repair` restores it from {COPY} when that is whole"


@cache
def _adapter() -> TypeAdapter[Manifest]:
    return TypeAdapter(Manifest)


def parse(data: bytes, where: str, way_out: str) -> Manifest:
    """Parse and check a document. Raises StudyError."""
    members = read_json(data, where, way_out)
    number = members.get("format")
    if number not in (1, FORMAT):
        raise StudyError(f"{where}: store format {number}, this version reads 1 and {FORMAT}; use the version that wrote it")
    if number == FORMAT and not is_sealed(data):
        raise StudyError(f"{where}: damaged, its seal is gone; {way_out}")
    try:
        manifest = _adapter().validate_json(data[: data.rindex(b",")] + b"}" if is_sealed(data) else data)
        _check(manifest)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise StudyError(f"{where}: not as the store format says ({place}: {first['msg']}); {way_out}") from error
    except (StudyError, ValueError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise StudyError(f"{where}: not as the store format says ({error}); {way_out}") from error
    return check_manifest(manifest, where)


def _check(manifest: Manifest) -> None:
    """Checks beyond types: names that become keys and SQL names, and redundant numbers. Raises StudyError or ValueError."""
    for model in manifest.models:
        check_name(model.id, "model")
        _must(re.fullmatch(r"[0-9a-f]{64}", model.weights_sha256), f"model {model.id}: weights_sha256")
    if manifest.samples is not None:
        _check_samples(manifest.samples)
    for cell in manifest.cells:
        for name, what in ((cell.stage, "stage"), (cell.owner, "model"), (cell.what, "output"), (cell.kind, "kind")):
            check_name(name, what)
        _must(all(dtype in ARROW for _, dtype in cell.columns), f"{cell.id}: columns")
        unit = 0
        for bucket in cell.buckets:
            _must(bucket.first_unit == unit, f"{cell.id}: first_unit of {bucket.name}")
            unit += bucket.units
            _check_bucket(cell, bucket, manifest.samples)
    ids = {cell.id for cell in manifest.cells}
    _must(len(ids) == len(manifest.cells), "cells: an id twice")
    _must(all(name in ids for cell in manifest.cells for name in cell.needs), "cells: needs")
    stages = manifest.recipe.get("stages", [])
    _must(isinstance(stages, list), "recipe.stages")
    for stage in stages:
        _must(isinstance(stage.get("id"), str) and isinstance(stage.get("kind"), str), "recipe.stages: id and kind")
        _must(isinstance(stage.get("params", {}), dict), f"recipe.stages: params of {stage['id']}")
    _must(isinstance(manifest.recipe.get("corpus", {}), dict), "recipe.corpus")


def _check_samples(table: SampleTable) -> None:
    _must(table.rows <= _ROWS, "samples.rows")
    _must(table.part_rows % table.row_group == 0, "samples.part_rows")
    start = 0
    for bucket in table.buckets:
        check_name(bucket.name, "bucket")
        _must(bucket.start == start, f"samples: start of {bucket.name}")
        _must(not bucket.blocks or sum(rows for _, _, rows in bucket.blocks) == bucket.rows, f"samples: blocks of {bucket.name}")
        _must(bucket.targets <= bucket.rows, f"samples: targets of {bucket.name}")
        start += bucket.rows
    _must(start == table.rows, "samples.rows")


def _check_bucket(cell: Cell, bucket: BucketPlan, table: SampleTable | None) -> None:
    where = f"{cell.id}/{check_name(bucket.name, 'bucket')}"
    _must(bucket.rows <= _ROWS and sum(rows for _, rows in bucket.segments) == bucket.rows, f"{where}: rows")
    _must(table is None or all(first + rows <= table.rows for first, rows in bucket.segments), f"{where}: segments")
    _must(not bucket.sizes or sum(size.rows for size in bucket.sizes) == bucket.rows, f"{where}: rows of sizes")
    _must((bucket.name == SIZES) == bool(bucket.sizes), f"{where}: sizes")
    _must(bucket.offset == 0, f"{where}: offset")
    for meta in bucket.arrays:
        check_name(meta.name, "array")
        _must(not meta.tile or (bucket.sizes and len(meta.tile) == len(meta.shape)), f"{where}/{meta.name}: tile")
        for size in bucket.sizes if meta.tile else ():
            extent = size.extents.get(meta.name, ())
            fits = len(extent) == len(meta.shape) and all(along <= most for along, most in zip(extent, meta.shape))
            _must(size.refused or fits, f"{where}/{meta.name}: extent of {size.name}")
        _must(meta.rows == bucket.rows and meta.shard_rows == bucket.rows_per_unit, f"{where}/{meta.name}: rows")
        stride = meta.attributes.get("stride")
        pair = isinstance(stride, list | tuple) and len(stride) == 2 and all(isinstance(step, int | float) for step in stride)
        _must(stride is None or pair, f"{where}/{meta.name}: stride")
        _must(meta.dtype in DTYPES and len(meta.dims) == len(meta.shape), f"{where}/{meta.name}: dtype or dims")


def _must(holds: object, what: str) -> None:
    if not holds:
        raise ValueError(f"{what}: contradicts the rest")
