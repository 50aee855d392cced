"""The page of a training study: how far each network is, the loss of all over iterations, and each one's validation scores.

Everything is read from the study (`store.tables.trainings`), so the page can be made at any time, also while networks train.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import xlli_ray
from xlli_ray.errors import StudyError
from xlli_ray.report.page import KEY, environment
from xlli_ray.report.page_model import Figure
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.tables.trainings import Standing, Trainings, read_trainings, standings

APART = 12
"""More networks than this are drawn without a legend: the table below has their colours."""
_FIXED = {"iteration", "loss", "real", "fake"}


@dataclass
class TrainingPage:
    """Everything that the template shows."""

    trainings: Trainings
    rows: list[Standing]
    tags: list[str]
    scores: list[str]
    colours: dict[str, str]
    figures: list[Figure] = field(default_factory=list)
    version: str = xlli_ray.__version__

    @property
    def done(self) -> int:
        """Networks that are finished."""
        return sum(row.state == "finished" for row in self.rows)

    def score(self, row: Standing, name: str) -> str:
        """The last value of a validation score, '' without one."""
        return next((f"{line[name]:.2f}" for line in reversed(row.log) if isinstance(line.get(name), int | float)), "")


def write_training_page(objects: Objects) -> str:
    """Write the page into the study. Returns its path or address. Raises StudyError where no training study is."""
    trainings = read_trainings(objects)
    if trainings is None:
        raise StudyError(f"{objects.url}: no training study is here (no training.json)")
    page = gather(trainings, standings(objects, trainings.networks))
    objects.put(KEY, environment().get_template("training.html.j2").render(page=page).encode())
    return f"{objects.url.rstrip('/')}/{KEY}"


def gather(trainings: Trainings, rows: Sequence[Standing]) -> TrainingPage:
    """The page's content, figures drawn."""
    from xlli_ray.plots import network_looks

    looks = network_looks([row.network.id for row in rows])
    tags = list(dict.fromkeys(tag for row in rows for tag in row.network.tags))
    scores = list(dict.fromkeys(name for row in rows for line in row.log for name in line if name not in _FIXED))
    page = TrainingPage(trainings, list(rows), tags, scores, {name: look.colour for name, look in looks.items()})
    if any(row.log for row in rows):
        page.figures.append(Figure(_curves(rows, looks, "loss"), "Training loss, means of 50 iterations. Both axes are logarithmic."))
    page.figures += [Figure(_curves(rows, looks, name), f"{name}: validation of the averaged weights while training.") for name in scores]
    return page


def _curves(rows: Sequence[Standing], looks: Any, name: str) -> str:
    from xlli_ray.plots import WIDTH, canvas, svg_text

    with canvas(WIDTH * 0.8, 3.6) as figure:
        axis = figure.add_subplot()
        axis.grid(True, axis="both")
        drawn = 0
        for row in rows:
            points = [(line["iteration"], line[name]) for line in row.log if isinstance(line.get(name), int | float)]
            if points:
                look = looks[row.network.id]
                mark = look.marker if len(points) == 1 else None
                axis.plot(*zip(*points), color=look.colour, linestyle=look.line, marker=mark, linewidth=1.3, label=row.network.id)
                drawn += 1
        if name == "loss" and all(line["loss"] > 0 for row in rows for line in row.log):
            axis.set(xscale="log", yscale="log")
        axis.set(xlabel="iteration", ylabel=name)
        if 1 < drawn <= APART:
            axis.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False, fontsize=8.5)
        return svg_text(figure, f"{name} of {drawn} networks while training")
