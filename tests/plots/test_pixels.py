"""Images as arrays, and values as colours."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from xlli_ray.plots.colour_scale import COLOUR_MAPS, ColourScale, lut
from xlli_ray.plots.pixels import FRAME, LINE, around, busiest, enlarged, framed, png_bytes, repeated_to, shrunk, to_image


def test_a_png_keeps_every_pixel() -> None:
    image = np.random.default_rng(0).integers(0, 255, (9, 7, 3), dtype=np.uint8)
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(png_bytes(image)))), image)


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


def test_pixels_are_repeated_to_any_size() -> None:
    image = np.arange(6).reshape(2, 3)
    np.testing.assert_array_equal(repeated_to(image, (4, 6)), image.repeat(2, 0).repeat(2, 1))
    np.testing.assert_array_equal(repeated_to(image, (2, 4)), image[:, [0, 0, 1, 2]])
    assert repeated_to(image, (2, 3)) is image
    assert enlarged(image, 7).shape == (4, 6)


def test_the_busiest_window_is_where_the_detail_is() -> None:
    image = np.full((96, 128, 3), 90, np.uint8)
    image[40:72, 64:96] = np.random.default_rng(0).integers(0, 255, (32, 32, 3))
    assert busiest(image, 32, step=8) == (40, 64, 32, 32)
    assert busiest(image, 500, step=8) == (0, 0, 96, 128)


@pytest.mark.parametrize(("colour", "wide"), [("", FRAME), ("#0072B2", LINE)])
def test_a_frame_lies_around_its_window_and_hides_nothing_of_it(colour: str, wide: int) -> None:
    image = np.full((40, 50, 3), 90, np.uint8)
    out = framed(image, (10, 20, 8, 6), colour)
    changed = (out != 90).any(axis=2)
    expected = np.zeros((40, 50), bool)
    expected[10 - wide : 18 + wide, 20 - wide : 26 + wide] = True
    expected[10:18, 20:26] = False
    np.testing.assert_array_equal(changed, expected)
    assert (image == 90).all(), "the image itself is not touched"


def test_at_the_border_a_white_frame_lies_on_it_and_a_coloured_one_is_left_out_there() -> None:
    image = np.full((20, 24, 3), 90, np.uint8)
    white = (framed(image, (0, 0, 20, 24)) != 90).any(axis=2)
    assert white[0].all()
    assert white[:, 0].all()
    assert white[-1].all()
    assert white[:, -1].all()
    assert not white[FRAME:-FRAME, FRAME:-FRAME].any()
    coloured = (framed(image, (0, 10, 8, 8), "#0072B2") != 90).any(axis=2)
    assert not coloured[:8, 10:18].any()
    assert coloured[:8, 8:10].all()
    assert coloured[8:10, 8:20].all()
    assert coloured.sum() == 2 * 8 * 2 + 2 * 12


def test_a_frame_that_lies_elsewhere_changes_nothing() -> None:
    image = np.full((20, 20, 3), 90, np.uint8)
    assert (framed(image, (40, 40, 8, 8), "#0072B2") == 90).all()


def test_surroundings_of_a_window_are_moved_inwards_at_borders() -> None:
    assert around(10, 10, 4, (40, 50)) == (6, 6, 12, 12)
    assert around(0, 46, 4, (40, 50)) == (0, 38, 12, 12)
    assert around(0, 0, 16, (20, 50)) == (0, 0, 20, 20)


@pytest.mark.parametrize(("values", "scale"), [
    ([-1.0, 0.5], (-1.0, 1.0, "RdBu_r")), ([0.0, 4.0], (0.0, 4.0, "cividis")), ([-1e-9, 4.0], (0.0, 4.0, "cividis")),
    ([0.0, 0.0], (0.0, 1.0, "cividis")), ([np.nan], (0.0, 1.0, "cividis")), ([], (0.0, 1.0, "cividis")),
])  # fmt: skip
def test_signed_values_get_a_symmetric_scale(values: list[float], scale: tuple[float, float, str]) -> None:
    found = ColourScale.of([np.array(values)], share=100)
    assert (found.low, found.high) == pytest.approx(scale[:2])
    assert found.colours == scale[2]


def test_zero_is_white_blue_below_and_red_above() -> None:
    scale = ColourScale(-1.0, 1.0, "RdBu_r")
    blue, white, red = scale.palette()[scale.levels(np.array([-1.0, 0.0, 1.0]))].astype(int)
    assert white.min() > 240
    assert blue[2] > blue[0]
    assert red[0] > red[2]


@pytest.mark.parametrize("power", [1.0, 0.4, 2.0])
def test_a_level_has_the_colour_of_its_value_whatever_the_power(power: float) -> None:
    """Levels are steps of the power of a share; colours are those of the share."""
    shares = np.linspace(0, 1, 52)
    scale = ColourScale(0.0, 1.0, "gray", power)
    found = scale.palette()[scale.levels(shares)][:, 0].astype(int)
    np.testing.assert_allclose(found, shares * 255, atol=12)  # half a step of the levels is at most 12 of colour here
    assert scale.levels(np.array([np.nan, -3.0, 7.0])).tolist() == [0, 0, 255]


def test_a_power_keeps_small_values_apart() -> None:
    small = np.array([0.0, 0.0005, 0.001, 0.002])
    assert len(set(ColourScale(0, 1, "reds", 0.4).levels(small).tolist())) == 4
    assert len(set(ColourScale(0, 1, "reds").levels(small).tolist())) == 2


def test_colour_maps_are_those_that_are_listed_and_reds_begins_with_colour() -> None:
    assert all(lut(name).shape == (256, 3) for name in COLOUR_MAPS)
    assert int(lut("reds")[0].max()) - int(lut("reds")[0].min()) > 80
    with pytest.raises(ValueError, match="colours is 'jet', expected one of"):
        lut("jet")
    with pytest.raises(ValueError, match="from a number to a larger one, got 1 to 1"):
        ColourScale(1, 1, "gray")
