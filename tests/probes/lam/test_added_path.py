"""The promise, as a test: a baseline of LAM is one file of one's own, and nothing in the package changes. It is taken from docs/lam.md."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

import xlli_ray
from xlli_ray import user_code
from xlli_ray.engine.worker.study_model import load_study_model
from xlli_ray.errors import RecipeError
from xlli_ray.probes.lam.attribution import Rule, attribute
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.params import Params
from xlli_ray.probes.lam.path_points import LinearPath
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.probes.lam.receptive_field import proved_radius
from xlli_ray.probes.lam.window import Window
from xlli_ray.registry import LAM_PATHS

DOCS = Path(__file__).parents[3] / "docs" / "lam.md"
NET = '''
import torch
from torch import nn


def make():
    torch.manual_seed(1)
    return nn.Sequential(nn.Conv2d(3, 6, 3, padding=1), nn.ReLU(), nn.Conv2d(6, 12, 3, padding=1), nn.PixelShuffle(2))
'''
ODD = """
from xlli_ray.probes.lam.path_choices import Straight


class Mine(Straight):
    NAME = "blur"


class Bare:
    NAME = "bare"
"""
GREY = "someones_paths.py:Grey"


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """One image, a network and somebody's baseline; what recipes allow is forgotten afterwards."""
    values = np.random.default_rng(0).integers(0, 256, (12, 14, 3), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "0.png")
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if "class Grey" in block)
    (tmp_path / "someones_paths.py").write_text(re.sub(r"^  ", "", code, flags=re.MULTILINE))
    (tmp_path / "someones_net.py").write_text(NET)
    monkeypatch.setattr(user_code, "_allowed", set())
    yield tmp_path
    for name in [name for name in sys.modules if "someones" in name]:
        del sys.modules[name]


def write(folder: Path, **fields: Any) -> str:
    lam = {"windows": [{"top": 6, "left": 8, "size": 8}], "nodes": 6, "signed": True, **fields}
    data = {
        "name": "own", "baseline": False, "corpus": {"inputs": ["0.png"]}, "models": [{"id": "net", "network": "someones_net.py:make"}],
        "stages": [{"lam": lam}],
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    return str(folder / "recipe.yaml")


def test_a_baseline_beside_the_recipe_gives_the_map_from_it_and_its_name_is_its_identity(folder: Path) -> None:
    study = xlli_ray.run(write(folder, path=GREY), str(folder / "study"))
    (cell,) = study.manifest.cells
    assert (cell.identity["path"], cell.identity["path grey"]) == ("grey", 1)
    assert study.sql("select path, undefined from lam").to_pylist() == [{"path": "grey", "undefined": False}]
    (name,) = study.sql("select sample_id from samples")["sample_id"].to_pylist()
    found = study.array(cell.id, "attribution").rows([name])[0, 0]
    network = load_study_model(study.objects, study.manifest.models[0])
    image = torch.from_numpy(np.asarray(Image.open(folder / "0.png")).transpose(2, 0, 1).astype(np.float32) / 255)
    (wanted,) = attribute(
        network, image, [Window(6, 8, 8)], LinearPath(torch.full_like(image, 0.5)), objective=Objective("gradient"), rule=Rule(nodes=6),
        radius=proved_radius(network),
    )  # fmt: skip
    assert np.array_equal(found, wanted.attribution)
    done = sorted((folder / "study" / "records").rglob("*"))
    (folder / "moved.py").write_text((folder / "someones_paths.py").read_text())
    xlli_ray.run(write(folder, path="moved.py:Grey"), str(folder / "study"))
    assert sorted((folder / "study" / "records").rglob("*")) == done, "where its code lies is no part of it"


@pytest.mark.parametrize("name", sorted(LAM_PATHS))
def test_identities_of_the_named_paths_are_those_of_before(name: str) -> None:
    identity = Lam(Params(path=name), {}).identity()
    assert identity["path"] == name
    assert not [key for key in identity if key.startswith("path ")]


def test_what_is_no_path_is_refused_with_the_nearest(folder: Path) -> None:
    (folder / "someones_odd.py").write_text(ODD)
    for path, message in [
        ("blurr", "there is no path 'blurr'. Did you mean 'blur'"),
        ("someones_odd.py:Mine", "its NAME 'blur' is taken by another path"),
        ("someones_odd.py:Bare", "expected a subclass of xlli_ray.probes.lam.path_choices.Way"),
    ]:
        with pytest.raises(RecipeError, match=re.escape(message)):
            xlli_ray.load_recipe(write(folder, path=path))
    with pytest.raises(RecipeError, match="mode: paper is the demo's blur path"):
        xlli_ray.load_recipe(write(folder, path=GREY, mode="paper", nodes=None))
