"""Which networks are compared: every pair if there are few, each against one if there are many.

Six networks make 15 pairs; forty make 780, of which 39 differ by chance at 95 %.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

ALL = 6
"""Up to this many are compared pairwise."""


def compared(models: Sequence[str], against: str | None = None, *, most: int = ALL) -> list[tuple[str, str]]:
    """Pairs (reference, other) in the order of `models`: every pair of at most `most`, else the first with each other.

    `against`: the reference that every other is compared with, however many there are; it must be among `models`.

    >>> compared(["a", "b", "c"])
    [('a', 'b'), ('a', 'c'), ('b', 'c')]
    >>> compared(["a", "b", "c"], against="b")
    [('b', 'a'), ('b', 'c')]
    """
    if against is None and len(models) <= most:
        return list(combinations(models, 2))
    reference = models[0] if against is None else against
    return [(reference, other) for other in models if other != reference]
