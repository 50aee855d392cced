"""Cells that belong to samples alone: what becomes of them beside networks, in studies of earlier versions, and when a run is killed."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, plan_study
from xlli_ray.errors import PlanError
from xlli_ray.probes.inputs import Inputs
from xlli_ray.recipe import Recipe
from xlli_ray.report.page import write_report
from xlli_ray.report.text import plan_table
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]
STAGES: list[Any] = [{"restore": {}}, {"inputs": {"save": ["input"]}}]


def test_inputs_that_an_earlier_version_measured_with_a_model_are_kept_and_continued(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as before:
        before.setattr(Inputs, "SUBJECT", "model")
        run(recipe(stages=STAGES))
    cells = {cell.id: cell for cell in open_study(tmp_path / "study").manifest.cells}
    assert "inputs/small/inputs" in cells
    assert run(recipe(stages=STAGES)).units_run == 0
    more = run(recipe(stages=[*STAGES, {"inputs": {"id": "again"}}]))
    assert set(more.added) == {"again/-/inputs"}
    study = open_study(tmp_path / "study")
    kept = next(cell for cell in study.manifest.cells if cell.id == "inputs/small/inputs")
    assert kept == cells[kept.id]
    same = "select count(*) as n from inputs a join inputs b using (row, input_sha256) where a.stage = 'inputs' and b.stage = 'again'"
    assert study.sql(same)["n"].to_pylist() == [24]
    for path in (tmp_path / "study" / "records" / "inputs").rglob("*.*"):
        path.unlink()
    assert run(recipe(stages=STAGES)).units_run == kept.units, "what is missing is measured where it was planned"
    with pytest.raises(PlanError, match=r"inputs/small/inputs: this .* different content.* save was \['input'\], is now \['target'\]"):
        run(recipe(stages=[{"restore": {}}, {"inputs": {"save": ["target"]}}]))
    assert list(verify(open_study(tmp_path / "study").archive)) == []


def test_replacing_them_measures_samples_by_themselves(recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as before:
        before.setattr(Inputs, "SUBJECT", "model")
        run(recipe(stages=STAGES))
    done = run(recipe(stages=STAGES), replace=("inputs",))
    assert done.added == ("inputs/-/inputs",)
    study = open_study(tmp_path / "study")
    assert sorted(cell.id for cell in study.manifest.cells) == ["inputs/-/inputs", "restore/small/restore"]
    assert study.sql("select model, count(*) as n from inputs group by all").to_pylist() == [{"model": None, "n": 24}]
    assert list(verify(study.archive)) == []
    assert run(recipe(stages=STAGES)).units_run == 0


def test_a_plan_of_such_stages_reads_no_weights_and_says_what_it_would_do(recipe: Make, run: Run, tmp_path: Path) -> None:
    alone = recipe(stages=[{"inputs": {"save": ["input"]}}], models=[], batch={})
    manifest, plan = plan_study(alone, str(tmp_path / "study"), Options(workers=0, quiet=True))
    assert not (tmp_path / "study" / "weights").exists()
    assert "inputs/-/inputs" in plan_table(manifest, plan, workers=1)
    assert plan.timed is not None
    done = run(alone, limit=4)
    assert (done.samples, done.measurements, done.failed) == (4, 4, 0)


def test_images_that_are_kept_stand_beside_each_other_on_the_page(recipe: Make, run: Run, tmp_path: Path) -> None:
    run(recipe(stages=[{"inputs": {"save": ["input", "target"]}}], models=[], batch={}))
    page = Path(write_report(str(tmp_path / "study"))).read_text()
    captions = re.findall(r"<figcaption>(\w+)</figcaption>", page[page.index('id="stage-inputs"') :])
    assert captions[:3] == ["input", "input", "target"], "the sample's own, then what is stored"


def test_adding_networks_later_leaves_them_alone(recipe: Make, run: Run) -> None:
    first = run(recipe(stages=[{"inputs": {}}], models=[], batch={}))
    second = run(recipe(stages=[{"inputs": {}}, {"restore": {}}]))
    assert second.added == ("restore/small/restore",)
    assert second.units == first.units + second.units_run


@pytest.mark.usefixtures("ray_session")
def test_workers_measure_the_same_and_a_killed_one_loses_nothing(recipe: Make, run: Run, tmp_path: Path) -> None:
    (tmp_path / "someones_killer.py").write_text(KILLER.format(mark=str(tmp_path / "killed")))
    alone = recipe(stages=[{"inputs": {}}, {"someones_killer.py:Killer": {}}], models=[], batch={"killer": 2, "inputs": 2})
    (tmp_path / "killed").write_text("")
    run(alone, "quiet")
    (tmp_path / "killed").unlink()
    run(alone, "killed", workers=1)
    assert (tmp_path / "killed").exists()
    rows = [open_study(tmp_path / name).sql("select row, n, status from killer order by row") for name in ("quiet", "killed")]
    assert rows[0].equals(rows[1])
    assert rows[0]["status"].to_pylist() == ["ok"] * 24


KILLER = '''
"""Ends its worker, once."""
import os, signal
from xlli_ray.probes.probe import Probe
from xlli_ray.probes.measurement import Column, Measurement


class Killer(Probe):
    KIND, SUBJECT, COLUMNS = "killer", "sample", (Column("n", "int64", "numbers"),)

    def measure(self, model, batch, forward):
        if batch.samples[0].row > 4:
            try:
                os.close(os.open({mark!r}, os.O_CREAT | os.O_EXCL))
                os.kill(os.getpid(), signal.SIGKILL)
            except FileExistsError:
                pass
        return Measurement({{}}, {{"n": [int(one.sum()) for one in batch.input]}})
'''


def test_a_study_of_samples_alone_asks_for_no_gpu(recipe: Make, run: Run, tmp_path: Path) -> None:
    """It started a worker for each GPU, and none where there is no GPU."""
    assert run(recipe(stages=[{"inputs": {}}]), gpus_per_worker=1.0).units_run > 0
