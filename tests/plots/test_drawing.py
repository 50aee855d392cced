from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest

import xlli_ray
from xlli_ray.corpus.degradations import get
from xlli_ray.plots.canvas import canvas, svg_text, with_ids
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.heat import Heat, grid_of
from xlli_ray.plots.palette import NETWORKS, SPARE, family_colour, network_looks
from xlli_ray.plots.view import to_svg
from xlli_ray.registry import DEGRADATIONS
from xlli_ray.stats.intervals import Interval

NAN = float("nan")
OWN = {name: get(name).COLOUR for name in DEGRADATIONS}


def dots(title: str = "psnr by model", name: str = "net") -> str:
    values = (Interval(30.0, 29.0, 31.0, 9), None, Interval(31.0, NAN, NAN, 1))
    return to_svg(Dots(title, tuple(f"{name}{i}" for i in range(3)), (Panel("a", "dB", values, ("#0072B2",) * 3),)))


def heat() -> str:
    return to_svg(Heat("heat", ("a", "b"), ("clean", "blur2"), ((1.0, NAN), (-1.0, 2.0)), diverging=True))


@pytest.mark.parametrize("svg", [dots(), heat()], ids=["dots", "heat"])
def test_a_figure_is_one_svg_element_that_scales_and_has_a_name(svg: str) -> None:
    root = ElementTree.fromstring(svg)
    assert root.tag.endswith("svg")
    assert root.get("role") == "img"
    assert root.get("aria-label")
    assert root.get("viewBox")
    assert root.get("width") is None
    assert all(link.startswith(("#", "data:")) for link in re.findall(r'href="([^"]*)"', svg))
    assert "http" not in re.sub(r'xmlns(:xlink)?="[^"]*"', "", svg)


def test_the_same_data_give_the_same_bytes() -> None:
    assert dots() == dots()
    assert heat() == heat()


def test_two_figures_of_a_page_share_no_id() -> None:
    ids = [set(re.findall(r' id="([^"]+)"', dots(title))) for title in ("one", "two")]
    assert ids[0]
    assert not ids[0] & ids[1]


def test_two_figures_of_one_title_share_no_id_once_they_stand_in_one_page() -> None:
    """Two stages of one kind have figures of the same titles: clip paths of the second referred to those of the first."""
    one, two = dots(), with_ids(dots(), "drawing2")
    assert one != two
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in (one, two)]
    assert ids[0]
    assert not set(ids[0]) & set(ids[1])
    for svg, own in zip((one, two), ids):
        assert len(own) == len(set(own))
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)) <= set(own)
    assert re.sub("drawing2-", "", two) == re.sub("f[0-9a-f]{8}-", "", one)


def test_no_other_module_makes_svg() -> None:
    """Else it would have ids of its own, and other bytes in every run."""
    package = Path(xlli_ray.__file__).parent
    makers = {path.relative_to(package).as_posix() for path in package.rglob("*.py")
              if re.search(r"print_svg|FigureCanvasSVG|backend_svg|<svg [a-z]", path.read_text())}  # fmt: skip
    assert makers == {"plots/canvas.py"}
    saved = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if ".savefig(" in path.read_text()}
    assert saved <= {"plots/panel_sheet.py", "views/comparison.py"}, "bitmaps; `panel_sheet.save` makes SVG of the view"


def test_words_stay_words_and_are_escaped() -> None:
    svg = dots("a <b> & c", name="<i>$x^2$")
    assert ElementTree.fromstring(svg).get("aria-label") == "a <b> & c"
    assert "&lt;i&gt;$x^2$0" in svg


def test_a_figure_of_nothing_is_still_a_figure() -> None:
    ElementTree.fromstring(to_svg(Dots("none", ("a",), (Panel("a", "x", (None,), ("#000000",)),))))
    ElementTree.fromstring(to_svg(Heat("none", ("a",), ("b",), grid_of(np.full((1, 1), NAN)))))


def test_every_family_has_one_colour_and_neighbours_differ() -> None:
    known = ["clean", "blur", "noise", "jpeg", "blur+noise", "fog", "haze"]
    assert len({family_colour(name, known, OWN) for name in known}) == len(known)
    assert [family_colour(name, known, OWN) for name in known[4:]] == [colour for colour in SPARE if colour not in OWN.values()][:3]
    assert family_colour("blur", ["fog"], OWN) == OWN["blur"]


def test_families_differ_for_the_colour_blind() -> None:
    # Viénot 1999: what a dichromat sees; neighbouring families must stay apart in what is left.
    protan = np.array([[0.11238, 0.88762, 0.0], [0.11238, 0.88762, 0.0], [0.00401, -0.00401, 1.0]])
    deutan = np.array([[0.29275, 0.70725, 0.0], [0.29275, 0.70725, 0.0], [-0.02234, 0.02234, 1.0]])
    names = ["clean", "blur", "noise", "jpeg", "blur+noise"]
    rgb = np.array([[int(family_colour(n, names, OWN)[i : i + 2], 16) / 255 for i in (1, 3, 5)] for n in names]) ** 2.2
    for matrix in (np.eye(3), protan, deutan):
        seen = np.clip(rgb @ matrix.T, 0, 1) ** (1 / 2.2)
        apart = np.abs(seen[:, None] - seen[None]).sum(axis=2) + np.eye(len(names))
        assert apart.min() > 0.2


def lab(colour: str) -> np.ndarray:
    """CIE L*a*b* of #rrggbb, white D65."""
    rgb = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    xyz = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]) @ linear / [0.95047, 1, 1.08883]
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_no_network_looks_like_a_degradation_or_like_another_network() -> None:
    families = {family_colour("clean"), *OWN.values(), *SPARE}
    for i, colour in enumerate(NETWORKS):
        assert min(np.linalg.norm(lab(colour) - lab(other)) for other in families) > 20
        assert min(np.linalg.norm(lab(colour) - lab(other)) for other in NETWORKS[:i] + NETWORKS[i + 1 :]) > 25
    looks = network_looks([f"m{i}" for i in range(24)])
    assert len(set(looks.values())) == 24, "beyond eight, the line tells them apart"


def test_no_two_degradations_of_a_study_share_a_colour() -> None:
    """Mixtures took spare colours that other degradations of the same study had of their own; two packages may choose one colour."""
    known = ["clean", *OWN, *(f"mixture{i}" for i in range(2)), "fog"]
    own = {**OWN, "fog": OWN["blur"]}
    assert len({family_colour(name, known, own) for name in known}) == len(known)


def test_digits_that_the_layout_does_not_fix_change_neither_ids_nor_coordinates() -> None:
    def drawn(shift: float) -> str:
        with canvas(3.0, 2.0) as figure:
            axes = figure.add_subplot()
            axes.plot([0, 1], [0, 1])
            engine = figure.get_layout_engine()
            execute = engine.execute

            def shifted(fig: Any) -> None:
                execute(fig)
                axes.set_position([value + shift for value in axes.get_position().bounds])

            engine.execute = shifted
            return svg_text(figure, "line")

    assert drawn(1e-12) == drawn(-1e-12) == drawn(0.0)
    assert "clip-path" in drawn(0.0)
