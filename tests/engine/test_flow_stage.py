"""The stages `flow`, `motion_error`, `alignment_error` from recipe to table, arrays and page; with the estimator of docs/extending.md."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import QUIET, image
from PIL import Image

from xlli_ray.engine.run.driver import run_study
from xlli_ray.errors import PlanError
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.report.page import write_report
from xlli_ray.study import open_study

DOCS = (Path(__file__).parents[2] / "docs/extending.md").read_text()
PAN = re.search(r"## A flow estimator.*?```python\n(.*?)```", DOCS, re.DOTALL)[1]  # type: ignore[index]


def recipe(place: Path, corpus: dict[str, Any], *stages: Any, models: tuple[Any, ...] = ()) -> Recipe:
    data = {"name": "flow", "corpus": corpus, "stages": list(stages), **({"models": list(models)} if models else {})}
    (place / "recipe.yaml").write_text(yaml.safe_dump(data))
    return load_recipe(place / "recipe.yaml")


@pytest.fixture
def clips(tmp_path: Path) -> dict[str, Any]:
    """Six frames of an image that moves by two pixels to the right, in windows of four."""
    (tmp_path / "clip").mkdir()
    still = image(3, 48, 60)
    for i in range(6):
        Image.fromarray(np.roll(still, 2 * i, axis=1)).save(tmp_path / f"clip/f_{i:02d}.png")
    return {"clips": {"input": f"{tmp_path}/clip/*.png", "frames": 4, "stride": 2}}


def test_a_study_of_motion_needs_no_model_and_has_table_arrays_and_page(clips: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "pan.py").write_text(PAN)
    stages = [{"flow": {}}, {"flow": {"id": "fixed", "estimator": "pan.py:Pan", "args": {"furthest": 3}}}]
    run_study(recipe(tmp_path, clips, *stages), str(tmp_path / "study"), QUIET)
    study = open_study(tmp_path / "study")
    rows = study.sql("select stage, model, motion_p50, motion_p99, estimator, status from flow order by stage, row").to_pylist()
    assert [(row["stage"], row["model"], row["status"]) for row in rows] == [
        (stage, None, "ok") for stage in ("fixed", "fixed", "flow", "flow")
    ]
    assert rows[0]["motion_p50"] == rows[0]["motion_p99"] == 2.0
    assert rows[0]["estimator"] == "pan.py:Pan"
    assert rows[2]["motion_p50"] == pytest.approx(2, abs=0.2)
    following = study.array("flow/-/flow", "next").xarray()
    assert following.dims == ("sample", "pair", "component", "y", "x")
    assert following.shape == (2, 3, 2, 48, 60)
    assert following.dtype == np.float16
    assert study.array("flow/-/flow", "occluded_previous").xarray().dtype == bool
    assert study.array("flow/-/flow", "histogram").xarray().dims == ("sample", "direction", "pair", "bin")
    page = Path(write_report(str(tmp_path / "study"))).read_text()
    assert "how far and where everything moves between neighbouring frames" in page


def test_images_are_refused_before_anything_runs_and_one_frame_is_a_row(clips: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="`flow` measures clips, but this corpus has single images; stages for single images: cem"):
        run_study(recipe(tmp_path, {"inputs": f"{tmp_path}/clip/*.png"}, {"flow": {}}), str(tmp_path / "study"), QUIET)
    single = {"clips": {**clips["clips"], "frames": 1, "stride": 3}}
    run_study(recipe(tmp_path, single, {"flow": {}}), str(tmp_path / "single"), QUIET)
    found = open_study(tmp_path / "single").sql("select distinct reason from failures").to_pylist()
    assert found == [{"reason": "one frame only: motion takes two"}]


def test_errors_by_motion_share_the_pass_of_restore_and_do_not_depend_on_batches(clips: dict[str, Any], tmp_path: Path) -> None:
    corpus = {"clips": {"target": clips["clips"]["input"], "frames": 4, "stride": 1}, "scale": 2}
    models = [{"id": name, "network": "toy:small", "frames": "each", "args": {"seed": seed}} for name, seed in (("a", 0), ("b", 1))]
    stages = [{"restore": {}}, {"flow": {}}, {"motion_error": {"scored": "all"}}]
    run_study(recipe(tmp_path, corpus, *stages, models=models), str(tmp_path / "study"), QUIET)
    study = open_study(tmp_path / "study")
    groups = {cell.id: cell.group for cell in study.manifest.cells}
    assert groups["motion_error/a/motion_error"] == groups["restore/a/restore"]
    rows = study.sql("select model, psnr, psnr_slow, fast, status from motion_error order by model, row").to_pylist()
    assert [row["model"] for row in rows] == ["a"] * 3 + ["b"] * 3
    assert {row["status"] for row in rows} == {"ok"}
    squared = {model: study.array(f"motion_error/{model}/motion_error", "squared").xarray() for model in "ab"}
    assert squared["a"].dims == ("sample", "by", "frame", "visibility", "texture", "bin")
    assert squared["a"].shape == (3, 2, 4, 2, 3, 11)
    assert squared["a"].attrs["edges"][:3] == [0.0, 0.5, 1.0]
    assert squared["a"].attrs["frames"] == [0, 1, 2, 3]
    alone = recipe(tmp_path, corpus, {"flow": {}}, {"motion_error": {"scored": "all"}}, models=models[:1])
    alone = alone.model_copy(update={"batch": {"motion_error": 1}})
    run_study(alone, str(tmp_path / "alone"), QUIET)
    again = open_study(tmp_path / "alone").array("motion_error/a/motion_error", "squared").xarray()
    assert (again.values == squared["a"].values).all()
    assert not (squared["b"].values == squared["a"].values).all()


def test_errors_by_motion_need_a_flow_stage(clips: dict[str, Any], tmp_path: Path) -> None:
    corpus = {"clips": {"target": clips["clips"]["input"], "frames": 4}, "scale": 2}
    model = {"id": "a", "network": "toy:small", "frames": "each"}
    with pytest.raises(PlanError, match="stage motion_error: it needs the stage 'flow', but no stage has that id"):
        run_study(recipe(tmp_path, corpus, {"motion_error": {}}, models=(model,)), str(tmp_path / "study"), QUIET)


def test_operators_are_compared_over_the_flow_of_a_stage(clips: dict[str, Any], tmp_path: Path) -> None:
    stages = [{"flow": {}}, {"alignment_error": {"gaps": [1, 3], "operators": ["none", "bilinear", {"patch": {"size": 4}}]}}]
    run_study(recipe(tmp_path, clips, *stages), str(tmp_path / "study"), QUIET)
    study = open_study(tmp_path / "study")
    rows = study.sql("select row, operator, gap, rmse, hf_kept from alignment_error order by row, operator, gap").to_pylist()
    assert [(row["operator"], row["gap"]) for row in rows[:6]] == [
        (name, gap) for name in ("bilinear", "none", "patch(size=4)") for gap in (1, 3)
    ]
    assert len(rows) == 12
    for name in ("bilinear", "patch(size=4)"):
        still = {(row["row"], row["gap"]): row["rmse"] for row in rows if row["operator"] == "none"}
        assert all(row["rmse"] < still[row["row"], row["gap"]] for row in rows if row["operator"] == name)
    assert study.array("alignment_error/-/alignment_error", "squared").xarray().dims == ("sample", "operator", "gap", "visibility", "bin")
    page = Path(write_report(str(tmp_path / "study"))).read_text()
    assert "what each alignment operator makes of these frames" in page
    assert "To the left: registers better." in page
    with pytest.raises(PlanError, match="a clip of 4 frames has none 4 apart"):
        run_study(recipe(tmp_path, clips, {"flow": {}}, {"alignment_error": {"gaps": [4]}}), str(tmp_path / "other"), QUIET)
