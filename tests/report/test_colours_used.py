"""One network and one degradation have one colour and one marker in the figures of a page; those of analyses: `test_contract`."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from colours_used import seen_in, strangers
from toy_studies import Recipe, Stage

from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.plots.dots import Dots
from xlli_ray.plots.kinds import from_json
from xlli_ray.plots.palette import network_looks
from xlli_ray.plots.view import View, to_json, to_svg
from xlli_ray.report.page import gather
from xlli_ray.report.training_page import gather as gather_training
from xlli_ray.store.tables.trainings import Network, Standing, Trainings
from xlli_ray.study import open_study
from xlli_ray.training.plot import log_view

Make = Callable[[Recipe], str]


def views_of(place: str) -> list[View]:
    """All figures of the page that are drawn here; each is what its view makes, also when this was stored."""
    out = []
    for section in gather(open_study(place), place).sections:
        for figure in section.figures:
            assert figure.view is not None
            assert to_svg(from_json(to_json(figure.view), "x.json")) == figure.svg
            out.append(figure.view)
    return out


@pytest.mark.parametrize("models", [1, 2])
@pytest.mark.parametrize("degradations", [("clean",), ("clean", {"blur": 2}, {"blur": 1, "noise": 10}, {"jpeg": 50})], ids=["one", "four"])
def test_networks_and_degradations_have_their_looks_on_the_page(make_study: Make, models: int, degradations: tuple[object, ...]) -> None:
    place = make_study(Recipe([Stage("restore")], models=models, degradations=degradations))
    manifest = open_study(place).manifest
    networks, meaning = network_looks([model.id for model in manifest.models]), Labels.of(manifest.samples)
    views = views_of(place)
    assert len(views) > 0 or len(degradations) == models == 1, "a single number is in the table and has no figure"
    for view in views:
        assert strangers(view, networks, {label: meaning.colour(label) for label in meaning.records}) == []
    if len(degradations) == 1 < models:  # colours that say nothing of degradations say which network it is
        shown = next(view for view in views if isinstance(view, Dots) and set(view.rows) <= set(networks))
        assert {(seen.colour, seen.marker) for seen in seen_in(shown)} == {(look.colour, look.marker) for look in networks.values()}


def test_the_table_of_a_training_page_tells_ten_networks_apart_as_the_curves_do() -> None:
    """Beyond eight networks colours come again with dashed lines: the table, which stands for the legend, did not say so."""
    rows = [Standing(Network(f"n{i}", 100), "finished", ({"iteration": 50, "loss": 0.5}, {"iteration": 100, "loss": 0.1 * i + 0.1}))
            for i in range(14)]  # fmt: skip
    page = gather_training(Trainings("many", tuple(row.network for row in rows)), rows)
    assert len({page.stroke(row) for row in rows}) == 14
    (figure,) = page.figures
    assert figure.view is not None
    assert strangers(figure.view, page.looks, {}) == []


def test_validation_scores_of_a_training_are_in_their_degradations_colours() -> None:
    log = [{"iteration": 4, "loss": 1.0, "psnr_y": 20.0, "psnr_y blur2": 19.0, "psnr_y blur1+noise10": 18.0, "psnr_y my-own": 17.0}]
    seen = {item.name: item for item in seen_in(log_view(log, title="net"))}
    assert seen["psnr_y"].colour == "#3d4450"
    assert seen["psnr_y blur2"].colour == "#0072B2"
    assert len({item.colour for item in seen.values()}) == 5
