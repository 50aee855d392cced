"""Networks with an alignment in studies: the same weights with several operators, an operator of one's own from docs/extending.md, and its
VERSION in identities."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from helpers import QUIET, image
from PIL import Image

from xlli_ray import user_code
from xlli_ray.engine.run.driver import run_study
from xlli_ray.errors import StudyError, XlliError
from xlli_ray.models.alignment.patch import Patch
from xlli_ray.recipe import load_recipe
from xlli_ray.study import open_study

DOCS = (Path(__file__).parents[2] / "docs" / "extending.md").read_text()
SECTION = re.search(r"## An alignment operator.*?```python\n(.*?)```.*?```yaml\n(.*?)```", DOCS, re.DOTALL)
assert SECTION is not None
CAMERA, MODELS = SECTION.groups()


@pytest.fixture
def folder(tmp_path: Path, fixtures: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A clip that pans by four pixels a frame (two in the network's input), the operator of the docs, and weights."""
    still = image(3, 96, 136)
    (tmp_path / "clip").mkdir()
    for i in range(3):
        Image.fromarray(still[:, 8 * i : 8 * i + 112]).save(tmp_path / "clip" / f"f_{i}.png")
    (tmp_path / "camera.py").write_text(CAMERA)
    (tmp_path / "mobile_rrn_16.safetensors").symlink_to(fixtures / "models/mobile_rrn/mobile_rrn_16.safetensors")
    monkeypatch.setattr(user_code, "_allowed", set())
    yield tmp_path
    sys.modules.pop("camera", None)


def run(folder: Path, models: list[dict[str, Any]], out: str = "study") -> Any:
    data = {"name": "a", "corpus": {"clips": {"target": "clip/*.png", "frames": 3, "stride": 1}, "scale": 4}, "models": models,
            "stages": [{"restore": {}}], "baseline": False}  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    return run_study(load_recipe(folder / "recipe.yaml"), str(folder / out), QUIET)


def scores(folder: Path, out: str = "study") -> dict[str, float]:
    rows = open_study(folder / out).sql("select model, psnr_y, status from restore").to_pylist()
    assert {row["status"] for row in rows} == {"ok"}
    return {row["model"]: row["psnr_y"] for row in rows}


def test_an_operator_of_ones_own_goes_from_the_docs_to_a_study(folder: Path) -> None:
    plain = {"id": "plain", "weights": "mobile_rrn_16.safetensors", "network": "mobile_rrn"}
    run(folder, [*yaml.safe_load(MODELS)["models"], plain])
    found = scores(folder)
    assert set(found) == {"camera", "black", "plain"}
    assert len(set(found.values())) == 3
    cells = {cell.model: cell.identity for cell in open_study(folder / "study").manifest.cells}
    assert cells["camera"]["network args"] == {"alignment": "camera.py:Camera", "flow": "dis"}
    assert all("network parts" not in identity for identity in cells.values())


def test_a_raised_version_of_an_operator_is_noticed_and_in_the_identity(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    entry = {"id": "a", "weights": "mobile_rrn_16.safetensors", "network": "mobile_rrn", "args": {"alignment": "patch", "flow": "dis"}}
    run(folder, [entry])
    assert run(folder, [entry]).units_run == 0
    record = open_study(folder / "study").manifest.models[0]
    assert record.parts == {"alignment patch": 1, "flow estimator dis": 1}
    monkeypatch.setattr(Patch, "VERSION", 2)
    with pytest.raises(XlliError, match=r"network parts was None, is now \{'alignment patch': 2\}"):
        run(folder, [entry])
    other = {**entry, "args": {"alignment": "nearest", "flow": "dis"}}
    with pytest.raises(XlliError, match="network args was"):
        run(folder, [other])
    run(folder, [entry], "new")
    assert open_study(folder / "new").manifest.cells[0].identity["network parts"] == {"alignment patch": 2}


def test_an_operator_without_a_source_of_flow_is_refused_before_anything_runs(folder: Path) -> None:
    entry = {"id": "a", "weights": "mobile_rrn_16.safetensors", "network": "mobile_rrn", "args": {"alignment": "patch"}}
    with pytest.raises(XlliError, match="its alignment needs flow, and `flow` is none"):
        run(folder, [entry])
    assert not np.any([path.is_file() for path in (folder / "study" / "arrays.zarr").rglob("c*")])
    with pytest.raises((StudyError, XlliError)):
        open_study(folder / "study").sql("select * from restore")
