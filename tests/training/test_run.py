"""Whole recipes: a grid trained, described and handed to a study."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from pathlib import Path

import pytest
import yaml

from xlli_ray.errors import RecipeError
from xlli_ray.models import ModelSpec, load_model, read_state_dict
from xlli_ray.models.builtin import check_card
from xlli_ray.training.run import train


@pytest.fixture
def recipe(photos: Path, tmp_path: Path) -> Path:
    path = tmp_path / "twins.yaml"
    path.write_text(
        yaml.safe_dump({
            "name": "twins",
            "corpus": {"images": [str(photos / "*.png")]},
            "validate": {
                "images": [str(photos / "photo0.png")], "every": 4, "crop": 64, "degradations": ["clean", {"blur": 2}],
            },
            "train": {
                "network": "srresnet", "args": {"width": 4, "blocks": 1}, "iterations": 6, "batch": 2, "crop": 32,
            },
            "tags": {"family": "tiny"},
            "grid": [
                {"id": "late", "train": {"init": "gr", "iterations": 3, "gan": {"width": 2}}, "tags": {"loss": "gan"}},
                {"id": "gr", "train": {"args": {"global_residual": "bilinear"}}, "tags": {"residual": True}},
                {"id": "nogr", "train": {"args": {"global_residual": "none"}}, "tags": {"residual": False}},
            ],
        })
    )  # fmt: skip
    return path


def test_a_grid_becomes_models_that_a_study_can_name(recipe: Path, tmp_path: Path) -> None:
    seen = []
    path = train(recipe, tmp_path / "out", progress=seen.append)
    assert path == tmp_path / "out" / "models.yaml"
    models = yaml.safe_load(path.read_text())["models"]
    assert [model["id"] for model in models] == ["late", "gr", "nogr"]
    assert models[1]["tags"] == {"family": "tiny", "residual": True}
    for model in models:
        file = path.parent / model["weights"]
        assert hashlib.sha256(file.read_bytes()).hexdigest() == model["sha256"]
        loaded = load_model(ModelSpec(model["id"], network=model["network"]), read_state_dict(file).tensors)
        assert loaded.scale == 4
        assert loaded.weights_sha256 == model["sha256"]
        assert loaded.module.residual == (model["id"] != "nogr")
        card = check_card(json.loads((file.parent / "card.json").read_text()), name=model["id"])
        assert card["iterations"] == (3 if model["id"] == "late" else 6)
        assert len(card["images"]) == 4
        assert set(card["images"][0]) == {"file", "sha256"}
        assert {"loss", "psnr_y", "psnr_y blur2"} < set(card["curve"])
        assert (file.parent / "curve.svg").read_text().startswith("<?xml")
        assert str(tmp_path) not in json.dumps(card)
    assert json.loads((path.parent / "late/card.json").read_text())["init_sha256"] == models[1]["sha256"]
    assert {progress.id for progress in seen} == {"late", "gr", "nogr"}


def test_a_study_reads_the_list_and_its_tags(recipe: Path, photos: Path, tmp_path: Path) -> None:
    study = pytest.importorskip("xlli_ray.recipe")
    train(recipe, tmp_path / "out", only=["gr", "nogr"])
    path = tmp_path / "study.yaml"
    path.write_text(
        yaml.safe_dump({
            "name": "s", "corpus": {"images": [str(photos / "*.png")], "scale": 4},
            "models": [{"from": "out/models.yaml"}], "stages": [{"restore": {}}],
        })
    )  # fmt: skip
    models = study.load_recipe(path).models
    assert [(model.id, model.tags["residual"]) for model in models] == [("gr", True), ("nogr", False)]
    assert models[0].weights == str(tmp_path / "out/gr/weights.safetensors")


def test_what_is_finished_is_not_trained_again_and_another_recipe_is_refused(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", only=["gr"])
    before = (tmp_path / "out/gr/weights.safetensors").stat().st_mtime_ns
    seen = []
    train(recipe, tmp_path / "out", only=["gr", "nogr"], progress=seen.append)
    assert {progress.id for progress in seen} == {"nogr"}
    assert (tmp_path / "out/gr/weights.safetensors").stat().st_mtime_ns == before
    with pytest.raises(RecipeError, match=r"another recipe .* Use another --out or id"):
        train(recipe, tmp_path / "out", overrides=["train.lr=0.5"], only=["gr"])


def test_a_twin_of_weights_that_were_trained_again_is_not_taken_for_finished(recipe: Path, tmp_path: Path) -> None:
    train(recipe, tmp_path / "out", only=["gr", "late"])
    shutil.rmtree(tmp_path / "out/gr")
    train(recipe, tmp_path / "out", overrides=["train.lr=0.002"], only=["gr"])
    with pytest.raises(RecipeError, match="other weights than gr"):
        train(recipe, tmp_path / "out", only=["late"])


def test_tasks_can_be_mapped_elsewhere_one_wave_at_a_time(recipe: Path, tmp_path: Path) -> None:
    waves = []

    def elsewhere(function, payloads):
        waves.append([payload["job"]["id"] for payload in payloads])
        function, payloads = pickle.loads(pickle.dumps((function, payloads)))  # what a cluster does to them
        return [function(json.loads(json.dumps(payload))) for payload in payloads]

    there = train(recipe, tmp_path / "there", workers=2, map_tasks=elsewhere)
    assert waves == [["gr", "nogr"], ["late"]]
    here = train(recipe, tmp_path / "here")
    assert there.read_text() == here.read_text()  # the same sha256 wherever they were trained
    with pytest.raises(RecipeError, match="goes through the engine"):
        train(recipe, tmp_path / "no", workers=2)


def test_missing_files_stop_the_run_before_it_starts(recipe: Path, tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="matches no file"):
        train(recipe, tmp_path / "out", overrides=["corpus.images=/absent/*.png"])
    with pytest.raises(RecipeError, match=r"measure.Set5: .*--set measure=null"):
        train(recipe, tmp_path / "out", overrides=["measure={Set5: {input: /absent/*.png, target: /absent/*.png}}"])
    with pytest.raises(RecipeError, match="grr is not in the grid"):
        train(recipe, tmp_path / "out", only=["grr"])
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_two_of_the_family_trained_twice_for_200_iterations_are_byte_equal(
    root: Path, photos: Path, tmp_path: Path
) -> None:
    images = str(photos / "*.png")
    overrides = [f"corpus.images={images}", f"validate.images={images}", "measure=null", "train.iterations=200"]
    two = ["srresnet-gr-clean", "srresnet-nogr-blur0_4"]
    for again in ("first", "second"):
        train(root / "pipelines/train_matched.yaml", tmp_path / again, overrides=overrides, only=two)
    for name in two:
        first, second = (
            (tmp_path / again / name / "weights.safetensors").read_bytes() for again in ("first", "second")
        )
        assert first == second
    assert (tmp_path / "first" / two[0] / "weights.safetensors").read_bytes() != first
