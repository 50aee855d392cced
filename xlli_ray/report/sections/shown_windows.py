"""The windows whose maps a gallery shows: of all that were measured, a few that most networks have, from as many samples as possible."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from xlli_ray.report.shown_samples import spread

WINDOWS = 4
"""Maximum number of windows shown."""
COLUMNS = '* exclude ("window", "left"), "window" as win, "left" as lft'
"""What is selected of a table of maps: two names are words of SQL."""


@dataclass(frozen=True)
class Seen:
    """One window of one sample, with the table's rows: model → row."""

    row: int
    window: int
    top: int
    left: int
    size: int
    maps: Mapping[str, Mapping[str, Any]]


def shown_windows(lines: Iterable[Mapping[str, Any]]) -> list[Seen]:
    """The windows to show of these rows (COLUMNS), one for each window and model, ordered by window and sample.

    Those for which most networks have a map: the first of each of some samples, evenly spaced, or several of one sample.
    """
    groups: dict[tuple[int, int, int, int, int], dict[str, Any]] = {}
    for line in lines:
        groups.setdefault((line["row"], line["win"], line["top"], line["lft"], line["size"]), {})[line["model"]] = line
    most = max((len(maps) for maps in groups.values()), default=0)
    seen = [Seen(*key, maps) for key, maps in groups.items() if len(maps) == most]
    first = {item.row: item for item in reversed(seen)}
    if len(first) >= WINDOWS:
        return spread(WINDOWS, [first[row] for row in sorted(first)])
    return sorted(seen[:WINDOWS], key=lambda item: (item.row, item.window))
