"""The promise, as tests: a probe, an analysis and a network are one file of one's own, beside the recipe or in a package, and nothing in
`xlli_ray/` changes; and what comes from elsewhere runs nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray import registry
from xlli_ray.errors import RecipeError
from xlli_ray.report.page import write_report
from xlli_ray.store.verify.check_study import verify

SPREAD = '''
"""Spread: how far apart the PSNR of the best and the worst image are."""
from pydantic import BaseModel, ConfigDict
from xlli_ray.analyses.protocol import Column, Result, Table, cells_of


class SpreadParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    of: str = "restore"


class Spread:
    KIND, VERSION, REFERENCE, Params = "spread", 3, "nobody's", SpreadParams
    TABLES = (Table("spread", "a line a model", (Column("model", "string", "id"), Column("spread", "float64", "dB"))),)

    @classmethod
    def inputs(cls, params, cells):
        return [cell.id for cell in cells_of(cells, params.of, "restore", asked_by="spread.of")]

    @classmethod
    def run(cls, params, view, seed):
        rows = view.sql("select model, max(psnr_y) - min(psnr_y) as spread from restore group by model order by model").to_pylist()
        return Result({"spread": rows})
'''
NET = '''
import torch
from torch import nn
from torch.nn import functional as F
from xlli_ray.models.networks import Built, load_strict

VERSION = 4


class Doubler(nn.Module):
    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.ones(3))

    def forward(self, x):
        return F.interpolate(x, scale_factor=2) * self.gain[:, None, None]


def from_state_dict(tensors, args):
    module = Doubler()
    load_strict(module, tensors, network="doubler")
    return Built(module, scale=2)


def make():
    return Doubler()
'''


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with photographs and somebody's files; no folder of the import path. What recipes allow is forgotten afterwards."""
    (tmp_path / "photos").mkdir()
    for i in range(3):
        coarse = np.random.default_rng(i).normal(0.4, 0.1 + 0.1 * i, (8, 10, 3)).clip(0, 1)
        Image.fromarray((np.kron(coarse, np.ones((4, 4, 1))) * 255).astype(np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "someones_spread.py").write_text(SPREAD)
    (tmp_path / "someones_net.py").write_text(NET)
    monkeypatch.setattr(registry, "_allowed", set())
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "someones" in name:
            del sys.modules[name]


def write(folder: Path, stages: list[Any], **more: Any) -> str:
    data = {
        "name": "added", "baseline": False,
        "corpus": {"images": ["photos/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]},
        "models": [{"id": "net", "network": "someones_net.py:make"}],
        "stages": stages, **more,
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump({key: value for key, value in data.items() if value is not None}, sort_keys=False))
    return str(folder / "recipe.yaml")


def records(study: Path) -> list[Path]:
    return sorted((study / "records").rglob("*"))


def installed(folder: Path, group: str, name: str, value: str) -> None:
    """What `pip install` leaves of a package with one entry point."""
    about = folder / "someones-1.0.dist-info"
    about.mkdir(exist_ok=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: someones\nVersion: 1.0\n")
    with (about / "entry_points.txt").open("a") as file:
        file.write(f"[xlli_ray.{group}]\n{name} = {value}\n")


def forget(folder: Path) -> None:
    """As in another process, that got the study only: nothing is allowed, and running the code would leave a trace."""
    registry._allowed.clear()
    for name in [name for name in sys.modules if "someones" in name]:
        del sys.modules[name]
    for file in folder.glob("someones_*.py"):
        file.write_text(f"open({str(folder / 'ran')!r}, 'w')")


@pytest.mark.parametrize("name", ["someones_spread:Spread", "someones_spread.py:Spread"])
def test_an_analysis_beside_the_recipe_has_its_table_its_section_and_a_state(folder: Path, name: str) -> None:
    place = folder / "study"
    study = xlli_ray.run(write(folder, [{"restore": {}}, {name: {}}]), str(place))
    assert study.sql("select stage, model, spread > 0 as some from spread").to_pylist() == [
        {"stage": "spread", "model": "net", "some": True}
    ]
    assert [(state.id, state.state) for state in study.analyses] == [("spread", "current")]
    assert "how far apart the PSNR" in Path(write_report(str(place))).read_text()
    forget(folder)
    again = xlli_ray.open_study(place)
    assert [(state.id, state.state) for state in again.analyses] == [("spread", "current")]
    assert again.result("spread").tables["spread"].num_rows == 1
    assert again.status()["complete"]
    assert 'id="result-spread"' in Path(write_report(str(place))).read_text()
    assert not (folder / "ran").exists()


def test_what_cannot_be_a_stage_is_said_where_it_stands(folder: Path) -> None:
    (folder / "someones_odd.py").write_text("class Odd:\n    KIND = 'restore'\n\n\nclass Bare:\n    KIND = 'bare'\n\n\nvalue = 1\n")
    for name, message in [
        ("someones_odd:Odd", r"stages\[0\].*KIND 'restore' is the name of a stage"),
        ("someones_odd:Bare", "expected a probe class"),
        ("someones_odd:Bar", "no 'Bar'. Did you mean 'Bare'"),
        ("someones_old:Odd", "looked for"),
        ("nowhere/odd.py:Odd", "no file nowhere/odd.py"),
    ]:
        with pytest.raises(RecipeError, match=message):
            xlli_ray.load_recipe(write(folder, [{name: {}}]))


def test_entry_points_of_an_installed_package_add_a_network_and_an_analysis(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from safetensors.numpy import save_file

    installed(folder, "networks", "doubler", "someones_net")
    installed(folder, "analyses", "spread", "someones_spread:Spread")
    monkeypatch.syspath_prepend(folder)
    for table in (registry.NETWORKS, registry.ANALYSES):
        table.__dict__.pop("_installed", None)
    try:
        save_file({"gain": np.full(3, 0.5, np.float32)}, folder / "half.safetensors")
        models = [{"id": "half", "weights": "half.safetensors", "network": "doubler"}]
        study = xlli_ray.run(write(folder, [{"restore": {}}, {"spread": {}}], models=models), str(folder / "study"))
        assert [(model.network, model.network_version, model.scale) for model in study.manifest.models] == [("doubler", 4, 2)]
        assert study.result("spread").tables["spread"].num_rows == 1
        assert study.manifest.recipe["stages"][1]["kind"] == "spread"
        assert list(verify(study.archive)) == []
    finally:
        for table in (registry.NETWORKS, registry.ANALYSES):
            table.__dict__.pop("_installed", None)
