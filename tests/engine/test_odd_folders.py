"""Whatever the path of a study holds is a path: no pattern, partition, option, URL or escape to anything that opens it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xlli_ray.engine.run import precheck
from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import PlanError
from xlli_ray.recipe import Recipe
from xlli_ray.report.page import write_report
from xlli_ray.report.text import format_rows
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

Make, Run = Callable[..., Recipe], Callable[..., Summary]
SECTIONS = {
    "corpus": {"images": ["*.png"], "scale": 2, "degradations": ["clean"]},
    "stages": [{"features": {"layers": ["head"]}}, {"restore": {"save": True}}],
}
ODD = ["model=swinir", "seed=7/stage=x", "[ab]", "*", "a?b", "%20%2F", "a#b?c=d", "two words", "it's", 'say "x"', "größe→", "new\nline",
       "a::b", "{x,y}", "~", "-rf", "$HOME", "memory:", "back\\slash"]  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {"folder": tmp_path_factory.mktemp("made")}


@pytest.fixture
def study(made: dict[str, Any], request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """One study for all, made once."""
    if "study" not in made:
        corpus, recipe, run = (request.getfixturevalue(name) for name in ("corpus", "recipe", "run"))
        sections = {**SECTIONS, "corpus": {**SECTIONS["corpus"], "images": [f"{corpus}/0*.png"]}}  # type: ignore[dict-item]
        run(recipe(**sections), "plain")
        made["study"] = Path(shutil.copytree(tmp_path / "plain", made["folder"] / "study"))
        made["images"] = Path(shutil.copytree(corpus, made["folder"] / "images"))
    return made["study"]


def seen(place: Path) -> tuple[object, ...]:
    """What a reader gets of a study."""
    opened = open_study(place)
    array = opened.array("features/small/head.out")
    bucket = array.buckets[0]
    return (
        format_rows(opened.sql("from restore join samples using (sample_id) order by all"), "csv"),
        format_rows(opened.sql("from features order by all"), "json"),
        opened.models.to_pylist(), opened.failures.to_pylist(), opened.status(), list(verify(opened.archive)),
        array.reader(bucket).rows([1, 0]).tobytes(), np.asarray(array.xarray(bucket)[:2]).tobytes(), array.samples(bucket).to_pylist(),
    )  # fmt: skip


@pytest.fixture
def expected(made: dict[str, Any], study: Path) -> tuple[object, ...]:
    """What a reader gets of the study where it was made."""
    if "seen" not in made:
        made["seen"] = seen(study)
    return made["seen"]


@pytest.mark.parametrize("odd", ODD)
def test_a_study_is_the_same_below_any_folder(study: Path, expected: tuple[object, ...], tmp_path: Path, odd: str) -> None:
    for decoy in ("a", "b", "x", "seed=7"):
        shutil.copytree(study / "samples", tmp_path / decoy / "st" / "samples")
    place = tmp_path / odd / "st"
    shutil.copytree(study, place)
    assert seen(place) == expected
    page = Path(write_report(str(place)))
    assert page == place / "report/index.html"
    assert "<title>" in page.read_text()


def test_a_recipe_is_run_below_an_odd_folder(study: Path, recipe: Make, run: Run, corpus: Path, tmp_path: Path) -> None:
    odd = "model=swinir/seed=7/[ab]*?/%20#a 'b\" ü{x}\nst"
    sections = {**SECTIONS, "corpus": {**SECTIONS["corpus"], "images": [f"{corpus}/0*.png"]}}  # type: ignore[dict-item]
    run(recipe(**sections), odd)
    mine, plain = open_study(tmp_path / odd), open_study(study)
    statement = "select * exclude (source, aliases) from restore join samples using (sample_id) order by all"
    assert mine.sql(statement).to_pylist() == plain.sql(statement).to_pylist()
    assert run(recipe(**sections), odd).complete
    assert not list(verify(mine.archive))


def test_a_study_whose_cells_a_file_system_takes_for_one_overwrites_none(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A model that the study has as `SMALL` and the recipe now calls `small`: one folder where case does not count."""
    stages = {"stages": [{"features": {"layers": ["head"]}}], "corpus": {**SECTIONS["corpus"], "images": [f"{tmp_path}/images/0*.png"]}}  # type: ignore[dict-item]
    run(recipe(models=[{"id": "SMALL", "network": "toy:small"}], **stages))
    assert not precheck.folds_case(open_study(tmp_path / "study").objects)
    before = {path: path.read_bytes() for path in (tmp_path / "study" / "arrays.zarr").rglob("*") if path.is_file()}
    monkeypatch.setattr(precheck, "folds_case", lambda objects: True)
    with pytest.raises(PlanError, match=r"does not distinguish features/SMALL/head.out from features/small/head.out.*use an --out"):
        run(recipe(**stages))
    assert {path: path.read_bytes() for path in before} == before
