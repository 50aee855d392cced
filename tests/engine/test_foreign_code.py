"""A study from a stranger runs no code: what study.json says of networks is imported by no command; only the recipe's own networks are."""

from __future__ import annotations

import shutil
import sys
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import edit_study

from xlli_ray import cli
from xlli_ray.engine.run.allowed_models import make_gate, record_digest
from xlli_ray.engine.run.driver import Summary
from xlli_ray.engine.run.units import pending_jobs
from xlli_ray.engine.worker.worker import Worker
from xlli_ray.errors import StudyError
from xlli_ray.recipe import Recipe
from xlli_ray.store.records.listing import Listing
from xlli_ray.study import open_study

Make, Run = Callable[..., Recipe], Callable[..., Summary]
MINE = {"id": "mine", "network": "toy:small"}
OTHER = {"id": "other", "network": "toy:small", "args": {"seed": 1}}
STAGES = [{"restore": {}}]


class Trap:
    """A module and a shell command that leave a mark when they are run."""

    def __init__(self, folder: Path) -> None:
        self.mark = folder / "mark"
        self.folder = folder / "modules"
        self.folder.mkdir()
        (self.folder / "planted_module.py").write_text(f"open({str(self.mark)!r}, 'w').close()\nfrom toy import small as make\n")

    @property
    def entries(self) -> dict[str, dict[str, Any]]:
        """What a stranger might write into study.json."""
        return {
            "module": {"network": "planted_module:make", "args": {}},
            "file": {"network": f"{self.folder}/planted_module.py:make", "args": {}},
            "shell": {"network": "os:system", "args": {"command": f"touch {self.mark}"}},
        }

    def untouched(self) -> bool:
        return not self.mark.exists() and "planted_module" not in sys.modules


@pytest.fixture
def trap(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Trap]:
    found = Trap(tmp_path)
    monkeypatch.syspath_prepend(str(found.folder))
    sys.modules.pop("planted_module", None)
    yield found
    sys.modules.pop("planted_module", None)


def plant(study: Path, entry: dict[str, Any], *, model: str = "other") -> None:
    """The received study: `model` is the stranger's, and its units are missing."""

    def change(document: dict[str, Any]) -> None:
        document["planned"] = ""
        for record in document["models"]:
            if record["id"] == model:
                record["entry"] = {**record["entry"], **entry}
                record["network"] = entry["network"]

    edit_study(study, change)
    shutil.rmtree(study / "records" / "restore" / model)


@pytest.fixture
def received(recipe: Make, run: Run, tmp_path: Path) -> Path:
    run(recipe(models=[MINE, OTHER], stages=STAGES), "received")
    return tmp_path / "received"


@pytest.mark.parametrize("kind", ["module", "file", "shell"])
def test_no_command_runs_what_only_the_study_names(
    received: Path, recipe: Make, trap: Trap, tmp_path: Path, kind: str, capsys: pytest.CaptureFixture[str]
) -> None:
    plant(received, trap.entries[kind])
    recipe(models=[MINE], stages=STAGES)
    mine, place = str(tmp_path / "recipe.yaml"), str(received)
    for words in (
        ["status", place], ["verify", place], ["query", place, "from models"], ["report", place], ["doctor", place],
        ["plan", mine, "--out", place], ["scan", mine, "--out", place],
        ["run", mine, "--out", place, "--workers", "0"],
        ["run", mine, "--out", place, "--workers", "0", "--retry-failed"],
        ["run", mine, "--out", place, "--workers", "0", "--replace", "mine"],
        ["status", place, "--json"], ["report", place],
    ):  # fmt: skip
        cli.app(words, result_action="return_value")
        assert trap.untouched(), words
    said = capsys.readouterr().out
    assert "units of other wait for a recipe that names their models" in said
    study = open_study(received)
    assert [cell["cell"] for cell in study.status()["cells"] if cell["done"]] == ["restore/mine/restore"]
    assert study.models.num_rows == 2


@pytest.mark.parametrize("kind", ["module", "shell"])
def test_a_model_of_the_recipe_is_made_as_the_recipe_says_not_as_the_study_does(
    received: Path, recipe: Make, run: Run, trap: Trap, kind: str
) -> None:
    plant(received, trap.entries[kind])
    summary = run(recipe(models=[MINE, OTHER], stages=STAGES), "received")
    assert trap.untouched()
    assert summary.units_run > 0
    assert open_study(received).status()["complete"]
    assert [record.network for record in open_study(received).manifest.models] == ["toy:small", "toy:small"]


def test_what_is_missing_of_a_model_that_the_recipe_does_not_name_waits_and_is_made_when_it_does(
    received: Path, recipe: Make, run: Run
) -> None:
    shutil.rmtree(received / "records" / "restore" / "other")
    summary = run(recipe(models=[MINE], stages=STAGES), "received")
    assert summary.units_run == 0
    assert any("units of other wait" in note for note in summary.notes)
    assert not open_study(received).status()["complete"]
    assert run(recipe(models=[MINE, OTHER], stages=STAGES), "received").units_run > 0
    assert open_study(received).status()["complete"]


def test_a_worker_builds_what_the_driver_brought_in_and_nothing_else(received: Path, recipe: Make, trap: Trap) -> None:
    own = make_gate(open_study(received).manifest.models)
    plant(received, trap.entries["module"])
    worker = Worker(str(received), 1, readers=0)
    there = make_gate(worker.manifest.models)
    job = pending_jobs(Listing(worker.objects), worker.manifest.cells, there)[0]
    for models, words in ((tuple(own.items()), "is not the model that this recipe names"), ((), "is not named by this recipe")):
        with pytest.raises(StudyError, match=words):
            worker.run(replace(job, models=models))
    assert trap.untouched()
    worker.run(job)
    assert trap.mark.exists(), "the trap works: whoever names it runs it"


def test_workers_on_ray_build_nothing_that_only_the_study_names(
    received: Path, recipe: Make, run: Run, trap: Trap, ray_session: None
) -> None:
    plant(received, trap.entries["module"])
    shutil.rmtree(received / "records" / "restore" / "mine")
    assert run(recipe(models=[MINE], stages=STAGES), "received", workers=1).units_run > 0
    assert trap.untouched()


def test_the_digest_of_a_model_covers_what_builds_it_and_not_what_describes_it(received: Path) -> None:
    record = open_study(received).manifest.models[0]
    same = [replace(record, tags={"a": 1}), replace(record, notes=("x",)), replace(record, entry={**record.entry, "new field": None})]
    assert {record_digest(other) for other in same} == {record_digest(record)}
    others = [
        replace(record, entry={**record.entry, "network": "os:system"}), replace(record, entry={**record.entry, "args": {"a": 1}}),
        replace(record, weights_sha256="0" * 64), replace(record, network="x"), replace(record, id="x"),
    ]  # fmt: skip
    assert len({record_digest(other) for other in [record, *others]}) == 6


def test_jobs_name_only_the_models_of_their_cells(received: Path) -> None:
    study = open_study(received)
    shutil.rmtree(received / "records" / "restore")
    jobs: deque[Any] = pending_jobs(Listing(study.objects), study.manifest.cells, make_gate(study.manifest.models))
    assert {tuple(name for name, _ in job.models) for job in jobs} == {("mine",), ("other",)}


