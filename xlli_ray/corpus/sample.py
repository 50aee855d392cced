"""From a row of the sample table to a network's input: files are read and checked here, the rest is up to the sample's kind (`kinds/`)."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.box import Box
from xlli_ray.corpus.cache import Cache, T
from xlli_ray.corpus.decode import MAX_PIXELS, Decoded, decode
from xlli_ray.corpus.degradations import Mixture, parse_label
from xlli_ray.corpus.files.faults import FileFault
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.corpus.kinds.kind import kind_of
from xlli_ray.corpus.patches import crop
from xlli_ray.corpus.size import Size
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, SampleError

CACHE_BYTES = 256 * 2**20
Decoder = Callable[..., Decoded]
"""(bytes, max_pixels=) → image."""


@dataclass(frozen=True)
class Sample:
    """One row of the sample table.

    `source`: URI of the clean image (kind `images`) or of the input; `target`: URI of a pair's target, else None.
    `label`: degradation, `given` for inputs used unchanged. `scale`: target size over input size; 0 where the
    model decides (`inputs`). `box`: the patch in pixels of the target (of the input if there is no target), None for
    the whole image. `height`, `width`: of the input. `frames`: of a clip; 0: an image.
    """

    row: int
    sample_id: str
    content: str
    source: str
    source_sha: str
    target: str | None
    target_sha: str | None
    label: str
    scale: int
    kind: str
    seed: int
    box: Box | None
    height: int
    width: int
    frames: int = 0
    first_frame: int = 0
    """For a clip: the number of its first frame."""
    frame_files: tuple[tuple[str, str], ...] = ()
    """For a clip: (URI, sha256) of each frame's file, or of the single video."""
    target_files: tuple[tuple[str, str], ...] = ()
    mask: str | None = None
    """URI of a pair's mask; "" if it has none but others of the corpus do."""
    mask_sha: str | None = None
    columns: Mapping[str, Any] = field(default_factory=dict, hash=False)
    """Values of the columns that its kind declares (`CorpusKind.COLUMNS`)."""

    @property
    def size(self) -> Size:
        """Size of the input, with its axes and shape."""
        return Size(self.height, self.width, self.frames)

    @property
    def files(self) -> tuple[tuple[str, str], ...]:
        """(URI, sha256) of each file that it is made from."""
        if self.frame_files:
            return self.frame_files + self.target_files
        all_files = ((self.source, self.source_sha), (self.target, self.target_sha), (self.mask, self.mask_sha))
        return tuple((uri, sha) for uri, sha in all_files if uri and sha is not None)


@dataclass(frozen=True)
class Loaded:
    """The input of a network, and its target.

    `input`: float32, (3, H, W), for a clip (T, 3, H, W), RGB in 0..1, C-contiguous. `target`: the same, `scale` times as high and wide, or
    None.
    """

    input: NDArray[np.float32]
    target: NDArray[np.float32] | None
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """By-products of the degradation, by name: (H, W) or (H, W, C) of the domain in which they arise, the input or the target; and the mask
    of a pair."""


def study_loader(corpus: Mapping[str, Any], **options: Any) -> Loader:
    """A loader for samples of the corpus section of a study's recipe: its degradations, its limit of pixels, a cache if images are needed
    more than once. `options`: the other arguments of `Loader`."""
    try:
        spec = CorpusSpec(**corpus)
    except ValueError:  # a study of an older version, or with degradations whose code is missing: those samples report it
        return Loader(max_pixels=corpus.get("max_pixels") or MAX_PIXELS, **options)
    cached = CACHE_BYTES if spec.files_shared else 0
    return Loader(max_pixels=spec.max_pixels or MAX_PIXELS, cache_bytes=cached, mixture=spec.mixture, beside=spec.mixtures, **options)


class Loader:
    """Loads samples; thread-safe.

    Rows are sorted so that patches of one image follow each other, hence a small memory of decoded and of downscaled
    images (`cache_bytes` together, and `cache.LARGE` larger ones) avoids nearly all repeated work. Threads that need the
    same image wait for one decoding.
    """

    def __init__(
        self,
        *,
        max_pixels: int = MAX_PIXELS,
        cache_bytes: int = CACHE_BYTES,
        read: Callable[[str], bytes] = read_bytes,
        blame: Callable[[str, FileFault, str], Exception] = lambda uri, fault, sha: fault,
        mixture: Callable[[str], Mixture] = parse_label,
        beside: Sequence[Mixture] = (),
    ) -> None:
        """`mixture`: the mixture of a label of the sample table. `beside`: mixtures whose by-products a sample gets as zeros.
        `blame`: returns the error for a file whose bytes do not have the given sha256 (`outages.Watch.blame`)."""
        self.max_pixels = max_pixels
        self._read, self._blame, self._mixture, self.beside = read, blame, mixture, beside
        self._cache = Cache(cache_bytes)

    def load(self, sample: Sample, *, into: NDArray[np.float32] | None = None) -> Loaded:
        """Input and target of `sample`.

        `into`: destination of the input, if it has its shape: a place in a batch avoids a copy. `Loaded.input` is where it ended up.

        Raises SampleError if a file cannot be read or decoded, or is not the one that was scanned; EnvironmentFailure
        as `read`.
        """
        try:
            kind = kind_of(sample.kind)
        except RecipeError as error:
            raise SampleError(str(error)) from error
        return kind.load(sample, self, into)

    def files(self, sample: Sample) -> list[str]:
        """URIs that `load` would read now: without those of images that are still in memory."""
        return [uri for uri, sha in sample.files if not self._cache.holds(("pixels", sha))]

    # -- for kinds ----------------------------------------------------------------------------------------------

    def mixture(self, label: str) -> Mixture:
        """The mixture of a label of the sample table. Raises SampleError."""
        try:
            return self._mixture(label)
        except RecipeError as error:
            raise SampleError(f"{label}: {error}") from error

    def remember(self, key: Hashable, make: Callable[[], T]) -> T:
        """The result of `make`, from the cache if it was made before."""
        return self._cache.get(key, make)

    def pixels(self, uri: str, sha: str, decoder: Decoder | None = None) -> NDArray[np.float32]:
        """(H, W, 3) in 0..1 of a file whose bytes have that sha256; read-only."""
        return self.remember(("pixels", sha), lambda: (decoder or decode)(self.bytes_of(uri, sha), max_pixels=self.max_pixels).pixels)

    def bytes_of(self, uri: str, sha: str) -> bytes:
        """The bytes of a file, which have that sha256."""
        data = self._read(uri)
        if sha256_hex(data) != sha:
            data = self._read(uri)  # read again: bytes truncated or corrupted in transit are not the file's
        if (now := sha256_hex(data)) != sha:
            fault = FileFault("changed", f"changed since scan: {uri}: expected sha256 {sha}, found {now}; scan again")
            raise self._blame(uri, fault, sha)
        return data


def sample_from_row(row: dict[str, Any]) -> Sample:
    """A row of the sample table (`table.SCHEMA`; as returned by pyarrow's `to_pylist`) -> Sample."""
    return Sample(
        row=row["row"],
        sample_id=row["sample_id"],
        content=row["content"],
        source=row["source"],
        source_sha=row["source_sha"],
        target=row["target"],
        target_sha=row["target_sha"],
        label=row["label"],
        scale=row["scale"],
        kind=row["kind"],
        seed=row["seed"],
        box=None if row["top"] is None else Box(row["top"], row["left"], row["size"]),
        height=row["height"],
        width=row["width"],
        frames=row.get("frames") or 0,
        first_frame=row.get("first_frame") or 0,
        frame_files=_files(row, "frame"),
        target_files=_files(row, "target_frame"),
        mask=row["mask"] or "" if "mask" in row else None,
        mask_sha=row.get("mask_sha"),
        columns=_columns(row),
    )


def _columns(row: Mapping[str, Any]) -> dict[str, Any]:
    """Empty for a kind whose code no recipe has allowed: its samples cannot be loaded, but their table can be read."""
    try:
        return {name: row.get(name) for name in kind_of(row["kind"]).COLUMNS}
    except RecipeError:
        return {}


def _files(row: dict[str, Any], name: str) -> tuple[tuple[str, str], ...]:
    return tuple(zip(row.get(f"{name}_sources") or (), row.get(f"{name}_shas") or (), strict=True))


def cut(image: NDArray[Any], box: Box | None, *, scale: int = 1) -> NDArray[Any]:
    """The part of an image (H, W, …) under `box`, one pixel of `image` being `scale` pixels of the box; all of it without a box."""
    return image if box is None else crop(image, box, scale=scale)


def planes(image: NDArray[Any], into: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """(H, W, 3) -> (3, H, W) float32, a copy that shares no memory with the cache."""
    if into is not None and into.shape == (image.shape[2], *image.shape[:2]):
        np.copyto(into, image.transpose(2, 0, 1))
        return into
    return np.array(image.transpose(2, 0, 1), dtype=np.float32, order="C")
