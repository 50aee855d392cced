"""The base class of kinds of corpora: what the recipe may specify, which files that means, how they are scanned and samples loaded.

To add one, write a subclass in its own file and a line in `registry.CORPORA`, or nothing here at all: an installed package adds it by an
entry point, a recipe as `package.module:Class`, as the key of its section `corpus`. A kind that only finds files in its own way returns
sources of another kind (`Source("images", …)`), which are then scanned and loaded by that kind. `VERSION` is raised by hand when the same
files give other numbers.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from xlli_ray.corpus import decode
from xlli_ray.corpus.files.frames import Clip
from xlli_ray.corpus.input_labels import Columns
from xlli_ray.corpus.size import Size
from xlli_ray.errors import RecipeError
from xlli_ray.registry import CORPORA

if TYPE_CHECKING:
    from xlli_ray.corpus.sample import Loaded, Loader, Sample
    from xlli_ray.corpus.scan import Look
    from xlli_ray.corpus.spec import CorpusSpec

Scalar = str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Source:
    """A unit of scanning, which becomes one or several samples: an image, a pair, a clip.

    `kind`: scans and loads it. `uri`: the clean image or the input; `target`: the target of a pair, else None. `real`: name of
    the real set that an input belongs to, else empty.
    """

    kind: str
    uri: str
    target: str | None = None
    real: str = ""
    clip: Clip | None = None
    """For a clip, whose `uri` is the common address of its frames."""
    target_clip: Clip | None = None
    windows: tuple[int, ...] = ()
    """For a clip: frames per sample, and frames from the start of one sample to the next."""
    mask: str | None = None
    """For a pair; "": only other pairs of this corpus have one."""
    label: str = ""
    """How an input was degraded, "" if unknown; with `parameters` as JSON (`corpus.input_labels`)."""
    parameters: str = ""
    columns: Columns = ()
    """Further columns of its row of the sample table."""

    @property
    def files(self) -> tuple[str, ...]:
        """URIs of all its files."""
        if self.clip is not None:
            return tuple(uri for clip in (self.clip, self.target_clip) if clip is not None for uri in clip.frames or (clip.uri,))
        return tuple(uri for uri in (self.uri, self.target, self.mask or None) if uri is not None)

    @property
    def order(self) -> tuple[str, ...]:
        """Sort key of sources."""
        return self.kind, self.uri, self.target or "", self.real, self.mask or "", self.label, self.parameters, repr(self.columns)


class Paths(Protocol):
    """Functions that make a recipe's paths absolute."""

    def path(self, text: str) -> str:
        """For one file or folder."""

    def glob(self, text: str) -> str:
        """For a pattern."""


class CorpusKind(ABC):
    """One kind of corpus. Stateless: one object per process."""

    VERSION: ClassVar[int] = 1
    """Part of the identity of everything computed from its samples, if not 1."""
    Given: ClassVar[Any]
    """Type of the value of the kind's key in the recipe, for pydantic: a model class, `list[str]`, `str`."""
    MADE: ClassVar[bool] = False
    """Whether inputs are made from clean targets: then `scale`, `degradations` and `pies` are allowed."""
    CLIPS: ClassVar[bool] = False
    """Whether its samples are clips."""
    FILES_SHARED: ClassVar[bool] = False
    """Whether one file is needed for several samples, even without patches and degradations."""
    COLUMNS: ClassVar[Mapping[str, pa.DataType]] = {}
    """Columns of the sample table for this kind only."""

    def makes(self, corpus: CorpusSpec) -> bool:
        """Whether the inputs of this corpus are made."""
        return self.MADE

    def check(self, corpus: CorpusSpec) -> None:
        """Raise ValueError if other fields of the section do not fit this kind."""
        if self.makes(corpus):
            if corpus.scale is None:
                raise ValueError("scale is missing: the factor by which the input is smaller than the image; 1 for the same size")
            return
        for name in ("scale", "degradations", "pies"):
            if getattr(corpus, name) is not None:
                raise ValueError(f"{name} is only for images; {corpus.kind} are used unchanged: omit it")

    def resolve(self, given: Any, paths: Paths) -> Any:
        """The recipe's value, not yet validated, with absolute paths: every text in it is a pattern of files."""
        if isinstance(given, str):
            return paths.glob(given)
        if isinstance(given, list | tuple):
            return [self.resolve(item, paths) for item in given]
        return {key: self.resolve(item, paths) for key, item in given.items()} if isinstance(given, Mapping) else given

    def fixed(self, given: Any) -> Any:
        """The part of the value (JSON) that must not change within a study: not the locations of files."""
        return None

    def labels(self, given: Any) -> Sequence[str]:
        """Labels given with the inputs, in the order of tables; others follow, clean first and the rest by name."""
        return ()

    @abstractmethod
    def sources(self, given: Any, corpus: CorpusSpec, base: Path | str) -> Iterable[Source]:
        """All sources of this corpus, in any order. Relative paths are relative to the folder `base`. Raises RecipeError."""

    def extras(self, size: Size, scale: int) -> Mapping[str, tuple[tuple[int, ...], str]]:
        """By-products of loading a sample whose input has that size: name → shape and dtype, as in `Loaded.extras`. In `batch.extras` of
        probes they are beside those of degradations."""
        return {}

    def scan(self, source: Source, look: Look, row: dict[str, Any]) -> None:
        """Scan one source of this kind and fill `row` (`scan.scan_source`). Raises SampleError if a file is bad."""
        decoded = look.describe(source.uri, row, self.decode)
        row["scale"] = 0
        look.choose(row, decoded)

    def unfold(self, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """The samples' rows from one good row of a scan, all with the same keys. `extra`: values of further columns of the sample table.
        `part`: a text that distinguishes samples with the same bytes and the same patches."""
        yield row

    def load(self, sample: Sample, loader: Loader, into: NDArray[np.float32] | None) -> Loaded:
        """Input and target of a sample of this kind; see `Loader.load`."""
        from xlli_ray.corpus.sample import Loaded, cut, planes

        return Loaded(planes(cut(loader.pixels(sample.source, sample.source_sha, self.decode), sample.box), into), None)

    def decode(self, data: bytes, *, max_pixels: int) -> decode.Decoded:
        """Bytes of one file → RGB. Raises SampleError."""
        return decode.decode(data, max_pixels=max_pixels)


@cache
def _made(cls: type[CorpusKind]) -> CorpusKind:
    return cls()


def kind_of(name: str) -> CorpusKind:
    """The kind with that name or location. Raises RecipeError."""
    cls = CORPORA.load(name)
    if not (isinstance(cls, type) and issubclass(cls, CorpusKind)):
        raise RecipeError(f"corpus kind {name!r}: expected a subclass of CorpusKind, got {cls!r}")
    return _made(cls)


class InOrder(Sequence[Source]):
    """Sources that are sorted by `order` and distinct."""


def in_order(sources: Iterable[Source]) -> Sequence[Source]:
    """Sorted, without duplicates."""
    if isinstance(sources, InOrder):
        return sources
    return sorted(set(sources), key=lambda source: source.order)


def one_or_many(value: Any) -> Any:
    """A single pattern may be written without brackets; the list must not be empty."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and not value:
        raise ValueError("the list is empty; expected at least one glob or URL")
    return value
