"""`unit_seconds`: shorter units where notice is short, the same numbers, and no unit computed twice because of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import QUIET, digest, image
from PIL import Image

from xlli_ray.engine.run import many_sizes, ranges
from xlli_ray.engine.run.driver import Summary, plan_study
from xlli_ray.errors import RecipeError
from xlli_ray.recipe import Recipe
from xlli_ray.store.records.manifest import SIZES
from xlli_ray.study import Study, open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]
SHORT = 4e-5
"""Seconds at 50 GMAC/s for three samples of the toy network."""


@pytest.fixture(autouse=True)
def large_units(monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit is a whole bucket here, as it would be of a corpus of many images a bucket, unless time limits it."""
    for module in (ranges, many_sizes):
        monkeypatch.setattr(module, "UNITS_A_BUCKET", 1)


def assert_same_numbers(mine: Study, theirs: Study) -> None:
    for cell in theirs.manifest.cells:
        assert mine.manifest.cell(cell.id).hash == cell.hash
    for stage in ("restore", "samples"):
        assert mine.sql(f"from {stage} order by all").equals(theirs.sql(f"from {stage} order by all"))
    for name in ("features/small/head.out", "features/small/tail.in"):
        for bucket in theirs.array(name).buckets:
            one, other = mine.array(name).reader(bucket), theirs.array(name).reader(bucket)
            positions = list(range(len(other.valid)))
            assert one.valid.all()
            assert one.rows(positions).tobytes() == other.rows(positions).tobytes()


def test_shorter_units_are_more_units_of_the_same_numbers_and_identities(recipe: Make, run: Run, tmp_path: Path) -> None:
    usual, short = run(recipe(), "usual"), run(recipe(unit_seconds=SHORT), "short")
    assert (usual.units, short.units) == (2, 12)
    assert not short.notes
    assert {b.rows_per_unit for cell in open_study(tmp_path / "short").manifest.cells for b in cell.buckets} == {2}
    assert_same_numbers(open_study(tmp_path / "short"), open_study(tmp_path / "usual"))


def test_many_sizes_are_cut_by_time_too_and_keep_their_numbers(recipe: Make, run: Run, corpus: Path, tmp_path: Path) -> None:
    for i in range(20):
        Image.fromarray(image(i, 40 + 2 * i, 48)).save(corpus / f"{i:02d}.png")
    usual, short = run(recipe(), "usual"), run(recipe(unit_seconds=SHORT), "short")
    study = open_study(tmp_path / "short")
    assert [bucket.name for bucket in study.manifest.cells[0].buckets] == [SIZES]
    assert usual.units == 1
    assert short.units >= 10
    assert_same_numbers(study, open_study(tmp_path / "usual"))


def test_a_study_in_progress_goes_on_with_its_units_and_says_that_they_are_longer(recipe: Make, run: Run, tmp_path: Path) -> None:
    plan_study(recipe(), str(tmp_path / "s"), QUIET, adopt=True)
    done = run(recipe(unit_seconds=SHORT), "s")
    assert done.units == done.units_run == 2
    (_, note) = sorted(done.notes)
    assert note.startswith("stage restore: units of about 0.000")
    assert "longer than unit_seconds (4e-05): the study's units stay as they were cut; --replace restore computes them anew" in note
    again = run(recipe(unit_seconds=SHORT), "s")
    assert (again.units_run, again.notes) == (0, ()), "what is finished needs no shorter units"
    run(recipe(), "usual")
    assert digest(tmp_path / "s") == digest(tmp_path / "usual")


def test_a_stage_that_is_added_or_replaced_is_cut_as_the_recipe_now_says(recipe: Make, run: Run, tmp_path: Path) -> None:
    features, restore = {"features": {"layers": ["head", "tail:input"]}}, {"restore": {}}
    run(recipe(stages=[features]), "s")
    added = run(recipe(stages=[features, restore], unit_seconds=SHORT), "s")
    assert (added.units_run, added.units) == (12, 14)
    replaced = run(recipe(stages=[features, restore], unit_seconds=SHORT), "s", replace=("features",))
    assert replaced.units_run == 12
    run(recipe(), "usual")
    assert_same_numbers(open_study(tmp_path / "s"), open_study(tmp_path / "usual"))


def test_a_batch_and_a_set_that_take_longer_are_told_where_a_target_was_set(recipe: Make, run: Run) -> None:
    stages = [{"restore": {}}, {"gram": {"layers": ["head"]}}]
    assert not run(recipe(stages=stages, batch={"restore": 4, "gram": 2}), "usual").notes
    notes = run(recipe(stages=stages, batch={"restore": 4, "gram": 2}, unit_seconds=SHORT / 2), "short").notes
    assert any(note.startswith("stage restore") and "at least one batch, here of 4; `batch` can make it smaller" in note for note in notes)
    assert any(note.startswith("stage gram") and "a unit is a whole set" in note for note in notes)


def test_studies_of_before_have_the_document_that_they_had(recipe: Make) -> None:
    assert "unit_seconds" not in recipe().dump()
    assert recipe(unit_seconds=30).dump()["unit_seconds"] == 30


@pytest.mark.parametrize("value", [0, -1, "soon", float("inf"), float("nan"), 1e9])
def test_a_time_that_is_none_is_refused(recipe: Make, value: object) -> None:
    with pytest.raises(RecipeError, match="unit_seconds"):
        recipe(unit_seconds=value)
