"""`precision` of a stage: its own cells, its own forward pass, and nothing else changes."""

from __future__ import annotations

import html
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from xlli_ray.engine.run.driver import Summary
from xlli_ray.engine.submit.sent_recipe import as_recipe
from xlli_ray.errors import PlanError, RecipeError
from xlli_ray.recipe import Recipe
from xlli_ray.report.page import write_report
from xlli_ray.study import Study, open_study

Make, Go = Callable[..., Recipe], Callable[..., Summary]
PLAIN = {"features": {"layers": ["head", "body.1"]}}
REDUCED = {"features": {"id": "coarse", "layers": ["head", "body.1"], "precision": "bf16"}}
BATCH = {"features": 2, "restore": 2}


def values_of(study: Study, cell: str, name: str) -> np.ndarray:
    """All stored values of an array, in the order of sample ids."""
    ids = [row["sample_id"] for row in study.sql("select sample_id from samples order by sample_id").to_pylist()]
    return np.concatenate([np.ravel(row) for row in study.array(cell, name).rows(ids)]).astype(np.float64)


def test_a_reduced_stage_beside_a_plain_one_has_its_own_forward_pass(recipe: Make, run: Go, tmp_path: Path) -> None:
    together = [PLAIN, REDUCED, {"restore": {"id": "half", "precision": "bf16"}}, {"restore": {}}]
    assert run(recipe(stages=together, batch=BATCH), "both").failed == 0
    run(recipe(stages=[PLAIN, {"restore": {}}], batch=BATCH), "plain")
    run(recipe(stages=[REDUCED], batch=BATCH), "reduced")
    both, plain, reduced = (open_study(tmp_path / name) for name in ("both", "plain", "reduced"))
    for layer in ("head.out", "body.1.out"):
        exact = values_of(plain, f"features/small/{layer}", "features")
        assert np.array_equal(values_of(both, f"features/small/{layer}", "features"), exact)
        coarse = values_of(both, f"coarse/small/{layer}", "features")
        assert np.array_equal(values_of(reduced, f"coarse/small/{layer}", "features"), coarse)
        difference = np.linalg.norm(coarse - exact) / np.linalg.norm(exact)
        assert 1e-4 < difference < 1e-2
    psnr = "select psnr_y from restore where stage = '{}' order by sample_id"
    values = {stage: [row["psnr_y"] for row in both.sql(psnr.format(stage)).to_pylist()] for stage in ("restore", "half")}
    assert values["restore"] == [row["psnr_y"] for row in plain.sql(psnr.format("restore")).to_pylist()]
    assert values["half"] != values["restore"]
    assert np.allclose(values["half"], values["restore"], atol=0.05)
    cells = {cell.stage: cell for cell in both.manifest.cells}
    assert {stage: cell.identity.get("precision") for stage, cell in cells.items()} == {
        "features": None, "coarse": "bf16", "half": "bf16", "restore": None,
    }  # fmt: skip
    assert cells["features"].group == cells["restore"].group  # one pass, as before
    assert cells["coarse"].group == cells["half"].group != cells["features"].group
    assert both.manifest.cell("features/small/head.out").hash == plain.manifest.cell("features/small/head.out").hash


def test_maps_are_near_those_in_float32_and_their_gradients_stay_in_range(recipe: Make, run: Go, tmp_path: Path) -> None:
    stages = [{"lam": {"nodes": 4}}, {"lam": {"id": "coarse", "nodes": 4, "precision": "bf16"}}]
    assert run(recipe(stages=stages, batch={}, corpus={**_corpus(recipe), "degradations": ["clean"]})).failed == 0
    study = open_study(tmp_path / "study")
    exact, coarse = (values_of(study, f"{stage}/small/accurate", "map") for stage in ("lam", "coarse"))
    assert 1e-4 < np.linalg.norm(coarse - exact) / np.linalg.norm(exact) < 0.05


def _corpus(recipe: Make) -> dict[str, object]:
    corpus = recipe().dump()["corpus"]
    return {key: corpus[key] for key in ("images", "scale")}


def test_a_changed_precision_is_other_content(recipe: Make, run: Go) -> None:
    run(recipe(stages=[{"restore": {}}]))
    with pytest.raises(PlanError, match=r"precision was None, is now 'bf16'.*--replace restore"):
        run(recipe(stages=[{"restore": {"precision": "bf16"}}]))


def test_tf32_is_refused_by_name_on_a_cpu(recipe: Make, run: Go) -> None:
    with pytest.raises(PlanError, match=r"stage restore: tf32 needs an NVIDIA GPU, this study is planned for cpu/"):
        run(recipe(stages=[{"restore": {"precision": "tf32"}}]))


@pytest.mark.parametrize(
    ("stage", "reason"),
    [
        ({"lam": {"precision": "fp16"}}, r"stages\[0\].lam.precision.*`lam` differentiates networks.*Use bf16 or tf32"),
        ({"inputs": {"precision": "bf16"}}, r"`inputs` runs no network, so it has no `precision`"),
        ({"lam_summary": {"of": "lam", "precision": "bf16"}}, r"`lam_summary` runs no network.*name the stage that it reads"),
        ({"restore": {"precision": "half"}}, r"precision.*float32"),
    ],
)
def test_a_precision_without_meaning_is_refused_with_its_place(recipe: Make, stage: dict[str, object], reason: str) -> None:
    with pytest.raises(RecipeError, match=reason):
        recipe(stages=[stage], batch={})


def test_a_precision_is_sent_with_a_job_and_the_usual_one_is_not_written(recipe: Make) -> None:
    made = recipe(stages=[{"restore": {"precision": "bf16"}}, {"restore": {"id": "plain", "precision": "float32"}}])
    assert as_recipe(made)["stages"][0] == {"restore": {"id": "restore", "precision": "bf16"}}
    assert [stage.get("precision") for stage in made.dump()["stages"]] == ["bf16", None]


def test_the_page_shows_the_precision_with_the_other_parameters(recipe: Make, run: Go, tmp_path: Path) -> None:
    run(recipe(stages=[{"restore": {"precision": "bf16"}}]))
    write_report(str(tmp_path / "study"))
    assert '{"precision": "bf16"}' in html.unescape((tmp_path / "study/report/index.html").read_text())
