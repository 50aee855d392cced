"""Reading the corpus once: which files there are, whether each is good, its size, and which of its patches are
used.

`scan_source` reads one file and never fails for a bad one: it returns a plain, JSON-serializable row. `table.expand` makes
the sample table from the rows. Nothing here depends on the order in which files are found or scanned.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from xlli_ray.corpus.box import Box
from xlli_ray.corpus.decode import PIXEL_BYTES, Decoded, decode, to_u8
from xlli_ray.corpus.files.patterns import shown
from xlli_ray.corpus.files.sources import list_files, read_bytes
from xlli_ray.corpus.ids import content_id, seen, sha256_hex
from xlli_ray.corpus.kinds.kind import Source, in_order, kind_of
from xlli_ray.corpus.patches import choose, tile_stds
from xlli_ray.corpus.patches import tiles as all_tiles
from xlli_ray.corpus.sample import Decoder, sample_from_row
from xlli_ray.corpus.spec import CorpusSpec, PatchSpec
from xlli_ray.corpus.table import SCHEMA, expand
from xlli_ray.errors import EnvironmentFailure, SampleError

__all__ = [
    "SCHEMA",
    "CorpusSpec",
    "PatchSpec",
    "Source",
    "expand",
    "list_sources",
    "sample_from_row",
    "scan_source",
]


READINGS = 3
"""Maximum number of times that a file whose bytes are not an image is read until two readings agree."""


SCAN_BYTES = 2**30
"""Larger images are refused before decoding, unless the recipe sets `max_pixels`: a file of 11 kB can contain 10,000² pixels.

Workers do not check this again: images accepted by a scan stay accepted."""


def list_sources(spec: CorpusSpec, base: Path | str) -> Sequence[Source]:
    """All sources of the corpus, sorted; those of real sets come last.

    Relative paths are relative to the folder `base`; those inside a `list` file to its folder. Raises RecipeError for a
    pattern that matches nothing, pairs that do not match, and a list that cannot be read.
    """
    real = spec.pies.real if spec.pies is not None else {}
    inputs = [Source("inputs", uri, real=name) for name, globs in real.items() for uri in list_files(globs, base)]
    given = in_order(kind_of(spec.kind).sources(spec.given, spec, base))
    return [*given, *in_order(inputs)] if inputs else given


def scan_source(source: Source, spec: CorpusSpec, seed: int, read: Callable[[str], bytes] | None = None) -> dict[str, Any]:
    """One row of plain values. `read`: from URI to bytes, `read_bytes` unless given.

    `status` is `ok`, `failed` (a bad file) or `skipped` (a good file without a usable patch).
    Keys: kind, uri, target, real, status, reason (None when ok), sha, target_sha, bits, mode, scale (0: unknown), height and
    width (of the image or input), target_height and target_width (pairs), size (of patches; None: whole image), boxes
    ([top, left] in the order of selection, cut to per_image). What was not reached is None. If given: mask, mask_sha, label,
    parameters, columns ([name, type, cell]). Raises only EnvironmentFailure: see `read_bytes`.
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
    told = {"label": source.label, "parameters": source.parameters, "columns": [list(column) for column in source.columns]}
    row |= {name: value for name, value in told.items() if value} | ({} if source.mask is None else {"mask": source.mask})
    try:
        if unnamed := [uri for uri in source.files if shown(uri) != uri]:
            row |= {"uri": shown(source.uri), "target": source.target and shown(source.target)}
            raise SampleError(f"its name is not UTF-8: {shown(unnamed[0])}; rename the file")
        kind_of(source.kind).scan(source, Look(spec, patches, seed, read or read_bytes), row)
    except SampleError as error:
        row |= {"status": "failed", "reason": str(error), "boxes": None}
    return row


@dataclass(frozen=True)
class Tiles:
    """Tiles of one image: all, those that are not flat, and the largest standard deviation."""

    all: list[Box]
    varied: list[Box]
    best: float


@dataclass(frozen=True)
class Look:
    """What a kind needs to scan a source: the corpus section, the patches (None: whole images), the seed, and the reader of files."""

    corpus: CorpusSpec
    patches: PatchSpec | None
    seed: int
    bytes_of: Callable[[str], bytes]

    @property
    def max_pixels(self) -> int:
        """Larger images are refused."""
        return self.corpus.max_pixels or SCAN_BYTES // PIXEL_BYTES

    def read(self, uri: str, decoder: Decoder = decode) -> tuple[str, Decoded]:
        """sha256 and image of one file. Raises SampleError if it is bad."""
        return _read(uri, self.max_pixels, self.bytes_of, decoder)

    def describe(self, uri: str, row: dict[str, Any], decoder: Decoder = decode) -> Decoded:
        """The image of one file; its sha256, size, bits and mode are put into `row`."""
        row["sha"], decoded = self.read(uri, decoder)
        row |= {"bits": decoded.bits, "mode": decoded.mode}
        row["height"], row["width"] = decoded.pixels.shape[:2]
        return decoded

    def choose(self, row: dict[str, Any], decoded: Decoded) -> None:
        """Put the patches of `decoded` into `row`: the target, or the input if there is none."""
        if self.patches is None:
            return
        tiles = self.tiles(row, decoded)
        row["boxes"] = self.pick(tiles, seen(row["sha"], row["target_sha"], row.get("label", "")), row["target_sha"])
        height, width = decoded.pixels.shape[:2]
        if not tiles.all:
            row |= {"status": "skipped", "reason": f"no patch: {width} x {height} pixels have no tile of size {self.patches.size}"}
        elif not tiles.varied:
            best = f"the most varied of {len(tiles.all)} has {tiles.best:.2f}"
            row |= {"status": "skipped", "reason": f"no patch: min_std is {self.patches.min_std:g}, {best}"}

    def tiles(self, row: dict[str, Any], decoded: Decoded) -> Tiles:
        """The tiles of `decoded`; `row` has the scale. Raises SampleError if they do not fit the input's pixels."""
        assert self.patches is not None
        if row["scale"] and self.patches.size % row["scale"]:
            raise SampleError(f"patches.size {self.patches.size} is not a multiple of this pair's scale {row['scale']}")
        image = to_u8(decoded.pixels)
        every, spreads = all_tiles(image.shape[0], image.shape[1], self.patches.size), tile_stds(image, self.patches.size)
        varied = [box for box, spread in zip(every, spreads, strict=True) if spread >= self.patches.min_std]
        return Tiles(every, varied, max(spreads, default=0.0))

    def pick(self, tiles: Tiles, sha: str, target_sha: str | None) -> list[list[int]]:
        """[top, left] of the selected tiles, in the order of selection. The sha256s are those of the images that they are cut from."""
        assert self.patches is not None
        contents = [content_id(sha, target_sha, box) for box in tiles.varied]
        return [[box.top, box.left] for box in choose(tiles.varied, contents, self.seed, self.patches.per_image)]


def _read(uri: str, max_pixels: int, read: Callable[[str], bytes], decoder: Decoder) -> tuple[str, Decoded]:
    """sha256 and image. A file that cannot be decoded is read once more: bytes truncated or corrupted in transit are not the file's."""
    data = read(uri)
    for _ in range(READINGS):
        try:
            return sha256_hex(data), decoder(data, max_pixels=max_pixels)
        except SampleError:
            again = read(uri)
            if again == data:
                raise
            data = again
    raise EnvironmentFailure(
        errno.EIO, f"{uri} gives different bytes at each reading: is someone writing it, or is the disk or the network failing? Nothing is "
        "marked as failed; run the same command again when it is stable",
    )  # fmt: skip
