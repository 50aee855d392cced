"""`xlli_ray.lam`, the three lines of the README: what it gives is what the parts give, its figure has what people expect of LAM, and what
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
from xlli_ray.api import ClipLamResult
from xlli_ray.errors import NetworkError, XlliError
from xlli_ray.models import open_model
from xlli_ray.probes.lam.attribution import Rule, attribute
from xlli_ray.probes.lam.method_choices import method_of
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.passes import Explained
from xlli_ray.probes.lam.path_points import BlurPath
from xlli_ray.probes.lam.window import Window

PIXELS = np.random.default_rng(2).integers(0, 255, (20, 26, 3), dtype=np.uint8)


def network(scale: int = 2) -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.ReLU(), nn.Conv2d(8, 3 * scale**2, 3, padding=1), nn.PixelShuffle(scale))


def test_it_gives_the_map_that_the_parts_give_from_a_file_or_an_array(tmp_path: Path) -> None:
    Image.fromarray(PIXELS).save(tmp_path / "small.png")
    one = xlli_ray.lam(network(), tmp_path / "small.png", window=(10, 12, 8), scale=2, nodes=5)
    other = xlli_ray.lam(network(), PIXELS.astype(np.float32) / np.float32(255), window=(10, 12, 8), scale=2, nodes=5)
    image = torch.from_numpy(np.moveaxis(PIXELS, 2, 0).astype(np.float32) / np.float32(255))
    (parts,) = attribute(open_model(network(), scale=2), image, [Window(10, 12, 8)], BlurPath(), rule=Rule(nodes=5))
    np.testing.assert_allclose(one.attribution, parts.attribution, atol=1e-6 * np.abs(parts.attribution).max())
    np.testing.assert_array_equal(one.attribution, other.attribution)
    assert one.output.shape == (3, 40, 52)
    assert one.map.shape == one.area.shape == (20, 26)
    assert one.map.max() == 1
    assert 0 < one.di < 100
    assert f"DI {one.di:.2f}" in repr(one)


def test_without_a_window_it_takes_the_most_detailed_one() -> None:
    pixels = np.full((24, 24, 3), 90, np.uint8)
    pixels[8:16, 8:16] = PIXELS[:8, :8]
    assert xlli_ray.lam(network(), pixels, scale=2, nodes=1).result.window == Window(16, 16, 16)


def test_its_figure_shows_window_map_area_signed_map_and_output(tmp_path: Path) -> None:
    found = xlli_ray.lam(network(), PIXELS, window=(10, 12, 8), scale=2, nodes=3)
    found.figure(tmp_path / "lam.png")
    (row,) = found.panels().rows
    panels = [panel for panel in row.panels if panel]
    assert [(panel.caption, panel.note) for panel in panels] == [
        ("output and window", ""), (f"map, DI {found.di:.2f}", f"estimated error {100 * found.error_estimate:.2g} %"),
        ("contribution area", ""), ("signed map", panels[3].note), ("output, the window", ""),
    ]  # fmt: skip
    for panel in panels:
        (frame,) = panel.frames
        assert (frame.top, frame.left, frame.height, frame.width) == (5, 6, 4, 4), "in input pixels"
    scale = panels[3].layers[-1].scale
    assert scale is not None
    assert scale.low == -scale.high, "signed values on a symmetric scale"
    with Image.open(tmp_path / "lam.png") as image:
        assert image.size[0] > 1000


def test_a_constant_image_has_no_di_and_still_a_figure(tmp_path: Path) -> None:
    found = xlli_ray.lam(network(), np.full((20, 20, 3), 77, np.uint8), window=(8, 8, 8), scale=2, nodes=2)
    assert np.isnan(found.di)
    assert not found.area.any()
    found.figure(tmp_path / "none.png")


@pytest.mark.parametrize(
    ("image", "window", "kind", "words"),
    [
        (PIXELS, (38, 0, 8), NetworkError, "outside the output of 40 rows × 52 columns"),
        (PIXELS, (0, 0, 0), NetworkError, "window size must be an integer ≥ 1, got 0"),
        (PIXELS, (4, 8), XlliError, "three integers"),
        (PIXELS, (4.5, 8, 8), XlliError, "three integers"),
        (PIXELS.astype(np.float32), (8, 8, 8), XlliError, "expected 0..1"),
        (np.full((20, 20, 3), np.nan, np.float32), (8, 8, 8), XlliError, "NaN"),
        (PIXELS[..., 0], (8, 8, 8), XlliError, r"\(height, width, 3\)"),
        (PIXELS[:6, :6], None, XlliError, "too small for a window of 16"),
        ("nothing.png", None, XlliError, "cannot be read"),
    ],
)
def test_what_is_wrong_with_an_input_is_said(image: Any, window: Any, kind: type[Exception], words: str) -> None:
    with pytest.raises(kind, match=words):
        xlli_ray.lam(network(), image, window, scale=2, nodes=1)


@pytest.mark.parametrize("method", ["gradient_input", {"smoothgrad": {"draws": 4}}, {"occlusion": {"size": 3}}])
def test_other_methods_than_the_integral_give_the_maps_of_their_parts(method: Any) -> None:
    found = xlli_ray.lam(network(), PIXELS, (10, 12, 8), scale=2, method=method)
    image = torch.from_numpy(np.moveaxis(PIXELS, 2, 0).astype(np.float32) / np.float32(255))
    one = method_of(method)
    task = Explained(image, [Window(10, 12, 8)], one.path(image, "one image"))
    (parts,) = one.one_by_one(open_model(network(), scale=2), task, objective=Objective(), radius=None, frame=None)
    np.testing.assert_allclose(found.attribution, parts.attribution, atol=1e-5 * np.abs(parts.attribution).max())
    assert found.map.max() == 1
    assert ("estimated error" in repr(found)) == ("estimated error" in str(found.panels())) == (one.NAME == "smoothgrad")
    clip = np.stack([PIXELS, np.roll(PIXELS, 1, axis=0)])
    over = xlli_ray.lam(network(), clip, (10, 12, 8), scale=2, method=method, frame=0)
    assert isinstance(over, ClipLamResult)
    np.testing.assert_allclose(over.frame_share, [1, 0], atol=1e-5)


def test_a_method_and_what_it_takes_no_notice_of_are_refused() -> None:
    for fields, words in (
        ({"method": "occlusio"}, "there is no method 'occlusio'"), ({"method": "occlusion", "nodes": 3}, "nodes: 3 says how gradients"),
        ({"method": "smoothgrad", "path": "linear_mean"}, "leave path out"), ({"method": "occlusion", "mode": "paper"}, "mode: paper says"),
        ({"method": {"occlusion": {"size": 0}}}, "method occlusion, size"),
    ):  # fmt: skip
        with pytest.raises(XlliError, match=words):
            xlli_ray.lam(network(), PIXELS, (10, 12, 8), scale=2, **fields)  # type: ignore[arg-type]


def test_a_network_of_another_scale_than_it_says_is_refused() -> None:
    with pytest.raises(XlliError, match="scale"):
        xlli_ray.lam(network(scale=3), PIXELS, (8, 8, 8), scale=2, nodes=1)


class Mean(nn.Module):
    """Every output frame is the mean of all frames, twice as large."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        mean = x.mean(1, keepdim=True).expand(x.shape)
        return mean.repeat_interleave(2, -1).repeat_interleave(2, -2)


def test_a_clip_has_a_map_of_every_frame_and_a_row_of_frames_as_its_figure(tmp_path: Path) -> None:
    frames = [np.roll(PIXELS, 2 * k, axis=1) for k in range(5)]
    for k, frame in enumerate(frames):
        Image.fromarray(frame).save(tmp_path / f"{k}.png")
    after = np.zeros((4, 2, 20, 26), np.float32)
    after[:, 0] = 2
    known = {"window": (10, 20, 8), "scale": 2, "frames": "all", "nodes": 2, "flow": (after, -after)}
    found = xlli_ray.lam(Mean(), [tmp_path / f"{k}.png" for k in range(5)], **known)
    assert isinstance(found, ClipLamResult)
    same = xlli_ray.lam(Mean(), np.stack(frames), **known)
    np.testing.assert_array_equal(found.attribution, same.attribution)
    assert found.map.shape == found.area.shape == (5, 20, 26)
    assert found.output.shape == (3, 40, 52)
    assert found.frame == 2
    assert found.frame_share.sum() == pytest.approx(1)
    np.testing.assert_allclose(found.frame_share, 0.2, atol=0.1)
    assert found.trajectory is not None
    np.testing.assert_allclose(found.trajectory[:, 1], [7.5 + 2 * k for k in range(5)], atol=1e-6)
    assert abs(found.numbers["motion_followed"]) < 0.5, "no alignment: it stays"
    assert "frame 2 of 5, effective_frames" in repr(found)
    (row,) = found.panels().rows
    assert [panel.caption for panel in row.panels if panel] == ["t − 2", "t − 1", "t", "t + 1", "t + 2"]
    found.figure(tmp_path / "lam.png", others=[same])
    with Image.open(tmp_path / "lam.png") as image:
        assert image.size[0] > 800
    assert found._repr_html_().count("<img") == 5


def test_a_network_of_images_is_run_over_the_frames_of_a_clip() -> None:
    frames = np.stack([np.roll(PIXELS, k, axis=0) for k in range(3)])
    found = xlli_ray.lam(network(), frames, window=(10, 12, 8), scale=2, nodes=3, frame=0)
    alone = xlli_ray.lam(network(), frames[0], window=(10, 12, 8), scale=2, nodes=3)
    assert isinstance(found, ClipLamResult)
    assert found.frame_share.tolist() == [1, 0, 0]
    np.testing.assert_allclose(found.map[0], alone.map, atol=1e-5)
    with pytest.raises(XlliError, match="results of images cannot stand beside those of clips"):
        found.panels(others=[alone])
    with pytest.raises(XlliError, match="clip, window or frame differs"):
        found.panels(others=[xlli_ray.lam(network(), frames, window=(10, 12, 8), scale=2, nodes=1, frame=1)])


def test_what_is_wrong_with_a_clip_is_said() -> None:
    clip = np.stack([PIXELS] * 3)
    for known, words in (
        ({"frame": 3}, "frame 3 of a clip of 3 frames"), ({"flow": (np.zeros((2, 2, 4, 4)),) * 2}, r"expected two arrays \(2, 2, 20, 26\)"),
        ({"target": PIXELS}, "one frame for each of the input"),
    ):  # fmt: skip
        with pytest.raises(XlliError, match=words):
            xlli_ray.lam(network(), clip, window=(10, 12, 8), scale=2, nodes=1, **known)
    with pytest.raises(XlliError, match="frame and flow are for clips"):
        xlli_ray.lam(network(), PIXELS, window=(10, 12, 8), scale=2, nodes=1, frame=1)
    with pytest.raises(XlliError, match="at least two frames of one size"):
        xlli_ray.lam(network(), [PIXELS, PIXELS[:10]], scale=2)
