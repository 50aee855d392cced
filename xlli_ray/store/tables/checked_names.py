"""Validation of a study's names when it is read: they become keys, SQL identifiers, columns and HTML.

A study may come from an untrusted source. Names that a recipe could not have produced are refused here, with the file and the field, so
that other code can trust them; arbitrary texts (reasons, sources, flags) are not changed, and are escaped where they are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from xlli_ray.errors import StudyError
from xlli_ray.store.records.manifest import SIZES, Manifest
from xlli_ray.store.records.unit_records import ARROW
from xlli_ray.store.zarr.layout import DTYPES

LONGEST = 255  # limit of file systems
NAME = re.compile(r"(?!.*\.\.)[A-Za-z0-9_\-][A-Za-z0-9_.\-]*")
"""Ids of stages, models and results, outputs of cells, names of arrays and figures: parts of keys."""
IDENTIFIER = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
"""SQL tables and columns."""
LABEL = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+~\-]*")
"""Degradations, and names of real sets."""
BUCKET = re.compile(r"(t[0-9]{4,9})?h[0-9]{4,9}w[0-9]{4,9}")
"""Format of `corpus.size.Size.bucket`."""
STORED = re.compile(f"{BUCKET.pattern}|{SIZES}")
"""Of a cell: also the bucket of many sizes."""
DTYPE = re.compile("|".join(sorted(DTYPES)))
CODEC = re.compile("none|blosc")
SCALAR = re.compile("|".join(ARROW))
COLOUR = re.compile(r"#[0-9A-Fa-f]{6}")
TAG = re.compile(r"[^\x00-\x1f\x7f]+")
"""Names of tags: any single line."""
_MEANT = {
    NAME: "letters, digits, '_', '.' and '-', and no '.' first",
    IDENTIFIER: "letters, digits and '_', and no digit first",
    LABEL: "letters, digits, '_', '.', '+', '~' and '-'",
    BUCKET: "h0064w0086, or t0007h0064w0086 for clips",
    STORED: f"h0064w0086, t0007h0064w0086 for clips, or {SIZES}",
    TAG: "one line of text",
    COLOUR: "#rrggbb",
    DTYPE: f"one of {', '.join(sorted(DTYPES))}",
    CODEC: "none or blosc",
    SCALAR: f"one of {', '.join(ARROW)}",
}
Said = tuple[str, Any, re.Pattern[str]]
"""(field, value, required pattern)"""
ADVICE = "no recipe gives that; restore the file, or trust nothing in this folder"


def check_manifest(manifest: Manifest, where: str) -> Manifest:
    """`manifest` itself. Raises StudyError naming the file `where` and the field if a name is invalid."""
    check_said(where, _of_manifest(manifest))
    return manifest


def check_said(where: str, said: Iterator[Said]) -> None:
    """Raise StudyError naming the file `where` and the first field with an invalid value."""
    for place, value, pattern in said:
        if not isinstance(value, str) or len(value) > LONGEST or not pattern.fullmatch(value):
            shown = repr(value)[:80]
            raise StudyError(f"{where}: {place} is {shown}, expected {_MEANT[pattern]}: {ADVICE}")


def _of_manifest(manifest: Manifest) -> Iterator[Said]:
    yield "name", manifest.name, NAME
    if manifest.samples is not None:
        for i, bucket in enumerate(manifest.samples.buckets):
            yield f"samples.buckets[{i}].name", bucket.name, BUCKET
            for k, (label, _, _) in enumerate(bucket.blocks):
                yield f"samples.buckets[{i}].blocks[{k}]", label, LABEL
        for i, record in enumerate(manifest.samples.meanings):
            yield f"samples.meanings[{i}].label", record.label, LABEL
            yield f"samples.meanings[{i}].type", record.type, LABEL
        for i, family in enumerate(manifest.samples.families):
            yield f"samples.families[{i}].name", family.name, IDENTIFIER
            yield f"samples.families[{i}].axis", family.axis, TAG
            if family.colour is not None:
                yield f"samples.families[{i}].colour", family.colour, COLOUR
    for i, model in enumerate(manifest.models):
        yield f"models[{i}].id", model.id, NAME
        yield f"models[{i}].weights_sha256", model.weights_sha256, NAME
        for tag in model.tags:
            yield f"models[{i}].tags", tag, TAG
    for i, cell in enumerate(manifest.cells):
        path = f"cells[{i}]"
        yield f"{path}.stage", cell.stage, NAME
        yield f"{path}.model", cell.owner, NAME
        yield f"{path}.what", cell.what, NAME
        yield f"{path}.kind", cell.kind, IDENTIFIER
        yield f"{path}.group", cell.group, NAME
        for name, dtype in cell.columns:
            yield f"{path}.columns", name, IDENTIFIER
            yield f"{path}.columns.{name}", dtype, SCALAR
        for bucket_plan in cell.buckets:
            yield f"{path}.buckets", bucket_plan.name, STORED
            for size in bucket_plan.sizes:
                yield f"{path}.{bucket_plan.name}.sizes", size.name, BUCKET
            for array in bucket_plan.arrays:
                yield f"{path}.{bucket_plan.name}.arrays", array.name, NAME
                yield f"{path}.{bucket_plan.name}.{array.name}.dtype", array.dtype, DTYPE
                yield f"{path}.{bucket_plan.name}.{array.name}.codec", array.codec, CODEC
    for i, kind in enumerate(manifest.kinds):
        yield f"kinds[{i}].kind", kind.kind, IDENTIFIER
        for column in kind.columns:
            yield f"kinds[{i}].columns", column.name, IDENTIFIER
            yield f"kinds[{i}].columns.{column.name}", column.dtype, SCALAR
    stages = manifest.recipe.get("stages", []) if hasattr(manifest.recipe, "get") else []
    for i, stage in enumerate(stages if isinstance(stages, list) else []):
        yield f"recipe.stages[{i}].id", stage.get("id") if isinstance(stage, dict) else stage, NAME
