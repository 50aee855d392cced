from __future__ import annotations

import base64
import io

import numpy as np
import pytest
from PIL import Image

from xlli_ray.report.array_pictures import _resized
from xlli_ray.report.gallery import Colours, busiest, jpeg, lut, most_varying, overview, png
from xlli_ray.report.shown_samples import natural, spread
from xlli_ray.views.pixels import framed, shrunk, to_image


def pixels(uri: str) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))).convert("RGB"))


def test_crops_are_kept_without_loss() -> None:
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(pixels(png(image)), image)


def test_float_images_are_rounded_as_the_numbers_are() -> None:
    planes = np.array([[[0.5, -0.1, 1.2]]] * 3, np.float32)
    assert to_image(planes)[0].tolist() == [[128] * 3, [0] * 3, [255] * 3]
    assert to_image(np.full((1, 2, 2), 7, np.uint8)).shape == (2, 2, 3)


def test_of_a_clip_the_centre_frame_is_drawn() -> None:
    clip = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.ones((1, 3, 2, 4), np.uint8)
    assert to_image(clip).shape == (2, 4, 3)
    assert (to_image(clip) == 2).all()


def test_large_images_are_averaged_and_small_ones_left_alone() -> None:
    image = np.arange(16, dtype=np.uint8).reshape(4, 4)
    assert shrunk(image, 4) is image
    np.testing.assert_array_equal(shrunk(image.astype(float), 2), [[2.5, 4.5], [10.5, 12.5]])
    assert shrunk(np.zeros((1, 1000)), 100).shape[1] <= 100
    assert max(shrunk(np.zeros((1001, 37, 3), np.uint8), 160).shape) <= 160


def test_overviews_are_small_whatever_comes_in() -> None:
    image = np.random.default_rng(0).integers(0, 255, (1500, 2000, 3), dtype=np.uint8)
    uri = overview(image, box=(0, 0, 700, 700))
    assert uri.startswith("data:image/jpeg")
    assert len(uri) < 60_000
    assert max(pixels(uri).shape) <= 160
    assert jpeg(image[:8, :8]).startswith("data:image/jpeg")


def test_the_busiest_window_is_where_the_detail_is() -> None:
    image = np.full((96, 128, 3), 90, np.uint8)
    image[40:72, 64:96] = np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    assert busiest(image, 32, step=8) == (40, 64, 32, 32)
    assert busiest(image, 500, step=8) == (0, 0, 96, 128)


def test_a_frame_at_the_border_stays_inside() -> None:
    image = np.full((20, 20, 3), 90, np.uint8)
    out = framed(image, (15, 15, 30, 30))
    assert out.shape == image.shape
    assert (image == 90).all()
    assert (out != 90).any()


@pytest.mark.parametrize(("values", "scale"), [
    ([-1.0, 0.5], (-1.0, 1.0, "RdBu_r")), ([0.0, 4.0], (0.0, 4.0, "cividis")), ([-1e-9, 4.0], (0.0, 4.0, "cividis")),
    ([0.0, 0.0], (0.0, 1.0, "cividis")), ([np.nan], (0.0, 1.0, "cividis")), ([], (0.0, 1.0, "cividis")),
])  # fmt: skip
def test_signed_values_get_a_symmetric_scale(values: list[float], scale: tuple[float, float, str]) -> None:
    found = Colours.of([np.array(values)], share=100)
    assert (found.low, found.high) == pytest.approx(scale[:2])
    assert found.name == scale[2]


def test_zero_is_white_and_marks_stand_left_of_the_values() -> None:
    colours = Colours(-1.0, 1.0, "RdBu_r")
    row = pixels(colours.draw(np.array([[-1.0, 0.0, 1.0]])))[0].astype(int)
    assert row[1].min() > 240
    assert row[0][2] > row[0][0]  # blue below, red above
    assert row[2][0] > row[2][2]
    marked = pixels(colours.draw(np.zeros((2, 3)), marks=["#0072B2", "#D55E00"]))
    assert marked[:, 0].tolist() == [[0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]]
    assert lut("cividis").shape == (256, 3)


def test_the_most_varying_maps_come_first() -> None:
    maps = np.zeros((4, 8, 8))
    maps[2, ::2], maps[1, 0, 0] = 5, 1
    assert most_varying(maps, 2) == [2, 1]
    assert most_varying(np.full((2, 4, 4), np.nan), 8) == [0, 1]


def test_layers_sort_by_depth_and_are_thinned_out_evenly() -> None:
    assert sorted(["b.10.out", "b.2.out", "a.1"], key=natural) == ["a.1", "b.2.out", "b.10.out"]
    assert spread(3, range(9)) == [0, 4, 8]
    assert spread(1, range(9)) == [0]
    assert spread(5, [1, 2]) == [1, 2]


def test_a_crop_is_the_same_part_in_an_output_of_another_scale() -> None:
    box = _resized((8, 16, 32, 64), np.zeros((128, 128, 3)), np.zeros((64, 64, 3)))
    assert box == (4, 8, 16, 32)
