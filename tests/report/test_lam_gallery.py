"""The pictures of a `lam` stage on the page: which windows, what stands where, and what happens when something is missing."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from lam_studies import COLUMNS, PLACES, SIDE, Lam
from PIL import Image
from toy_studies import SCALE, Recipe, Stage

from xlli_ray.report.gallery import Block, Tile
from xlli_ray.report.page import gather
from xlli_ray.report.page_model import Section
from xlli_ray.report.sections.lam_gallery import LINE, Seen, _boxed, _detail, _signed, outlined, over
from xlli_ray.study import open_study
from xlli_ray.views.pixels import FRAME

Make = Callable[[Recipe], str]


def section(make_study: Make, lam: Lam, *, more: list[Stage] | None = None, **fields: Any) -> Section:
    stages = [stage for stage in lam.stages() if stage.kind == "lam"] + (more or [])
    place = make_study(Recipe(stages, **{"models": 2, "pictures": 6, "degradations": ("clean",), **fields}))
    return next(item for item in gather(open_study(place), place).sections if item.kind == "lam")


def blocks(found: Section) -> list[Block]:
    return [piece.item for piece in found.own if isinstance(piece.item, Block)]


def texts(found: Section) -> list[str]:
    return [piece.item for piece in found.own if isinstance(piece.item, str)]


def outputs() -> Stage:
    def output(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng((model, row)).integers(0, 255, shape)

    return Stage("restore", name="output", shape=(3, -1, -2), dtype="uint8", array=output)


def pixels(tile: Tile | None) -> np.ndarray:
    assert tile is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.uri.split(",")[1]))).convert("RGB")).astype(int)


def captions(block: Block) -> list[list[str]]:
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
    assert len({row.label for row in beside.rows}) == 4, "four pictures, the first window of each"
    first, last = beside.rows[0].tiles[1:]
    assert first is not None
    assert last is not None
    assert first.note != last.note, "each network's own DI"
    assert first.uri != last.uri


def test_few_pictures_show_more_of_their_windows(make_study: Make) -> None:
    labels = [row.label for row in blocks(section(make_study, Lam(), pictures=1))[0].rows]
    assert [label.split(" · ")[1] for label in labels] == [f"window at row {y}, column {x}, size {SIDE}" for y, x in PLACES[:3]]


def test_a_signed_map_has_a_scale_that_is_symmetric_about_white() -> None:
    values = np.zeros((32, 32))
    values[10, 12], values[20, 5] = 2.0, -1.0
    tile = _signed(values)
    assert tile.note == "±2"
    shown = pixels(tile)
    red, blue, white = shown[10 * 7 + 3, 12 * 7 + 3], shown[20 * 7 + 3, 5 * 7 + 3], shown[0, 0]
    assert red[0] > red[2]
    assert blue[2] > blue[0]
    assert white.min() > 240


@pytest.mark.parametrize("on_map", [True, False])
@pytest.mark.parametrize("picture", [(32, 32), (31, 45)])
def test_the_frame_lies_around_the_window_and_hides_nothing_of_it(picture: tuple[int, int], on_map: bool) -> None:
    """On the map, drawn in input pixels, and on the window's own picture, drawn in output pixels."""
    item = Seen(0, 0, 8, 24, SIDE, {})
    grey = np.full((*picture, 3), 90, np.uint8)
    shown, wide = _boxed(grey, item, SCALE, on_map=on_map), LINE if on_map else FRAME
    factor = shown.shape[0] / picture[0]
    top, left = round(item.top / SCALE * factor), round(item.left / SCALE * factor)
    side = round(SIDE / SCALE * factor)
    inside = shown[top : top + side, left : left + side]
    assert (inside == 90).all()
    around = shown[top - wide : top + side + wide, left - wide : left + side + wide].astype(int)
    assert (np.abs(around[:wide] - 90).max(axis=2) > 20).all()
    assert (shown[: top - wide] == 90).all()
    target = np.random.default_rng(0).integers(60, 120, (picture[0] * SCALE, picture[1] * SCALE, 3), dtype=np.uint8)
    detail, zoom = _detail(target, item), 192 // (3 * SIDE)
    assert detail.shape == (192, 192, 3)
    window = target[8 : 8 + SIDE, 24 : 24 + SIDE].repeat(zoom, 0).repeat(zoom, 1)
    np.testing.assert_array_equal(detail[8 * zoom : (8 + SIDE) * zoom, SIDE * zoom : 2 * SIDE * zoom], window)


def test_a_frame_at_the_border_is_cut_there() -> None:
    image = np.full((10, 10, 3), 90, np.uint8)
    drawn = (outlined(image, -2, 6, 8) != 90).any(axis=2)
    assert drawn.sum() == 2 * 4 + 2 * 4
    assert not drawn[:4, 8:].any()


def test_red_is_opaque_where_the_map_is_large_and_grey_shows_where_it_is_not() -> None:
    grey = np.linspace(0, 1, 8).reshape(2, 4)
    values = np.array([[0.0, 0, 0, 1], [0, 0, 0, 1]])
    shown = over(grey, values, values**0.4).astype(int)
    assert (shown[:, :3].std(axis=2) == 0).all(), "no colour without a map"
    assert (np.diff(shown[0, :3, 0]) > 0).all(), "the picture's own shades"
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
    assert sum("without their pictures" in text for text in texts(found)) == 1


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
