"""`report/views.json`: what the page draws for itself, as data, and the same images from it once the arrays are read again."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lam_studies import Lam
from toy_studies import Recipe, Stage

from xlli_ray.corpus.sample import study_loader
from xlli_ray.errors import StudyError
from xlli_ray.plots.image_panels import ImagePanels
from xlli_ray.report.image_strip import Strip, strip_of
from xlli_ray.report.page import Page, gather, render, write_report
from xlli_ray.report.shown_samples import Samples
from xlli_ray.store.archive import open_archive
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import Study, open_study

Make = Callable[[Recipe], str]


def output(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
    return np.random.default_rng((model, row)).integers(0, 255, shape)


def stages() -> list[Stage]:
    lam = [stage for stage in Lam(controls=None).stages() if stage.kind == "lam"]
    features = Stage("features", "features", (), ["body.out"], shape=(12, 8, 8),
                     array=lambda m, row, shape: np.random.default_rng(row).standard_normal(shape))  # fmt: skip
    return [Stage("restore", name="output", shape=(3, -1, -2), dtype="uint8", array=output), features, *lam]


@pytest.fixture
def place(make_study: Make) -> str:
    return make_study(Recipe(stages(), models=2, pictures=4, degradations=("clean", {"blur": 2})))


def strips(page: Page) -> list[Strip]:
    out = [page.corpus] if page.corpus is not None else []
    for section in page.sections:
        out += [piece.item for piece in section.own if isinstance(piece.item, Strip)] + section.strips
    return out


def again(study: Study) -> Samples:
    """As another program, later."""
    return Samples(study, study_loader(study.manifest.recipe.get("corpus", {})))


def test_every_figure_of_the_page_is_kept_as_data_in_its_order(place: str) -> None:
    page = gather(open_study(place), place)
    write_report(place)
    kept = open_study(place).page_views
    assert [(item.section, item.caption, item.view) for item in kept] == [(item.section, item.caption, item.view) for item in page.views]
    assert {item.section for item in kept} == {"corpus", "restore", "features", "lam"}
    assert len(kept) == len(page.views) == sum(len(section.figures) for section in page.sections) + len(strips(page))
    assert {item.view.KIND for item in kept} == {"dots", "image_panels"}


def test_the_images_of_a_page_are_made_again_from_its_data_and_the_arrays(place: str) -> None:
    page = gather(open_study(place), place)
    write_report(place)
    study = open_study(place)
    samples = again(study)
    drawn = strips(page)
    kept = [item for item in study.page_views if isinstance(item.view, ImagePanels)]
    assert len(kept) == len(drawn) >= 5
    for item, strip in zip(kept, drawn):
        assert isinstance(item.view, ImagePanels)
        made = strip_of(item.view, item.caption, samples.read)
        assert (made.title, made.caption, made.rows, made.scale) == (strip.title, strip.caption, strip.rows, strip.scale)


def test_images_that_lie_in_the_study_are_not_kept_twice(place: str) -> None:
    write_report(place)
    views = [item.view for item in open_study(place).page_views if isinstance(item.view, ImagePanels)]
    layers = [layer for view in views for row in view.rows for panel in row.panels if panel for layer in panel.layers]
    assert {layer.png is None for layer in layers if layer.source is not None} == {True}
    computed = [layer for layer in layers if layer.source is None]
    assert all(layer.png for layer in computed)
    assert 0 < len(computed) < len(layers) / 4, "contribution areas alone"


def test_the_same_study_gives_the_same_bytes_and_a_flipped_one_is_found(place: str) -> None:
    write_report(place)
    file = Path(place) / "report" / "views.json"
    first = file.read_bytes()
    write_report(place)
    assert file.read_bytes() == first
    assert not [line for line in verify(open_archive(place)) if "views.json" in line]
    file.write_bytes(first.replace(b'"caption"', b'"captiom"', 1))
    with pytest.raises(StudyError, match=r"views.json: damaged.*`xlli report` writes it again"):
        open_study(place).page_views  # noqa: B018
    (line,) = [line for line in verify(open_archive(place)) if "views.json" in line]
    assert "`xlli report` rewrites it" in line


@pytest.mark.parametrize(("content", "message"), [
    ({"format": 2, "views": []}, "format 2, this version reads 1"),
    ({"format": 1, "views": 3}, "format 1"),
    ({"format": 1, "views": [{"section": "a", "view": {}}]}, r"views\[0\]: expected an object with section, caption and view"),
    ({"format": 1, "views": [{"section": "a", "caption": "b", "view": {"format": 1, "kind": "script"}}]}, r"views\[0\]: kind is 'script'"),
])  # fmt: skip
def test_a_file_that_no_page_wrote_is_refused_with_the_place(place: str, content: Any, message: str) -> None:
    (Path(place) / "report").mkdir(exist_ok=True)
    (Path(place) / "report" / "views.json").write_text(json.dumps(content))
    with pytest.raises(StudyError, match=f"views.json.*{message}"):
        open_study(place).page_views  # noqa: B018


def test_a_study_without_a_page_has_no_views_of_one(place: str) -> None:
    assert open_study(place).page_views == []


def test_no_two_drawings_of_a_page_share_an_id(make_study: Make) -> None:
    """Two restore stages draw figures of one title: their clip paths had one id."""
    place = make_study(Recipe([Stage("restore"), Stage("again", "restore")], models=2))
    page = gather(open_study(place), place)
    titles = [figure.view.title for section in page.sections for figure in section.figures if figure.view]
    assert len(titles) > len(set(titles))
    html = render(page)
    drawings = re.findall(r'<svg class="plot".*?</svg>', html, re.DOTALL)
    assert len(drawings) == len(titles)
    ids = [re.findall(r' id="([^"]+)"', svg) for svg in drawings]
    assert sum(map(len, ids)) == len({name for own in ids for name in own}) > 0
    for svg, own in zip(drawings, ids):
        assert set(re.findall(r'(?:url\(#|href="#)([^)"]+)', svg)) <= set(own)
    assert html == render(page)
