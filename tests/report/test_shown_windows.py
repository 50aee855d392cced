"""Which windows a gallery of maps shows, of the rows that a table has."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from xlli_ray.report.sections.shown_windows import WINDOWS, Seen, shown_windows


def lines(places: Iterable[tuple[int, int, str]]) -> list[dict[str, Any]]:
    """Rows of (sample, window, model), ordered as a gallery asks for them."""
    made = [{"row": row, "win": win, "top": 8 * win, "lft": 4, "size": 16, "model": model} for row, win, model in places]
    return sorted(made, key=lambda line: (line["win"], line["row"]))


def places(found: Iterable[Seen]) -> list[tuple[int, int]]:
    return [(item.row, item.window) for item in found]


def test_of_many_samples_the_first_window_of_some_that_are_evenly_spaced() -> None:
    found = shown_windows(lines((row, win, "net") for row in range(20) for win in (0, 1)))
    assert len(found) == WINDOWS
    assert {item.window for item in found} == {0}
    rows = [item.row for item in found]
    assert rows == sorted(rows)
    assert rows[-1] - rows[0] >= 15


def test_of_few_samples_more_of_their_windows() -> None:
    assert places(shown_windows(lines((row, win, "net") for row in (3, 5) for win in range(3)))) == [(3, 0), (3, 1), (5, 0), (5, 1)]


def test_those_of_most_networks_and_a_moved_window_is_another() -> None:
    both = [(1, 0, "a"), (1, 0, "b"), (2, 0, "a"), (4, 1, "a"), (4, 1, "b")]
    found = shown_windows(lines(both))
    assert places(found) == [(1, 0), (4, 1)]
    assert [set(item.maps) for item in found] == [{"a", "b"}, {"a", "b"}]
    assert found[0].maps["b"]["model"] == "b"
    moved = lines(both)
    moved[1]["top"] += 1
    assert places(shown_windows(moved)) == [(4, 1)]


def test_nothing_measured_nothing_shown() -> None:
    assert shown_windows([]) == []
