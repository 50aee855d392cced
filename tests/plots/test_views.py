"""Every kind of view: to JSON and back, the same SVG from both, and nothing from a file that no analysis writes."""

from __future__ import annotations

import base64
import io
import json
import re
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from xlli_ray.errors import StudyError
from xlli_ray.plots.colour_scale import ColourScale
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.embedding import Cloud, Embedding, Group, Thumbnail
from xlli_ray.plots.heat import Heat
from xlli_ray.plots.histograms import Histogram, Histograms
from xlli_ray.plots.image_panels import Area, Frame, ImagePanel, ImagePanels, Layer, PanelRow, Source
from xlli_ray.plots.kinds import KINDS, from_json
from xlli_ray.plots.matrices import Matrices, Matrix
from xlli_ray.plots.scatter import Point, Scatter, ScatterPanel
from xlli_ray.plots.strips import Strip, Strips
from xlli_ray.plots.view import Png, View, to_json, to_svg
from xlli_ray.stats.intervals import Interval

NAN, INF = float("nan"), float("inf")
BLUE, RED = "#0072B2", "#D55E00"


def png(width: int = 4, height: int = 3) -> Png:
    out = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), 90, np.uint8)).save(out, "PNG")
    return Png(base64.b64encode(out.getvalue()).decode())


def grey() -> Png:
    out = io.BytesIO()
    Image.fromarray(np.arange(12, dtype=np.uint8).reshape(3, 4) * 20).save(out, "PNG")
    return Png(base64.b64encode(out.getvalue()).decode())


def examples() -> dict[str, View]:
    one, two = Interval(30.0, 29.0, 31.0, 9), Interval(31.5, NAN, NAN, 1, 4, "too few")
    shown = Panel("<b>", "dB", (one, None, two), (BLUE, RED, BLUE), ((29.0, 30.5), None, None), True, "s", "os^", ("1", "", "2–3"))
    numeric = Curve("net", BLUE, (1.0, 2.0, 4.0), (3.0, NAN, INF), (2.0, NAN, 1.0), (4.0, NAN, 7.0), "--", "s", (True, False, False))
    named = Curve("other", RED, (0.0, 1.0), (1.0, 2.0), line="", marker="o", floor=(0.5, 0.6))
    cloud = Cloud("purity", (0.0, 1.0, 2.0), (1.0, 3.0, 2.0), (0, 1, 0), (5, 6, 7), (Thumbnail(1, png()),))
    views: list[View] = [
        Dots("dots", ("a", "b", "c"), (shown,)),
        Heat("heat", ("a", "b"), ("clean", "blur2"), ((1.0, NAN), (-1.0, 2.0)), (BLUE, RED), True, 1, ((True, False), (False, False))),
        Curves("curves", (
            CurvePanel("level", (numeric,), Axis("σ", falling=True, places=(1.0, 2.0, 4.0)), Axis("SRGA", zero=True)),
            CurvePanel("name", (named,), Axis(places=(0.0, 1.0), names=("x", "y")), Axis("SRGA", zero=True)),
        ), apart=True, share_y=True),
        Scatter("scatter", "DI", "PSNR", (ScatterPanel("ρ", (Point("net", BLUE, one, two), Point("other", RED, two, one))),)),
        Strips("strips", ("a", "b"), (BLUE, RED), (Strip("t", "x", ((0.1, 0.2, 0.9), ()), 0.5, True),)),
        Histograms("fits", "σ", "density", ((Histogram("a", BLUE, (-1.0, 0.0, 1.0), (0.1, 0.8, 0.0), (0.1, 0.9, 0.1), 1.5, "α 2"),),)),
        Matrices("pairs", ("a", "b", "c"), (BLUE, RED, BLUE), (Matrix("net", ((0.5, NAN), (12.0, 0.001))),)),
        ImagePanels("images", (PanelRow("<a>", (None, ImagePanel("map", (
            Layer(Source(3, "input"), channels="luma", scale=ColourScale(0, 255, "gray"), png=grey()),
            Layer(Source(3, "map", "lam/net/a", (0,)), scale=ColourScale(0, 1, "reds", 0.4), opacity=0.5, shared=True, png=grey()),
        ), "DI 3", Area(0, 0, 12, 16), (Frame(2, 2.5, 4, 4, BLUE),), 240, True, True),), RED),), ColourScale(-1, 1, "RdBu_r"), "value"),
        Embedding("2d", ("net\nlayer",), ("PCA", "t-SNE"), (Group("clean", BLUE), Group("blur2", RED)), ((cloud, None),)),
    ]  # fmt: skip
    return {view.KIND: view for view in views}


VIEWS = examples()


def test_every_kind_has_an_example_here() -> None:
    assert set(VIEWS) == set(KINDS)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_the_stored_view_says_the_same_and_draws_the_same_bytes(kind: str) -> None:
    view = VIEWS[kind]
    text = to_json(view)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    back = from_json(text, "x.json")
    assert type(back) is type(view)
    assert to_json(back) == text
    svg = to_svg(view)
    assert to_svg(back) == back.draw() == svg
    root = ElementTree.fromstring(svg)
    assert root.get("aria-label") == view.title


def test_an_infinite_value_is_drawn_as_none_both_times() -> None:
    back = from_json(to_json(VIEWS["curves"]), "x.json")
    assert isinstance(back, Curves)
    assert np.isnan(back.panels[0].curves[0].y[1:]).all()


def test_curves_of_one_name_have_one_line_in_the_legend_and_bands_are_filled() -> None:
    panels = tuple(CurvePanel(title, (Curve("net", BLUE, (1.0, 2.0), (3.0, 4.0), (2.0, 3.0), (4.0, 5.0)),)) for title in "ab")
    bands, bars = to_svg(Curves("t", panels, band=True)), to_svg(Curves("t", panels))
    assert bands.count(">net</text>") == 1
    assert bands.count("opacity: 0.13") == 2
    assert "opacity: 0.13" not in bars


def test_points_at_one_place_have_one_label_together() -> None:
    """Two operators that copy pixels lie on each other, and their numbers were printed one over the other."""
    def at(name: str, x: float, y: float) -> Point:
        return Point(name, BLUE, *(Interval(value, NAN, NAN, 1) for value in (x, y)))

    def words(*points: Point) -> list[str]:
        panel = ScatterPanel("", points)
        return re.findall(r"<text [^>]*>([^<]+)</text>", to_svg(Scatter("s", "x", "y", (panel, panel), columns=2)))

    apart = words(at("a", 1, 1), at("b", 2, 1), at("c", 3, 2))
    assert {"1", "2", "3"} <= set(apart)
    together = words(at("a", 1, 1), at("b", 1.001, 1), at("c", 3, 2))
    assert {"1, 2", "3"} <= set(together)
    assert together.count("2") < apart.count("2")


def test_the_legend_has_the_order_that_the_view_says_and_every_column_of_a_shared_axis_its_ticks() -> None:
    """The third column of spectra had no ticks where the last line was short, and a set that the first network lacks came last."""
    names = ("blur2", "blur4", "clean", "noise20")
    panels = tuple(
        CurvePanel(name, (Curve(name, BLUE, (1.0, 2.0), (3.0, 4.0)),), Axis(places=(1.0, 2.0), names=("first", "second"))) for name in names
    )
    svg = to_svg(Curves("t", panels, share_x=True, order=("clean", "blur2", "blur4", "absent")))
    legend = svg[svg.rindex("first</text>") :]
    assert re.findall(r">(clean|blur2|blur4|noise20|absent)</text>", legend)[-4:] == ["clean", "blur2", "blur4", "noise20"]
    assert svg.count(">first</text>") == 3, "one for each of three columns"


def put(path: str, value: Any) -> Any:
    """A change of a stored view: `value` at the place `path`, fields and numbers with dots between; `...` removes it."""

    def change(data: Any) -> None:
        *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
        for part in way:
            data = data[part]
        if value is ...:
            del data[last]
        else:
            data[last] = value

    return change


HOSTILE = [
    ("dots", put("kind", "script"), "kind is 'script'"),
    ("dots", put("format", 2), "format is 2"),
    ("dots", put("format", True), "format is True"),
    ("dots", put("onload", "alert(1)"), "onload is 'alert"),
    ("dots", put("title", ...), "title is None"),
    ("dots", put("rows", "abc"), "rows is 'abc', expected a list"),
    ("dots", put("rows.1", 7), r"rows\[1\] is 7, expected a string"),
    ("dots", put("rows.1", "x" * 3000), r"rows\[1\] is .*at most"),
    ("dots", put("rows", ["a"]), r"panels\[0\].values has 3 entries, expected 1"),
    ("dots", put("columns", 0), "columns is 0, expected 1 to 20"),
    ("dots", put("panels.0.colours.1", "red;}</style>"), r"panels\[0\]: 'red;}</style>' is not a colour"),
    ("dots", put("panels.0.values.0.mean", "30"), r"panels\[0\].values\[0\].mean is '30', expected a number or null"),
    ("dots", put("panels.0.values.0.mean", True), "mean is True, expected a number"),
    ("dots", put("panels.0.values.0.low", 10**400), "low is 1"),
    ("dots", put("panels.0.spans.0", [1.0]), r"spans\[0\] is \[1.0\], expected a list of 2"),
    ("dots", put("panels.0.markers", "o$x"), "markers is '\\$'"),
    ("dots", put("panels", []), "at least one panel"),
    ("heat", put("values.1", [1.0]), r"values\[1\] has 1 entries, expected 2"),
    ("heat", put("brackets.0.0", 1), r"brackets\[0\]\[0\] is 1, expected true or false"),
    ("heat", put("digits", 10**6), "digits is 1000000"),
    ("curves", put("panels.0.curves.0.line", "url(#a)"), r"panels\[0\].curves\[0\]: line is 'url"),
    ("curves", put("panels.0.curves.0.y", [1.0]), r"panels\[0\].curves\[0\]: y has 1"),
    ("curves", put("panels.0.x.names", ["a"]), r"panels\[0\].x: names has 1"),
    ("curves", put("panels.0.rule", ["x"]), r"rule\[0\] is 'x'"),
    ("scatter", put("panels.0.points.0.x", None), r"points\[0\].x is None, expected an object"),
    ("strips", put("panels.0.values.0.0", None), r"panels\[0\]: expected at least one value"),
    ("strips", put("panels.0.limit", None), "limit must be finite"),
    ("histograms", put("lines.0.0.reach", -1.0), "reach must be above 0"),
    ("matrices", put("panels.0.values.0.0", -2.0), "above 0"),
    ("embedding", put("panels.0.0.group.0", 9), r"panels\[0\]\[0\].group is not an index"),
    ("embedding", put("panels.0.0.thumbnails.0.point", -1), "expected at most four thumbnails"),
    ("embedding", put("panels.0.0.thumbnails.0.png", "http://localhost:1/x.png"), r"png is 'http.*expected a PNG"),
    ("embedding", put("panels.0.0.thumbnails.0.png", base64.b64encode(b"<svg onload='alert(1)'>" * 3).decode()), "not a PNG file"),
    ("embedding", put("panels.0.0.thumbnails.0.png", png(4000, 1)), "4000 × 1 pixels"),
    ("embedding", put("panels.0.0.x.0", None), "expected at least one point"),
    ("image_panels", put("rows.0.panels.1.layers.0.png", "aGVsbG8="), r"layers\[0\].png is 'aGVsbG8=', expected a PNG file"),
    ("image_panels", put("rows.0.panels.1.layers.1.source.row", -1), r"source: a source needs a row"),
    ("image_panels", put("rows.0.panels.1.layers.1.scale.colours", "url(#a)"), r"scale: colours is 'url"),
    ("image_panels", put("rows.0.panels.1.layers.1.scale.high", None), "a scale goes from a number to a larger one"),
    ("image_panels", put("rows.0.panels.1.layers.1.opacity", 2.0), r"layers\[1\]: opacity is 2.0"),
    ("image_panels", put("rows.0.panels.1.layers.1.scale", None), "a layer of single values, or of an opacity"),
    ("image_panels", put("rows.0.panels.1.area", None), "a panel with frames needs its area"),
    ("image_panels", put("rows.0.panels.1.area.width", 0.0), "width is 0.0, expected a number above 0"),
    ("image_panels", put("rows.0.panels.1.frames.0.colour", "red"), "'red' is not a colour"),
    ("image_panels", put("rows.0.panels.1.side", 10**6), "side is 1000000"),
    ("image_panels", put("rows.0.panels.1.layers", []), "at least one layer"),
    ("embedding", put("panels.0.0.rows.0", 1.5), r"rows\[0\] is 1.5, expected an integer"),
]  # fmt: skip


@pytest.mark.parametrize(("kind", "change", "message"), HOSTILE, ids=[message for _, _, message in HOSTILE])
def test_a_file_that_no_analysis_writes_is_refused_with_its_name_and_the_field(kind: str, change: Any, message: str) -> None:
    data = json.loads(to_json(VIEWS[kind]))
    change(data)
    with pytest.raises(StudyError, match=f"^results/a/x.json: .*{message}"):
        from_json(json.dumps(data), "results/a/x.json")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"format": NaN}', '{"format": 1, "kind": ["dots"]}', "[" * 100_000, b"\xff\xfe{"],
    ids=["empty", "cut", "list", "null", "NaN", "kind", "deep", "bytes"],
)  # fmt: skip
def test_what_is_no_view_at_all_is_refused_with_its_name(text: str | bytes) -> None:
    with pytest.raises(StudyError, match=r"^results/a/x.json: "):
        from_json(text, "results/a/x.json")


def test_fields_that_do_not_fit_are_refused_when_a_view_is_made() -> None:
    with pytest.raises(ValueError, match="colours has 1 entries, expected 2"):
        Panel("", "x", (None, None), (BLUE,))
    with pytest.raises(ValueError, match="not a colour"):
        Group("clean", "red")
