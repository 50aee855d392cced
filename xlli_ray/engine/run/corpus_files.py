"""The files of a corpus, listed once a run: a bucket bills each thousand names, and ten million take minutes."""

from __future__ import annotations

from collections.abc import Sequence

from xlli_ray.corpus.kinds.kind import Source
from xlli_ray.corpus.scan import list_sources
from xlli_ray.corpus.spec import CorpusSpec


class CorpusFiles:
    """Of one section `corpus`, with absolute paths."""

    def __init__(self, spec: CorpusSpec) -> None:
        self._spec = spec
        self._sources: Sequence[Source] | None = None

    def look(self) -> Sequence[Source]:
        """All sources (`corpus.scan.list_sources`); kept for the next call."""
        if self._sources is None:
            self._sources = list_sources(self._spec, "/")
        return self._sources

    def take(self, spec: CorpusSpec) -> Sequence[Source]:
        """The same for `spec`, from the list so far if that is the section; the list is given away, since it may be large."""
        sources, self._sources = self._sources, None
        return list_sources(spec, "/") if sources is None or spec != self._spec else sources
