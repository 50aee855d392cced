"""One figure of each kind that the explorer draws, put on the page of a study that has none of them."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path

import numpy as np

from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.dots import Dots, Panel
from xlli_ray.plots.embedding import Cloud, Embedding, Group
from xlli_ray.plots.heat import Heat
from xlli_ray.plots.histograms import Histogram, Histograms
from xlli_ray.plots.matrices import Matrices, Matrix
from xlli_ray.plots.scatter import Point, Scatter, ScatterPanel
from xlli_ray.plots.strips import Strip, Strips
from xlli_ray.plots.view import View, to_json
from xlli_ray.report.explorer.encoding import script
from xlli_ray.stats.intervals import Interval

NAN = math.nan
BLUE, RED = "#0072B2", "#D55E00"


def every_kind(rows: int) -> list[View]:
    """Of a study with this many samples; titles are the kinds."""
    one, two = Interval(30.0, 29.0, 31.0, 9), Interval(31.5, NAN, NAN, 1, 4, "too few")
    first = Curve("net", BLUE, (1.0, 2.0, 4.0), (3.25, NAN, 7.5), (2.5, NAN, 6.0), (4.0, NAN, 9.0), "--", "s", (True, False, False))
    second = Curve("other", RED, (1.0, 2.0, 4.0), (1.0, 2.0, 100.0), line="-", marker="o", floor=(0.5, 0.6, 0.7))
    panels = (
        CurvePanel("level", (first, second), Axis("σ", falling=True, places=(1.0, 2.0, 4.0)), Axis("SRGA", log=True)),
        CurvePanel("name", (second,), Axis("layer", places=(1.0, 2.0, 4.0), names=("x", "y", "z")), Axis("SRGA", zero=True)),
    )
    dots = Panel("<b>", "dB", (one, None, two), (BLUE, RED, BLUE), ((29.0, 30.5), None, None), True, "s", "os^", ("1", "", "2–3"))
    points = ScatterPanel("ρ", (Point("net", BLUE, one, two), Point("other", RED, two, one, "D")))
    bins = Histogram("a", BLUE, (-1.0, 0.0, 1.0), (0.1, 0.8, 0.0), (0.1, 0.9, 0.1), 1.5, "α 2")
    spread = np.random.default_rng(1).random((2, rows))
    groups = tuple(row % 2 for row in range(rows))
    cloud = Cloud("PCA", tuple(spread[0].tolist()), tuple(spread[1].tolist()), groups, tuple(range(rows)))
    return [
        Curves("curves", panels, band=True),
        Dots("dots", ("a", "b", "c"), (dots, dots)),
        Scatter("scatter", "DI", "PSNR", (points, points)),
        Heat("heat", ("a", "b"), ("clean", "blur2"), ((1.0, NAN), (-1.0, 2.0)), (BLUE, RED), True, 1, ((True, False), (False, False))),
        Histograms("histograms", "σ", "density", ((bins,),)),
        Matrices("matrices", ("a", "b", "c"), (BLUE, RED, BLUE), (Matrix("net", ((0.5, NAN), (12.0, 0.001))),)),
        Strips("strips", ("a", "b"), (BLUE, RED), (Strip("t", "x", ((0.1, 0.2, 0.9), (0.4,)), 0.5, True),)),
        Embedding("embedding", ("net\nlayer",), ("PCA", "t-SNE"), (Group("clean", BLUE), Group("blur2", RED)), ((cloud, None),)),
    ]


def add_every_kind(place: Path) -> None:
    """Give the page's data these figures in place of its own."""
    path = place / "report/data/study.js"
    found = re.fullmatch(r'xlli\.put\("study",(.*)\);\n', path.read_text("utf-8"), re.DOTALL)
    assert found is not None
    study = json.loads(found[1])
    views = every_kind(study["rows"])
    study["figures"] = [
        {"section": "toy", "anchor": f"figure-toy-{view.KIND}", "title": view.title, "caption": f"{view.KIND}", "kind": view.KIND}
        for view in views
    ]
    for number, view in enumerate(views):
        (path.parent / f"figure-{number}.js").write_bytes(script(f"figure-{number}", json.loads(to_json(view))))
    path.write_bytes(script("study", study))
