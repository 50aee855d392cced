"""Image panels: what is read, computed and cut; how layers lie over each other; what is stored without pixels."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xlli_ray.errors import SampleError
from xlli_ray.plots.colour_scale import ColourScale, lut
from xlli_ray.plots.image_panels import Area, Frame, ImagePanel, ImagePanels, Layer, PanelRow, Source, Term
from xlli_ray.plots.kinds import from_json
from xlli_ray.plots.panel_pixels import composite, encoded
from xlli_ray.plots.panel_sheet import painted, save
from xlli_ray.plots.panel_values import Read, Values, bare, filled, image_layer, layer_of
from xlli_ray.plots.view import to_json, to_svg

RNG = np.random.default_rng(0)
ARRAYS: Mapping[str, np.ndarray] = {
    "input": RNG.integers(0, 255, (3, 12, 16)).astype(np.float32), "target": RNG.integers(0, 255, (3, 24, 32)).astype(np.float32),
    "output": RNG.integers(0, 255, (3, 24, 32)).astype(np.uint8), "grey": RNG.integers(0, 255, (1, 24, 32)).astype(np.uint8),
    "map": RNG.random((12, 16)), "mask": (RNG.random((24, 32)) < 0.3), "signed": RNG.standard_normal((3, 12, 16)),
}  # fmt: skip
WEIGHTS = np.array([0.299, 0.587, 0.114])
GREY = ColourScale(0, 255, "gray")


def read(source: Source) -> Values:
    if source.array == "gone":
        raise SampleError("photo.png: there is no such file")
    values = ARRAYS[source.array][source.index]
    return Values(values, (12 / values.shape[-2], 16 / values.shape[-1]))


def of(name: str) -> Source:
    return Source(0, name)


def one(panel: ImagePanel, with_: Read = read) -> ImagePanel:
    view, reasons = filled(ImagePanels("t", (PanelRow("", (panel,)),)), with_)
    assert not reasons
    (row,) = view.rows
    (shown,) = row.panels
    assert shown is not None
    return shown


def levels(panel: ImagePanel) -> np.ndarray:
    """What is kept of the only layer."""
    (layer,) = one(panel).layers
    assert layer.png is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(layer.png))))


@pytest.mark.parametrize("name", ["input", "target", "output"])
def test_one_area_shows_the_same_place_of_input_and_output_pixel_for_pixel(name: str) -> None:
    scale = ARRAYS[name].shape[1] // 12
    expected = np.moveaxis(ARRAYS[name][:, 3 * scale : 8 * scale, 4 * scale : 11 * scale], 0, 2)
    panel = ImagePanel("a", (Layer(of(name)),), area=Area(3, 4, 5, 7))
    np.testing.assert_array_equal(levels(panel), expected)
    np.testing.assert_array_equal(composite(one(panel)), expected)


def test_a_window_of_single_output_pixels_has_a_place_between_those_of_the_input() -> None:
    panel = ImagePanel("a", (Layer(of("output")),), area=Area(1.5, 2.5, 0.5, 1.0))
    np.testing.assert_array_equal(levels(panel), np.moveaxis(ARRAYS["output"][:, 3:4, 5:7], 0, 2))


def loop(formula: str) -> np.ndarray:
    """Each computed layer pixel by pixel."""
    out = np.zeros((24, 32))
    for y in range(24):
        for x in range(32):
            given, made = ARRAYS["target"][:, y, x].astype(float), ARRAYS["output"][:, y, x].astype(float)
            if formula == "error":
                out[y, x] = np.mean([abs(a - b) for a, b in zip(made, given)])
            elif formula == "luma":
                out[y, x] = sum(w * v for w, v in zip(WEIGHTS, given))
            elif formula == "outside":
                out[y, x] = 0 if ARRAYS["mask"][y, x] else np.mean([abs(a - b) for a, b in zip(made, given)])
            else:  # between luma and a network for luma
                out[y, x] = abs(float(ARRAYS["grey"][0, y, x]) - sum(w * v for w, v in zip(WEIGHTS, given)))
    return out


@pytest.mark.parametrize(("formula", "layer"), [
    ("error", Layer(of("output"), (Term(of("target")),), absolute=True, channels="mean", scale=GREY)),
    ("luma", Layer(of("target"), channels="luma", scale=GREY)),
    ("outside", Layer(of("output"), (Term(of("target")),), absolute=True, outside=of("mask"), channels="mean", scale=GREY)),
    ("single", Layer(of("grey"), (Term(of("target")),), absolute=True, channels="mean", scale=GREY)),
])  # fmt: skip
def test_computed_layers_equal_a_naive_loop(formula: str, layer: Layer) -> None:
    np.testing.assert_allclose(levels(ImagePanel("a", (layer,))), loop(formula), atol=0.51)  # rounded to 8 bits


def test_a_difference_keeps_its_sign_and_channels_can_be_summed() -> None:
    scale = ColourScale(-300, 300, "RdBu_r")
    found = levels(ImagePanel("a", (Layer(of("output"), (Term(of("target")),), channels="mean", scale=scale),)))
    difference = (ARRAYS["output"].astype(float) - ARRAYS["target"]).mean(axis=0)
    np.testing.assert_allclose(found / 255 * 600 - 300, difference, atol=1.2)
    found = levels(ImagePanel("a", (Layer(of("signed"), channels="sum", scale=ColourScale(-9, 9, "RdBu_r")),)))
    np.testing.assert_allclose(found / 255 * 18 - 9, ARRAYS["signed"].sum(axis=0), atol=0.04)


def test_what_was_destroyed_is_a_weighted_sum_of_three_images() -> None:
    """F − O − ρ (B − O), as the derain gallery has it, at scale 1."""
    given, target, output = (RNG.integers(0, 255, (3, 6, 8)).astype(np.float32) for _ in range(3))
    arrays = {"input": given, "target": target, "output": output}
    terms = Term(of("input"), 0.25 - 1), Term(of("target"), -0.25)
    expected = output - given - 0.25 * (target - given)

    def kept(layer: Layer) -> np.ndarray:
        png = one(ImagePanel("a", (layer,)), lambda source: Values(arrays[source.array], (1, 1))).layers[0].png
        assert png is not None
        return np.asarray(Image.open(io.BytesIO(base64.b64decode(png)))).astype(float)

    found = kept(Layer(of("output"), terms, channels="mean", scale=ColourScale(-500, 500, "RdBu_r")))
    np.testing.assert_allclose(found / 255 * 1000 - 500, expected.mean(axis=0), atol=2)
    in_colours = kept(Layer(of("output"), terms, offset=128))
    np.testing.assert_allclose(in_colours, np.moveaxis(expected + 128, 0, 2).clip(0, 255), atol=0.51)


def test_arrays_that_do_not_fit_are_refused_with_their_names_and_sizes() -> None:
    cases = {
        "input is 3 × 12 × 16 and target 3 × 24 × 32: they cannot be added": Layer(of("input"), (Term(of("target")),), scale=GREY),
        "signed has 3 channels: `channels` says": Layer(of("signed"), scale=GREY),
        "the mask mask is 24 × 32, the values are 12 × 16": Layer(of("map"), outside=of("mask"), scale=GREY),
    }
    for message, layer in cases.items():
        with pytest.raises(ValueError, match=message):
            one(ImagePanel("a", (layer,)))


def test_a_map_over_an_image_is_opaque_at_its_peak_and_leaves_the_image_where_it_is_zero() -> None:
    share = np.array([[0.0, 0.0, 1.0, 0.1]])
    scale = ColourScale(0, 1, "reds", 0.4)
    panel = ImagePanel("a", (image_layer(np.full((1, 4), 200, np.uint8), side=8), layer_of(share, scale, side=8, opacity=0.5, shared=True)))
    shown = composite(panel).astype(int)[0]
    assert shown[0].tolist() == shown[1].tolist() == [200] * 3
    peak = lut("reds")[255].astype(float)
    np.testing.assert_allclose(shown[2], 0.5 * 200 + 0.5 * peak, atol=1)
    faint, colour = 0.5 * 0.1**0.4, lut("reds")[26].astype(float)
    np.testing.assert_allclose(shown[3], (1 - faint) * 200 + faint * colour, atol=2)


def test_layers_of_two_strides_lie_over_each_other() -> None:
    coarse = layer_of(np.array([[0.0, 1.0]]), ColourScale(0, 1, "gray"), side=8, opacity=0.5)
    panel = ImagePanel("a", (image_layer(np.arange(8, dtype=np.uint8).reshape(2, 4) * 20, side=8), coarse))
    expected = np.arange(8).reshape(2, 4) * 10 + np.array([0, 0, 127.5, 127.5])
    np.testing.assert_allclose(composite(panel)[..., 0], expected, atol=1)


@pytest.mark.parametrize("colour", ["", "#0072B2"])
def test_the_frame_of_a_window_hides_nothing_of_it_at_any_zoom(colour: str) -> None:
    panel = ImagePanel("a", (Layer(of("output")),), "", Area(2, 2, 8, 10), (Frame(4, 5, 3, 4, colour),), 120, enlarged=True)
    shown = composite(one(panel))
    zoom = shown.shape[0] // 16
    assert shown.shape[:2] == (16 * zoom, 20 * zoom) == (96, 120)
    window = np.moveaxis(ARRAYS["output"][:, 8:14, 10:18], 0, 2).repeat(zoom, 0).repeat(zoom, 1)
    top, left = 4 * zoom, 6 * zoom
    np.testing.assert_array_equal(shown[top : top + 6 * zoom, left : left + 8 * zoom], window)
    without = composite(one(replace(panel, frames=())))
    changed = (shown != without).any(axis=2)
    assert changed[top - 1, left : left + 8 * zoom].mean() > 0.9, "the frame touches the window"


def test_what_cannot_be_read_leaves_its_place_empty_and_says_why_once() -> None:
    gone = ImagePanel("gone", (Layer(of("gone")),))
    view = ImagePanels("t", (PanelRow("row", (gone, ImagePanel("input", (Layer(of("input")),)), gone)),))
    shown, reasons = filled(view, read)
    assert [panel and panel.caption for panel in shown.rows[0].panels] == [None, "input", None]
    assert reasons == ("photo.png: there is no such file",)


def test_a_view_is_stored_without_the_pixels_that_lie_in_the_study_and_draws_the_same_with_them_again() -> None:
    own = layer_of(ARRAYS["map"], ColourScale(0, 1, "magma"), side=16)
    view = ImagePanels("t", (PanelRow("row", (
        ImagePanel("input", (Layer(of("input")),)), ImagePanel("area", (Layer(of("input"), channels="luma", scale=GREY), own)), None,
    )),))  # fmt: skip
    shown, _ = filled(view, read)
    stored = bare(shown)
    assert stored == view
    text = to_json(stored)
    assert len(text) < len(to_json(shown))
    again, _ = filled(from_json(text, "x.json"), read)  # type: ignore[arg-type]
    assert to_svg(again) == to_svg(shown)
    with pytest.raises(ValueError, match="the panel 'input' has no pixels yet"):
        to_svg(view)


def test_an_overview_may_be_a_jpeg_and_crops_and_values_never_are() -> None:
    large = np.random.default_rng(1).integers(0, 255, (200, 220, 3), dtype=np.uint8)
    crop = ImagePanel("crop", (image_layer(large, side=240),))
    mime, data = encoded(crop)
    assert mime == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), large)
    assert encoded(replace(crop, overview=True))[0] == "image/jpeg"
    scale = ColourScale(0, 1, "cividis")
    values = ImagePanel("map", (layer_of(ARRAYS["map"], scale, side=64),), overview=True)
    mime, data = encoded(values)
    assert mime == "image/png"
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data)).convert("RGB")), scale.palette()[scale.levels(ARRAYS["map"])])


def test_the_rows_of_a_matrix_have_the_colours_of_their_degradations_at_the_left() -> None:
    matrix = ImagePanel("m", (layer_of(np.zeros((2, 96)), ColourScale(0, 1, "gray"), side=96),), height=40, edge=("#0072B2", "#D55E00"))
    shown = composite(matrix)
    assert shown[:, 0].tolist() == [[0x00, 0x72, 0xB2], [0xD5, 0x5E, 0x00]]
    assert (shown[:, 2:4] == 255).all()
    assert (shown[:, 4:] == 0).all()


def test_a_sheet_has_every_word_and_is_saved_in_the_format_of_its_name(tmp_path: Path) -> None:
    view, _ = filled(ImagePanels("title", (
        PanelRow("first <row>", (ImagePanel("input", (Layer(of("input")),), "12 high"), None)),
        PanelRow("", (None, ImagePanel("error", (Layer(of("map"), scale=ColourScale(0, 1, "magma")),)))),
    ), ColourScale(0, 1, "magma"), "grey levels"), read)  # fmt: skip
    svg = to_svg(view)
    for words in ("first &lt;row&gt;", "input", "12 high", "error", "grey levels"):
        assert words in svg
    assert svg.count("<image ") == 3  # the third is the bar
    save(view, tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_text() == svg
    save(view, tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as image:
        assert image.format == "PNG"
    assert "title" in [text.get_text() for text in painted(view).texts]
