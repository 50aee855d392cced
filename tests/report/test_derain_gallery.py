"""The images of a `derain` stage: what stands where, and each difference as the formulas of its docstring say."""

from __future__ import annotations

import base64
import io

import numpy as np
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray.report.image_strip import Strip, Tile
from xlli_ray.report.page import gather
from xlli_ray.study import open_study

NET = '''
import torch
from torch import nn


class Half(nn.Module):
    """Takes half of what is brighter than 100 away, and darkens all by a grey level or two."""

    def forward(self, x):
        return x - 0.5 * (x - 100 / 255).clamp(min=0) - 1.5 / 255


def make():
    return Half()
'''


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("derain")
    rng = np.random.default_rng(0)
    (folder / "clean").mkdir()
    (folder / "rainy").mkdir()
    for i in range(2):
        clean = rng.integers(30, 90, (24, 30, 3)).repeat(8, 0).repeat(8, 1).astype(np.uint8)
        rainy = clean + 120 * (rng.random((192, 240)) < 0.1)[..., None].astype(np.uint8)
        Image.fromarray(clean).save(folder / "clean" / f"{i}.png")
        Image.fromarray(rainy).save(folder / "rainy" / f"{i}.png")
    (folder / "net.py").write_text(NET)
    (folder / "recipe.yaml").write_text(yaml.safe_dump({
        "name": "derain", "baseline": False, "corpus": {"pairs": {"input": "rainy/*.png", "target": "clean/*.png"}},
        "models": [{"id": "half", "network": "net.py:make", "scale": 1}], "stages": [{"derain": {"mask": {"threshold": 50}, "save": True}}],
    }))  # fmt: skip
    xlli_ray.run(str(folder / "recipe.yaml"), str(folder / "study"))
    return str(folder / "study")


def pixels(tile: Tile | None) -> np.ndarray:
    assert tile is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(tile.uri.split(",")[1]))).convert("RGB")).astype(float)


def test_each_background_shows_input_target_rain_and_what_the_network_made_of_it(place: str) -> None:
    study = open_study(place)
    (section,) = gather(study, place).sections
    strips = [piece.item for piece in section.own if isinstance(piece.item, Strip)]
    assert len(strips) == 2
    (rho,) = {round(line["rho"], 6) for line in study.sql("select rho from derain order by row limit 1").to_pylist()}
    strip = strips[0]
    given, made = strip.rows
    assert [tile.caption for tile in (*given.tiles, *made.tiles) if tile] == [
        "input O", "target B", "rain, O − B", "output F", "removed, O − F", "destroyed or uneven",
    ]  # fmt: skip
    assert made.label == "half"
    rainy, clean, rain = (pixels(tile) for tile in given.tiles)
    output, removed, destroyed = (pixels(tile) for tile in made.tiles)
    assert rainy.shape == (160, 160, 3), "a crop, pixel for pixel"
    np.testing.assert_array_equal(rain, (rainy - clean + 128).clip(0, 255))
    np.testing.assert_array_equal(removed, (rainy - output + 128).clip(0, 255))
    np.testing.assert_allclose(destroyed, ((output - rainy) - rho * (clean - rainy) + 128).clip(0, 255), atol=0.51)
    assert removed.max() > 150, "rain was removed"
