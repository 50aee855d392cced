"""The page of a training study: how far each network is, the loss of all over iterations, and each one's validation scores.

Everything is read from the study (`store.tables.trainings`), so the page can be made at any time, also while networks train.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import xlli_ray
from xlli_ray.errors import StudyError
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.palette import Look, network_looks
from xlli_ray.plots.view import to_svg
from xlli_ray.report.page import environment
from xlli_ray.report.page_freshness import KEY
from xlli_ray.report.page_model import Figure
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.tables.trainings import Standing, Trainings, read_trainings, standings
from xlli_ray.views.page_views import PageView, write_page_views

APART = 12
"""More networks than this are drawn without a legend: the table below has their colours."""
_FIXED = {"iteration", "loss", "real", "fake"}
_BORDERS = {"-": "solid", "--": "dashed", ":": "dotted"}


@dataclass
class TrainingPage:
    """Everything that the template shows."""

    trainings: Trainings
    rows: list[Standing]
    tags: list[str]
    scores: list[str]
    looks: dict[str, Look]
    figures: list[Figure] = field(default_factory=list)
    version: str = xlli_ray.__version__

    @property
    def done(self) -> int:
        """Networks that are finished."""
        return sum(row.state == "finished" for row in self.rows)

    def stroke(self, row: Standing) -> str:
        """The network's line in the curves, as a style sheet has it: beyond eight, colours come again with another line."""
        look = self.looks[row.network.id]
        return f"{_BORDERS[look.line]} {look.colour}"

    def score(self, row: Standing, name: str) -> str:
        """The last value of a validation score, '' without one."""
        return next((f"{line[name]:.2f}" for line in reversed(row.log) if isinstance(line.get(name), int | float)), "")


def write_training_page(objects: Objects) -> str:
    """Write the page into the study. Returns its path or address. Raises StudyError where no training study is."""
    page, data = training_page(objects)
    views = [PageView("training", figure.caption, figure.view) for figure in page.figures if figure.view is not None]
    write_page_views(objects, views)
    objects.put(KEY, data)
    return f"{objects.url.rstrip('/')}/{KEY}"


def training_page(objects: Objects) -> tuple[TrainingPage, bytes]:
    """The page as the study is now, and as HTML. Raises StudyError where no training study is."""
    trainings = read_trainings(objects)
    if trainings is None:
        raise StudyError(f"{objects.url}: no training study is here (no training.json)")
    page = gather(trainings, standings(objects, trainings.networks))
    return page, environment().get_template("training.html.j2").render(page=page).encode()


def gather(trainings: Trainings, rows: Sequence[Standing]) -> TrainingPage:
    """The page's content, figures drawn."""
    looks = network_looks([row.network.id for row in rows])
    tags = list(dict.fromkeys(tag for row in rows for tag in row.network.tags))
    scores = list(dict.fromkeys(name for row in rows for line in row.log for name in line if name not in _FIXED))
    page = TrainingPage(trainings, list(rows), tags, scores, looks)
    captions = {"loss": "Training loss, means of 50 iterations."} if any(row.log for row in rows) else {}
    captions |= {name: f"{name}: validation of the averaged weights while training." for name in scores}
    for name, caption in captions.items():
        view = network_curves(rows, looks, name)
        logarithmic = " Both axes are logarithmic." if view.panels[0].y.log else ""
        page.figures.append(Figure(to_svg(view), caption + logarithmic, view=view))
    return page


def network_curves(rows: Sequence[Standing], looks: Mapping[str, Look], name: str) -> Curves:
    """The value `name` of all networks over iterations; the loss on logarithmic axes where it is positive throughout."""
    curves = []
    for row in rows:
        points = [(float(line["iteration"]), float(line[name])) for line in row.log if isinstance(line.get(name), int | float)]
        if points:
            look = looks[row.network.id]
            x, y = zip(*points)
            curves.append(Curve(row.network.id, look.colour, x, y, line=look.line, marker=look.marker if len(points) == 1 else ""))
    log = name == "loss" and all(value > 0 for curve in curves for value in curve.y)
    panel = CurvePanel("", tuple(curves), Axis("iteration", log=log), Axis(f"{name}, dB" if name.startswith("psnr") else name, log=log))
    return Curves(f"{name} of {len(curves)} networks while training", (panel,), each=6.5, legend=1 < len(curves) <= APART)
