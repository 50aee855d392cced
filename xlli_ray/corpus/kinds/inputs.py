"""Kind `inputs`: unchanged input images without targets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator

from xlli_ray.corpus.files.sources import list_files
from xlli_ray.corpus.kinds.kind import CorpusKind, Source, one_or_many
from xlli_ray.corpus.spec import CorpusSpec


class Inputs(CorpusKind):
    """`inputs: ["photos/*.png"]`: globs or URLs. Scanned and loaded as in `CorpusKind`."""

    Given: ClassVar[Any] = Annotated[list[str], BeforeValidator(one_or_many)]

    def sources(self, given: list[str], corpus: CorpusSpec, base: Path | str) -> list[Source]:
        return [Source("inputs", uri) for uri in list_files(given, base)]
