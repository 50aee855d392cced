"""Training studies in a bucket: the same weights as in a folder, and goes on after a kill."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest
from faulty import Faulty
from server import STUDIES, Server
from training_runs import break_twelve, run_here, standing, weights, write_recipe

from xlli_ray.errors import RecipeError
from xlli_ray.recipe import parse_recipe
from xlli_ray.report.training_page import write_training_page
from xlli_ray.store.objects.client import open_objects


def test_a_bucket_holds_a_training_study(server: Server, proxy: Faulty, tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path, sweep={"seed": [0, 1]}), f"s3://{STUDIES}/{uuid.uuid4().hex}"
    run_here(recipe, str(tmp_path / "folder"))
    assert run_here(recipe, out).trained == 2
    assert weights(out) == weights(str(tmp_path / "folder"))
    assert run_here(recipe, out).trained == 0
    assert standing(out)["done"] == 2
    listed = [{"from": f"{out}/models.yaml"}]
    study = {"name": "s", "corpus": {"images": ["x.png"], "scale": 4}, "models": listed, "stages": [{"restore": {}}]}
    models = parse_recipe(study, base=tmp_path).models
    assert (models[0].id, models[0].weights, models[0].tags) == (
        "tiny-seed0", f"{out}/tiny-seed0/weights.safetensors", {"seed": 0}
    )  # fmt: skip
    with pytest.raises(RecipeError, match=r"models from s3://.*/nothing\.yaml: cannot be read"):
        parse_recipe({**study, "models": [{"from": f"{out}/nothing.yaml"}]}, base=tmp_path)
    assert write_training_page(open_objects(out)) == f"{out}/report/index.html"


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twelve_networks_in_a_bucket_though_a_worker_and_the_driver_are_killed(server: Server, proxy: Faulty, tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sweep={"seed": [0, 1, 2, 3], "corpus.count": [1, 2, 4]}, iterations=300)
    run_here(recipe, str(tmp_path / "whole"))
    out = f"s3://{STUDIES}/{uuid.uuid4().hex}"
    break_twelve(recipe, out)
    assert weights(out) == weights(str(tmp_path / "whole"))
