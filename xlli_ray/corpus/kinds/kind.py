"""What a kind of corpus is: a class that says what the recipe gives, which files that means, how one is scanned and a sample loaded.

To add one, write a subclass in a file of its own and a line in `registry.CORPORA`, or nothing here at all: an installed package names it as
an entry point, a recipe as `package.module:Class`, the key of its section `corpus`. A kind that only finds files in its own way lists
sources of another kind (`Source("images", …)`), and those are scanned and loaded as ever. `VERSION` is raised by hand when the same files
give other numbers.
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
from xlli_ray.errors import RecipeError
from xlli_ray.registry import CORPORA

if TYPE_CHECKING:
    from xlli_ray.corpus.sample import Loaded, Loader, Sample
    from xlli_ray.corpus.scan import Look
    from xlli_ray.corpus.spec import CorpusSpec

Scalar = str | int | float | bool | None


@dataclass(frozen=True)
class Source:
    """What is scanned at once and becomes one or several samples: an image, a pair, a clip.

    `kind`: how it is scanned and loaded. `uri`: the clean image or the input; `target`: None where there is none beside it. `real`: name of
    the real set that an input belongs to, else empty.
    """

    kind: str
    uri: str
    target: str | None = None
    real: str = ""
    clip: Clip | None = None
    """Of a clip, whose `uri` is the address of all its frames."""
    target_clip: Clip | None = None
    windows: tuple[int, ...] = ()
    """Of a clip: frames of a sample, and from the first of one to the first of the next."""
    mask: str | None = None
    """Of a pair; "": others of this corpus have one."""
    label: str = ""
    """What was done to an input, "" if unknown; and its `parameters` as JSON (`corpus.input_labels`)."""
    parameters: str = ""
    columns: Columns = ()
    """Further columns of its row of the sample table."""

    @property
    def files(self) -> tuple[str, ...]:
        """URIs of all files of it."""
        if self.clip is not None:
            return tuple(uri for clip in (self.clip, self.target_clip) if clip is not None for uri in clip.frames or (clip.uri,))
        return tuple(uri for uri in (self.uri, self.target, self.mask or None) if uri is not None)

    @property
    def order(self) -> tuple[str, ...]:
        """Sources are sorted by this."""
        return self.kind, self.uri, self.target or "", self.real, self.mask or "", self.label, self.parameters, repr(self.columns)


class Paths(Protocol):
    """How a recipe's paths are made absolute."""

    def path(self, text: str) -> str:
        """Of one file or folder."""

    def glob(self, text: str) -> str:
        """Of a pattern."""


class CorpusKind(ABC):
    """One kind of corpus. Holds nothing: one object a process."""

    VERSION: ClassVar[int] = 1
    """Part of the identity of what is computed from its samples, when it is not 1."""
    Given: ClassVar[Any]
    """Type of what the recipe gives under the kind's key, as pydantic has it: a model class, `list[str]`, `str`."""
    MADE: ClassVar[bool] = False
    """Whether inputs are made from clean targets: then `scale`, `degradations` and `pies` go with it."""
    COLUMNS: ClassVar[Mapping[str, pa.DataType]] = {}
    """Columns of the sample table that only this kind has."""

    def makes(self, corpus: CorpusSpec) -> bool:
        """Whether the inputs of this corpus are made."""
        return self.MADE

    def check(self, corpus: CorpusSpec) -> None:
        """Raise ValueError when what else the section says does not go with what is given."""
        if self.makes(corpus):
            if corpus.scale is None:
                raise ValueError("scale is missing: how many times smaller is the input than the image? 1 for the same size")
            return
        for name in ("scale", "degradations", "pies"):
            if getattr(corpus, name) is not None:
                raise ValueError(f"{name} goes only with images; {corpus.kind} are looked at as they are: leave it out")

    def resolve(self, given: Any, paths: Paths) -> Any:
        """What the recipe gives, not yet checked, with its paths made absolute: every text in it is a pattern of files."""
        if isinstance(given, str):
            return paths.glob(given)
        if isinstance(given, list | tuple):
            return [self.resolve(item, paths) for item in given]
        return {key: self.resolve(item, paths) for key, item in given.items()} if isinstance(given, Mapping) else given

    def fixed(self, given: Any) -> Any:
        """The part of what is given (JSON) that a study may not change: not where files lie."""
        return None

    def labels(self, given: Any) -> Sequence[str]:
        """Labels that inputs bring, in the order of tables; others come after them, clean first and the rest by name."""
        return ()

    @abstractmethod
    def sources(self, given: Any, corpus: CorpusSpec, base: Path | str) -> Iterable[Source]:
        """All sources of this corpus, in any order. Relative paths start at the folder `base`. Raises RecipeError."""

    def scan(self, source: Source, look: Look, row: dict[str, Any]) -> None:
        """Look at one source of this kind and fill `row` (`scan.scan_source`). Raises SampleError when a file is bad."""
        picture = look.describe(source.uri, row, self.decode)
        row["scale"] = 0
        look.choose(row, picture)

    def unfold(self, row: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
        """What one good row of a scan holds: each a row of the same keys. `extra`: values of further columns of the sample table."""
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
    """The kind of that name, or at that place. Raises RecipeError."""
    cls = CORPORA.load(name)
    if not (isinstance(cls, type) and issubclass(cls, CorpusKind)):
        raise RecipeError(f"corpus kind {name!r}: expected a subclass of CorpusKind, found {cls!r}")
    return _made(cls)


def in_order(sources: Iterable[Source]) -> list[Source]:
    """Sorted, each once."""
    return sorted(set(sources), key=lambda source: source.order)


def one_or_many(value: Any) -> Any:
    """A single pattern may be written without brackets; an empty list is not a source."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, Sequence) and not value:
        raise ValueError("the list is empty; expected at least one glob or URL")
    return value
