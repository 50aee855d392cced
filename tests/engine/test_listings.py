"""What a study asks its store: which records there are, once and not cell by cell, and again when something may have changed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, run_study
from xlli_ray.recipe import Recipe
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects import client
from xlli_ray.store.records.unit_records import read_object, record_key, write_record
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import Study, open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]
MODELS = [{"id": f"m{i}", "network": "toy:small", "args": {"seed": i}} for i in range(4)]
STAGES = [{"features": {"layers": ["head", "body", "tail:input", "tail"]}}, {"restore": {}}]
CELLS = len(MODELS) * 5


@pytest.fixture
def lists(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """LIST calls of every store, by the first part of their prefix."""
    calls: Counter[str] = Counter()
    for kind in (client.LocalObjects, client.BucketObjects):

        def counting(self: Any, prefix: str, usual: Callable[..., Iterator[str]] = kind.list) -> Iterator[str]:
            calls[prefix.split("/")[0]] += 1
            return usual(self, prefix)

        monkeypatch.setattr(kind, "list", counting)
    return calls


def records(study: Study) -> list[str]:
    """Keys of all records of units."""
    return [key for key in study.objects.list("records") if not key.startswith("records/scan-")]


@pytest.mark.parametrize("where", ["folder", "memory"])
def test_a_resume_and_a_status_list_at_most_twice_a_cell(
    recipe: Make, tmp_path: Path, lists: Counter[str], where: str
) -> None:
    place = str(tmp_path / "study") if where == "folder" else f"memory://{tmp_path.name}-listings"
    asked = recipe(models=MODELS, stages=STAGES)
    run_study(asked, place, Options(workers=0, quiet=True))
    study = open_study(place)
    assert len(study.manifest.cells) == CELLS
    study.objects.delete(records(study)[::3])
    lists.clear()
    assert run_study(asked, place, Options(workers=0, quiet=True)).units_run > 0
    assert sum(lists.values()) <= 2 * CELLS
    assert lists["records"] <= 5, "no number of cells makes it more"
    lists.clear()
    assert run_study(asked, place, Options(workers=0, quiet=True)).complete
    assert sum(lists.values()) <= 2 * CELLS
    lists.clear()
    assert study.status()["complete"]
    assert sum(lists.values()) <= 2 * CELLS
    assert lists["records"] == 1
    assert list(verify(study.archive)) == []


def test_a_study_that_is_held_open_sees_what_a_run_beside_it_does(recipe: Make, run: Run, tmp_path: Path) -> None:
    run(recipe(), "study")
    study = open_study(tmp_path / "study")
    still = study.as_it_is()
    assert still.status()["complete"]
    gone = records(study)[0]
    data = study.objects.get(gone)
    study.objects.delete([gone])
    assert not study.status()["complete"]
    assert still.archive is still.archive, "what must agree in itself does not look again"
    study.objects.put(gone, data)
    assert study.status()["complete"]


def test_what_another_driver_recorded_while_this_one_planned_is_not_computed_again(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records were listed at the start, to see whether there is work at all; the units are dealt by a later look."""
    from xlli_ray.engine.run import driver

    run(recipe())
    study = open_study(tmp_path / "study")
    key = records(study)[0]
    data = study.objects.get(key)
    study.objects.delete([key])
    planned = driver._planned

    def meanwhile(*arguments: Any) -> Any:
        study.objects.put(key, data)
        return planned(*arguments)

    monkeypatch.setattr(driver, "_planned", meanwhile)
    assert run(recipe()).units_run == 0


def test_tables_tell_of_what_is_recorded_and_not_of_what_was_reported(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A record of a later epoch that came while the units ran counts in the tables that follow."""
    from xlli_ray.engine.run import units

    run(recipe())
    study = open_study(tmp_path / "study")
    first, second = [key for key in records(study) if key.startswith("records/restore")][:2]
    cell = next(cell for cell in study.manifest.cells if cell.stage == "restore")
    ((unit, (receipt, rows)),) = read_object(study.objects, cell, first, study.objects.get(first)).items()
    study.objects.delete([second])
    worse = rows.set_column(rows.schema.get_field_index("psnr_y"), "psnr_y", [[1.5] * rows.num_rows])

    def late(*_: Any, **__: Any) -> None:
        write_record(study.objects, replace(receipt, epoch=2), worse)

    monkeypatch.setattr(units.Progress, "add", late)
    run(recipe())
    assert record_key(cell.id, unit, 2) in records(study)
    assert study.sql("select count(*) as n from restore where psnr_y = 1.5")["n"].to_pylist() == [rows.num_rows]


def test_an_archive_that_crosses_to_another_process_looks_for_itself(recipe: Make, run: Run, tmp_path: Path) -> None:
    import pickle

    run(recipe())
    archive = open_study(tmp_path / "study").archive
    cell = archive.manifest.cells[0]
    assert archive.records.entries(cell)
    archive.objects.delete(records(open_study(tmp_path / "study")))
    assert archive.records.entries(cell), "what was seen stays until it looks again"
    there: Archive = pickle.loads(pickle.dumps(archive))
    assert not there.records.entries(cell)
