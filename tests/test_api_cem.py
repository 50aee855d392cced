"""`xlli_ray.cem`: what it gives is what the parts give, its figure tells undecided blocks and those out of reach from the others, and what
is wrong with an input is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import xlli_ray
from xlli_ray.api import CemResult
from xlli_ray.errors import XlliError
from xlli_ray.plots.colour_scale import lut
from xlli_ray.plots.panel_pixels import composite
from xlli_ray.probes.lam.window import Window
from xlli_ray.views.cem import COLOURS, DARK, VEIL, bound_of, effect_scale, in_pixels, verdict_image
from xlli_ray.views.lam import FAINT

RNG = np.random.default_rng(4)
INPUT = RNG.integers(30, 220, (24, 20, 3), dtype=np.uint8)
TARGET = np.repeat(np.repeat(INPUT, 2, 0), 2, 1)
FEW: dict[str, Any] = {"scale": 2, "pool_size": 64, "draws": {"most": 8}}


def network() -> nn.Module:
    """Of reach 1: nearest neighbours, blurred a little."""
    torch.manual_seed(0)
    blur = nn.Conv2d(3, 3, 3, padding=1, groups=3, bias=False)
    blur.weight.data[:] = 0.1
    blur.weight.data[:, :, 1, 1] = 0.2
    return nn.Sequential(blur, nn.Upsample(scale_factor=2, mode="nearest"))


@pytest.fixture(scope="module")
def found() -> CemResult:
    return xlli_ray.cem(network(), INPUT, (16, 12, 10), target=TARGET, **FEW)


def test_it_gives_effects_errors_draws_and_what_was_decided(found: CemResult) -> None:
    assert found.window == Window(16, 12, 10)
    assert found.block == 4
    assert found.effect.shape == found.error.shape == found.draws.shape == found.decided.shape == (6, 5)
    assert found.effect[2, 2] > 1
    assert found.decided[2, 2] == 1
    assert not found.effect[found.draws == 0].any()
    assert found.output.shape == (3, 48, 40)
    counts = found.counts
    assert counts["out of reach"] == (found.draws == 0).sum() > 15
    assert sum(counts[name] for name in ("helping", "harming", "neutral", "undecided")) == 30
    assert found.range > 0
    assert f"{counts['helping']} helping" in repr(found)


def test_a_file_is_as_good_as_an_array_and_another_key_draws_other_patches(found: CemResult, tmp_path: Path) -> None:
    for name, pixels in (("in.png", INPUT), ("out.png", TARGET)):
        Image.fromarray(pixels).save(tmp_path / name)
    same = xlli_ray.cem(network(), tmp_path / "in.png", (16, 12, 10), target=tmp_path / "out.png", **FEW)
    np.testing.assert_array_equal(same.effect, found.effect)
    other = xlli_ray.cem(network(), INPUT, (16, 12, 10), target=TARGET, sample="other", **FEW)
    assert not np.array_equal(other.effect, found.effect)
    np.testing.assert_allclose(other.effect, found.effect, atol=6 * max(found.error.max(), other.error.max()))


def test_without_a_window_it_takes_the_most_detailed_one() -> None:
    flat = np.full((40, 40, 3), 90, np.uint8)
    flat[20:30, 20:30] = INPUT[:10, :10]
    best = xlli_ray.cem(network(), flat, target=np.repeat(np.repeat(flat, 2, 0), 2, 1), **{**FEW, "draws": {"most": 4}})
    assert best.window == Window(32, 32, 32)


def test_its_figure_tells_blocks_apart_that_a_colour_of_effects_cannot(found: CemResult, tmp_path: Path) -> None:
    found.figure(tmp_path / "cem.png")
    (row,) = found.panels().rows
    captions = [panel.caption for panel in row.panels if panel]
    assert captions[:2] == ["target and window", "effects"]
    assert captions[3:] == ["standard error", "output, the window", "target, the window"]
    assert captions[2] == f"{found.counts['helping']} help, {found.counts['harming']} harm, {found.counts['undecided']} undecided"
    assert found._repr_html_().count("<img") == 6
    grey, decided = np.full((2, 3), 100.0), np.array([[1, -1, 2], [0, 0, 0]])
    image = verdict_image(grey, decided, np.array([[4, 4, 4], [4, 0, 4]]))
    assert image[1, 1].tolist() == [round(DARK * 100)] * 3, "out of reach"
    bare = FAINT.levels(grey)[0, 0]
    assert bare > 2 * image[1, 1, 0]
    for place, verdict in (((0, 0), 1), ((0, 1), -1), ((0, 2), 2), ((1, 0), 0)):
        np.testing.assert_allclose(image[place], (1 - VEIL) * bare + VEIL * np.array(COLOURS[verdict]), atol=1)
    with Image.open(tmp_path / "cem.png") as shown:
        assert shown.size[0] > 900


def test_colours_are_signed_and_end_at_the_strongest_block_beside_the_window() -> None:
    beside = np.array([[True, False], [True, True]])
    effect = np.array([[0.5, 30.0], [-0.8, 0.0]])
    assert effect_scale([effect], beside, 2.5).high == 0.8
    assert effect_scale([effect * 10], beside, 2.5).high == 2.5
    assert effect_scale([effect * 0], beside, 2.5).high > 0
    scale = effect_scale([effect], beside, 2.5)
    colours = scale.palette()[scale.levels(np.array([-0.8, 0.0, 0.8, 0.08]))]
    assert colours[0][2] > colours[0][0], "blue harms"
    assert colours[2][0] > colours[2][2], "red helps"
    assert colours[1].min() > 240
    tenth = lut("RdBu_r")[round((0.1 ** (1 / 1.2) + 1) * 127.5)]
    np.testing.assert_allclose(colours[3].astype(int), tenth.astype(int), atol=4)
    assert (bound_of(4, "blur2"), bound_of(1, "noise20"), bound_of(1, "rain-x")) == (2.5, 1.0, 2.0)


def test_blocks_at_a_border_are_drawn_as_small_as_they_are() -> None:
    assert in_pixels(np.array([[1, 2], [3, 4]]), 4, 6, 5).tolist() == [[1] * 4 + [2]] * 4 + [[3] * 4 + [4]] * 2


def test_networks_are_compared_on_one_scale_and_only_on_the_same_window(found: CemResult) -> None:
    other = xlli_ray.cem(network(), INPUT, (16, 12, 10), target=TARGET, seed=1, **FEW)
    rows = found.panels(others=[other]).rows
    scales = {row.panels[1].layers[0].scale for row in rows if row.panels[1]}
    assert len(scales) == 1
    for changed in ({"block": 4}, {"window": (10, 12, 10)}):
        asked: dict[str, Any] = {"window": (16, 12, 10), **FEW, **changed}
        with pytest.raises(XlliError, match="input, window or blocks differ"):
            found.panels(others=[xlli_ray.cem(network(), INPUT, asked.pop("window"), target=TARGET, **asked)])


def test_a_perfect_window_says_so_and_still_has_a_figure() -> None:
    perfect = xlli_ray.cem(nn.Identity(), INPUT, (4, 4, 8), target=INPUT, **{**FEW, "scale": 1})
    assert "perfect" in repr(perfect)
    assert np.isnan(perfect.effect).all()
    for row in perfect.panels().rows:
        for panel in row.panels:
            assert panel is None or composite(panel).size


def test_a_clip_has_effects_in_every_frame() -> None:
    frames = np.stack([INPUT, INPUT[::-1], INPUT])
    found = xlli_ray.cem(network(), frames, (16, 12, 10), target=np.stack([TARGET, TARGET[::-1], TARGET]), **FEW)
    assert found.effect.shape == (3, 6, 5)
    assert found.frame == 1
    assert not found.effect[[0, 2]].any(), "a network of images uses the frame alone"
    (row,) = found.panels().rows
    assert [panel.caption for panel in row.panels if panel][1:4] == ["effects, t − 1", "effects, t", "effects, t + 1"]


@pytest.mark.parametrize(
    ("image", "changed", "words"),
    [
        (INPUT, {"window": (44, 0, 8)}, "outside the output of 48 rows × 40 columns"),
        (INPUT, {"window": (4, 8)}, "three integers"),
        (INPUT, {"target": INPUT}, r"target: expected 40×48 pixels, the network's scale \(2\) times the input; got 20×24 pixels"),
        (INPUT, {"target": "none.png"}, "cannot be read"),
        (INPUT[:8, :8], {"target": TARGET[:16, :16], "window": None}, "too small for a window of 32"),
        (INPUT, {"pool_size": 64, "draws": {"most": 128}}, "64 patches for up to 128 draws"),
        (INPUT, {"draws": {"frist": 4}}, "draws.frist: Extra inputs are not permitted"),
        (INPUT, {"block": 0}, "block: Input should be greater than or equal to 1"),
        (INPUT, {"pool": ["nowhere/*.png"]}, "pool: 'nowhere/\\*.png' matches no file"),
        (INPUT, {"label": "strange"}, "the label 'strange' does not say how"),
        (INPUT, {"frame": 1}, "frame is for clips"),
        (INPUT, {"output": "none"}, "returns no image"),
    ],
)
def test_what_is_wrong_with_an_input_is_said(image: Any, changed: dict[str, Any], words: str) -> None:
    asked = {"window": (16, 12, 10), "target": TARGET, **FEW, **changed}
    with pytest.raises(XlliError, match=words):
        xlli_ray.cem(network(), image, asked.pop("window"), **asked)
