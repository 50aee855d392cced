"""The promise, as tests: a probe, an analysis and a network are one file of one's own, beside the recipe or in a package, and nothing in
`xlli_ray/` changes; and what comes from elsewhere runs nothing."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray import registry, user_code
from xlli_ray.errors import RecipeError
from xlli_ray.report.page import write_report
from xlli_ray.store.verify.check_study import verify

SPREAD = '''
"""Spread: how far apart the PSNR of the best and the worst image are."""
from pydantic import BaseModel, ConfigDict
from xlli_ray.analyses.analysis import Column, Result, Table, cells_of


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
SHARPNESS = '''
"""Sharpness: how strong the gradient of an output is."""
import numpy as np
from pydantic import BaseModel, ConfigDict
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.measurement import ArrayPlan, Column, Measurement


class SharpnessParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    power: int = 1


class Sharpness(Probe):
    KIND, NEEDS_OUTPUT, Params = "sharpness", True, SharpnessParams
    COLUMNS = (Column("sharpness", "float64", "mean gradient", unit="grey levels", better="higher", limits=(0.0, None)),)

    def arrays(self, shapes):
        return (ArrayPlan("gradient", shapes.output[1:], "float32", ("y", "x")),)

    def measure(self, model, batch, forward):
        grey = forward.output.mean(1).cpu().numpy() * 255
        gradient = (np.abs(np.gradient(grey, axis=1)) ** self.params.power).astype(np.float32)
        return Measurement({"gradient": gradient}, {"sharpness": gradient.mean((1, 2), dtype=np.float64).tolist()})
'''
MEAN_ERROR = '''
import numpy as np
from xlli_ray.probes.metrics import Metric
from xlli_ray.probes.measurement import Column


class MeanError(Metric):
    COLUMN = Column("mean_error", "float64", "mean absolute error", unit="grey levels", better="lower", limits=(0.0, None))

    def score(self, pair):
        return float(np.abs(pair.image - pair.eight_bit.astype(float)).mean())


class Brightness(Metric):
    COLUMN = Column("brightness", "float64", "mean of the output")
    NEEDS_TARGET = False

    def score(self, pair):
        return float(pair.image.mean())
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
    (tmp_path / "someones_sharpness.py").write_text(SHARPNESS)
    (tmp_path / "someones_metrics.py").write_text(MEAN_ERROR)
    monkeypatch.setattr(user_code, "_allowed", set())
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
    user_code._allowed.clear()
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
    (folder / "someones_odd.py").write_text(
        "class Odd:\n    KIND = 'restore'\n\n\nclass Bare:\n    KIND = 'bare'\n\n\nvalue = 1\n"
        "class Unsourced:\n    KIND, VERSION, TABLES, Params, inputs, run = 'unsourced', 1, (), dict, None, None\n"
    )
    for name, message in [
        ("someones_odd:Odd", r"stages\[0\].*KIND 'restore' is the name of an existing stage"),
        ("someones_odd:Bare", "expected a subclass of xlli_ray.probes.probe.Probe"),
        ("someones_odd:Unsourced", "expected an analysis class .* without REFERENCE"),
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


SHARP = "someones_sharpness:Sharpness"


def test_a_probe_of_two_methods_has_its_table_its_array_and_its_section_and_is_read_without_its_code(folder: Path) -> None:
    place = folder / "study"
    recipe = write(folder, [{SHARP: {}}, {SHARP: {"id": "squared", "power": 2}}], batch={"sharpness": 2})
    study = xlli_ray.run(recipe, str(place))
    assert sorted({cell.id for cell in study.manifest.cells}) == ["sharpness/net/sharpness", "squared/net/sharpness"]
    found = study.sql("select stage, count(*) as n, avg(sharpness) as mean from sharpness group by stage order by stage").to_pylist()
    assert [(row["stage"], row["n"]) for row in found] == [("sharpness", 6), ("squared", 6)]
    assert found[0]["mean"] != found[1]["mean"]
    done = records(place)
    xlli_ray.run(recipe, str(place))
    assert records(place) == done, "nothing was computed again"
    moved = folder / "elsewhere" / "package"
    moved.mkdir(parents=True)
    (moved / "__init__.py").write_text((folder / "someones_sharpness.py").read_text())
    xlli_ray.run(write(folder, [{"elsewhere.package:Sharpness": {}}], batch={"sharpness": 2}), str(place))
    assert records(place) == done, "where the code lies is no part of what it measured"
    page = Path(write_report(str(place))).read_text()
    forget(folder)
    again = xlli_ray.open_study(place)
    assert again.sql("select count(*) as n from sharpness").to_pylist() == [{"n": 12}]
    ids = again.sql("select sample_id from samples order by row").column("sample_id").to_pylist()
    assert again.array("sharpness/net/sharpness").rows(ids).shape == (6, 32, 40)
    assert list(verify(again.archive)) == []
    assert again.status()["complete"]
    for text in ("how strong the gradient of an output is", "mean gradient, grey levels, higher is better", "grey levels ↑"):
        assert text in page
        assert text in Path(write_report(str(place))).read_text()
    assert not (folder / "ran").exists()


def test_units_of_a_probe_that_the_recipe_does_not_name_wait_and_run_nothing(folder: Path) -> None:
    place = folder / "study"
    xlli_ray.run(write(folder, [{SHARP: {}}]), str(place))
    for file in (place / "records").rglob("*"):
        if file.is_file() and "sharpness" in str(file):
            file.unlink()
    forget(folder)
    (folder / "someones_net.py").write_text(NET)
    study = xlli_ray.run(write(folder, [{"restore": {}}]), str(place))
    assert study.sql("select count(*) as n from restore").to_pylist() == [{"n": 6}]
    assert not study.status()["complete"]
    assert not (folder / "ran").exists()


def test_two_probes_of_one_kind_would_share_a_table_and_are_refused(folder: Path) -> None:
    (folder / "someones_other.py").write_text(SHARPNESS)
    with pytest.raises(RecipeError, match="have one KIND, 'sharpness'"):
        xlli_ray.load_recipe(write(folder, [{SHARP: {}}, {"someones_other:Sharpness": {"id": "other"}}]))


def test_the_probe_of_the_docs_runs_as_it_stands_there(folder: Path) -> None:
    text = (Path(__file__).parents[1] / "docs" / "extending.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "class TotalVariation" in block)
    (folder / "total_variation.py").write_text(code)
    study = xlli_ray.run(write(folder, [{"total_variation.py:TotalVariation": {}}]), str(folder / "study"))
    by_label = "select label, avg(tv) as tv from total_variation join samples using (sample_id) group by label order by label"
    clean, noisy = study.sql(by_label).to_pylist()
    assert noisy["tv"] > clean["tv"] > 0


def test_metrics_of_ones_own_are_columns_beside_the_three_of_every_table(folder: Path) -> None:
    place = folder / "study"
    plain = xlli_ray.run(write(folder, [{"restore": {}}]), str(place))
    query = "select psnr_y, ssim_y, psnr_rgb from restore where stage = ? order by row".replace("?", "'{}'")
    more = {"restore": {"id": "more", "metrics": ["someones_metrics:MeanError", "someones_metrics:Brightness", "psnr_y"]}}
    study = xlli_ray.run(write(folder, [{"restore": {}}, more]), str(place))
    assert plain.sql(query.format("restore")).equals(study.sql(query.format("more")))
    rows = study.sql("select mean_error, brightness from restore where stage = 'more'").to_pylist()
    assert all(row["mean_error"] > 0 and 0 < row["brightness"] < 255 for row in rows)
    identities = {cell.stage: cell.identity for cell in study.manifest.cells}
    assert identities["more"]["metrics"] == {"mean_error": 1, "brightness": 1}
    assert "metrics" not in identities["restore"]
    assert "mean absolute error, grey levels, lower is better" in Path(write_report(str(place))).read_text()
    with pytest.raises(RecipeError, match=r"no metric 'psnr'. Did you mean 'psnr_"):
        xlli_ray.load_recipe(write(folder, [{"restore": {"metrics": ["psnr"]}}]))


def test_metrics_of_pyiqa_are_asked_of_it_by_name_and_without_it_the_extra_is_named(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    with pytest.raises(RecipeError, match=r"pip install 'xlli_ray\[metrics\]'"):
        xlli_ray.load_recipe(write(folder, [{"restore": {"metrics": ["lpips"]}}]))
    monkeypatch.undo()
    import torch

    from xlli_ray.errors import EnvironmentFailure
    from xlli_ray.probes.metrics import Pair
    from xlli_ray.probes.metrics.pyiqa import Dists, Lpips, Niqe

    asked: list[Any] = []
    theirs = ModuleType("pyiqa.utils.download_util")  # the real one holds torch's function by a name of its own
    theirs.download_url_to_file = torch.hub.download_url_to_file  # type: ignore[attr-defined]

    def create_metric(name: str, **named: Any) -> Any:
        asked.append(name)
        print("Loading pretrained model")
        if name == "niqe":
            theirs.download_url_to_file("https://nowhere", "weights.pth")
        if name == "dists":
            torch.hub.download_url_to_file("https://nowhere", "weights.pth")
        return lambda *images: sum(image.mean() for image in images)

    pyiqa = ModuleType("pyiqa")
    pyiqa.__spec__ = ModuleSpec("pyiqa", None)
    pyiqa.create_metric = create_metric  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "pyiqa", pyiqa)
    monkeypatch.setitem(sys.modules, "pyiqa.utils.download_util", theirs)
    pair = Pair(np.full((31, 40, 3), 51, np.uint8), np.full((31, 40, 3), 0.4, np.float32))
    assert Lpips().score(pair) == pytest.approx(0.2 + 0.4)
    assert np.isnan(Lpips().score(Pair(pair.image[:30], None))), "there is no LPIPS of so few pixels"
    before = torch.hub.download_url_to_file
    for cls in (Niqe, Dists):
        with pytest.raises(EnvironmentFailure, match="are not downloaded"):
            cls()
    assert torch.hub.download_url_to_file is before
    assert theirs.download_url_to_file is before  # type: ignore[attr-defined]
    assert asked == ["lpips", "lpips", "niqe", "dists"]
    assert not capsys.readouterr().out
