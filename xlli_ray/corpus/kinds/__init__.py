"""Kinds of corpora: one file per kind, each a key of the recipe's section `corpus`.

kind      the base class: what the recipe may specify, which files that means, scanning, loading of a sample
images    clean targets from which the input is made         inputs   inputs without targets
pairs     input and target                                   list     one of these three, listed in a Parquet file
clips     sequences of frames, from folders or videos
motion    clips with known motion, made from photographs
"""

from __future__ import annotations

from xlli_ray.corpus.kinds.kind import CorpusKind, Paths, Source, kind_of

__all__ = ["CorpusKind", "Paths", "Source", "kind_of"]
