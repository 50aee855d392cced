"""Reading the corpus once: what files there are, whether each is good, how large it is, which of its patches will be
looked at.

`scan_source` looks at one file and never fails for a bad one: it returns a plain, JSON-able row. `table.expand` makes
the sample table of the rows. Nothing here depends on the order in which files are found or scanned.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from xlli_ray.corpus.decode import PIXEL_BYTES, Decoded, decode, to_u8
from xlli_ray.corpus.files.patterns import shown
from xlli_ray.corpus.files.sources import absolute, list_files, pair_files, read_bytes
from xlli_ray.corpus.ids import content_id, sha256_hex
from xlli_ray.corpus.patches import choose, tile_stds, tiles
from xlli_ray.corpus.sample import Kind, sample_from_row
from xlli_ray.corpus.spec import CorpusSpec, PairSpec, PatchSpec
from xlli_ray.corpus.table import SCHEMA, expand
from xlli_ray.errors import EnvironmentFailure, RecipeError, SampleError

__all__ = [
    "SCHEMA",
    "CorpusSpec",
    "PairSpec",
    "PatchSpec",
    "Source",
    "expand",
    "list_sources",
    "sample_from_row",
    "scan_source",
]


READINGS = 3
"""Most times that a file is read whose bytes are no picture, until two readings agree."""


SCAN_BYTES = 2**30
"""A picture that would be larger once decoded is refused, unless the recipe says `max_pixels`: a file of 11 kB can hold 10,000² pixels.

Workers do not ask again: what a scan took in stays in."""


@dataclass(frozen=True, order=True)
class Source:
    """One picture, or one pair, of the corpus.

    `uri`: the clean image or the input; `target`: of pairs only. `real`: name of the real set that an input belongs to, else empty.
    """

    kind: Kind
    uri: str
    target: str | None = None
    real: str = ""


def list_sources(spec: CorpusSpec, base: Path | str) -> list[Source]:
    """All sources of the corpus, sorted; those of real sets come last.

    Relative paths start at the folder `base`; those inside a `list` file at its own folder. Raises RecipeError for a
    pattern that matches nothing, pairs that do not fit together, and a list that cannot be read.
    """
    real = spec.pies.real if spec.pies is not None else {}
    inputs = sorted(Source("inputs", uri, real=name) for name, globs in real.items() for uri in list_files(globs, base))
    if spec.images is not None:
        return [Source("images", uri) for uri in list_files(spec.images, base)] + inputs
    if spec.inputs is not None:
        return [Source("inputs", uri) for uri in list_files(spec.inputs, base)]
    if spec.pairs is not None:
        return [Source("pairs", *pair) for pair in pair_files(spec.pairs.input, spec.pairs.target, base)]
    assert spec.list is not None  # the spec has exactly one source
    return _read_list(spec, base) + inputs


def scan_source(source: Source, spec: CorpusSpec, seed: int, read: Callable[[str], bytes] | None = None) -> dict[str, Any]:
    """One row of plain values. `read`: from URI to bytes, `read_bytes` unless given.

    `status` is `ok`, `failed` (a bad file) or `skipped` (a good file without a patch to look at).
    Keys: kind, uri, target, real, status, reason (None when ok), sha, target_sha, bits, mode, scale (0: unknown), height and
    width (of the image or input), target_height and target_width (pairs), size (of patches; None: whole image), boxes
    ([top, left] in the order chosen, cut to per_image). What was not reached is None. Raises only EnvironmentFailure:
    see `read_bytes`.
    """
    row: dict[str, Any] = {
        "kind": source.kind,
        "uri": source.uri,
        "target": source.target,
        "real": source.real,
        "status": "ok",
        "reason": None,
    }
    row |= dict.fromkeys(
        ("sha", "target_sha", "bits", "mode", "scale", "height", "width", "target_height", "target_width")
    )
    patches = spec.patches_of(source.kind)
    row |= {"size": patches.size if patches else None, "boxes": None}
    try:
        if unnamed := [uri for uri in (source.uri, source.target) if uri is not None and shown(uri) != uri]:
            row |= {"uri": shown(source.uri), "target": source.target and shown(source.target)}
            raise SampleError(f"its name is not UTF-8: {shown(unnamed[0])}; rename the file")
        _measure(source, spec, patches, seed, row, read or read_bytes)
    except SampleError as error:
        row |= {"status": "failed", "reason": str(error), "boxes": None}
    return row


def _measure(
    source: Source, spec: CorpusSpec, patches: PatchSpec | None, seed: int, row: dict[str, Any], read: Callable[[str], bytes]
) -> None:
    """Fill `row`. Raises SampleError."""
    limit = spec.max_pixels or SCAN_BYTES // PIXEL_BYTES
    row["sha"], picture = _read(source.uri, limit, read)
    row |= {"bits": picture.bits, "mode": picture.mode}
    row["height"], row["width"] = height, width = picture.pixels.shape[:2]
    whole = picture
    if source.kind == "pairs":
        assert source.target is not None
        try:
            row["target_sha"], whole = _read(source.target, limit, read)
        except SampleError as error:
            raise SampleError(f"target {source.target}: {error}") from error
        row["target_height"], row["target_width"] = tall, wide = whole.pixels.shape[:2]
        scale = tall // height
        if (tall, wide) != (scale * height, scale * width):
            raise SampleError(
                f"sizes of the pair do not fit: input {width} x {height}, target {wide} x {tall};"
                " expected a target that is the same whole number of times larger both ways"
            )
    elif source.kind == "images":
        scale = spec.scale or 1
        if min(height, width) < scale:
            raise SampleError(f"too small: {width} x {height} pixels cannot be made {scale} times smaller")
    else:
        scale = 0
    row["scale"] = scale
    if patches is not None:
        if scale and patches.size % scale:
            raise SampleError(f"patches.size {patches.size} is no multiple of this pair's scale {scale}")
        _choose(row, to_u8(whole.pixels), patches, seed)


def _choose(row: dict[str, Any], image: NDArray[np.uint8], patches: PatchSpec, seed: int) -> None:
    height, width = image.shape[:2]
    candidates = tiles(height, width, patches.size)
    spreads = tile_stds(image, patches.size)
    boxes = [box for box, spread in zip(candidates, spreads, strict=True) if spread >= patches.min_std]
    contents = [content_id(row["sha"], row["target_sha"], box) for box in boxes]
    row["boxes"] = [[box.top, box.left] for box in choose(boxes, contents, seed, patches.per_image)]
    if not candidates:
        row |= {"status": "skipped", "reason": f"no patch: {width} x {height} pixels hold no tile of {patches.size}"}
    elif not boxes:
        best = f"the most varied of {len(spreads)} has {max(spreads):.2f}"
        row |= {"status": "skipped", "reason": f"no patch: min_std is {patches.min_std:g}, {best}"}


def _read(uri: str, max_pixels: int, read: Callable[[str], bytes]) -> tuple[str, Decoded]:
    """sha256 and picture. What cannot be decoded is read once more: bytes that were cut or mixed up on their way are not the file's."""
    data = read(uri)
    for _ in range(READINGS):
        try:
            return sha256_hex(data), decode(data, max_pixels=max_pixels)
        except SampleError:
            again = read(uri)
            if again == data:
                raise
            data = again
    raise EnvironmentFailure(
        errno.EIO, f"{uri} gives other bytes at each reading: is somebody writing it, or does the disk or the network fail? Nothing is "
        "marked as failed; run the same command again when it is steady",
    )  # fmt: skip


def _read_list(spec: CorpusSpec, base: Path | str) -> list[Source]:
    """Sources of a Parquet file with a column `image`, or `input`, or `input` and `target`.

    Other columns are not looked at.
    """
    uri = absolute(spec.list or "", base)
    try:
        table = pq.read_table(BytesIO(read_bytes(uri)))
    except SampleError as error:
        raise RecipeError(f"corpus.list: {error}") from error
    except pa.ArrowException as error:
        raise RecipeError(f"corpus.list: {uri} is no Parquet file: {error}") from error
    names = [name for name in ("image", "input", "target") if name in table.column_names]
    if names not in (["image"], ["input"], ["input", "target"]):
        raise RecipeError(
            f"corpus.list: {uri} has columns {', '.join(table.column_names)};"
            " expected image, or input, or input and target"
        )
    if names == ["image"] and spec.scale is None:
        raise RecipeError(
            "corpus.scale is missing: the list holds images; how many times smaller is the input? 1 for the same size"
        )
    if names != ["image"] and (spec.scale is not None or spec.degradations is not None or spec.pies is not None):
        raise RecipeError(
            "corpus.scale, corpus.degradations and corpus.pies go only with images, and the list holds inputs: leave them out"
        )
    columns = []
    for name in names:
        column = table[name]
        if not (pa.types.is_string(column.type) or pa.types.is_large_string(column.type)) or column.null_count:
            raise RecipeError(f"corpus.list: column {name} of {uri} must hold a text in every row")
        columns.append([absolute(entry, Path(uri).parent) for entry in column.to_pylist()])
    kind: Kind = "images" if names == ["image"] else "pairs" if len(names) == 2 else "inputs"
    return sorted({Source(kind, *entry) for entry in zip(*columns, strict=True)})
