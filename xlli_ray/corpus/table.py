"""The sample table: one row per (patch, degradation), in the order in which everything is stored.

Rows are sorted by bucket (input size, so that batches never pad), degradation (the recipe's order), image (its sha256)
and patch (in the order of selection). So the table depends on the bytes of the files and on the recipe, not on names, folders,
or the order of scanning. Two files with equal bytes are one sample; the lower URI is kept, the other is listed
in `aliases`.

A corpus is of one kind, except for the real sets of `pies`: they follow the generated ones, each under its own label, with as many
rows.

Tables reach 10^7 rows: contents are kept in flat arrays (about 30 bytes each), and rows are built and returned in
batches.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xlli_ray.corpus.box import Box
from xlli_ray.corpus.degradations import Mixture
from xlli_ray.corpus.ids import ID_DIGITS, content_id, order_key
from xlli_ray.corpus.input_labels import TYPES, check_columns, meaning_of
from xlli_ray.corpus.kinds.kind import kind_of
from xlli_ray.corpus.pies_like_set import PiesSpec, spread
from xlli_ray.corpus.scan_result import Image, Label, images_of, sets_of
from xlli_ray.corpus.size import Size
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError

BATCH_ROWS = 1 << 16

# Columns of levels that every table has, in pipeline order; null where a degradation is not part of the row's mixture.
LEVELS = ("blur", "noise", "jpeg")
PARAMETERS = "parameters"  # JSON of all parameters; only in tables with a mixture that its levels do not fully describe
MASKS = ("mask", "mask_sha")  # only in tables of pairs with masks

SCHEMA = pa.schema(
    [
        ("row", pa.int64()),
        ("sample_id", pa.string()),
        ("content", pa.string()),
        ("bucket", pa.string()),
        ("label", pa.string()),
        ("type", pa.string()),
        *((name, pa.float64()) for name in LEVELS),
        ("seed", pa.int64()),
        ("scale", pa.int32()),
        ("kind", pa.string()),
        ("source", pa.string()),
        ("source_sha", pa.string()),
        ("target", pa.string()),
        ("target_sha", pa.string()),
        ("top", pa.int32()),
        ("left", pa.int32()),
        ("size", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("target_height", pa.int32()),
        ("target_width", pa.int32()),
        ("aliases", pa.list_(pa.string())),
    ]
)


def schema_of(mixtures: Sequence[Mixture]) -> pa.Schema:
    """Columns of a sample table with these mixtures: `SCHEMA`, then the levels of degradations that are not in it, and parameters."""
    others = {part.NAME: part for mixture in mixtures for part in mixture.parts if part.NAME not in LEVELS}
    if taken := sorted(set(others) & {*SCHEMA.names, PARAMETERS}):
        raise RecipeError(f"degradation {taken[0]!r}: the sample table has another column with that name; rename it")
    schema = SCHEMA
    for part in sorted(others.values(), key=lambda part: (part.ORDER, part.NAME)):
        schema = schema.append(pa.field(part.NAME, pa.float64()))
    if not all(part.plain for mixture in mixtures for part in mixture.parts):
        schema = schema.append(pa.field(PARAMETERS, pa.string()))
    return schema


def table_schema(rows: Iterable[Mapping[str, Any]], spec: CorpusSpec) -> pa.Schema:
    """Columns of the sample table of these rows of a scan: `schema_of` all mixtures, then those of their kinds, masks, and further ones."""
    kinds, masked = set[str](), False
    told: set[tuple[str, str]] = set()
    more: dict[str, str] = {}
    for row in rows:  # once: there may be millions
        if row["status"] == "ok":
            kinds.add(row["kind"])
            masked = masked or "mask" in row
            told |= _told(row)
            more |= {name: kind for name, kind, _ in row.get("columns", ())}
    schema = schema_of(list(_mixtures(told, spec).values()))
    for name, dtype in {name: dtype for kind in sorted(kinds) for name, dtype in kind_of(kind).COLUMNS.items()}.items():
        if name in schema.names:
            raise RecipeError(f"corpus.{spec.kind}: the sample table has another column {name!r}")
        schema = schema.append(pa.field(name, dtype))
    for name in MASKS if masked else ():
        schema = schema.append(pa.field(name, pa.string()))
    check_columns(list(more), schema.names)
    for name, kind in more.items():
        schema = schema.append(pa.field(name, TYPES[kind]))
    return schema


def mixtures_of(rows: Iterable[Mapping[str, Any]], spec: CorpusSpec) -> dict[str, Mixture]:
    """Label → mixture: those of the corpus section, and those of given inputs with parameters."""
    return _mixtures({pair for row in rows for pair in _told(row)}, spec)


def _told(row: Mapping[str, Any]) -> set[tuple[str, str]]:
    """(label, parameters) of a given input with parameters."""
    return {(row["label"], row["parameters"])} if row.get("parameters") else set()


def _mixtures(told: set[tuple[str, str]], spec: CorpusSpec) -> dict[str, Mixture]:
    return {mixture.label: mixture for mixture in spec.mixtures} | {label: meaning_of(parameters) for label, parameters in sorted(told)}


def expand(rows: Iterable[dict[str, Any]], spec: CorpusSpec, seed: int, schema: pa.Schema | None = None) -> Iterator[pa.RecordBatch]:
    """The sample table in batches of `schema`: `table_schema(rows, spec)`, if the caller has it already.

    `rows`: from `scan.scan_source`, in any order; those that are not ok are left out.
    """
    if schema is None:
        rows = list(rows)
        schema = table_schema(rows, spec)
    images = images_of(rows)
    kinds = {image.kind for image in images if not image.real}
    if len(kinds) > 1:
        raise ValueError(f"rows of one corpus are of one kind, these are of {', '.join(sorted(kinds))}")
    if spec.pies is not None:
        images = _evenly(images, spec.pies, seed)
    if not images:
        return
    contents = _contents(images, spec, seed)
    columns = _image_columns(images, schema)
    sets, which = sets_of(images, spec)
    belongs = None if which is None else np.array(which)[contents.image]
    owns = [image.own for image in images] if any(image.own for image in images) else None
    # Size depends on the image, so contents are grouped by image; a stable sort keeps image and patch order
    # inside.
    each = [(*image.input_size, image.frames) for image in images]
    names = {size: Size(*size).bucket for size in set(each)}
    buckets, code = np.unique(np.array([names[size] for size in each]), return_inverse=True)
    code = code[contents.image]
    del images, each, names
    order = np.argsort(code, kind="stable")
    bounds = np.searchsorted(code[order], np.arange(len(buckets) + 1))
    start = 0
    for number, bucket in enumerate(buckets.tolist()):
        here = order[bounds[number] : bounds[number + 1]]
        for place, labels in enumerate(sets):
            members = here if belongs is None else here[belongs[here] == place]
            for label in labels:
                for first in range(0, len(members), BATCH_ROWS):
                    chunk = members[first : first + BATCH_ROWS]
                    yield _batch(chunk, contents, columns, bucket, label, seed, start, schema, owns)
                    start += len(chunk)


@dataclass(frozen=True)
class _Contents:
    """One entry per content: index of its image, box (-1: whole image), and its id as 16 bytes of text."""

    image: NDArray[np.int32]
    top: NDArray[np.int32]
    left: NDArray[np.int32]
    name: NDArray[np.uint8]


def _evenly(images: list[Image], pies: PiesSpec, seed: int) -> list[Image]:
    """The same number of patches for the generated sets and for each real one, spread evenly over the images of each.

    Raises RecipeError if a real set has fewer than the generated ones.
    """
    members = {name: [image for image in images if image.real == name] for name in ("", *pies.real)}
    have = {name: [len(image.boxes or ()) // 2 for image in some] for name, some in members.items()}
    wanted = min(pies.patches, sum(have[""]))
    if short := {name: sum(counts) for name, counts in have.items() if sum(counts) < wanted}:
        fewest = min(short.values())
        raise RecipeError(
            f"corpus.pies.real: every set needs as many patches as the generated ones, {wanted};"
            f" {', '.join(f'{name} has {count}' for name, count in short.items())}."
            f" {f'Lower corpus.pies.patches to {fewest}, add' if fewest else 'Add'} images, lower min_std, or omit the set."
        )
    kept = []
    for name, some in members.items():
        for image, count in zip(some, spread(have[name], [order_key(seed, image.sha) for image in some], wanted), strict=True):
            if count and image.boxes is not None:
                image.boxes = image.boxes[: 2 * count]
                kept.append(image)
    return kept


def _contents(images: list[Image], spec: CorpusSpec, seed: int) -> _Contents:
    number, top, left, name = array("i"), array("i"), array("i"), bytearray()
    for index, image in enumerate(images):
        if image.size is None or image.boxes is None:
            number.append(index)
            top.append(-1)
            left.append(-1)
            name += content_id(image.bytes, image.target_sha).encode()
            continue
        for i in range(0, len(image.boxes), 2):
            box = Box(image.boxes[i], image.boxes[i + 1], image.size)
            number.append(index)
            top.append(box.top)
            left.append(box.left)
            name += content_id(image.bytes, image.target_sha, box).encode()
    contents = _Contents(
        image=np.frombuffer(number, dtype=np.int32),
        top=np.frombuffer(top, dtype=np.int32),
        left=np.frombuffer(left, dtype=np.int32),
        name=np.frombuffer(name, dtype=np.uint8).reshape(-1, ID_DIGITS),
    )
    count = spec.patches.count if spec.patches is not None else None
    if count is None or count >= len(contents.image):
        return contents
    # The lowest hashes are kept, so a larger count keeps all of a smaller one. 8 of the 32 bytes are compared; ties are broken by id.
    ids = contents.name.view(f"S{ID_DIGITS}").ravel()
    ranks = np.frombuffer(b"".join(order_key(seed, text.decode())[:8] for text in ids.tolist()), dtype=">u8")
    order = np.lexsort((ids, ranks))
    new = np.append(True, ids[order][1:] != ids[order][:-1])  # copies of one content under several labels count once
    kept = np.sort(order[np.cumsum(new) <= count])
    return _Contents(contents.image[kept], contents.top[kept], contents.left[kept], contents.name[kept])


def _image_columns(images: list[Image], schema: pa.Schema) -> dict[str, pa.Array]:
    """Columns that all rows of an image share, one entry per image."""
    targets = [image.target_size or (None, None) for image in images]
    values: dict[str, list[Any]] = {
        "scale": [image.scale for image in images],
        "kind": [image.kind for image in images],
        "source": [image.uri for image in images],
        "source_sha": [image.sha for image in images],
        "target": [image.target for image in images],
        "target_sha": [image.target_sha for image in images],
        "size": [image.size for image in images],
        "height": [image.input_size[0] for image in images],
        "width": [image.input_size[1] for image in images],
        "target_height": [height for height, _ in targets],
        "target_width": [width for _, width in targets],
        "aliases": [image.aliases for image in images],
    }
    if "mask" in schema.names:
        values |= {"mask": [image.mask or None for image in images], "mask_sha": [image.mask_sha for image in images]}
    for name in {name for image in images for name in image.extra}:
        values[name] = [image.extra.get(name) for image in images]
    return {name: pa.array(column, schema.field(name).type) for name, column in values.items()}


def _batch(
    chunk: NDArray[np.intp],
    contents: _Contents,
    columns: dict[str, pa.Array],
    bucket: str,
    label: Label,
    seed: int,
    start: int,
    schema: pa.Schema,
    owns: Sequence[str] | None,
) -> pa.RecordBatch:
    """Rows of one bucket and one degradation, numbered from `start`. `owns`: `Image.own` of each image, None if none has one."""
    mixture = label.mixture
    rows = len(chunk)
    image = contents.image[chunk]
    top = contents.top[chunk]
    names = contents.name[chunk].tobytes()
    shared = {name: column.take(pa.array(image)) for name, column in columns.items()}
    same: dict[str, Any] = {"bucket": bucket, "label": label.name, "type": label.type, "seed": seed}
    same |= {name: mixture.level(name) for name in schema.names if name in LEVELS or name not in SCHEMA.names}
    if PARAMETERS in schema.names:
        same[PARAMETERS] = json.dumps({part.NAME: part.params.model_dump(mode="json") for part in mixture.parts}, sort_keys=True)
    identity = label.identity if owns is None else [owns[i] or label.identity for i in image.tolist()]
    made = {
        "row": pa.array(np.arange(start, start + rows)),
        "sample_id": _texts(_sample_ids(names, shared["scale"].to_pylist(), identity, seed)),
        "content": _texts(names),
        "top": pa.array(top, mask=top < 0),
        "left": pa.array(contents.left[chunk], mask=top < 0),
        **{name: pa.repeat(pa.scalar(value, schema.field(name).type), rows) for name, value in same.items()},
    }
    return pa.RecordBatch.from_arrays([(made | shared)[name] for name in schema.names], schema=schema)


def _sample_ids(names: bytes, scales: list[int], identity: str | list[str], seed: int) -> bytes:
    """`ids.sample_id` of many contents, joined. This loop dominates the cost of a table, so it only hashes."""
    keys: list[Any] = scales if isinstance(identity, str) else list(zip(scales, identity, strict=True))
    pairs = {key: (key, identity) if isinstance(identity, str) else key for key in set(keys)}
    tails = {key: f"|{scale}|{text}|{seed}".encode() for key, (scale, text) in pairs.items()}
    digests = [
        sha256(names[i : i + ID_DIGITS] + tails[key]).digest()[: ID_DIGITS // 2]
        for i, key in zip(range(0, len(names), ID_DIGITS), keys, strict=True)
    ]
    return b"".join(digests).hex().encode()


def _texts(joined: bytes) -> pa.Array:
    """Texts of 16 bytes each, joined, as an array of strings without creating them one by one."""
    count = len(joined) // ID_DIGITS
    offsets = np.arange(count + 1, dtype=np.int32) * np.int32(ID_DIGITS)
    return pa.StringArray.from_buffers(count, pa.py_buffer(offsets.tobytes()), pa.py_buffer(joined))
