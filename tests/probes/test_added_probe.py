"""The promise, as tests: a probe without a network, one over clips, one that needs another stage and an analysis over both are one file of
one's own, and nothing in `xlli_ray/` changes."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray import user_code
from xlli_ray.errors import PlanError, RecipeError
from xlli_ray.report.page import write_report
from xlli_ray.store.verify.check_study import verify

FILE = '''
"""Roughness: how strongly neighbouring pixels differ, a simple measure of complexity."""
import numpy as np
from pydantic import BaseModel, ConfigDict
from xlli_ray.analyses.analysis import Column as ResultColumn
from xlli_ray.analyses.analysis import Result, Table, cells_of
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.measurement import ArrayPlan, Column, Measurement


class Roughness(Probe):
    """One mean and one map a sample."""

    KIND, SUBJECT, REFERENCE = "roughness", "sample", "nobody's"
    COLUMNS = (Column("roughness", "float64", "mean step between neighbours", unit="grey levels", better="lower", limits=(0.0, None)),)

    def arrays(self, shapes):
        return (ArrayPlan("steps", (shapes.height, shapes.width), "float32", ("y", "x"), stride=(1.0, 1.0)),)

    def measure(self, model, batch, forward):
        assert model is None and forward is None
        grey = batch.input.mean(1).numpy() * 255
        if np.ptp(grey, (1, 2))[batch.ok].min() == 0:
            raise ValueError("it is all of one colour")
        steps = np.abs(np.gradient(grey, axis=2)).astype(np.float32)
        return Measurement({"steps": steps}, {"roughness": steps.mean((1, 2), dtype=np.float64).tolist()})


class OverParams(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)
    of: str = "restore"
    by: str = "roughness"


class Weighted(Probe):
    """What a network changes, where the input is rough."""

    KIND, Params = "weighted", OverParams
    COLUMNS = (Column("weighted", "float64", "change of the image, weighted with the roughness of its input"),
               Column("psnr", "float64", "as `restore` has it, passed on"))

    def __init__(self, params, spec):
        super().__init__(params, spec)
        self.needs = (params.of, params.by)

    def measure(self, model, batch, forward):
        output = batch.measured[self.params.of].arrays["output"].astype(np.float64).mean(1)
        steps = batch.measured[self.params.by].arrays["steps"].repeat(2, 1).repeat(2, 2)
        values = (output * steps).mean((1, 2)).tolist()
        return Measurement({}, {"weighted": values, "psnr": list(batch.measured[self.params.of].columns["psnr_y"])})


class Confused(Roughness):
    KIND, needs = "confused", ("restore",)


class Hardness:
    """Does a network find rough images hard?"""

    KIND, VERSION, REFERENCE, Params = "hardness", 1, "nobody's", OverParams
    TABLES = (Table("hardness", "a line a network", (ResultColumn("model", "string", "id"), ResultColumn("r", "float64", "correlation"),
                                                     ResultColumn("steps", "float64", "mean of the stored maps"))),)

    @classmethod
    def inputs(cls, params, cells):
        return [cell.id for stage in (params.of, params.by) for cell in cells_of(cells, stage, stage, asked_by="hardness")]

    @classmethod
    def run(cls, params, view, seed):
        (alone,) = [cell for cell in view.cells if not cell.model]
        steps = np.concatenate([block.values[block.valid].reshape(-1) for block in view.array(alone.id).blocks()])
        rows = view.sql(
            "select s.model, corr(s.psnr_y, r.roughness) as r from restore s join roughness r using (sample_id) group by s.model"
        ).to_pylist()
        return Result({"hardness": [{**row, "steps": float(steps.mean())} for row in rows]})
'''
ROUGHNESS, WEIGHTED, HARDNESS = (f"someones_probes:{name}" for name in ("Roughness", "Weighted", "Hardness"))
NET = {"id": "net", "network": "someones_net.py:make"}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with photographs and one file of somebody's; what the recipe allows is forgotten afterwards."""
    (tmp_path / "photos").mkdir()
    for i in range(4):
        coarse = np.random.default_rng(i).normal(0.4, 0.02 + 0.06 * i, (8, 10, 3)).clip(0, 1)
        Image.fromarray((np.kron(coarse, np.ones((4, 4, 1))) * 255).astype(np.uint8)).save(tmp_path / "photos" / f"{i}.png")
    (tmp_path / "someones_probes.py").write_text(FILE)
    (tmp_path / "someones_net.py").write_text("from torch import nn\n\n\ndef make():\n    return nn.Upsample(scale_factor=2)\n")
    monkeypatch.setattr(user_code, "_allowed", set())
    before = set(sys.modules)
    yield tmp_path
    for name in set(sys.modules) - before:
        if "someones" in name:
            del sys.modules[name]


Write = Callable[..., str]


@pytest.fixture
def write(folder: Path) -> Write:
    def go(stages: list[Any], models: list[Any] | None = None, **more: Any) -> str:
        corpus = {"images": ["photos/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]}
        data = {"name": "alone", "baseline": False, "corpus": corpus, "stages": stages, **more}
        data |= {"models": models} if models is not None else {}
        (folder / "recipe.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        return str(folder / "recipe.yaml")

    return go


def records(study: Path) -> list[Path]:
    return sorted(path for path in (study / "records").rglob("*") if path.is_file())


def test_a_probe_without_a_network_has_a_study_of_its_own_in_which_no_network_is_named(folder: Path, write: Write) -> None:
    place = folder / "study"
    recipe = write([{ROUGHNESS: {}}], batch={"roughness": 2})
    study = xlli_ray.run(recipe, str(place))
    assert study.manifest.models == ()
    (cell,) = study.manifest.cells
    assert (cell.id, cell.model) == ("roughness/-/roughness", "")
    assert not {"network", "weights sha256"} & set(cell.identity)
    rows = study.sql("select model, label, avg(roughness) as r from roughness join samples using (sample_id) group by all order by label")
    clean, noisy = rows.to_pylist()
    assert clean["model"] is noisy["model"] is None
    assert noisy["r"] > clean["r"] > 0
    ids = study.sql("select sample_id from samples order by row")["sample_id"].to_pylist()
    steps = study.array(cell.id).rows(ids)
    assert steps.shape == (8, 16, 20)
    means = study.sql("select roughness from roughness order by row")["roughness"].to_numpy()
    assert np.allclose(steps.mean((1, 2)), means, rtol=1e-5)
    assert study.sql("select model, path from features").to_pylist() == [
        {"model": None, "path": "arrays.zarr/roughness/-/roughness/h0016w0020/steps"}
    ]
    assert list(verify(study.archive)) == []
    status = study.status()
    assert (status["complete"], status["failures"]) == (True, {"samples": 0, "of": 8})
    page = Path(write_report(str(place))).read_text()
    assert "mean step between neighbours, grey levels, lower is better" in page
    assert page.count('class="tile') > 2, "its map is drawn"
    shown = re.sub(r"<style.*?</style>", "", page[: page.index('id="provenance"')], flags=re.DOTALL)
    assert "seen by" not in shown
    assert ">Networks<" not in shown
    assert "<th>model</th>" not in shown
    done = records(place)
    xlli_ray.run(recipe, str(place))
    assert records(place) == done, "nothing was computed again"


def of_the_docs(name: str, folder: Path) -> str:
    """The file of docs/extending.md that has this class, put into the folder as printed: its place, for a recipe."""
    text = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if f"\nclass {name}" in block)
    (folder / f"someones_{name.lower()}.py").write_text(code)
    return f"someones_{name.lower()}.py:{name}"


def test_the_probe_without_a_network_and_the_analysis_of_two_stages_of_the_docs_run_as_printed(folder: Path, write: Write) -> None:
    compression, hardness = of_the_docs("Compression", folder), of_the_docs("Hardness", folder)
    study = xlli_ray.run(write([{"restore": {}}, {compression: {}}, {hardness: {}}], [NET]), str(folder / "study"))
    rows = study.sql("select label, avg(bits) as b from compression join samples using (sample_id) group by label order by label")
    clean, noisy = rows["b"].to_pylist()
    assert 25 > noisy > clean > 0
    assert study.arrays == ["compression/-/compression"]
    (row,) = study.result("hardness").tables["hardness"].to_pylist()
    pairs = study.sql("select psnr_y, bits from restore join compression using (sample_id)")
    assert (row["model"], row["samples"]) == ("net", 8)
    assert row["r"] == pytest.approx(np.corrcoef(pairs["psnr_y"].to_numpy(), pairs["bits"].to_numpy())[0, 1])


def test_a_sample_that_a_probe_without_a_network_cannot_measure_is_a_failed_row_of_its_own(folder: Path, write: Write) -> None:
    Image.fromarray(np.full((32, 40, 3), 90, np.uint8)).save(folder / "photos" / "flat.png")
    study = xlli_ray.run(write([{ROUGHNESS: {}}, {"inputs": {}}], corpus={"images": ["photos/*.png"], "scale": 2}), str(folder / "study"))
    failed = study.sql("select stage, model, what, reason from failures").to_pylist()
    assert failed == [{"stage": "roughness", "model": None, "what": "roughness", "reason": "ValueError: it is all of one colour"}]
    assert study.sql("select count(*) filter (where status = 'ok') as good from inputs").to_pylist() == [{"good": 5}], "others measure it"
    assert study.status()["failures"] == {"samples": 1, "of": 5}
    assert {cell.group for cell in study.manifest.cells} == {"samples-0"}, "images are decoded once for both"


def test_the_probe_over_clips_of_the_docs_measures_the_difference_of_frames(folder: Path, write: Write) -> None:
    motion = of_the_docs("Motion", folder)
    (folder / "clip").mkdir()
    still = np.random.default_rng(3).integers(0, 256, (16, 24, 3), dtype=np.uint8)
    frames = [np.roll(still, i * i, axis=1) for i in range(6)]
    for i, frame in enumerate(frames):
        Image.fromarray(frame).save(folder / "clip" / f"f_{i:02d}.png")
    corpus = {"clips": {"input": "clip/*.png", "frames": 3, "stride": 1}}
    study = xlli_ray.run(write([{motion: {}}], corpus=corpus), str(folder / "study"))
    stored = study.array("motion/-/motion")
    assert stored.reader().meta.dims == ("frame", "y", "x")
    ids = stored.samples()["sample_id"].to_pylist()
    firsts = stored.samples()["first_frame"].to_pylist()
    for first, found in zip(firsts, stored.rows(ids)):
        grey = np.stack([frames[first + k].mean(2) for k in range(3)])
        assert np.allclose(found, np.abs(np.diff(grey, axis=0)), atol=1e-3)
    assert study.sql("select min(motion) > 0 as moves, count(*) as n from motion").to_pylist() == [{"moves": True, "n": 4}]
    with pytest.raises(PlanError, match="`roughness` measures single images, but this corpus has clips"):
        xlli_ray.run(write([{ROUGHNESS: {}}], corpus=corpus), str(folder / "other"))
    assert "motion" in Path(write_report(str(folder / "study"))).read_text()


def test_an_analysis_reads_a_cell_of_a_network_and_one_without(folder: Path, write: Write) -> None:
    place = folder / "study"
    stages = [{"restore": {}}, {ROUGHNESS: {}}, {HARDNESS: {"models": ["net"]}}]
    study = xlli_ray.run(write(stages, [NET]), str(place))
    (row,) = study.result("hardness").tables["hardness"].to_pylist()
    assert row["model"] == "net"
    assert -1 <= row["r"] < 0, "rough images are hard to enlarge"
    assert row["steps"] == pytest.approx(study.sql("select avg(roughness) as r from roughness")["r"][0].as_py(), rel=1e-5)
    assert [(state.id, state.state) for state in study.analyses] == [("hardness", "current")]
    assert study.status()["failures"]["of"] == 16, "samples by themselves are counted beside those that the network sees"
    study = xlli_ray.run(write([{"restore": {}}, {ROUGHNESS: {}}, {HARDNESS: {}}], [NET, {**NET, "id": "more"}]), str(place))
    assert sorted(study.sql("select distinct model from restore")["model"].to_pylist()) == ["more", "net"]
    assert [cell.id for cell in study.manifest.cells if not cell.model] == ["roughness/-/roughness"]


def test_a_probe_is_given_what_the_stages_that_it_needs_measure_in_one_run_and_when_it_is_added_later(folder: Path, write: Write) -> None:
    stages = [{WEIGHTED: {}}, {"restore": {"save": True}}, {ROUGHNESS: {}}]
    at_once = xlli_ray.run(write(stages, [NET], batch={"restore": 2}), str(folder / "at once"))
    cells = {cell.stage: cell for cell in at_once.manifest.cells}
    assert cells["weighted"].needs == ("restore/net/restore", "roughness/-/roughness")
    assert cells["weighted"].identity["needs"] == {"restore/restore": cells["restore"].hash, "roughness/roughness": cells["roughness"].hash}
    query = "select w.row, weighted, w.psnr = r.psnr_y as same from weighted w join restore r using (row) order by row"
    rows = at_once.sql(query)
    assert rows["same"].to_pylist() == [True] * 8
    steps = {row: at_once.array("roughness/-/roughness").rows([name])[0] for row, name in ids(at_once)}
    outputs = {row: at_once.array("restore/net/restore").rows([name])[0] for row, name in ids(at_once)}
    wanted = [(outputs[row].astype(float).mean(0) * steps[row].repeat(2, 0).repeat(2, 1)).mean() for row in rows["row"].to_pylist()]
    assert np.allclose(rows["weighted"].to_numpy(), wanted, rtol=1e-5)
    later = folder / "later"
    xlli_ray.run(write(stages[1:], [NET], batch={"restore": 2}), str(later))
    done = records(later)
    study = xlli_ray.run(write(stages, [NET], batch={"restore": 2}), str(later))
    assert set(done) < set(records(later)), "what was there is not measured anew"
    assert study.sql(query).equals(rows)
    assert list(verify(study.archive)) == []


def ids(study: Any) -> list[tuple[int, str]]:
    return [(row["row"], row["sample_id"]) for row in study.sql("select row, sample_id from samples").to_pylist()]


def test_what_a_needed_stage_cannot_measure_fails_with_its_reason(folder: Path, write: Write) -> None:
    Image.fromarray(np.full((32, 40, 3), 90, np.uint8)).save(folder / "photos" / "flat.png")
    stages = [{"restore": {"save": True}}, {ROUGHNESS: {}}, {WEIGHTED: {}}]
    study = xlli_ray.run(write(stages, [NET], corpus={"images": ["photos/*.png"], "scale": 2}), str(folder / "study"))
    reasons = {row["stage"]: row["reason"] for row in study.sql("select stage, reason from failures").to_pylist()}
    assert reasons == {"roughness": "ValueError: it is all of one colour", "weighted": "roughness: ValueError: it is all of one colour"}


@pytest.mark.parametrize(
    ("stages", "models", "message"),
    [
        ([{ROUGHNESS: {"models": ["net"]}}], [NET], r"stages\[0\].*models.*: `roughness` measures samples without a model"),
        ([{"inputs": {"models": {"kind": "x"}}}], [NET], "`inputs` measures samples without a model"),
        ([{ROUGHNESS: {}}, {"restore": {}}], None, "models: expected a list with at least one entry: the stage restore measures networks"),
        ([{ROUGHNESS: {}}, {"group_means": {"of": "roughness", "by": ["x"]}}], [], "groups are of networks"),
        ([{"restore": {}}, {WEIGHTED: {"by": "roughnes"}}, {ROUGHNESS: {}}], [NET], "no stage has that id: did you mean 'roughness'"),
        ([{"restore": {"models": ["net"]}}, {ROUGHNESS: {}}, {WEIGHTED: {}}], [NET, {**NET, "id": "b"}], "does not measure model b"),
        ([{"restore": {}}, {"someones_probes:Confused": {}}], [NET], "restore, which does not measure samples without a model"),
        ([{WEIGHTED: {"id": "a", "of": "b", "by": "b"}}, {WEIGHTED: {"id": "b", "of": "a", "by": "a"}}], [NET], "each needs the next"),
    ],
)  # fmt: skip
def test_what_cannot_be_measured_so_is_refused_with_the_reason(
    folder: Path, write: Write, stages: list[Any], models: list[Any] | None, message: str
) -> None:
    with pytest.raises((RecipeError, PlanError), match=message):
        xlli_ray.run(write(stages, models), str(folder / "study"))
    early = "each needs" not in message
    assert not early or not list((folder / "study").glob("samples/*")), "before an image is read"
    assert not (folder / "study" / "arrays.zarr").exists()
