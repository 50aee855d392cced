"""The stage `deletion` over maps of the same study: LAM with its control, causal effect maps, and what has no maps."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import PlanError
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.recipe import Recipe
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

Make, Go = Callable[..., Recipe], Callable[..., Summary]
WINDOWS = {"size": 8, "per_sample": 2}
LAM = {"lam": {"nodes": 2, "windows": WINDOWS, "controls": ["randomised_weights"], "control_samples": 2, "max_rows": 2}}
CEM = {"cem": {"windows": WINDOWS, "draws": {"first": 4, "most": 4}, "pool_size": 64, "max_rows": 2}}


def study_of(recipe: Make, *stages: dict[str, Any]) -> Recipe:
    images = recipe().dump()["corpus"]["images"]
    return recipe(corpus={"images": images, "scale": 2, "degradations": ["clean"]}, stages=list(stages))


def test_maps_are_tried_against_nearest_random_and_the_control(recipe: Make, run: Go, tmp_path: Path) -> None:
    trial = {"random_orders": 2, "max_rows": 2}
    made = study_of(
        recipe, LAM, CEM, {"deletion": {"id": "lam_trial", "of": "lam", **trial}}, {"deletion": {"id": "cem_trial", "of": "cem", **trial}}
    )
    assert run(made).failed == 0
    study = open_study(tmp_path / "study")
    rows = study.sql('select * from deletion where stage = \'lam_trial\' order by row, "window", ranking, draw').to_pylist()
    assert [row["ranking"] for row in rows[:5]] == ["control", "map", "nearest", "random", "random"]
    assert len(rows) == 2 * 2 * 5
    nearest = next(row for row in rows if row["ranking"] == "nearest")
    assert nearest["deletion_gain"] == nearest["insertion_gain"] == 0
    for row in rows:
        assert 0 <= row["deletion_1"] <= 3 * row["distance"]
    orders = study.sql("select distinct ranking from deletion where stage = 'cem_trial'").to_pylist()
    assert {row["ranking"] for row in orders} == {"map", "nearest", "random"}
    gain = study.sql("select avg(deletion_auc) as auc, ranking from deletion where stage = 'cem_trial' group by ranking").to_pylist()
    by = {row["ranking"]: row["auc"] for row in gain}
    assert by["map"] > by["random"], "a network of five pixels' reach: any map of it beats chance"
    assert list(verify(study.archive)) == []


def test_several_stages_share_a_table_and_the_orders_of_each_window(recipe: Make, run: Go, tmp_path: Path) -> None:
    trial = {"random_orders": 2, "max_rows": 2}
    made = study_of(
        recipe, LAM, CEM, {"deletion": {"id": "both", "of": ["lam", "cem"], **trial}}, {"deletion": {"id": "alone", "of": "cem", **trial}}
    )
    assert run(made).failed == 0
    study = open_study(tmp_path / "study")
    rows = study.sql('select * from deletion where stage = \'both\' order by row, "window", "of", ranking, draw').to_pylist()
    assert [(row["of"], row["ranking"]) for row in rows[:6]] == [
        ("", "nearest"), ("", "random"), ("", "random"), ("cem", "map"), ("lam", "control"), ("lam", "map"),
    ]  # fmt: skip
    assert len(rows) == 2 * 2 * 6
    same = study.sql(
        "select a.deletion_auc as one, b.deletion_auc as other from deletion a join deletion b on a.row = b.row "
        'and a."window" = b."window" '
        "and a.ranking = b.ranking and a.draw = b.draw and a.\"of\" = b.\"of\" where a.stage = 'both' and b.stage = 'alone'"
    ).to_pylist()
    assert len(same) == 2 * 2 * 4
    for row in same:
        assert row["one"] == pytest.approx(row["other"], rel=1e-4), "the same draws, whatever else is tried"


def test_stages_with_other_windows_cannot_share_a_trial(recipe: Make, run: Go, tmp_path: Path) -> None:
    other = {"cem": {**CEM["cem"], "windows": {"size": 8, "per_sample": 1}}}
    summary = run(study_of(recipe, LAM, other, {"deletion": {"of": ["lam", "cem"], "max_rows": 2}}))
    reasons = {row["reason"] for row in open_study(tmp_path / "study").sql("select reason from failures").to_pylist()}
    assert summary.failed == 2
    assert reasons == {"deletion.of: the stages lam and cem have different windows in this sample: give both the same `windows`"}


def test_maps_that_are_tried_are_made_once_where_all_is_planned_together(
    recipe: Make, run: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    measure = Lam._sample

    def counted(self: Lam, *given: Any) -> Any:
        made.append(self.what)
        return measure(self, *given)

    monkeypatch.setattr(Lam, "_sample", counted)
    trial = {"deletion": {"of": ["lam", "cem"], "random_orders": 1, "max_rows": 2}}
    few = {"lam": {"id": "few", "nodes": 2, "windows": WINDOWS, "max_rows": 1}}
    run(study_of(recipe, LAM, CEM, trial, few))
    assert sorted(made) == ["accurate"] * 3 + ["accurate.randomised_weights"] * 2, "two samples, and that of the stage that nothing needs"
    study = open_study(tmp_path / "study")
    groups = {cell.id: cell.group for cell in study.manifest.cells}
    joined = {groups[f"{cell}"] for cell in groups if not cell.startswith("few/")}
    assert len(joined) == 1
    assert groups[next(cell for cell in groups if cell.startswith("few/"))] not in joined
    before = study.sql("select * from deletion order by all").to_pylist()
    del made[:]
    apart = tmp_path / "apart"
    run(study_of(recipe, LAM, CEM), "apart")
    run(study_of(recipe, LAM, CEM, trial), "apart")
    assert len(made) == 8, "a stage that is added later makes them again"
    assert open_study(apart).sql("select * from deletion order by all").to_pylist() == before


def test_a_stage_that_has_no_maps_is_said(recipe: Make, run: Go) -> None:
    with pytest.raises(PlanError, match="it needs the stage 'lam', but no stage has that id"):
        run(study_of(recipe, {"deletion": {"of": "lam"}}))
    summary = run(study_of(recipe, {"restore": {}}, {"deletion": {"of": "restore"}}), "none")
    assert summary.failed == 12
