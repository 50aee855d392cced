"""From a row of the sample table to the numbers a network sees: read, check, degrade, crop.

The order of operations is the literature's and is written only here (see `degradations`, `resize`):

    target image -> crop to a multiple of the scale -> blur -> bicubic down, 8 bit      whole image, once for all its
    patches -> crop at box / scale -> noise -> JPEG -> / 255                        the patch

so patches have no borders of their own, and the target of a degraded sample is the clean image.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.box import Box
from xlli_ray.corpus.decode import MAX_PIXELS, decode
from xlli_ray.corpus.degradations import Degraded, Domain, Mixture, extras_of, parse_label
from xlli_ray.corpus.files.faults import FileFault
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.corpus.patches import crop
from xlli_ray.corpus.resize import downscale, modcrop
from xlli_ray.corpus.size import Size
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.errors import RecipeError, SampleError

Kind = Literal["images", "inputs", "pairs"]
CACHE_BYTES = 256 * 2**20



class _Sized(Protocol):
    @property
    def nbytes(self) -> int: ...


_T = TypeVar("_T", bound=_Sized)


@dataclass(frozen=True)
class Sample:
    """One row of the sample table.

    `source`: URI of the clean image (kind `images`) or of the input; `target`: URI of a pair's target, else None.
    `label`: degradation, `given` for inputs that go in as they are. `scale`: target size over input size; 0 where the
    model decides (`inputs`). `box`: the patch in pixels of the target (of the input where there is no target), None for
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
    kind: Kind
    seed: int
    box: Box | None
    height: int
    width: int
    frames: int = 0

    @property
    def size(self) -> Size:
        """Of the input: its axes and shape."""
        return Size(self.height, self.width, self.frames)


@dataclass(frozen=True)
class Loaded:
    """What a network sees, and what it should give.

    `input`: float32, (3, H, W), of a clip (T, 3, H, W), RGB in 0..1, C-contiguous. `target`: the same, `scale` times as high and wide; None
    where there is none.
    """

    input: NDArray[np.float32]
    target: NDArray[np.float32] | None
    extras: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    """By-products of the degradation, by name: (H, W) or (H, W, C) of the domain in which they arise, the input or the target."""


@dataclass(frozen=True)
class _Small:
    """The whole image after its target domain, downscaled: uint8 (h, w, 3), with what is left over from making it."""

    image: NDArray[np.uint8]
    extras: Mapping[str, NDArray[Any]]

    @property
    def nbytes(self) -> int:
        return self.image.nbytes + sum(extra.nbytes for extra in self.extras.values())


def study_loader(corpus: Mapping[str, Any], **options: Any) -> Loader:
    """A loader for samples of the corpus section of a study's recipe: its degradations, its limit of pixels. `options`: of `Loader`."""
    try:
        spec = CorpusSpec(**corpus)
    except ValueError:  # a study of an older version, or one whose degradations are code of others: those samples say so
        return Loader(max_pixels=corpus.get("max_pixels") or MAX_PIXELS, **options)
    return Loader(max_pixels=spec.max_pixels or MAX_PIXELS, mixture=spec.mixture, beside=spec.mixtures, **options)


class Loader:
    """Loads samples; safe to use from many threads.

    Rows are sorted so that patches of one image follow each other, hence a small memory of decoded and of downscaled
    images (`cache_bytes` together) spares nearly all repeated work. Threads that ask for the same image wait for one
    decoding.
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
        """`mixture`: what a label of the sample table stands for. `beside`: mixtures whose by-products a sample has, too, as zeros.
        `blame`: what to raise for a file whose bytes are not those of the given sha256 (`watch.Watch.blame`)."""
        self._max_pixels = max_pixels
        self._read, self._blame, self._mixture, self._beside = read, blame, mixture, beside
        self._cache = _Cache(cache_bytes)

    def load(self, sample: Sample, *, into: NDArray[np.float32] | None = None) -> Loaded:
        """Input and target of `sample`.

        `into`: where the input goes if it has its shape, (3, H, W): a place in a batch spares a copy. `Loaded.input` says where it is.

        Raises SampleError when a file cannot be read or decoded, or is not the one that was scanned; EnvironmentFailure
        as `read`.
        """
        if sample.kind == "images":
            return self._from_image(sample, into)
        source = self._pixels(sample.source, sample.source_sha)
        if sample.kind == "inputs":
            return Loaded(input=_planes(_cut(source, sample.box), into), target=None)
        if sample.target is None or sample.target_sha is None:
            raise ValueError(f"sample {sample.sample_id} is of kind pairs but names no target")
        target = self._pixels(sample.target, sample.target_sha)
        return Loaded(
            input=_planes(_cut(source, sample.box, scale=sample.scale), into), target=_planes(_cut(target, sample.box))
        )

    def files(self, sample: Sample) -> list[str]:
        """URIs that `load` would read now: without those of pictures that are still in memory."""
        wanted = [(sample.source, sample.source_sha)]
        if sample.kind == "pairs" and sample.target is not None and sample.target_sha is not None:
            wanted.append((sample.target, sample.target_sha))
        return [uri for uri, sha in wanted if not self._cache.holds(("pixels", sha))]

    def _from_image(self, sample: Sample, into: NDArray[np.float32] | None) -> Loaded:
        try:
            mixture = self._mixture(sample.label)
        except RecipeError as error:
            raise SampleError(f"{sample.label}: {error}") from error
        clean = modcrop(self._pixels(sample.source, sample.source_sha), sample.scale)
        small = self._small(sample, mixture.only("target"), clean)
        patch = self._degraded(mixture, _cut(small.image, sample.box, scale=sample.scale), "input", f"{sample.seed}|{sample.content}")
        planes = _planes(patch.image, into)
        planes /= np.float32(255)
        target = _planes(_cut(clean, sample.box))
        sizes: Mapping[Domain, tuple[int, int]] = {"input": patch.image.shape[:2], "target": target.shape[1:]}  # type: ignore[dict-item]
        extras = {name: np.zeros(shape, dtype) for name, (shape, dtype) in extras_of(self._beside, sizes).items()}
        extras |= {name: np.array(_cut(extra, sample.box)) for name, extra in small.extras.items()} | dict(patch.extras)
        return Loaded(input=planes, target=target, extras=extras)

    def _small(self, sample: Sample, mixture: Mixture, clean: NDArray[np.float32]) -> _Small:
        """The whole image, degraded in its target domain and downscaled."""
        whole = mixture.only("target")

        def make() -> _Small:
            made = self._degraded(whole, clean, "target", f"{sample.seed}|{sample.source_sha}")
            small = downscale(made.image, sample.scale)
            small.setflags(write=False)
            return _Small(small, made.extras)

        return self._cache.get(("small", sample.source_sha, sample.seed, sample.scale, whole.identity), make)

    @staticmethod
    def _degraded(mixture: Mixture, array: NDArray[Any], domain: Literal["target", "input"], key: str) -> Degraded:
        """A degradation's own error is a fault of the sample that it was asked for."""
        try:
            return mixture.apply(array, domain, key=key)
        except MemoryError:
            raise
        except Exception as error:
            said = (str(error).strip() or "no message").splitlines()[0][:300]
            raise SampleError(f"degradation {mixture.label}: {type(error).__name__}: {said}") from error

    def _pixels(self, uri: str, sha: str) -> NDArray[np.float32]:
        def make() -> NDArray[np.float32]:
            data = self._read(uri)
            if sha256_hex(data) != sha:
                data = self._read(uri)  # bytes that were cut or mixed up on their way are not the file's
            if (found := sha256_hex(data)) != sha:
                fault = FileFault("changed", f"changed since scan: {uri}: expected sha256 {sha}, found {found}; scan again")
                raise self._blame(uri, fault, sha)
            return decode(data, max_pixels=self._max_pixels).pixels

        return self._cache.get(("pixels", sha), make)


def sample_from_row(row: dict[str, Any]) -> Sample:
    """A row of the sample table (`table.SCHEMA`; as pyarrow's `to_pylist` gives it) -> Sample."""
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
        kind=cast(Kind, row["kind"]),
        seed=row["seed"],
        box=None if row["top"] is None else Box(row["top"], row["left"], row["size"]),
        height=row["height"],
        width=row["width"],
        frames=row.get("frames") or 0,
    )


def _cut(image: NDArray[Any], box: Box | None, *, scale: int = 1) -> NDArray[Any]:
    return image if box is None else crop(image, box, scale=scale)


def _planes(image: NDArray[Any], into: NDArray[np.float32] | None = None) -> NDArray[np.float32]:
    """(H, W, 3) -> (3, H, W) float32, a copy: what is handed out shares no memory with the cache."""
    if into is not None and into.shape == (image.shape[2], *image.shape[:2]):
        np.copyto(into, image.transpose(2, 0, 1))
        return into
    return np.array(image.transpose(2, 0, 1), dtype=np.float32, order="C")


class _Cache:
    """Least recently used arrays, none of them writable, up to a number of bytes; the same array is never made by two threads at once."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._bytes = 0
        self._sizes: dict[Hashable, int] = {}  # of entries that are counted; one that is being made is not
        self._entries: OrderedDict[Hashable, Future[Any]] = OrderedDict()
        self._lock = threading.Lock()

    def holds(self, key: Hashable) -> bool:
        """True when the array is there or being made."""
        with self._lock:
            return key in self._entries

    def get(self, key: Hashable, make: Callable[[], _T]) -> _T:
        with self._lock:
            entry = self._entries.get(key)
            mine = entry is None
            if entry is None:
                entry = self._entries[key] = Future()
            else:
                self._entries.move_to_end(key)
        if mine:
            try:
                array = make()
            except BaseException as error:
                with self._lock:
                    del self._entries[key]  # the next one tries again: the failure may have been a passing one
                entry.set_exception(error)
                raise
            if isinstance(array, np.ndarray):
                array.setflags(write=False)
            entry.set_result(array)
            self._count(key, array.nbytes)
        return cast(_T, entry.result())

    def _count(self, key: Hashable, size: int) -> None:
        with self._lock:
            self._sizes[key] = size
            self._bytes += size
            for oldest in list(self._entries):
                if self._bytes <= self._limit:
                    break
                if oldest in self._sizes:
                    del self._entries[oldest]
                    self._bytes -= self._sizes.pop(oldest)
