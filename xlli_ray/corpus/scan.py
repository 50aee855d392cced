"""Reading the corpus once: what files there are, whether each is good, how large it is, which of its patches will be
looked at.

`scan_source` looks at one file and never fails for a bad one: it returns a plain, JSON-able row. `table.expand` makes
the sample table of the rows. Nothing here depends on the order in which files are found or scanned.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
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
"""Maximum number of times that a file whose bytes are not an image is read, until two readings agree."""


SCAN_BYTES = 2**30
"""A picture that would be larger once decoded is refused, unless the recipe says `max_pixels`: a file of 11 kB can hold 10,000² pixels.

Workers do not ask again: what a scan took in stays in."""


def list_sources(spec: CorpusSpec, base: Path | str) -> list[Source]:
    """All sources of the corpus, sorted; those of real sets come last.

    Relative paths start at the folder `base`; those inside a `list` file at its own folder. Raises RecipeError for a
    pattern that matches nothing, pairs that do not fit together, and a list that cannot be read.
    """
    real = spec.pies.real if spec.pies is not None else {}
    inputs = [Source("inputs", uri, real=name) for name, globs in real.items() for uri in list_files(globs, base)]
    return in_order(kind_of(spec.kind).sources(spec.given, spec, base)) + in_order(inputs)


def scan_source(source: Source, spec: CorpusSpec, seed: int, read: Callable[[str], bytes] | None = None) -> dict[str, Any]:
    """One row of plain values. `read`: from URI to bytes, `read_bytes` unless given.

    `status` is `ok`, `failed` (a bad file) or `skipped` (a good file without a patch to look at).
    Keys: kind, uri, target, real, status, reason (None when ok), sha, target_sha, bits, mode, scale (0: unknown), height and
    width (of the image or input), target_height and target_width (pairs), size (of patches; None: whole image), boxes
    ([top, left] in the order chosen, cut to per_image). What was not reached is None. And where they are told: mask, mask_sha, label,
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
    """Tiles of one image: all, those that are not flat, and the standard deviation of the most varied one."""

    all: list[Box]
    varied: list[Box]
    best: float


@dataclass(frozen=True)
class Look:
    """What a kind needs to scan a source: the corpus section, which patches (None: whole images), the seed, and how files are read."""

    corpus: CorpusSpec
    patches: PatchSpec | None
    seed: int
    bytes_of: Callable[[str], bytes]

    @property
    def max_pixels(self) -> int:
        """Larger images are refused."""
        return self.corpus.max_pixels or SCAN_BYTES // PIXEL_BYTES

    def read(self, uri: str, decoder: Decoder = decode) -> tuple[str, Decoded]:
        """sha256 and image of one file. Raises SampleError when it is bad."""
        return _read(uri, self.max_pixels, self.bytes_of, decoder)

    def describe(self, uri: str, row: dict[str, Any], decoder: Decoder = decode) -> Decoded:
        """The image of one file; its sha256, size, bits and mode are put into `row`."""
        row["sha"], picture = self.read(uri, decoder)
        row |= {"bits": picture.bits, "mode": picture.mode}
        row["height"], row["width"] = picture.pixels.shape[:2]
        return picture

    def choose(self, row: dict[str, Any], picture: Decoded) -> None:
        """Put the patches of `picture` into `row`: the target, or the input where there is none."""
        if self.patches is None:
            return
        tiles = self.tiles(row, picture)
        row["boxes"] = self.pick(tiles, seen(row["sha"], row["target_sha"], row.get("label", "")), row["target_sha"])
        height, width = picture.pixels.shape[:2]
        if not tiles.all:
            row |= {"status": "skipped", "reason": f"no patch: {width} x {height} pixels hold no tile of {self.patches.size}"}
        elif not tiles.varied:
            best = f"the most varied of {len(tiles.all)} has {tiles.best:.2f}"
            row |= {"status": "skipped", "reason": f"no patch: min_std is {self.patches.min_std:g}, {best}"}

    def tiles(self, row: dict[str, Any], picture: Decoded) -> Tiles:
        """The tiles of `picture`; `row` says the scale. Raises SampleError when they do not fit the input's pixels."""
        assert self.patches is not None
        if row["scale"] and self.patches.size % row["scale"]:
            raise SampleError(f"patches.size {self.patches.size} is no multiple of this pair's scale {row['scale']}")
        image = to_u8(picture.pixels)
        every, spreads = all_tiles(image.shape[0], image.shape[1], self.patches.size), tile_stds(image, self.patches.size)
        varied = [box for box, spread in zip(every, spreads, strict=True) if spread >= self.patches.min_std]
        return Tiles(every, varied, max(spreads, default=0.0))

    def pick(self, found: Tiles, sha: str, target_sha: str | None) -> list[list[int]]:
        """[top, left] of the tiles that are taken, in the order chosen. The sha256s are those of what they are cut from."""
        assert self.patches is not None
        contents = [content_id(sha, target_sha, box) for box in found.varied]
        return [[box.top, box.left] for box in choose(found.varied, contents, self.seed, self.patches.per_image)]


def _read(uri: str, max_pixels: int, read: Callable[[str], bytes], decoder: Decoder) -> tuple[str, Decoded]:
    """sha256 and picture. What cannot be decoded is read once more: bytes that were cut or mixed up on their way are not the file's."""
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
        errno.EIO, f"{uri} gives other bytes at each reading: is somebody writing it, or does the disk or the network fail? Nothing is "
        "marked as failed; run the same command again when it is steady",
    )  # fmt: skip
