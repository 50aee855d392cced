"""Where samples come from: one file a kind, a key of the recipe's section `corpus`.

    kind      what one is: what the recipe gives, which files that means, how one is scanned, how a sample of it is loaded
    images    clean targets, the input is made from them       inputs   as they are
    pairs     input and target                                 list     one of these three, listed in a Parquet file
    clips     sequences of frames, from folders or videos
"""

from __future__ import annotations

from xlli_ray.corpus.kinds.kind import CorpusKind, Paths, Source, kind_of

__all__ = ["CorpusKind", "Paths", "Source", "kind_of"]
