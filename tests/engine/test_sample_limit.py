"""`--limit N`: few samples, and yet of every degradation and of several images, so that what is concluded can be tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from helpers import QUIET

from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.run.sample_limit import some_files
from xlli_ray.errors import PlanError
from xlli_ray.recipe import Recipe
from xlli_ray.study import open_study

Make = Callable[..., Recipe]


@pytest.mark.parametrize(("limit", "rows", "contents"), [(8, 8, 4), (5, 4, 2), (1, 1, 1), (1000, 24, 12)])
def test_a_try_has_whole_contents_of_distinct_images(recipe: Make, tmp_path: Path, limit: int, rows: int, contents: int) -> None:
    out = str(tmp_path / "study")
    summary = run_study(recipe(stages=[{"restore": {}}], batch={}), out, replace(QUIET, limit=limit))
    assert summary.samples == rows
    table = open_study(out).sql("select row, label, content, source from samples order by row").to_pylist()
    assert [row["row"] for row in table] == list(range(rows))
    assert len({row["content"] for row in table}) == len({row["source"] for row in table}) == contents
    counts = {label: sum(row["label"] == label for row in table) for label in ("clean", "noise20")}
    assert set(counts.values()) <= {contents} if limit > 1 else sum(counts.values()) == 1
    assert run_study(recipe(stages=[{"restore": {}}], batch={}), out, replace(QUIET, limit=limit)).complete


def test_an_analysis_can_be_tried(recipe: Make, tmp_path: Path) -> None:
    made = recipe(stages=[{"srga": {"layer": "head", "resamples": 0}}], batch={}, corpus={
        "images": [f"{tmp_path}/images/*.png"], "scale": 2, "patches": {"size": 16, "per_image": 2, "min_std": 0},
    "degradations": ["clean", {"blur": 2}],
    })  # fmt: skip
    summary = run_study(made, str(tmp_path / "study"), replace(QUIET, limit=12))
    assert summary.analyses == ("srga",)
    table = open_study(str(tmp_path / "study")).sql("select label, count(*) as n, count(distinct source) as images from samples group by 1")
    assert {(row["n"], row["images"]) for row in table.to_pylist()} == {(6, 6)}, "six contents, each of another image"


def test_files_of_a_try_are_the_same_every_time_and_not_the_first_by_name() -> None:
    names = [f"{number:03d}.png" for number in range(100)]
    found = some_files(names, names, 10, 0)
    assert found == some_files(names, names, 10, 0) == sorted(found)
    assert found != names[:10]
    assert set(found) < set(some_files(names, names, 20, 0))
    assert some_files(names, names, 1000, 0) == names


def test_a_try_whose_files_are_all_rejected_says_so(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    for number in range(3):
        (tmp_path / f"broken/{number}.png").write_bytes(b"no image")
    made = recipe(corpus={"images": [f"{tmp_path}/broken/*.png"], "scale": 2, "degradations": ["clean"]})
    with pytest.raises(PlanError, match="no sample can be read, 2 files rejected"):
        run_study(made, str(tmp_path / "study"), replace(QUIET, limit=2))
