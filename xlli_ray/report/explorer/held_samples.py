"""Which samples can be opened from disk: a page would be as large as the study if it held every image.

In turns: the extremes of each column (lowest, highest, largest difference between two models), failures, and samples evenly spaced over the
study, until the budget is spent. A server (`xlli view`) shows all.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import combinations, islice

import numpy as np

from xlli_ray.report.explorer.columns import ExplorerColumn
from xlli_ray.report.shown_samples import spread

FEWEST = 8
"""Samples that are held whatever they take."""
BUDGET = 2 << 20
"""Bytes of the parts of all other samples together."""
MOST = 400
PAIRS = 6


def held_order(rows: int, columns: Sequence[ExplorerColumn]) -> list[int]:
    """Rows in the order in which they are worth holding, without repetition, at most MOST."""
    queues = [*map(list, (_extremes(column) for column in columns)), spread(MOST, range(rows))]
    queues = [queue for queue in queues if queue]
    seen: dict[int, None] = {}
    while queues and len(seen) < min(MOST, rows):
        for queue in list(queues):
            while queue and (row := queue.pop(0)) in seen:
                pass
            if not queue:
                queues.remove(queue)
            seen.setdefault(row)
    return list(islice(seen, MOST))


def _extremes(column: ExplorerColumn) -> Iterator[int]:
    """Lowest and highest of each model, then the largest differences between models; failures, most first."""
    if column.kind != "number" or (column.group == "sample" and column.name != "failures"):
        return
    if column.name == "failures":
        order = np.argsort(-column.values[0], kind="stable")
        yield from (int(row) for row in order[:3] if column.values[0, row] > 0)
        return
    for values in column.values:
        yield from _ends(values)
    for one, other in islice(combinations(range(len(column.values)), 2), PAIRS):
        yield from _ends(column.values[one].astype(np.float64) - column.values[other])


def _ends(values: np.ndarray) -> Iterator[int]:
    finite = np.flatnonzero(np.isfinite(values))
    if len(finite):
        yield int(finite[np.argmin(values[finite])])
        yield int(finite[np.argmax(values[finite])])
