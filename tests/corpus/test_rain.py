"""Rain: the streaks against naive loops and against OpenCV, presets against the published table, draws, ranges outside of training."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray.corpus.degradations import check_draw, draw, parse, parse_label, rain_presets, rain_streaks, ranges
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.corpus.degradations.rain import MAX_LENGTH, MAX_WIDTH, Rain, RainParams, unseen
from xlli_ray.corpus.degradations.rain_presets import PRESETS
from xlli_ray.errors import RecipeError

GREY = np.full((64, 64, 3), 100, np.uint8)


def rain(value: Any) -> Rain:
    (part,) = parse({"rain": value}).parts
    assert isinstance(part, Rain)
    return part


# -- streaks ----------------------------------------------------------------------------------------------------------


def naive_line(length: int, angle: float, scaled: bool) -> np.ndarray:
    """The diagonal of a square under an inverse rotation about its centre, bilinear, pixel by pixel, in floating point."""
    zoom = 1 - length / 100 if scaled else 1.0
    centre = length / 2 if scaled else (length - 1) / 2
    turn = math.radians(angle - 45)
    out = np.zeros((length, length))
    for y, x in product(range(length), repeat=2):
        dx, dy = (x - centre) / zoom, (y - centre) / zoom
        u = math.cos(turn) * dx - math.sin(turn) * dy + centre
        v = math.sin(turn) * dx + math.cos(turn) * dy + centre
        for i in (math.floor(u), math.floor(u) + 1):
            if 0 <= i < length:
                out[y, x] += max(0.0, 1 - abs(u - i)) * max(0.0, 1 - abs(v - i))
    return out


def naive_blur(image: np.ndarray, weights: tuple[int, ...]) -> np.ndarray:
    """Weighted means over a square, neighbours beyond the border mirrored at it, pixel by pixel."""
    size, radius = len(image), len(weights) // 2
    shares = np.array(weights) / sum(weights)

    def inside(i: int) -> int:
        while not 0 <= i < size:
            i = -i if i < 0 else 2 * (size - 1) - i
        return i

    out = np.zeros_like(image)
    for y, x in product(range(size), repeat=2):
        for i, j in product(range(len(weights)), repeat=2):
            out[y, x] += shares[i] * shares[j] * image[inside(y + i - radius), inside(x + j - radius)]
    return out


@pytest.mark.parametrize(
    ("length", "angle", "scaled"), [(13, 0, False), (20, 27, False), (16, -60, False), (24, 45, True), (31, -13, True), (2, 90, False)]
)
def test_a_streak_is_the_turned_diagonal_by_naive_loops(length: int, angle: int, scaled: bool) -> None:
    made = rain_streaks.kernel(length, angle, 1, scaled=scaled) / 1024
    np.testing.assert_allclose(made, naive_line(length, angle, scaled), rtol=0, atol=2 / 32)  # each position is within 1/64 pixel


@pytest.mark.parametrize(("length", "width"), [(12, 3), (12, 5), (9, 7), (3, 9), (14, 11)])
def test_its_width_is_a_gaussian_with_mirrored_border_by_naive_loops(length: int, width: int) -> None:
    weights = rain_streaks.gaussian(width)
    made = rain_streaks.kernel(length, 20, width) / (1024 * sum(weights) ** 2)
    np.testing.assert_allclose(made, naive_blur(rain_streaks.kernel(length, 20, 1) / 1024, weights), rtol=0, atol=1e-12)


@pytest.mark.parametrize("width", [3, 5, 7, 9, 11, 31])
def test_gaussians_have_the_standard_deviation_that_opencv_chooses(width: int) -> None:
    weights = np.array(rain_streaks.gaussian(width), dtype=float)
    distance = np.arange(width) - width // 2
    expected = np.exp(-(distance**2) / (2 * (0.3 * ((width - 1) / 2 - 1) + 0.8) ** 2))
    np.testing.assert_allclose(weights / weights.sum(), expected / expected.sum(), atol=0.025)
    assert (weights == weights[::-1]).all()


@pytest.mark.parametrize(("length", "angle", "width"), [(30, 7, 1), (35, -10, 3), (40, 30, 5), (45, -23, 7), (55, 60, 9), (30, 90, 3)])
def test_a_streak_is_opencvs(length: int, angle: int, width: int) -> None:
    cv2 = pytest.importorskip("cv2")
    for scaled in (False, True):
        centre = (length / 2, length / 2) if scaled else ((length - 1) / 2, (length - 1) / 2)
        turn = cv2.getRotationMatrix2D(centre, angle - 45, 1 - length / 100 if scaled else 1)
        line = cv2.warpAffine(np.eye(length), turn, (length, length))
        expected = cv2.GaussianBlur(line, (width, width), 0)
        made = rain_streaks.kernel(length, angle, width, scaled=scaled) / (1024 * sum(rain_streaks.gaussian(width)) ** 2)
        np.testing.assert_allclose(made, expected, rtol=0, atol=2 / 32)
        assert abs(made - expected).mean() < 0.002


@pytest.mark.parametrize(("length", "angle", "width"), [(25, 4, 1), (40, -30, 5), (55, 60, 9)])
def test_a_layer_is_opencvs_away_from_the_border(length: int, angle: int, width: int) -> None:
    """The same noise through OpenCV's functions, in the order of the public scripts."""
    cv2 = pytest.importorskip("cv2")
    side, amount = 96, 0.006
    streak = rain_streaks.make_streak(length, angle, width)
    made = rain_streaks.layer(side, side, round(amount * 2**32), streak, generator("layer").bit_generator)
    field = side + length + 1
    words = generator("layer").bit_generator.random_raw((field**2 + 1) // 2).astype("<u8").view("<u4")[: field**2]
    noise = words.reshape(field, field) / 2**24
    noise[noise < 256 - 256 * amount] = 0
    noise = cv2.filter2D(noise, -1, np.array([[0, 0.1, 0], [0.1, 8, 0.1], [0, 0.1, 0]]))
    turn = cv2.getRotationMatrix2D(((length - 1) / 2, (length - 1) / 2), angle - 45, 1)
    kernel = cv2.GaussianBlur(cv2.warpAffine(np.eye(length), turn, (length, length)), (width, width), 0)
    start = length // 2 + 1
    rainy = cv2.filter2D(noise, -1, kernel)[start : start + side, start : start + side]
    expected = cv2.normalize(rainy, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8).astype(int)
    assert np.abs(made - expected).max() <= 12  # of positions rounded to 1/32 pixel
    assert np.abs(made - expected).mean() < 0.5


def test_a_layer_is_noise_spots_and_streaks_correlated_by_naive_loops() -> None:
    """In floating point, over the whole field of noise that reaches into the image, without seeds or whole numbers."""
    height, width, length, amount = 9, 14, 7, 0.05
    streak = rain_streaks.kernel(length, 25, 3)
    words = generator("layer").bit_generator.random_raw((height + length + 1) * (width + length + 1))
    field = np.array([part for word in words.tolist() for part in (word & 0xFFFFFFFF, word >> 32)], dtype=float)[
        : (height + length + 1) * (width + length + 1)
    ].reshape(height + length + 1, width + length + 1)
    noise = field / 2**24  # uniform in 0..256
    noise[noise < 256 - 256 * amount] = 0
    assert np.count_nonzero(noise) > 5
    spots = np.zeros((height + length - 1, width + length - 1))
    for y, x in np.ndindex(spots.shape):
        square = noise[y : y + 3, x : x + 3]
        spots[y, x] = 8 * square[1, 1] + 0.1 * (square[0, 1] + square[2, 1] + square[1, 0] + square[1, 2])
    plain = np.zeros((height, width))
    for y, x in np.ndindex(plain.shape):
        for i, j in product(range(length), repeat=2):
            plain[y, x] += streak[i, j] * spots[y + i, x + j]
    expected = (plain - plain.min()) / np.ptp(plain) * 255
    share = round(amount * rain_streaks.AMOUNT_UNIT)
    made = rain_streaks.layer(height, width, share, rain_streaks.make_streak(length, 25, 3), generator("layer").bit_generator)
    assert (made.min(), made.max(), made.dtype) == (0, 255, np.uint8)
    np.testing.assert_allclose(made + 0.5, expected, rtol=0, atol=0.75)  # truncated; seeds are rounded to 1/8


def test_a_layer_does_not_depend_on_how_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    one = rain("hu25-large")
    whole = one.apply(GREY, key="0|a").image.tobytes()
    for chunk in (1, 1000, 1 << 30):
        monkeypatch.setattr(rain_streaks, "_CHUNK", chunk)
        assert one.apply(GREY, key="0|a").image.tobytes() == whole


def test_sums_are_exact_whatever_rain_is_asked_for() -> None:
    """The most that can fall on one pixel, seeds everywhere, stays below 2^53."""
    most = max(rain_streaks.make_streak(MAX_LENGTH, angle, MAX_WIDTH).values.sum() for angle in (45, -45))
    assert most * 2**rain_streaks._NOISE < 2**53


def test_no_sine_is_so_near_to_a_tie_that_another_libm_could_round_it_otherwise() -> None:
    turns = np.radians(np.arange(-89, 91) - 45)
    zooms = np.array([1.0, *(100 / (100 - length) for length in range(1, 100))])
    scaled = np.concatenate([np.outer(zooms, part(turns)).ravel() for part in (np.cos, np.sin)]) * 2**16
    exact = np.isclose(scaled * 2, np.round(scaled * 2), rtol=0, atol=1e-9)  # as cos 60 degrees
    away = np.abs(scaled - np.floor(scaled) - 0.5)
    assert away[~exact].min() > 1e-7
    assert away[exact].min() > 0.4


def test_no_weight_of_a_gaussian_is_so_near_to_a_tie_that_another_libm_could_round_it_otherwise() -> None:
    for width in range(11, MAX_WIDTH + 1, 2):
        sigma = 0.3 * ((width - 1) / 2 - 1) + 0.8
        shape = np.exp(-0.5 * ((np.arange(width) - width // 2) / sigma) ** 2)
        exact = 256 * shape / shape.sum()
        assert np.abs(exact - np.floor(exact) - 0.5).min() > 1e-6


# -- the published statistics -----------------------------------------------------------------------------------------

TABLE = {
    "hu25-small": (0.002, 0.004, {1: 0.5, 3: 0.5}, 25, 35, 10, 0.7),
    "hu25-medium": (0.005, 0.007, {3: 0.25, 5: 0.5, 7: 0.25}, 35, 45, 30, 0.7),
    "hu25-large": (0.008, 0.010, {7: 0.5, 9: 0.5}, 45, 55, 60, 0.7),
    "hu25-random": (0.002, 0.010, dict.fromkeys((1, 3, 5, 7, 9), 0.2), 25, 55, 60, 0.7),
    "xpixel-small": (0.002, 0.004, {1: 0.5, 3: 0.5}, 25, 35, 10, 0.6),
    "xpixel-medium": (0.005, 0.007, {3: 0.3, 5: 0.4, 7: 0.3}, 30, 45, 30, 0.6),
    "xpixel-large": (0.008, 0.010, {7: 0.5, 9: 0.5}, 40, 60, 60, 0.6),
    "xpixel-random": (0.002, 0.010, dict.fromkeys((1, 3, 5, 7, 9), 0.2), 25, 60, 60, 0.6),
    "neurips23-small": (200 / 25600, 300 / 25600, {5: 1.0}, 30, 31, 5, 1.0),
    "neurips23-medium": (200 / 25600, 300 / 25600, dict.fromkeys((3, 5, 7), 1 / 3), 20, 40, 30, 1.0),
    "neurips23-large": (200 / 25600, 300 / 25600, dict.fromkeys((1, 3, 5, 7, 9), 0.2), 5, 60, 70, 1.0),
}


@pytest.mark.parametrize("preset", TABLE)
def test_draws_of_a_preset_fill_the_published_ranges(preset: str) -> None:
    low, high, widths, shortest, longest, angle, weight = TABLE[preset]
    one = rain(preset)
    made = [one.draw(f"0|{i}") for i in range(2000)]
    amounts, weights = (np.array([getattr(each, name) for each in made]) for name in ("amount", "weight"))
    assert low <= amounts.min() / 2**32 < low + 0.01 * (high - low)
    assert high - 0.01 * (high - low) < amounts.max() / 2**32 <= high + 2**-32
    assert amounts.mean() / 2**32 == pytest.approx((low + high) / 2, abs=0.02 * (high - low))
    assert weight <= weights.min() / 2**16 + 2**-16 <= weight + 0.01
    assert weights.max() <= 2**16
    assert {each.length for each in made} == set(range(shortest, longest + 1))
    assert {each.angle for each in made} == set(range(-angle, angle + 1))
    counts = {width: sum(each.width == width for each in made) / 2000 for width in {each.width for each in made}}
    assert counts == {width: pytest.approx(share, abs=0.035) for width, share in widths.items()}
    assert one.params.kernel == ("plain" if preset.startswith("hu25") else "scaled")


def test_every_preset_is_in_the_table_and_those_from_memory_say_so() -> None:
    assert set(TABLE) == set(PRESETS)
    assert [name for name in PRESETS if not rain_presets.verified(name)] == ["neurips23-small", "neurips23-medium", "neurips23-large"]
    assert rain_presets.names().count("(unverified)") == 3


COVERAGE = {"small": (0.12, 0.21), "medium": (0.35, 0.69), "large": (0.65, 0.96), "random": (0.36, 0.67)}


@pytest.mark.parametrize("name", ["small", "medium", "large"])
def test_coverage_of_crops_of_128_pixels_is_the_measured_one(name: str) -> None:
    """Ten draws; `tests/benchmarks/rain_statistics.py` has the whole table, at both sizes."""
    one = rain(f"hu25-{name}")
    layers = [one.apply(np.zeros((128, 128, 3), np.uint8), key=f"0|{i}").extras["rain"] for i in range(10)]
    for threshold, expected in zip((50, 5), COVERAGE[name], strict=True):
        each = np.array([(layer > threshold).mean() for layer in layers])
        assert each.mean() == pytest.approx(expected, abs=3 * each.std(ddof=1) / math.sqrt(10) + 0.01)


def axes_of(kernel: np.ndarray) -> tuple[float, float, float]:
    """(extent along the streak, variance across it, its angle in degrees from the vertical, counter-clockwise) of a drawn streak."""
    y, x = np.indices(kernel.shape)
    weight = kernel / kernel.sum()
    dx, dy = x - (weight * x).sum(), y - (weight * y).sum()
    spread = np.array([[(weight * dx * dx).sum(), (weight * dx * dy).sum()], [(weight * dx * dy).sum(), (weight * dy * dy).sum()]])
    values, vectors = np.linalg.eigh(spread)
    along = vectors[:, 1] * (1 if vectors[1, 1] >= 0 else -1)
    on = kernel >= 0.25 * kernel.max()
    places = dx[on] * along[0] + dy[on] * along[1]
    return float(np.ptp(places)) + 1, float(values[0]), math.degrees(math.atan2(along[0], along[1]))


@pytest.mark.parametrize("angle", [-60, -30, 0, 10, 45, 60, 90])
@pytest.mark.parametrize("length", [25, 35, 55])
def test_a_streak_has_the_length_and_the_angle_asked_for(length: int, angle: int) -> None:
    """The line crosses the whole square: `length` pixels high, or wide, up to √2 times that long at 45 degrees."""
    drawn, _, turned = axes_of(rain_streaks.kernel(length, angle, 1))
    expected = length / max(abs(math.cos(math.radians(angle))), abs(math.sin(math.radians(angle))))
    assert drawn == pytest.approx(expected, abs=2)
    assert (turned - angle + 90) % 180 - 90 == pytest.approx(0, abs=1)


@pytest.mark.parametrize(("length", "drawn"), [(20, 20), (30, 29), (40, 33), (50, 35), (60, 33), (70, 29)])
def test_streaks_of_the_older_version_are_longest_at_a_length_of_50(length: int, drawn: int) -> None:
    made, _, _ = axes_of(rain_streaks.kernel(length, 0, 1, scaled=True))
    assert made == pytest.approx(drawn, abs=1.5)


@pytest.mark.parametrize("angle", [0, 30, 60])
def test_a_streak_is_as_wide_as_its_gaussian(angle: int) -> None:
    _, thin, _ = axes_of(rain_streaks.kernel(45, angle, 1))
    for width in (3, 5, 7, 9):
        weights = np.array(rain_streaks.gaussian(width))
        variance = (weights * (np.arange(width) - width // 2) ** 2).sum() / weights.sum()
        _, across, _ = axes_of(rain_streaks.kernel(45, angle, width))
        assert across - thin == pytest.approx(variance, rel=0.1)


# -- what a sample gets -----------------------------------------------------------------------------------------------


def test_rain_is_keyed_by_its_sample_and_each_part_of_it_is_a_quantile_of_the_key() -> None:
    small, large = rain("hu25-small"), rain("hu25-large")
    assert small.apply(GREY, key="0|a").image.tobytes() == small.apply(GREY.copy(), key="0|a").image.tobytes()
    assert small.draw("0|a") != small.draw("0|b")
    draws = [(small.draw(f"0|{i}"), large.draw(f"0|{i}")) for i in range(200)]
    for name in ("amount", "length", "angle", "weight"):
        ranks = [np.argsort(np.argsort([getattr(pair[side], name) for pair in draws], kind="stable")) for side in (0, 1)]
        assert np.corrcoef(*ranks)[0, 1] > 0.98


def test_the_input_is_the_image_with_the_weighted_layer_on_it_and_white_where_that_is_more_than_white() -> None:
    image = np.random.default_rng(0).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    one = rain("hu25-medium")
    made = one.apply(image, key="0|a")
    weight = one.draw("0|a").weight / 2**16
    assert 0.7 <= weight <= 1
    exact = image + weight * made.extras["rain"].astype(float)[..., None]
    np.testing.assert_array_equal(made.image, np.minimum(np.floor(exact + 0.5), 255))
    assert (made.image[exact > 256] == 255).all()
    assert (exact > 256).any()
    np.testing.assert_array_equal(made.extras["mask"], made.extras["rain"] > 50)


def test_the_threshold_changes_the_mask_and_nothing_else() -> None:
    one, other = (rain({"preset": "hu25-small", "threshold": threshold}).apply(GREY, key="0|a") for threshold in (50, 5))
    assert one.image.tobytes() == other.image.tobytes()
    assert one.extras["mask"].sum() < other.extras["mask"].sum()
    assert rain({"preset": "hu25-small", "threshold": 50}) == rain("hu25-small") != rain({"preset": "hu25-small", "threshold": 5})


@pytest.mark.parametrize("shape", [(1, 1, 3), (1, 200, 3), (5, 3, 3), (64, 64, 1), (7, 9, 4)])
def test_rain_falls_on_images_smaller_than_a_streak_and_of_any_number_of_channels(shape: tuple[int, int, int]) -> None:
    made = rain("hu25-large").apply(np.full(shape, 30, np.uint8), key="0|a")
    assert made.image.shape == shape
    assert made.extras["rain"].shape == made.extras["mask"].shape == shape[:2]
    added = made.image.astype(int) - 30
    assert (added == added[..., :1]).all(), "rain is grey"


def test_a_layer_without_a_streak_is_black_and_its_mask_empty() -> None:
    made = rain({"amount": 0.0001, "length": 5}).apply(GREY[:9, :9], key="0|a")
    assert made.image.tobytes() == GREY[:9, :9].tobytes()
    assert not made.extras["mask"].any()
    assert not made.extras["rain"].any()


def test_noise_everywhere_is_still_a_layer() -> None:
    layer = rain({"amount": 1.0, "length": 5, "width": 3}).apply(GREY, key="0|a").extras["rain"]
    assert (layer.min(), layer.max()) == (0, 255)


def test_only_8_bit_images_get_rain() -> None:
    with pytest.raises(TypeError, match="rain takes a uint8 patch, not float32"):
        rain("hu25-small").apply(np.zeros((8, 8, 3), np.float32), key="")


# -- recipes ----------------------------------------------------------------------------------------------------------


def test_labels_name_the_preset_and_are_read_back() -> None:
    for preset in PRESETS:
        mixture = parse({"rain": preset})
        assert mixture.label == f"rain-{preset}"
        assert parse_label(mixture.label) == mixture
    both = parse({"rain": "hu25-small", "noise": 10})
    assert (both.label, both.type) == ("rain-hu25-small+noise10", "rain+noise")
    assert parse_label(both.label) == both
    assert parse({"rain": {"preset": "hu25-small", "angle": 20}}).label.startswith("rain-hu25-small~")
    assert parse({"rain": {"amount": [0.002, 0.004]}}).label.startswith("rain0.003~")
    assert parse_label("rain0.006") == parse({"rain": 0.006})
    for wrong in ("rain", "rain-", "rain-hu25", "rain-hu25-tiny", "rain-hu25-small-ood", "rain-hu25-small-ood-colour"):
        with pytest.raises(RecipeError):
            parse_label(wrong)


def test_parameters_are_found_again_in_what_is_stored_of_them() -> None:
    own = {"width": {3: 0.25, 9: 0.75}, "threshold": 5}
    for value in ("hu25-random", 0.006, {"preset": "xpixel-small", "ood": ["angle", "width"]}, own):
        one = rain(value)
        again = rain(one.params.model_dump(mode="json"))
        assert (again, again.label) == (one, one.label)


def test_every_parameter_is_a_number_a_range_or_several_ranges() -> None:
    several = {"length": [[40, 44], [10, 12]], "angle": [[20, 45], [-45, -20]]}
    given = {"amount": 0.01, "width": [3, 5], "weight": [0.5, 0.6], "kernel": "scaled", **several}
    params = rain(given).params
    assert params.amount == ((0.01, 0.01),)
    assert params.width == {3: 0.5, 5: 0.5}
    assert params.length == ((10, 12), (40, 44))
    part = rain(given)
    made = [part.draw(f"{i}") for i in range(500)]
    assert {one.length for one in made} == {10, 11, 12, 40, 41, 42, 43, 44}
    assert {one.angle for one in made} == {*range(-45, -19), *range(20, 46)}
    assert rain({**given, "preset": "hu25-small"}).draw("0") == part.draw("0")


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("hu25-smal", "there is no preset 'hu25-smal'. Did you mean hu25-small.*neurips23-small \\(unverified\\)"),
        ({"angle": []}, r"angle: \[\]: expected a number, a range \[low, high\] or a list of ranges"),
        ({"angle": [45, 20]}, r"angle: \[45, 20\] is an empty range; expected \[low, high\] with low <= high"),
        ({"angle": [[-10, 10], [10, 20]]}, r"angle: \[-10, 10\] and \[10, 20\] overlap; write them as one range"),
        ({"angle": [-90, 90]}, "angle: .*whole numbers from -89 to 90"),
        ({"angle": 3.5}, "angle: 3.5: .*whole numbers"),
        ({"length": 0}, "length: 0: .*whole numbers from 1 to 200"),
        ({"length": 100, "kernel": "scaled"}, "length: a scaled kernel has at most 99 pixels, got 100"),
        ({"width": 4}, "width: 4: expected an odd number of pixels from 1 to 31"),
        ({"width": {3: 0.5, 5: 0.6}}, "width: .*probabilities above 0 that sum to 1, found"),
        ({"width": {}}, "width: {}: expected an odd number"),
        ({"amount": 1.5}, "amount: 1.5: .*to 1"),
        ({"amount": [0, 0.1]}, r"amount: \[0, 0.1\]: "),
        ({"amount": True}, "amount: True: "),
        ({"weight": 2}, "weight: 2: "),
        ({"threshold": 255}, "threshold: "),
        ({"colour": 3}, "there is no parameter 'colour'"),
        ({"kernel": "cubic"}, "kernel: "),
        (1.5, "1.5: expected a number"),
    ],
)
def test_wrong_rain_says_which_parameter_and_what_is_expected(value: Any, message: str) -> None:
    with pytest.raises(RecipeError, match=f"^degradation rain: {message}"):
        parse({"rain": value})


# -- unseen rain ------------------------------------------------------------------------------------------------------


def test_rain_outside_of_a_presets_range_is_the_rest_of_its_family() -> None:
    one = rain({"preset": "hu25-small", "ood": ["length", "angle", "amount", "width"]})
    assert one.params.angle == ((-60, -11), (11, 60))
    assert one.params.length == ((36, 55),)
    assert one.params.amount == ((0.004001, 0.01),)
    assert one.params.width == {5: pytest.approx(1 / 3), 7: pytest.approx(1 / 3), 9: pytest.approx(1 / 3)}
    assert one.label == "rain-hu25-small-ood-amount-width-length-angle"
    assert parse_label(one.label).parts[0] == one


@pytest.mark.parametrize(("preset", "parameter"), list(product(PRESETS, rain_presets.DRAWN)))
def test_unseen_rain_of_any_preset_is_disjoint_by_construction_or_refused(preset: str, parameter: str) -> None:
    seen, everything = rain(preset), {"hu25": "random", "xpixel": "random", "neurips23": "large"}
    family = preset.partition("-")[0]
    widest = PRESETS[f"{family}-{everything[family]}"]
    if set(PRESETS[preset][parameter]) == set(widest[parameter]):  # the family has no other values
        with pytest.raises(RecipeError, match=f"{preset} has the whole range of {parameter} of its family"):
            rain({"preset": preset, "ood": parameter})
        return
    one = rain({"preset": preset, "ood": parameter})
    assert unseen(seen, one) == (parameter,)
    drawn = [(getattr(seen.draw(f"{i}"), parameter), getattr(one.draw(f"{i}"), parameter)) for i in range(300)]
    assert not {a for a, _ in drawn} & {b for _, b in drawn}


def test_given_ranges_of_unseen_rain_are_checked_and_the_overlapping_parameter_is_named() -> None:
    one = rain({"preset": "hu25-small", "ood": "angle", "angle": [[20, 45], [-45, -20]]})
    assert one.params.angle == ((-45, -20), (20, 45))
    for value, message in [
        ({"ood": "angle", "angle": [5, 45]}, r"ood: angle \[5, 45\] overlaps that of hu25-small, \[-10, 10\]"),
        ({"ood": ["angle", "width"], "width": [3, 5]}, r"ood: width \[3, 5\] overlaps that of hu25-small, \[1, 3\]"),
        ({"ood": "length", "length": [[10, 20], [35, 40]]}, r"ood: length \[10, 20\] and \[35, 40\] overlaps"),
        ({"ood": "colour"}, "ood: 'colour'; expected a parameter or a list of parameters, of amount, width, length, angle, weight"),
        ({"ood": ["angle", "angle"]}, "ood: "),
        ({"ood": "weight"}, "has the whole range of weight of its family"),
    ]:
        with pytest.raises(RecipeError, match=message):
            rain({"preset": "hu25-small", **value})
    with pytest.raises(RecipeError, match="outside of which range"):
        rain({"ood": "angle"})


def test_what_is_unseen_is_told_of_any_two_rains() -> None:
    assert unseen(rain("hu25-small"), rain("hu25-small")) == ()
    assert unseen(rain("hu25-small"), rain("hu25-large")) == ("amount", "width", "length")
    assert unseen(rain("hu25-random"), rain("hu25-small")) == ()
    assert unseen(rain("hu25-small"), rain({"preset": "hu25-small", "angle": 30})) == ("angle",)
    scaled = rain({"preset": "hu25-small", "length": 60, "kernel": "scaled"})
    assert unseen(rain("hu25-small"), scaled) == (), "a scaled kernel of 60 pixels draws as long a streak as a plain one of 33"


# -- training ---------------------------------------------------------------------------------------------------------


def test_training_takes_rain_with_its_own_ranges_beside_ranges_of_others_and_clean_crops() -> None:
    entries = ["clean", {"rain": {"preset": "hu25-small", "angle": [[20, 45], [-45, -20]]}, "noise": [0, 20], "share": 0.9}]
    check_draw(entries)
    rng = np.random.default_rng(0)
    made = [draw(entries, rng) for _ in range(400)]
    assert sum(mixture.label == "clean" for mixture in made) / 400 == pytest.approx(0.1, abs=0.05)
    rains = {part for mixture in made for part in mixture.parts if isinstance(part, Rain)}
    assert rains == {rain({"preset": "hu25-small", "angle": [[20, 45], [-45, -20]]})}
    with pytest.raises(RecipeError, match="empty range"):
        check_draw(["clean", {"rain": {"angle": [45, 20]}}])


# -- studies ----------------------------------------------------------------------------------------------------------


def test_the_layer_and_the_mask_of_each_sample_reach_probes_and_are_stored(tmp_path: Path) -> None:
    image = np.random.default_rng(0).integers(0, 200, (40, 72, 3), dtype=np.uint8)
    image[:, :, 1:] = image[:, :, :1]
    Image.fromarray(image).save(tmp_path / "a.png")
    Image.fromarray(image[:, ::-1, 0]).save(tmp_path / "grey.png")
    unseen_rain = {"rain": {"preset": "hu25-small", "ood": "angle", "threshold": 30}, "label": "unseen"}
    corpus = {"images": ["*.png"], "scale": 1, "patches": {"size": 32}, "degradations": ["clean", {"rain": "hu25-small"}, unseen_rain]}
    stages = [{"inputs": {"save": ["input", "target", "rain", "mask"]}}]
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump({"name": "rain", "seed": 7, "corpus": corpus, "stages": stages}))
    xlli_ray.run(str(tmp_path / "recipe.yaml"), str(tmp_path / "study"))
    study = xlli_ray.open_study(tmp_path / "study")
    rows = study.sql("select sample_id, content, label, type, rain, parameters from samples order by row").to_pylist()
    assert [row["label"] for row in rows] == [label for label in ("clean", "rain-hu25-small", "unseen") for _ in range(4)]
    assert {row["label"]: (row["type"], row["rain"]) for row in rows} == {
        "clean": ("clean", None), "rain-hu25-small": ("rain", 0.003), "unseen": ("rain", 0.003),
    }  # fmt: skip
    ids = [row["sample_id"] for row in rows]
    seen, target, layer, mask = (study.array("inputs/-/inputs", name).rows(ids) for name in ("input", "target", "rain", "mask"))
    assert not layer[:4].any()
    assert not mask[:4].any()
    assert (seen[:4] == target[:4]).all()
    for i, row in enumerate(rows[4:], 4):
        part = rain("hu25-small") if row["label"] != "unseen" else rain(unseen_rain["rain"])
        made = part.apply(target[i].transpose(1, 2, 0), key=f"7|{row['content']}")
        np.testing.assert_array_equal(layer[i], made.extras["rain"])
        np.testing.assert_array_equal(mask[i], layer[i] > (50 if row["label"] != "unseen" else 30))
        np.testing.assert_array_equal(seen[i], made.image.transpose(2, 0, 1))
        assert rain(json.loads(row["parameters"])["rain"]) == part
    assert mask.any()


# -- ranges -----------------------------------------------------------------------------------------------------------


def test_a_range_is_picked_from_with_both_ends_and_by_the_size_of_each() -> None:
    several = ranges.read([[5, 6], [-3, -1]], -10, 10, whole=True)
    rng = np.random.default_rng(0)
    made = [ranges.pick(several, int(word)) for word in rng.integers(0, 2**64, 5000, dtype=np.uint64)]
    assert {value: pytest.approx(made.count(value) / 5000, abs=0.02) for value in set(made)} == dict.fromkeys((-3, -2, -1, 5, 6), 0.2)
    assert (ranges.pick(several, 0), ranges.pick(several, 2**64 - 1)) == (-3, 6)
    assert ranges.pick(((0.25, 0.5),), 0, 2**16) == 2**14


def test_the_rest_of_ranges_ends_one_step_away_from_them() -> None:
    assert ranges.rest(((3, 5), (8, 8)), 0, 10) == ((0, 2), (6, 7), (9, 10))
    assert ranges.rest(((0, 10),), 0, 10) == ()
    assert ranges.rest(((0.2, 0.4),), 0.2, 1.0, 2) == ((0.41, 1.0),)
    assert ranges.middle(((0, 1), (5, 8))) == pytest.approx((0.5 + 3 * 6.5) / 4)
    assert ranges.middle(((4, 4), (6, 6))) == 5


def test_a_params_document_names_every_field() -> None:
    assert all(field.description for name, field in RainParams.model_fields.items())
