"""Patches from files of one's own: `pool: ["photos/*.png"]`.

The files are listed and hashed when the recipe is read, so that a map's identity has what the files contain and not where they lie; names
play no part in which patches are drawn either. An image that has changed since, or that a node does not see, stops the run.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from xlli_ray.errors import EnvironmentFailure, RecipeError, SampleError, counted

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

MOST_FILES = 1000
"""Images of a pool: each is read, hashed and, for its patches, degraded as a whole."""


class PoolFile(BaseModel):
    """One image."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    uri: str
    sha256: str
    height: int
    width: int

    def places(self, side: int, scale: int) -> int:
        """In how many places a square of `side` pixels fits into the image reduced by `scale`."""
        rows, columns = (max(0, size // scale - side + 1) for size in (self.height, self.width))
        return rows * columns


class OwnPool(BaseModel):
    """Globs or addresses of images; `found` is their content, each image once, by sha256."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    files: list[str] = Field(min_length=1)
    found: list[PoolFile] = Field(default_factory=list)

    def problem(self, side: int, scale: int, count: int) -> str:
        """Why `count` patches of `side` input pixels cannot be drawn at `scale`; '' if they can."""
        small = [file for file in self.found if not file.places(side, scale)]
        if small:
            one = min(small, key=lambda file: (min(file.height, file.width), file.uri))
            return (
                f"pool: {counted(len(small), 'image')} too small for a patch of {side} input pixels at scale {scale}: {one.uri} has "
                f"{one.width}×{one.height} pixels, expected {side * scale} or more a side; leave such files out, or use smaller blocks"
            )
        if (places := sum(file.places(side, scale) for file in self.found)) < count:
            return (
                f"pool: too few patches: {counted(len(self.found), 'image')} with {places} different patches of {side} input pixels at "
                f"scale {scale}, pool_size asks for {count}; add images, or lower pool_size"
            )
        return ""


def found_files(patterns: Sequence[str], resolve: Callable[[str], str]) -> dict[str, Any]:
    """The fields of an `OwnPool`. `resolve`: from a path beside the recipe to an absolute one. Raises RecipeError for a pattern that
    matches nothing, too many files, and a file that is no image or cannot be read."""
    from xlli_ray.corpus.decode import size_of
    from xlli_ray.corpus.files.sources import list_files, read_bytes
    from xlli_ray.corpus.ids import sha256_hex

    absolute = [resolve(pattern) for pattern in patterns]
    try:
        uris = list_files(list(patterns), resolve("."))
    except RecipeError as error:
        raise RecipeError(f"pool: {error}") from error
    if len(uris) > MOST_FILES:
        raise RecipeError(f"pool: {len(uris)} files, expected at most {MOST_FILES}: an image has many patches; name fewer files")
    files: dict[str, dict[str, Any]] = {}
    for uri in uris:
        try:
            data = read_bytes(uri)
            height, width = size_of(data)
        except (SampleError, EnvironmentFailure) as error:
            raise RecipeError(f"pool: {uri} cannot be used: {error}") from error
        sha = sha256_hex(data)
        files.setdefault(sha, {"uri": uri, "sha256": sha, "height": height, "width": width})
    return {"files": absolute, "found": [files[sha] for sha in sorted(files)]}


def pixels_of(file: PoolFile) -> NDArray[np.float32]:
    """(H, W, 3) in 0..1. Raises EnvironmentFailure for a file that is missing here, damaged, or not the one that was found."""
    from xlli_ray.corpus.decode import decode
    from xlli_ray.corpus.files.sources import read_bytes
    from xlli_ray.corpus.ids import sha256_hex

    try:
        data = read_bytes(file.uri)
        if (now := sha256_hex(data)) != file.sha256:
            raise SampleError(f"changed since the recipe was read: expected sha256 {file.sha256}, found {now}")
        return decode(data).pixels
    except SampleError as error:
        raise EnvironmentFailure(f"pool: {file.uri}: {error}. Restore the file, or leave it out of `pool`, then run again") from error
