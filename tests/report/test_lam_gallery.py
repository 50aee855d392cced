"""The images of a `lam` stage on the page: which windows, what stands where, and what happens when something is missing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lam_studies import COLUMNS, PLACES, SIDE, Lam
from toy_studies import SCALE, Recipe, Stage

from xlli_ray.plots.image_panels import ImagePanel, Layer
from xlli_ray.plots.panel_pixels import composite
from xlli_ray.plots.panel_values import image_layer, layer_of
from xlli_ray.report.image_strip import Strip
from xlli_ray.report.page import gather
from xlli_ray.report.page_model import Section
from xlli_ray.study import open_study
from xlli_ray.views.lam import DETAIL, FAINT, SHARE, Place, signed_scale

Make = Callable[[Recipe], str]


def section(make_study: Make, lam: Lam, *, more: list[Stage] | None = None, **fields: Any) -> Section:
    stages = [stage for stage in lam.stages() if stage.kind == "lam"] + (more or [])
    place = make_study(Recipe(stages, **{"models": 2, "pictures": 6, "degradations": ("clean",), **fields}))
    return next(item for item in gather(open_study(place), place).sections if item.kind == "lam")


def blocks(found: Section) -> list[Strip]:
    return [piece.item for piece in found.own if isinstance(piece.item, Strip)]


def texts(found: Section) -> list[str]:
    return [piece.item for piece in found.own if isinstance(piece.item, str)]


def outputs() -> Stage:
    def output(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng((model, row)).integers(0, 255, shape)

    return Stage("restore", name="output", shape=(3, -1, -2), dtype="uint8", array=output)


def captions(block: Strip) -> list[list[str]]:
    return [[tile.caption if tile else "" for tile in row.tiles] for row in block.rows]


def test_networks_stand_side_by_side_and_then_one_by_one_with_the_same_windows(make_study: Make) -> None:
    found = section(make_study, Lam(), more=[outputs()])
    beside, *each = blocks(found)
    assert beside.title == "Networks side by side"
    assert captions(beside) == [["target and window", "net0", "net1"]] * 4
    assert [block.title for block in each] == ["net0", "net1"]
    for block in each:
        assert [row.label for row in block.rows] == [row.label for row in beside.rows]
        assert all(names[0] == "target and window" for names in captions(block))
        assert all(names[1].startswith("map, DI ") for names in captions(block))
        assert captions(block)[0][2:] == ["contribution area", "target, the window", "output, the window"]
    top, left = PLACES[0]
    assert all(row.label.endswith(f"window at row {top}, column {left}, size {SIDE}") for row in beside.rows)
    assert len({row.label for row in beside.rows}) == 4, "four images, the first window of each"
    first, last = beside.rows[0].tiles[1:]
    assert first is not None
    assert last is not None
    assert first.note != last.note, "each network's own DI"
    assert first.uri != last.uri


def test_few_images_show_more_of_their_windows(make_study: Make) -> None:
    labels = [row.label for row in blocks(section(make_study, Lam(), pictures=1))[0].rows]
    assert [label.split(" · ")[1] for label in labels] == [f"window at row {y}, column {x}, size {SIDE}" for y, x in PLACES[:3]]


def test_a_signed_map_has_a_scale_that_is_symmetric_about_white_also_without_a_negative_value() -> None:
    values = np.zeros((32, 32))
    values[10, 12], values[20, 5] = 2.0, -1.0
    scale = signed_scale(values)
    assert (scale.low, scale.high) == (-2.0, 2.0)
    shown = composite(ImagePanel("signed map", (layer_of(values, scale, side=32),))).astype(int)
    assert shown[10, 12, 0] > shown[10, 12, 2]
    assert shown[20, 5, 2] > shown[20, 5, 0]
    assert shown[0, 0].min() > 240
    assert signed_scale(np.abs(values)) == scale


@pytest.mark.parametrize("size", [(32, 32), (31, 45)])
def test_the_window_has_one_place_on_the_map_and_on_the_target(size: tuple[int, int]) -> None:
    """On the map, drawn in input pixels, and on the window's own image, drawn in output pixels."""
    place = Place(8, 24, SIDE, SCALE, *size)
    grey = image_layer(np.full((*size, 3), 90, np.uint8), side=240)
    shown = composite(place.map_panel("map", (grey,)))
    factor = shown.shape[0] // size[0]
    top, left, side = 8 * factor // SCALE, 24 * factor // SCALE, SIDE * factor // SCALE
    assert (shown[top : top + side, left : left + side] == 90).all()
    assert (shown[top - 1, left : left + side] != 90).any(axis=-1).all()
    target = np.random.default_rng(0).integers(60, 120, (size[0] * SCALE, size[1] * SCALE, 3), dtype=np.uint8)
    around = image_layer(target[: 3 * SIDE, 24 - SIDE : 24 + 2 * SIDE], side=DETAIL)
    detail, zoom = composite(place.window_panel("target", around)), DETAIL // (3 * SIDE)
    assert detail.shape == (DETAIL, DETAIL, 3)
    window = target[8 : 8 + SIDE, 24 : 24 + SIDE].repeat(zoom, 0).repeat(zoom, 1)
    np.testing.assert_array_equal(detail[8 * zoom : (8 + SIDE) * zoom, SIDE * zoom : 2 * SIDE * zoom], window)


def test_red_is_opaque_where_the_map_is_large_and_grey_shows_where_it_is_not() -> None:
    grey = np.linspace(0, 255, 8).reshape(2, 4)
    values = np.array([[0.0, 0, 0, 1], [0, 0, 0, 1]])
    layers: tuple[Layer, ...] = (layer_of(grey, FAINT, side=8), layer_of(values, SHARE, side=8, shared=True))
    shown = composite(ImagePanel("map", layers)).astype(int)
    assert (shown[:, :3].std(axis=2) == 0).all(), "no colour without a map"
    assert (np.diff(shown[0, :3, 0]) > 0).all(), "the image's own shades"
    assert (shown[:, 3, 0] - shown[:, 3, 1] > 80).all()
    assert (shown[0, 3] == shown[1, 3]).all(), "fully opaque at the peak"


def test_undefined_maps_are_not_drawn_and_said(make_study: Make) -> None:
    found = section(make_study, Lam(di=lambda model, row, window: None, controls=None))
    assert blocks(found) == []
    assert any("undefined" in text for text in texts(found))
    half = section(make_study, Lam(di=lambda model, row, window: 5.0 if model else None, controls=None), name="half")
    assert captions(blocks(half)[0])[0] == ["target and window", "", "net1"]


def test_without_the_corpus_maps_are_shown_alone(make_study: Make, tmp_path: Any) -> None:
    lam = Lam(controls=None)
    place = make_study(Recipe([stage for stage in lam.stages() if stage.kind == "lam"], models=2, pictures=2, degradations=("clean",)))
    for file in tmp_path.glob("*-pictures/*.png"):
        file.unlink()
    found = next(item for item in gather(open_study(place), place).sections if item.kind == "lam")
    assert captions(blocks(found)[0])[0] == ["", "net0", "net1"]
    assert sum("without their images" in text for text in texts(found)) == 1


def test_an_unfinished_study_draws_what_there_is(make_study: Make) -> None:
    assert blocks(section(make_study, Lam(), done=0.0)) == []
    assert blocks(section(make_study, Lam(), done=0.5, name="half"))


def test_inputs_without_targets_are_drawn_themselves(make_study: Make) -> None:
    found = section(make_study, Lam(controls=None), inputs=True, size=32, more=[outputs()])
    assert captions(blocks(found)[0])[0][0] == "input and window"
    assert captions(blocks(found)[1])[0][2:] == ["contribution area", "output, the window"]


def test_columns_of_the_toy_are_those_that_the_gallery_reads() -> None:
    assert {"window", "top", "left", "size", "di", "error_estimate", "undefined", "control"} <= {name for name, _ in COLUMNS}


def test_a_column_that_is_the_same_everywhere_is_a_note_and_no_figure(make_study: Make) -> None:
    found = section(make_study, Lam(controls=None))
    assert "nodes" not in {column.name for column in found.shown}
    assert "di" in {column.name for column in found.shown}
    assert any(note.startswith("The same everywhere: ") and "nodes 20" in note for note in found.notes)
