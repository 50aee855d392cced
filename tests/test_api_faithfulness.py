"""`xlli_ray.faithfulness`: on networks whose answer is known, scores and verdict are right, and what is wrong with an input is said."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

import xlli_ray
from xlli_ray.api import FaithfulnessResult
from xlli_ray.errors import XlliError

IMAGE = np.random.default_rng(4).integers(30, 220, (40, 36, 3), dtype=np.uint8)
WINDOW = (16, 12, 8)
METHODS = ("linear_black", "gradient_input")


class Far(nn.Module):
    """Every output pixel is the input pixel 12 rows below: what is near does not matter."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.roll(x, -12, dims=-2)


@pytest.fixture(scope="module")
def far() -> FaithfulnessResult:
    target = np.roll(IMAGE, -12, axis=0).astype(np.float32) / np.float32(255)
    target = np.clip(target + 0.02 * np.random.default_rng(0).standard_normal(target.shape), 0, 1).astype(np.float32)
    return xlli_ray.faithfulness(
        Far(), IMAGE, WINDOW, target=target, methods=METHODS, block=4, draws={"most": 8}, label="clean", scale=1, pool_size=64
    )  # fmt: skip


def test_maps_that_know_where_a_network_looks_beat_distance(far: FaithfulnessResult) -> None:
    rows = {row["method"]: row for row in far.table}
    assert list(rows) == [*METHODS, "cem", "nearest", "random"]
    for method in (*METHODS, "cem"):
        assert rows[method]["deletion_gain"] > 0.1
        assert rows[method]["insertion_gain"] > 0.1
    assert rows["nearest"]["deletion_gain"] == rows["nearest"]["insertion_gain"] == 0
    for method in METHODS:
        assert rows[method]["unexplained"] < 0.1, "the score is linear but for squares that end in the window"
        assert rows[method]["rho"] > 0.4
    assert far.verdict.startswith("On this window, linear_black, gradient_input and cem say more than distance")
    assert "no interval" in far.verdict
    deletion, insertion = far.curves["cem"]
    assert deletion[0] == insertion[-1] == 0
    assert deletion[-1] == insertion[0] > 1


def test_its_figures_are_written(far: FaithfulnessResult, tmp_path: Path) -> None:
    far.figure(tmp_path / "maps.png")
    far.figure(tmp_path / "curves.svg", of="curves")
    assert (tmp_path / "maps.png").stat().st_size > 10_000
    assert "<svg" in (tmp_path / "curves.svg").read_text()
    assert len(far.panels().rows) == 3
    assert far._repr_html_().count("<img") == 12
    with pytest.raises(XlliError, match=r"ends in \.svg"):
        far.figure(tmp_path / "curves.png", of="curves")


def test_a_map_of_distance_says_no_more_than_distance() -> None:
    """A wide average around the window: nearest first is the best order there is."""
    wide = nn.Conv2d(3, 3, 15, padding=7, groups=3, bias=False)
    wide.weight.data[:] = 1 / 225
    found = xlli_ray.faithfulness(wide, IMAGE, WINDOW, methods=("occlusion",), scale=1)
    (row, *controls) = found.table
    assert [one["method"] for one in controls] == ["nearest", "random"]
    assert np.isnan(row["rho"])
    assert found.effects is None
    better = row["deletion_gain"] > 0 and row["insertion_gain"] > 0
    assert ("no more than distance" in found.verdict) != better


def test_all_methods_are_tried_if_none_are_named() -> None:
    found = xlli_ray.faithfulness(nn.Conv2d(3, 3, 3, padding=1), IMAGE, WINDOW, scale=1)
    assert {"blur", "linear_black", "linear_mean", "gradient_input", "smoothgrad", "occlusion"} <= set(found.maps)
    assert "pair" not in found.maps


@pytest.mark.parametrize(
    ("image", "window", "more", "words"),
    [
        (IMAGE, (38, 0, 8), {}, "outside the output of 40 rows × 36 columns"),
        (IMAGE, (1, 2), {}, "three integers"),
        (np.full((40, 40, 3), 77, np.uint8), WINDOW, {}, "constant"),
        (IMAGE[:4, :4], (0, 0, 2), {}, "the blur path needs inputs above"),
        (IMAGE, WINDOW, {"methods": ("gradcam",)}, "methods: expected different ones of blur"),
        (IMAGE, WINDOW, {"methods": ()}, "methods: expected"),
        (IMAGE, WINDOW, {"output": "none"}, "returns no image"),
        (np.stack([IMAGE] * 3), WINDOW, {}, "takes one image"),
        (IMAGE, WINDOW, {"target": IMAGE[:8]}, "target: expected|target"),
        (IMAGE, WINDOW, {"target": IMAGE, "draws": {"most": 2}, "methods": ("linear_black",)}, "most"),
    ],
)
def test_what_is_wrong_with_an_input_is_said(image: Any, window: Any, more: dict[str, Any], words: str) -> None:
    with pytest.raises(XlliError, match=words):
        xlli_ray.faithfulness(nn.Conv2d(3, 3, 3, padding=1), image, window, scale=1, **{"methods": METHODS, **more})
