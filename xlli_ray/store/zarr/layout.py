"""Names, dimensions and Zarr documents of a study. Normative text: `docs/store-format.md`.

A bucket group `arrays.zarr/<stage>/<model>/<what>/h0064w0086` holds the data arrays of one cell for inputs of one size, and two
companions: `valid` (bool, which alone decides whether a row may be read) and `row` (int64, row number in the sample table).
Documents are written as plain JSON, not through a library, so that folders and buckets get the same bytes, and so that a resumed run can
compare them byte for byte.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from xlli_ray.errors import StudyError
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.strict_types import STRICT, Natural, Positive
from xlli_ray.store.zarr.shard import Codec, InnerGrid, inner_grid

FORMAT = 1  # raised when the layout below changes; readers refuse unknown formats
ROOT = "arrays.zarr"
NAME = re.compile(r"[A-Za-z0-9_.-]+")
COMPANION_CHUNK = 1 << 20
DTYPES = {"float16", "float32", "float64", "uint8", "uint16", "int8", "int16", "int32", "int64", "bool"}
_CODECS = {"bytes", "blosc", "sharding_indexed", "crc32c"}


@dataclass(frozen=True)
class ArrayMeta:
    """One sharded data array of a bucket group: rows × `shape`, shards of `shard_rows` along the sample axis."""

    __pydantic_config__ = STRICT

    name: str
    rows: Natural
    shard_rows: Positive
    shape: tuple[Positive, ...]
    dtype: str
    dims: tuple[str, ...]
    codec: Codec
    attributes: Mapping[str, Any] = field(default_factory=dict)
    tile: tuple[Positive, ...] = ()
    """Shape of an inner chunk of an array whose samples have individual extents up to `shape`; (): all have `shape`."""

    @property
    def grid(self) -> InnerGrid:
        if self.tile:
            return InnerGrid(self.shape, self.tile[0], self.tile)
        return inner_grid(self.shape, np.dtype(self.dtype).itemsize)

    @property
    def shards(self) -> int:
        return -(-self.rows // self.shard_rows)

    @property
    def nbytes(self) -> int:
        """Bytes before compression."""
        return self.rows * int(np.prod(self.shape, dtype=np.int64)) * np.dtype(self.dtype).itemsize


def check_name(name: str, what: str) -> str:
    """`name` itself, or StudyError unless it is made of letters, digits, '_', '.', '-' and does not start with '.'."""
    if not NAME.fullmatch(name) or name.startswith(".") or ".." in name:
        raise StudyError(f"{what} {name!r}: names are made of letters, digits, '_', '-' and '.', and do not start with '.'")
    return name


def group_key(cell: str, bucket: str) -> str:
    """Key of the bucket group of cell `stage/model/what`."""
    return f"{ROOT}/{cell}/{bucket}"


def shard_key(cell: str, bucket: str, meta: ArrayMeta, index: int) -> str:
    """Key of shard number `index` of a data array."""
    zeros = "/0" * len(meta.shape)
    return f"{group_key(cell, bucket)}/{meta.name}/c/{index}{zeros}"


def _bytes_codec(itemsize: int) -> dict[str, Any]:
    return {"name": "bytes", "configuration": {"endian": "little"}} if itemsize > 1 else {"name": "bytes"}


def _fill(dtype: str) -> Any:
    if dtype == "bool":
        return False
    return "NaN" if dtype.startswith("float") else 0


def _whole_chunks(meta: ArrayMeta) -> tuple[int, ...]:
    """Shape of a sample in a shard: whole tiles, so it may extend beyond the array."""
    return tuple(count * edge for count, edge in zip(meta.grid.counts, meta.tile)) if meta.tile else meta.shape


def array_document(meta: ArrayMeta) -> dict[str, Any]:
    """The `zarr.json` of a data array (Zarr v3, sharded along `sample` only)."""
    itemsize = np.dtype(meta.dtype).itemsize
    inner: list[dict[str, Any]] = [_bytes_codec(itemsize)]
    if meta.codec == "blosc":
        inner.append(
            {
                "name": "blosc",
                "configuration": {
                    "typesize": itemsize, "cname": "lz4", "clevel": 1, "shuffle": "bitshuffle", "blocksize": 0,
                },
            }
        )  # fmt: skip
    sharding = {
        "chunk_shape": [1, *meta.grid.chunk],
        "codecs": inner,
        "index_codecs": [_bytes_codec(8), {"name": "crc32c"}],
        "index_location": "end",
    }
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [meta.rows, *meta.shape],
        "data_type": meta.dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [meta.shard_rows, *_whole_chunks(meta)]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _fill(meta.dtype),
        "codecs": [{"name": "sharding_indexed", "configuration": sharding}],
        "dimension_names": ["sample", *meta.dims],
        "attributes": dict(meta.attributes),
        "storage_transformers": [],
    }


def extent_name(array: str) -> str:
    """Name of the companion with the extent of each sample of the array."""
    return f"{array}.extent"


def companion_document(rows: int, dtype: str, attributes: Mapping[str, Any], *, axes: int = 0) -> dict[str, Any]:
    """The `zarr.json` of `valid` or `row`: one dimension, plain chunks. `axes`: second dimension of an `extent`."""
    more = [axes] if axes else []
    itemsize = np.dtype(dtype).itemsize
    return {
        "zarr_format": 3,
        "node_type": "array",
        "shape": [rows, *more],
        "data_type": dtype,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [min(rows, COMPANION_CHUNK), *more]}},
        "chunk_key_encoding": {"name": "default", "configuration": {"separator": "/"}},
        "fill_value": _fill(dtype),
        "codecs": [_bytes_codec(itemsize)],
        "dimension_names": ["sample", *(["axis"] if axes else [])],
        "attributes": dict(attributes),
        "storage_transformers": [],
    }


def group_document(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """The `zarr.json` of a group."""
    return {"zarr_format": 3, "node_type": "group", "attributes": dict(attributes)}


def dump(document: Mapping[str, Any]) -> bytes:
    """JSON bytes, the same for the same document."""
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=True).encode()


def create_document(objects: Objects, key: str, document: Mapping[str, Any]) -> None:
    """Create `key/zarr.json`, or check that the existing one is the same. Raises StudyError if it differs."""
    data = dump(document)
    if objects.create(f"{key}/zarr.json", data):
        return
    wanted = json.loads(data)
    try:
        existing = json.loads(objects.get(f"{key}/zarr.json"))
        if not isinstance(existing, dict):
            raise ValueError("not an object")
    except (ValueError, RecursionError):  # damaged: its content is known
        objects.put(f"{key}/zarr.json", data)
        return
    if existing == wanted:
        return
    changed = [name for name in {*existing, *wanted} if existing.get(name) != wanted.get(name)]
    field_name = sorted(changed)[0]
    raise StudyError(
        f"{objects.url}/{key}: an array of another kind exists: {field_name} is {existing.get(field_name)!r}, "
        f"this run needs {wanted.get(field_name)!r}. Use another stage id, `--replace`, or a new --out."
    )


def write_companion(objects: Objects, key: str, values: np.ndarray) -> None:
    """Write all chunks of `valid` or `row` at array key `key`."""
    for name, chunk in zip(companion_keys(key, values), companion_chunks(values)):
        objects.put(name, chunk)


def companion_keys(key: str, values: np.ndarray) -> list[str]:
    """Keys of the chunks of a companion, in order."""
    return [f"{key}/c/{index}{'/0' * (values.ndim - 1)}" for index in range(-(-len(values) // COMPANION_CHUNK))]


def companion_chunks(values: np.ndarray) -> Iterator[bytes]:
    """The chunks of `valid` or `row`, in order."""
    for start in range(0, len(values), COMPANION_CHUNK):
        yield values[start : start + COMPANION_CHUNK].astype(values.dtype.newbyteorder("<")).tobytes()


def read_companion(objects: Objects, key: str, rows: int, dtype: str) -> np.ndarray:
    """Read `valid` or `row`; chunks never written are zeros."""
    out = np.zeros(rows, dtype)
    for index, start in enumerate(range(0, rows, COMPANION_CHUNK)):
        try:
            data = objects.get(f"{key}/c/{index}")
        except Missing:
            continue
        if len(data) != min(rows, COMPANION_CHUNK) * out.itemsize:
            raise StudyError(f"{objects.url}/{key}/c/{index}: length does not match its array; `xlli verify --repair` writes it again")
        out[start : start + COMPANION_CHUNK] = np.frombuffer(data, dtype)[: rows - start]
    return out


def read_array_meta(objects: Objects, key: str) -> ArrayMeta:
    """The ArrayMeta of the array at `key`, after checks for safe reading.

    Zarr v3 only, an allow-list of codecs and dtypes (some codecs of other formats execute code), our sharding. Raises StudyError.
    """
    try:
        data = objects.get(f"{key}/zarr.json")
    except Missing as error:
        raise StudyError(f"{objects.url}/{key}: no such array") from error
    try:
        document = json.loads(data)
        if document["zarr_format"] != 3 or document["node_type"] != "array":
            raise StudyError(f"{objects.url}/{key}: not a Zarr v3 array")
        if document["data_type"] not in DTYPES:
            raise StudyError(f"{objects.url}/{key}: data type {document['data_type']!r} is not supported")
        (sharding,) = document["codecs"]
        inner = sharding["configuration"]["codecs"]
        names = {sharding["name"], *(codec["name"] for codec in inner)}
        names |= {codec["name"] for codec in sharding["configuration"]["index_codecs"]}
        if not names <= _CODECS or sharding["name"] != "sharding_indexed":
            raise StudyError(f"{objects.url}/{key}: codecs {sorted(names)} are not all among {sorted(_CODECS)}")
        rows, *shape = document["shape"]
        meta = ArrayMeta(
            name=key.rsplit("/", 1)[-1],
            rows=rows,
            shard_rows=document["chunk_grid"]["configuration"]["chunk_shape"][0],
            shape=tuple(shape),
            dtype=document["data_type"],
            dims=tuple(document["dimension_names"][1:]),
            codec="blosc" if any(codec["name"] == "blosc" for codec in inner) else "none",
            attributes=document["attributes"],
            tile=tuple(sharding["configuration"]["chunk_shape"][1:]) if "extent" in document["attributes"] else (),
        )
        if tuple(sharding["configuration"]["chunk_shape"]) != (1, *meta.grid.chunk):
            raise StudyError(f"{objects.url}/{key}: inner chunks have an unsupported shape")
    except StudyError:
        raise
    except (KeyError, ValueError, IndexError, TypeError, AttributeError, RecursionError) as error:
        raise StudyError(f"{objects.url}/{key}/zarr.json: not as the store format says ({error!r})") from error
    return meta
