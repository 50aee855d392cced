"""A7: every `restore` has the baseline as a row of its own, though no recipe names it; it adds cells and changes none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import QUIET, digest
from PIL import Image

from xlli_ray.analyses.shared.worse_than_baseline import NETWORK
from xlli_ray.engine.run.driver import Summary, plan_study, run_study
from xlli_ray.errors import PlanError
from xlli_ray.recipe import Recipe
from xlli_ray.study import open_study

Make, Run = Callable[..., Recipe], Callable[..., Summary]
RESTORE = [{"restore": {}}]


@pytest.fixture
def asked(recipe: Make) -> Make:
    """The toy recipe as people write it: `baseline` not said."""
    return lambda network="toy:small", **sections: recipe(network, **{"baseline": True, **sections})


def cells(study: Path) -> set[str]:
    return {cell.id for cell in open_study(str(study)).manifest.cells}


def rows(study: Path, model: str) -> list[dict[str, Any]]:
    return open_study(str(study)).sql(f"select * exclude model from restore where model = '{model}' order by row").to_pylist()


def test_it_is_on_unless_a_recipe_says_otherwise(recipe: Make) -> None:
    assert Recipe.model_fields["baseline"].default is True
    assert recipe().baseline is False  # the toy recipe of these tests says so


def test_images_made_smaller_have_bicubic_beside_the_network_in_restore_only(asked: Make, run: Run, tmp_path: Path) -> None:
    summary = run(asked())
    assert cells(tmp_path / "study") == {
        "features/small/head.out", "features/small/tail.in", "restore/small/restore", "restore/bicubic/restore",
    }  # fmt: skip
    found = rows(tmp_path / "study", "bicubic")
    assert len(found) == 24
    assert all(np.isfinite(row["psnr_y"]) for row in found)
    assert any(flag.startswith("restore: small is below bicubic in 2 of 2 degradations, most in clean: by ") for flag in summary.flags)
    assert run(asked()).complete
    assert [model["id"] for model in open_study(str(tmp_path / "study")).manifest.recipe["models"]] == ["small"]


def test_a_restore_stage_that_lists_its_models_has_it_too(asked: Make, run: Run, tmp_path: Path) -> None:
    models = [{"id": "a", "network": "toy:small", "tags": {"f": 1}}, {"id": "b", "network": "toy:small", "args": {"seed": 1}}]
    run(asked(models=models, stages=[{"restore": {"models": ["a"]}}, {"restore": {"id": "tagged", "models": {"f": 1}}}]))
    assert cells(tmp_path / "study") == {
        "restore/a/restore", "restore/bicubic/restore", "tagged/a/restore", "tagged/bicubic/restore",
    }  # fmt: skip


def test_an_old_study_that_goes_on_computes_the_baseline_and_nothing_else(recipe: Make, asked: Make, run: Run, tmp_path: Path) -> None:
    sections = {"stages": [{"features": {"layers": ["head"]}}, {"restore": {"save": True}}]}
    run(recipe(**sections))
    before, old = digest(tmp_path / "study"), open_study(str(tmp_path / "study")).manifest
    summary = run(asked(**sections))
    new = open_study(str(tmp_path / "study")).manifest
    assert summary.added == ("restore/bicubic/restore",)
    assert summary.units_run == new.cell("restore/bicubic/restore").units
    assert [cell for cell in new.cells if cell.model != "bicubic"] == list(old.cells)
    assert new.samples == old.samples
    after = digest(tmp_path / "study")
    assert {name: value for name, value in before.items() if not name.startswith("tables")}.items() <= after.items()
    run(asked(**sections), "fresh")
    fresh = digest(tmp_path / "fresh")
    for part in ("arrays.zarr", "samples"):
        chunks = [{name: value for name, value in one.items() if name.startswith(part)} for one in (after, fresh)]
        assert chunks[0] == chunks[1]
    assert rows(tmp_path / "fresh", "bicubic") == rows(tmp_path / "study", "bicubic")


def test_analyses_do_not_see_it(recipe: Make, asked: Make, run: Run, tmp_path: Path) -> None:
    sections = {"stages": [{"lam": {"nodes": 2, "windows": {"size": 12}}}, *RESTORE, {"lam_summary": {}}], "batch": {"restore": 2}}
    run(recipe(**sections))
    before = (tmp_path / "study/results/lam_summary/result.json").read_bytes()
    summary = run(asked(**sections))
    assert summary.added == ("restore/bicubic/restore",)
    assert summary.analyses == ()
    assert summary.analyses_failed == ()
    assert (tmp_path / "study/results/lam_summary/result.json").read_bytes() == before


def test_a_corpus_of_pairs_has_it_in_the_scale_of_the_pairs(asked: Make, run: Run, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in "ab":
        Image.fromarray(rng.integers(0, 255, (16, 20, 3)).astype(np.uint8)).save(tmp_path / f"{name}_LR.png")
        Image.fromarray(rng.integers(0, 255, (32, 40, 3)).astype(np.uint8)).save(tmp_path / f"{name}_HR.png")
    corpus = {"pairs": {"input": f"{tmp_path}/*_LR.png", "target": f"{tmp_path}/*_HR.png"}}
    run(asked(corpus=corpus, stages=RESTORE, batch={}))
    assert cells(tmp_path / "study") == {"restore/small/restore", "restore/bicubic/restore"}


def test_at_scale_1_it_is_the_input_and_grey_networks_have_their_own(asked: Make, run: Run, corpus: Path, tmp_path: Path) -> None:
    """Networks of one channel are scored on full-range luma: no number of the three-channel baseline is one of theirs."""
    models = [{"id": "luma", "network": NETWORK, "args": {"scale": 2, "channels": 1}}, {"id": "small", "network": "toy:small"}]
    run(asked(models=models, stages=RESTORE), "covered")
    assert cells(tmp_path / "covered") == {"restore/luma/restore", "restore/small/restore", "restore/bicubic/restore"}
    same = {"images": [f"{corpus}/*.png"], "scale": 1, "degradations": [{"noise": 20}]}
    run(asked("toy:denoiser", corpus=same, stages=RESTORE), "one")
    assert cells(tmp_path / "one") == {"restore/small/restore", "restore/input/restore"}
    spread = 20 * np.linalg.norm([65.481, 128.553, 24.966]) / 255  # of σ = 20 on each channel, as BT.601 luma sees it
    assert rows(tmp_path / "one", "input")[0]["psnr_y"] == pytest.approx(20 * np.log10(255 / spread), abs=1)
    run(asked("toy:denoiser", args={"channels": 1}, corpus=same, stages=RESTORE), "grey")
    study = open_study(str(tmp_path / "grey"))
    assert [(model.id, model.channels) for model in study.manifest.models] == [("small", 1), ("input", 1)]


@pytest.mark.parametrize("why", ["off", "no targets", "no restore", "named"])
def test_none_is_added(why: str, asked: Make, tmp_path: Path, corpus: Path) -> None:
    named = [{"id": "small", "network": "toy:small"}, {"id": "mine", "network": NETWORK, "args": {"scale": 2}}]
    sections: dict[str, Any] = {
        "off": {"baseline": False}, "no targets": {"corpus": {"inputs": [f"{corpus}/*.png"]}},
        "no restore": {"stages": [{"features": {"layers": ["head"]}}]}, "named": {"models": named},
    }[why]  # fmt: skip
    _, plan = plan_study(asked(**{"stages": RESTORE, "batch": {}, **sections}), str(tmp_path / "study"), QUIET)
    assert {cell.model for cell in plan.cells} == ({"small", "mine"} if why == "named" else {"small"})


def test_the_id_of_a_users_model_is_left_to_it(asked: Make, run: Run, tmp_path: Path) -> None:
    run(asked(models=[{"id": "bicubic", "network": "toy:small"}], stages=RESTORE, batch={}))
    assert cells(tmp_path / "study") == {"restore/bicubic/restore", "restore/bicubic-baseline/restore"}
    assert run(asked(models=[{"id": "bicubic", "network": "toy:small"}], stages=RESTORE, batch={})).complete


def test_a_model_that_only_the_study_has_keeps_its_id(recipe: Make, asked: Make, run: Run, tmp_path: Path) -> None:
    run(recipe(models=[{"id": "bicubic", "network": "toy:small"}], stages=RESTORE, batch={}))
    assert run(asked(stages=RESTORE, batch={})).added == ("restore/bicubic-baseline/restore", "restore/small/restore")[::-1]


def test_a_network_without_an_output_beside_it(asked: Make, run: Run, tmp_path: Path) -> None:
    models = [{"id": "small", "network": "toy:small"}, {"id": "sees", "network": "toy:small", "args": {"seed": 1}, "output": "none"}]
    stages = [{"restore": {"models": ["small"]}}, {"features": {"layers": ["head"], "models": ["sees"]}}]
    run(asked(models=models, stages=stages))
    assert cells(tmp_path / "study") == {"restore/small/restore", "restore/bicubic/restore", "features/sees/head.out"}


def test_it_can_be_computed_anew_by_its_id(asked: Make, run: Run, tmp_path: Path) -> None:
    out = str(tmp_path / "study")
    with pytest.raises(PlanError, match="--replace bicubic"):
        run_study(asked(), out, replace(QUIET, replace=("bicubic",)))
    run(asked())
    summary = run_study(asked(), out, replace(QUIET, replace=("bicubic",)))
    assert summary.units_run == open_study(out).manifest.cell("restore/bicubic/restore").units


def test_a_study_folder_with_a_module_of_its_name_runs_no_code(
    asked: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    planted = tmp_path / "planted/xlli_ray/models/networks"
    planted.mkdir(parents=True)
    mark = tmp_path / "mark"
    (planted / "bicubic.py").write_text(f"open({str(mark)!r}, 'w').close()\nfrom toy import small as make\n")
    made = asked(stages=RESTORE, batch={})
    monkeypatch.chdir(tmp_path / "planted")
    run(made)
    assert not mark.exists()
    assert "restore/bicubic/restore" in cells(tmp_path / "study")
