"""The stage `flow` from recipe to table, arrays and page; with the estimator of docs/extending.md, as it stands there."""

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


def recipe(place: Path, corpus: dict[str, Any], *stages: Any) -> Recipe:
    (place / "recipe.yaml").write_text(yaml.safe_dump({"name": "flow", "corpus": corpus, "stages": list(stages)}))
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
    with pytest.raises(PlanError, match="`flow` measures clips, but this corpus has single images; stages for single images: complexity"):
        run_study(recipe(tmp_path, {"inputs": f"{tmp_path}/clip/*.png"}, {"flow": {}}), str(tmp_path / "study"), QUIET)
    single = {"clips": {**clips["clips"], "frames": 1, "stride": 3}}
    run_study(recipe(tmp_path, single, {"flow": {}}), str(tmp_path / "single"), QUIET)
    found = open_study(tmp_path / "single").sql("select distinct reason from failures").to_pylist()
    assert found == [{"reason": "one frame only: motion takes two"}]
