"""Text around panels: none is cut by the figure's edge, none covers another, and all of it is there."""

from __future__ import annotations

import re
from itertools import combinations
from xml.etree import ElementTree

import pytest

from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.histograms import Histogram, Histograms
from xlli_ray.plots.panel_ticks import Ticks, that_fit
from xlli_ray.plots.scatter import Point, Scatter, ScatterPanel
from xlli_ray.plots.strips import Strip, Strips
from xlli_ray.plots.text_size import text_width, wrapped
from xlli_ray.plots.view import View
from xlli_ray.stats.intervals import Interval

LONG = "a network with a very long name that somebody gave it, trained on everything (second run)"
TITLE = "the share of the attribution that follows what moves, of all networks"
BLUE = "#0072B2"


def panel(rows: int, title: str = "a", label: str = "dB", factor: float = 1.0, shift: float = 0.0, note: str = "") -> Panel:
    means = [factor * (0.618034 * (i + 1) % 1 + shift) for i in range(rows)]
    values = tuple(Interval(mean, mean - 0.1 * factor, mean + 0.15 * factor, 9) for mean in means)
    return Panel(title, label, values, (BLUE,) * rows, notes=(note,) * rows if note else ())


def curves(
    count: int, title: str = "p", y: str = "PSNR, dB", names: tuple[str, ...] = (), factor: float = 1.0, name: str = "net"
) -> CurvePanel:
    x = tuple(map(float, range(len(names) or 6)))
    drawn = (Curve(f"{name}{i}", BLUE, x, tuple(factor * (0.618034 * (i + k + 1) % 1) for k in range(len(x)))) for i in range(count))
    return CurvePanel(title, tuple(drawn), Axis("level", places=x if names else (), names=names), Axis(y))


def nets(count: int) -> tuple[str, ...]:
    return tuple(f"network{i}" for i in range(count))


def points(count: int, name: str) -> tuple[Point, ...]:
    at = [Interval(100.0 * (0.618034 * i % 1), i - 1.0, i + 1.0, 9) for i in range(1, count + 1)]
    return tuple(Point(f"{i} {name}", BLUE, x, Interval(float(i), i - 1.0, i + 1.0, 9)) for i, x in enumerate(at))


def histogram(title: str) -> Histogram:
    return Histogram(title, BLUE, (-1.0, 0.0, 1.0), (0.1, 0.8, 0.0), (0.1, 0.9, 0.1), 1.5, "α 2")


VIEWS: dict[str, View] = {
    "one": Dots("t", nets(5), (panel(5),)),
    "one row": Dots("t", nets(1), (panel(1),)),
    "no row": Dots("t", (), (panel(0),)),
    "60 rows": Dots("t", nets(60), (panel(60), panel(60))),
    "many panels": Dots("t", nets(20), tuple(panel(20, f"panel {i}") for i in range(11))),
    "many columns": Dots("t", nets(2), tuple(panel(2, f"panel {i}", factor=0.001) for i in range(20)), columns=20),
    "long names": Dots("t", tuple(f"{i} {LONG}" for i in range(4)), tuple(panel(4) for _ in range(4))),
    "long titles": Dots("t", nets(3), tuple(panel(3, f"{TITLE} {i}", f"{i} {TITLE}") for i in range(5))),
    "notes": Dots("t", nets(3), (panel(3, note="a rather long note"), panel(3, note="another long note"))),
    "small and large": Dots("t", nets(2), (panel(2, factor=1e-7, shift=-0.5), panel(2, factor=1e9), panel(2, shift=1e5))),
    "negative": Dots("t", nets(2), (panel(2, factor=1000, shift=-3), panel(2, factor=1000, shift=-2))),
    "20 networks": Curves("t", (curves(20),)),
    "shared": Curves("t", tuple(curves(20, f"{TITLE} {i}") for i in range(5)), share_x=True, share_y=True),
    "long legend": Curves("t", (curves(3, name=LONG),)),
    "long categories": Curves("t", (curves(2, names=tuple(f"degradation {i} of them" for i in range(30))),) * 2),
    "narrow": Curves("t", tuple(curves(2, y=f"{i} {TITLE}", names=nets(12), factor=10.0 ** (3 * i - 7)) for i in range(5)), columns=5),
    "60 categories": Curves("t", (curves(2, names=tuple(f"degradation {i}" for i in range(60))),) * 2),
    "y labels beside shared ticks": Curves("t", tuple(curves(2, y=f"{TITLE} {i}") for i in range(3)), share_y=True),
    "titles of many lines": Dots("t", nets(3), (panel(3, title=" ".join(["word"] * 30)),) * 8),
    "long label of all": Scatter("t", "a very long label of x " * 12, "y " * 100, (ScatterPanel("p", points(3, "n")),)),
    "strips": Strips("t", (LONG, "b"), (BLUE, BLUE), (Strip(TITLE, f"{TITLE} 1", ((0.1, 0.2), ()), 0.5, True),) * 2),
    "named points": Scatter("t", "x", "y", (ScatterPanel("p", points(2, LONG)),)),
    "numbered points": Scatter("t", TITLE, TITLE, tuple(ScatterPanel(f"{TITLE} {i}", points(20, "net")) for i in range(3))),
    "histograms": Histograms("t", TITLE, "density", ((histogram("a"), histogram("b")), (histogram(TITLE),), ())),
}  # fmt: skip


def boxes(svg: str) -> dict[tuple[float, float, float, float], str]:
    """Left, top, right, bottom of each line of text, in the units of the figure: between the tops and feet of its small letters."""
    out = {}
    for item in ElementTree.fromstring(svg).iter("{http://www.w3.org/2000/svg}text"):
        style, words = item.get("style") or "", "".join(item.itertext())
        anchor, size = re.search(r"text-anchor: (\w+)", style), re.search(r"(\d+\.?\d*)px", style)
        where = item.get("transform") or ""
        numbers = [float(value) for value in re.findall(r"-?\d+\.?\d*", where)]
        x, y, angle = numbers if where.startswith("translate") else [*numbers[1:], numbers[0]]
        wide, high = text_width(words, float(size[1]), "bold" in style), 0.54 * float(size[1])
        left = -wide * {"middle": 0.5, "end": 1.0}.get(anchor[1] if anchor else "", 0.0)
        out[(x + left, y - high, x + left + wide, y) if abs(angle) != 90 else (x - high, y - left - wide, x, y - left)] = words
    return out


@pytest.mark.parametrize("name", VIEWS)
def test_no_text_is_cut_and_none_covers_another(name: str) -> None:
    svg = VIEWS[name].draw()
    edge = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert edge
    found = boxes(svg)
    assert len(found) == svg.count("<text")
    for (left, top, right, bottom), words in found.items():
        assert left >= 0, words
        assert top >= 0, words
        assert right <= float(edge[1]) + 1, words
        assert bottom <= float(edge[2]) - 1, words
    for (one, words), (two, others) in combinations(found.items(), 2):
        apart = one[2] <= two[0] or two[2] <= one[0] or one[3] <= two[1] or two[3] <= one[1]
        assert apart, (words, others)


def test_every_word_of_a_long_title_and_every_name_is_written() -> None:
    written = " ".join(boxes(VIEWS["long titles"].draw()).values())
    assert all(written.count(word) >= 10 for word in TITLE.split()), "titles and labels of five panels"
    assert set(boxes(VIEWS["long names"].draw()).values()) >= {f"{i} {LONG}" for i in range(4)}
    assert {f"net{i}" for i in range(20)} <= set(boxes(VIEWS["20 networks"].draw()).values())
    assert set(boxes(VIEWS["narrow"].draw()).values()) >= set(nets(12)), "upright, none left out"


def test_lines_are_broken_between_words_and_within_words_too_wide_alone() -> None:
    text = "one two three four " + "five" * 20
    lines = wrapped(text, 9.0, 60.0).split("\n")
    assert all(text_width(line, 9.0) <= 60 for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")
    assert lines[0] == "one two"
    assert wrapped("one", 9.0, 60.0) == "one"


def test_numbers_that_would_touch_are_left_out_and_names_are_turned() -> None:
    places = tuple(i / 10 for i in range(11))
    numbers = that_fit(Ticks(places, tuple(f"{place:.3f}" for place in places)), 100.0, 8.0)
    assert [name for name in numbers.names if name] == ["0.000", "0.300", "0.600", "0.900"]
    assert numbers.places == places, "grid lines stay"
    assert that_fit(Ticks(places, tuple(f"{i}–{i + 1}" for i in range(11))), 110.0, 8.0).upright
    assert that_fit(numbers, 1000.0, 8.0) == numbers


def test_a_note_at_a_value_that_is_nowhere_costs_no_figure() -> None:
    gone = Interval(float("inf"), float("nan"), float("nan"), 1)
    drawn = Dots("t", nets(2), (Panel("t", "x", (gone, Interval(1.0, 0.0, 2.0, 9)), (BLUE,) * 2, notes=("gone", "here")),)).draw()
    assert "here" in drawn


def test_a_word_of_a_thousand_letters_is_broken_by_halving_not_letter_by_letter(monkeypatch: pytest.MonkeyPatch) -> None:
    """One such title took ten seconds: every beginning of it was measured, and of what was left again."""
    from xlli_ray.plots import text_size

    measured: list[int] = []
    measure = text_size._width_to
    monkeypatch.setattr(text_size, "_width_to", lambda *args: measured.append(1) or measure(*args))
    lines = wrapped("m" * 1000, 9.0, 100.0).split("\n")
    assert "".join(lines) == "m" * 1000
    assert all(text_width(line, 9.0) <= 100.0 for line in lines)
    assert text_width(lines[0] + "m", 9.0) > 100.0
    assert len(measured) <= 12 * len(lines)


def test_a_marker_that_is_nothing_but_an_edge_is_not_white() -> None:
    at = Interval(1.0, 0.0, 2.0, 9)
    views = [
        Scatter("t", "x", "y", (ScatterPanel("p", (Point("n", BLUE, at, at, "x"),)),)),
        Dots("t", ("n",), (Panel("t", "x", (at,), (BLUE,), markers="x"),)),
        Curves("t", (CurvePanel("p", (Curve("n", BLUE, (1.0, 2.0), (1.0, 2.0), marker="x", line=""),), Axis("x"), Axis("y")),)),
    ]
    for view in views:
        styles = re.findall(r'<use [^>]*style="([^"]*)"', view.draw())
        assert styles
        assert all(f"stroke: {BLUE.lower()}" in style for style in styles), type(view).__name__


def test_each_panel_has_all_names_of_its_categories_however_many() -> None:
    """Limits were read before they were known: of sixty names two counted, and the figure did not grow for the rest."""
    names = tuple(f"degradation {i}" for i in range(60))
    drawn = Curves("t", (curves(2, names=names),) * 2).draw()
    assert [drawn.count(f">{name}<") for name in names] == [2] * 60
