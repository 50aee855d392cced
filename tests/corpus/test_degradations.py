"""Labels and recipes of mixtures, and each degradation against an independent account of it."""

from __future__ import annotations

from hashlib import sha256
from io import BytesIO

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from xlli_ray.corpus import degradations, resize
from xlli_ray.corpus.degradations import GIVEN, REAL, Mixture, check_draw, draw, get, is_made, parse, parse_label, versions, with_window
from xlli_ray.corpus.degradations import blur as blur_module
from xlli_ray.errors import RecipeError
from xlli_ray.registry import DEGRADATIONS

RNG = np.random.default_rng(11)
LR = RNG.integers(0, 256, (32, 32, 3), dtype=np.uint8)
HR = RNG.random((40, 52, 3)).astype(np.float32)


# -- mixtures ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("spec", "label", "kind"),
    [
        ("clean", "clean", "clean"),
        ({"blur": 2}, "blur2", "blur"),
        ({"blur": 0.5}, "blur0.5", "blur"),
        ({"noise": 10, "blur": 2.0}, "blur2+noise10", "blur+noise"),
        ({"jpeg": 50, "noise": 20.5, "blur": 1}, "blur1+noise20.5+jpeg50", "blur+noise+jpeg"),
    ],
)
def test_label_and_type(spec: degradations.Spec, label: str, kind: str) -> None:
    mixture = parse(spec)
    assert (mixture.label, mixture.type) == (label, kind)
    assert parse_label(label) == mixture


def test_a_window_is_part_of_a_blurs_label_and_of_nothing_without_blur() -> None:
    mixture = with_window(parse({"blur": 2, "noise": 10}), 15)
    assert mixture == parse({"noise": 10, "blur": {"sigma": 2, "window": 15}})
    assert (mixture.label, mixture.type) == ("blur2w15+noise10", "blur+noise")
    assert parse_label("blur2w15+noise10") == mixture != parse_label("blur2+noise10")
    assert (mixture.only("target").label, mixture.only("input").label) == ("blur2w15", "noise10")
    assert mixture.versions() == parse_label("blur2+noise10").versions()
    assert with_window(parse({"noise": 5}), 15) == parse({"noise": 5})
    with pytest.raises(RecipeError, match="does not exist"):
        parse({"blur": 2, "window": 15})
    with pytest.raises(RecipeError, match=r"degradation blur: window must be an odd number"):
        parse({"blur": {"sigma": 2, "window": 14}})
    with pytest.raises(RecipeError, match=r"degradation blur: there is no parameter 'side'"):
        parse({"blur": {"sigma": 2, "side": 14}})


def test_what_is_made_here_and_what_is_not() -> None:
    assert [label for label in ("clean", "blur2w15", GIVEN, REAL + "camera") if is_made(label)] == ["clean", "blur2w15"]
    assert versions([]) == {}


def test_level_and_versions() -> None:
    mixture = parse({"noise": 10, "blur": 2.0})
    assert [mixture.level(name) for name in ("blur", "noise", "jpeg")] == [2.0, 10.0, None]
    assert mixture.versions() == {"blur": get("blur").VERSION, "noise": get("noise").VERSION}


def test_versions_of_a_table_cover_all_that_was_done_to_its_samples() -> None:
    made = {"resize": resize.VERSION, "blur": get("blur").VERSION, "jpeg": get("jpeg").VERSION}
    assert versions(map(parse_label, ["clean", "blur2", "blur1+jpeg10"])) == made
    assert versions([Mixture()]) == {"resize": resize.VERSION}


levels = {
    "blur": st.floats(0.001, 64).map(lambda x: float(f"{x:g}")),
    "noise": st.floats(0.001, 255).map(lambda x: float(f"{x:g}")),
    "jpeg": st.integers(1, 100),
}


@settings(deadline=None)
@given(st.fixed_dictionaries({}, optional=levels))
def test_labels_round_trip(spec: dict[str, float]) -> None:
    mixture = parse(spec) if spec else Mixture()
    assert parse_label(mixture.label) == mixture
    assert {name: mixture.level(name) for name in spec} == spec


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("blur", "expected the word clean"),
        ({}, "expected the word clean"),
        (3, "expected the word clean"),
        ({"blurr": 2}, "'blurr' does not exist. Closest: blur"),
        ({"blur": 0}, "above 0"),
        ({"blur": -1}, "above 0"),
        ({"blur": 65}, "at most 64"),
        ({"noise": 256}, "at most 255"),
        ({"noise": float("nan")}, "expected a number"),
        ({"jpeg": 0}, "integer from 1 to 100"),
        ({"jpeg": 50.5}, "integer from 1 to 100"),
        ({"blur": True}, "expected a number"),
        ({"blur": "2"}, "expected a number"),
        ({"blur": [0, 4]}, "is for training"),
        ({"blur": 1.2345678}, "at most six"),
        ({"blur": 0.0000123}, "label"),
    ],
)
def test_wrong_recipes_say_what_is_expected(spec: object, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        parse(spec)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "label",
    ["", "blur", "blur2+", "noise10+blur2", "blur2.0", "blur02", "given", "blur2+blur2", "x1",
     "real-a", "blur2w", "blur2w14", "blur2w015", "blur2w513", "noise10w15", "blur2+noise10w15", "blurw15", "blur2w15w15"],
)  # fmt: skip
def test_only_canonical_labels_are_read(label: str) -> None:
    with pytest.raises(RecipeError):
        parse_label(label)


def test_every_registered_degradation_keeps_its_promises() -> None:
    for name in DEGRADATIONS:
        level = {"rain": 0.02}.get(name, 20)
        one = get(name).of(level)
        assert name == one.NAME
        assert one.VERSION >= 1
        array = HR if one.DOMAIN == "target" else LR
        before = array.copy()
        made = one.apply(array, key="0|a").image
        assert (made.shape, made.dtype) == (array.shape, array.dtype)
        np.testing.assert_array_equal(array, before)  # the input is left alone
        assert made.tobytes() == one.apply(array, key="0|a").image.tobytes()
        assert not np.array_equal(made, array)
        with pytest.raises(RecipeError):
            one.of(0)
        assert one.AXIS.strip()
        assert one.label == f"{name}{level}"
        assert type(one).from_label(f"{level}") == one


def test_parts_are_applied_in_the_literatures_order_and_only_in_their_domain() -> None:
    mixture = parse({"jpeg": 30, "noise": 20, "blur": 2})
    assert [mixture.only("target").label, mixture.only("input").label] == ["blur2", "noise20+jpeg30"]
    expected = get("jpeg").of(30).apply(get("noise").of(20).apply(LR, key="0|a").image, key="0|a").image
    np.testing.assert_array_equal(mixture.apply(LR, "input", key="0|a").image, expected)
    np.testing.assert_array_equal(mixture.apply(HR, "target", key="").image, get("blur").of(2).apply(HR, key="").image)
    assert Mixture().apply(LR, "input", key="").image is LR


# -- training draws ---------------------------------------------------------------------------------------------------


def test_ranges_are_drawn_uniformly_and_numbers_stay() -> None:
    rng = np.random.default_rng(0)
    made = [draw({"noise": 20, "blur": [0, 4]}, rng) for _ in range(2000)]
    blurs = np.array([mixture.level("blur") for mixture in made], dtype=float)
    assert {mixture.level("noise") for mixture in made} == {20.0}
    assert 0 < blurs.min() < 0.02
    assert 3.98 < blurs.max() <= 4
    assert blurs.mean() == pytest.approx(2.0, abs=0.1)
    assert all(parse_label(mixture.label) == mixture for mixture in made)


def test_whole_levels_are_drawn_with_both_ends() -> None:
    rng = np.random.default_rng(0)
    assert {draw({"jpeg": [30, 33]}, rng).level("jpeg") for _ in range(200)} == {30.0, 31.0, 32.0, 33.0}


def test_of_a_list_every_entry_is_drawn() -> None:
    rng = np.random.default_rng(0)
    assert {draw(["clean", {"blur": 2}, {"noise": [5, 9]}], rng).type for _ in range(100)} == {"clean", "blur", "noise"}


def test_a_share_is_the_probability_of_its_entry_and_the_others_have_the_rest() -> None:
    rng = np.random.default_rng(0)
    made = [draw(["clean", {"noise": 5}, {"blur": [1, 2], "share": 0.8}], rng).type for _ in range(4000)]
    assert made.count("blur") / 4000 == pytest.approx(0.8, abs=0.02)
    assert made.count("clean") / 4000 == pytest.approx(0.1, abs=0.02)
    assert made.count("noise") / 4000 == pytest.approx(0.1, abs=0.02)
    assert {draw([{"noise": 5, "share": 1}], rng).label for _ in range(5)} == {"noise5"}


def test_lists_without_shares_are_drawn_as_before_there_were_any() -> None:
    first, second = np.random.default_rng(3), np.random.default_rng(3)
    entries = ["clean", {"blur": 2}, {"noise": 5}]
    assert [draw(entries, first) for _ in range(30)] == [parse(entries[int(second.integers(3))]) for _ in range(30)]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["clean", {"noise": 5, "share": 1}], "the shares 1 sum to 1; nothing is left for the 1 without one"),
        (["clean", {"noise": 5, "share": 0.8}, {"blur": 2, "share": 0.7}], "the shares 0.8, 0.7 sum to 1.5; nothing is left"),
        ([{"noise": 5, "share": 0.8}], "sum to 0.8; expected 1, or an entry without a share"),
        (["clean", {"noise": 5, "share": 0}], "share 0; expected a probability above 0"),
        (["clean", {"noise": 5, "share": "most"}], "share 'most'; expected a probability"),
        (["clean", {"share": 0.5}], "expected the word clean"),
    ],
)
def test_shares_that_are_no_probabilities_are_found_before_training(entries: list[object], message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        check_draw(entries)  # type: ignore[arg-type]


def test_a_share_is_refused_where_every_entry_makes_a_sample() -> None:
    with pytest.raises(RecipeError, match=r"share 0\.5: of crops, only for training"):
        parse({"noise": 5, "share": 0.5})


def test_a_draw_is_that_of_its_generator() -> None:
    spec = {"blur": [0, 4], "noise": [0, 30]}
    first, second = (draw(spec, np.random.default_rng(5)) for _ in range(2))
    assert first == second != draw(spec, np.random.default_rng(6))


@pytest.mark.parametrize(
    "spec", [{"blur": [4, 0]}, {"blur": [1]}, {"blur": [0, 99]}, {"blurr": [0, 1]}, {"jpeg": [0, 101]}, []]
)
def test_wrong_ranges_are_found_before_training(spec: object) -> None:
    with pytest.raises(RecipeError):
        check_draw(spec)  # type: ignore[arg-type]


def test_right_ranges_pass_the_check() -> None:
    check_draw(["clean", {"blur": [0, 4], "noise": 20}])
    check_draw({"jpeg": [30, 95]})


# -- blur -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("sigma", [0.3, 1.0, 2.5, 8.0])
def test_blur_is_scipys_gaussian_with_mirrored_border(sigma: float) -> None:
    radius = len(blur_module.gaussian(sigma)) - 1
    expected = scipy.ndimage.gaussian_filter(
        HR.astype(float), (sigma, sigma, 0), mode="mirror", radius=(radius, radius, 0)
    )
    np.testing.assert_allclose(get("blur").of(sigma).apply(HR, key="").image, expected, rtol=0, atol=3e-7)


def test_blur_window_reaches_to_four_sigma() -> None:
    assert [len(blur_module.gaussian(sigma)) - 1 for sigma in (0.5, 1, 2.1, 8)] == [2, 4, 9, 32]


@pytest.mark.parametrize(("sigma", "window"), [(0.5, 15), (2.0, 15), (4.0, 15), (8.0, 21), (2.0, 3)])
def test_a_blur_in_a_window_is_the_gaussian_cut_there_and_summed_to_one(sigma: float, window: int) -> None:
    """What OpenCV's GaussianBlur(image, (window, window), sigma) is documented to compute: exp(-x^2 / 2 sigma^2), scaled to sum 1."""
    distance = np.arange(window) - window // 2
    kernel = np.exp(-(distance**2) / (2 * sigma**2))
    kernel /= kernel.sum()
    expected = HR.astype(float)
    for axis in (0, 1):
        expected = scipy.ndimage.correlate1d(expected, kernel, axis=axis, mode="mirror")
    made = parse_label(f"blur{sigma:g}w{window}").apply(HR, "target", key="").image
    np.testing.assert_allclose(made, expected, rtol=0, atol=3e-7)
    assert not np.array_equal(made, get("blur").of(sigma).apply(HR, key="").image)


def test_the_authors_window_blurs_less_than_a_large_sigma_says() -> None:
    """A flat window of 15 pixels has a standard deviation of sqrt(224 / 12) = 4.32; no Gaussian in it has more."""
    spread = {sigma: np.sqrt(2 * (blur_module.gaussian(sigma, 15) * np.arange(8.0) ** 2).sum()) for sigma in (1.0, 4.0, 8.0, 64.0)}
    flat = np.sqrt(224 / 12)
    assert spread[1.0] == pytest.approx(1.0, abs=1e-5)
    assert spread[4.0] < spread[8.0] < spread[64.0] < flat
    assert spread[64.0] == pytest.approx(flat, abs=0.01)


def test_blur_of_images_smaller_than_the_window() -> None:
    for shape in ((1, 1, 3), (1, 9, 3), (2, 3, 1)):
        image = RNG.random(shape)
        expected = scipy.ndimage.gaussian_filter(image, (3, 3, 0), mode="mirror", radius=(12, 12, 0))
        np.testing.assert_allclose(get("blur").of(3.0).apply(image, key="").image, expected, rtol=0, atol=1e-6)


def test_blur_bytes_do_not_depend_on_how_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = get("blur").of(2.0).apply(HR, key="").image.tobytes()
    for band, block in ((1, 1 << 14), (7, 10), (1000, 1 << 20)):
        monkeypatch.setattr(blur_module, "_BAND", band)
        monkeypatch.setattr(blur_module, "_BLOCK", block)
        assert get("blur").of(2.0).apply(HR, key="").image.tobytes() == whole


@settings(max_examples=25, deadline=None)
@given(st.floats(0.05, 10), st.floats(0, 1), st.integers(1, 30), st.integers(1, 30))
def test_blur_keeps_flat_images(sigma: float, value: float, height: int, width: int) -> None:
    image = np.full((height, width, 3), value)
    np.testing.assert_allclose(get("blur").of(float(f"{sigma:g}")).apply(image, key="").image, value, rtol=0, atol=2e-6)


# -- noise ------------------------------------------------------------------------------------------------------------


def test_noise_is_the_stated_philox_stream() -> None:
    level, key = 20.0, "3|0123456789abcdef"
    words = np.frombuffer(sha256(b"3|0123456789abcdef|noise|20").digest()[:16], "<u8")
    normal = np.random.Generator(np.random.Philox(key=words)).standard_normal(LR.shape)
    expected = np.floor(np.clip(LR + level * normal, 0, 255) + 0.5)
    np.testing.assert_array_equal(get("noise").of(level).apply(LR, key=key).image, expected)


def test_noise_has_the_level_asked_for() -> None:
    grey = np.full((400, 400, 3), 128, np.uint8)
    added = get("noise").of(20.0).apply(grey, key="0|a").image.astype(float) - 128
    assert added.mean() == pytest.approx(0, abs=0.15)
    assert added.std() == pytest.approx(np.hypot(20, 12**-0.5), abs=0.15)  # rounding adds a variance of 1/12
    assert abs(np.corrcoef(added[..., 0].ravel(), added[..., 1].ravel())[0, 1]) < 0.01


def test_mixtures_of_one_noise_level_share_their_draw_and_contents_do_not() -> None:
    grey = np.full((16, 16, 3), 128, np.uint8)
    alone = parse({"noise": 20}).apply(grey, "input", key="0|a").image
    mixed = parse({"noise": 20, "blur": 2}).apply(grey, "input", key="0|a").image
    np.testing.assert_array_equal(alone, mixed)
    for key in ("0|b", "1|a"):
        assert not np.array_equal(alone, parse({"noise": 20}).apply(grey, "input", key=key).image)


def test_noise_is_clipped_at_black_and_white() -> None:
    ends = np.array([0, 255], np.uint8).repeat(3 * 500).reshape(2, 500, 3)
    made = get("noise").of(100.0).apply(ends, key="0|a").image
    assert (made[0] == 0).mean() == pytest.approx(0.5, abs=0.05)
    assert (made[1] == 255).mean() == pytest.approx(0.5, abs=0.05)


# -- jpeg -------------------------------------------------------------------------------------------------------------


def test_jpeg_is_pillows_at_half_colour_size() -> None:
    buffer = BytesIO()
    Image.fromarray(LR).save(buffer, "JPEG", quality=50, subsampling=2)
    np.testing.assert_array_equal(get("jpeg").of(50).apply(LR, key="").image, np.asarray(Image.open(buffer)))


def test_lower_quality_is_further_from_the_image() -> None:
    smooth = np.clip(np.add.outer(np.arange(32) * 4, np.arange(32) * 3)[:, :, None] + LR // 16, 0, 255).astype(np.uint8)
    errors = [np.square(get("jpeg").of(q).apply(smooth, key="").image.astype(float) - smooth).mean() for q in (95, 50, 10, 2)]
    assert errors == sorted(errors)
    assert errors[0] < errors[-1]


@pytest.mark.parametrize("shape", [(1, 1, 3), (7, 13, 3), (16, 16, 3)])
def test_jpeg_keeps_any_size(shape: tuple[int, int, int]) -> None:
    assert get("jpeg").of(50).apply(np.full(shape, 77, np.uint8), key="").image.shape == shape


@pytest.mark.parametrize(("name", "wrong"), [("blur", LR), ("noise", HR), ("jpeg", HR), ("jpeg", LR[:, :, 0])])
def test_wrong_dtype_is_a_type_error(name: str, wrong: np.ndarray) -> None:
    with pytest.raises(TypeError):
        get(name).of(20).apply(wrong, key="")
