"""Recipes: merging, paths, overrides, hashes, and errors that name the way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from xlli_ray.errors import RecipeError
from xlli_ray.training.recipe import load_recipe, merged
from xlli_ray.training.run import waves

BASE = {
    "name": "twins",
    "corpus": {"images": ["photos/*.png"], "degradations": ["clean"]},
    "train": {"network": "srresnet", "args": {"width": 8, "blocks": 2}, "iterations": 10},
    "grid": [
        {"id": "gr", "train": {"args": {"global_residual": "bilinear"}}, "tags": {"residual": True}},
        {"id": "nogr", "train": {"args": {"global_residual": "none"}}, "corpus": {"degradations": [{"blur": [0, 4]}]}},
    ],
}


def written(folder: Path, **changes: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**BASE, **changes}))
    return path


def test_a_grid_entry_changes_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    gr, nogr = load_recipe(written(tmp_path)).jobs()
    assert gr.train.args == {"width": 8, "blocks": 2, "global_residual": "bilinear"}
    assert nogr.train.args == {"width": 8, "blocks": 2, "global_residual": "none"}
    assert (gr.seed, gr.train.batch, gr.train.iterations) == (nogr.seed, nogr.train.batch, nogr.train.iterations)
    assert gr.corpus.degradations == ["clean"]
    assert nogr.corpus.degradations == [{"blur": [0, 4]}]
    assert gr.corpus.images == nogr.corpus.images == [str(tmp_path / "photos/*.png")]
    assert gr.tags == {"residual": True}


def test_overrides_are_yaml_and_their_paths_start_where_the_user_stands(tmp_path: Path, monkeypatch) -> None:
    recipe = written(tmp_path)
    monkeypatch.chdir("/")
    overrides = ["train.iterations=7", "corpus.images=else/*.png", "validate.images=[a.png]", "train.args.width=16"]
    job = load_recipe(recipe, overrides=overrides).jobs()[0]
    assert job.train.iterations == 7
    assert job.train.args["width"] == 16
    assert job.corpus.images == ["/else/*.png"]
    assert job.validate_on is not None
    assert job.validate_on.images == ["/a.png"]


def test_another_source_of_pictures_replaces_the_recipes(tmp_path: Path) -> None:
    assert merged({"images": ["a"], "scale": 4}, {"pairs": {"input": "x", "target": "y"}}) == {
        "scale": 4,
        "pairs": {"input": "x", "target": "y"},
    }


def test_the_hash_follows_what_decides_the_weights_and_not_where_files_lie(tmp_path: Path) -> None:
    recipe = written(tmp_path)
    first = load_recipe(recipe).jobs()[0].recipe_hash()
    assert load_recipe(recipe, overrides=["corpus.images=else/*.png"]).jobs()[0].recipe_hash() == first
    assert load_recipe(recipe, overrides=["train.checkpoint_every=3"]).jobs()[0].recipe_hash() == first
    for change in ("train.lr=0.1", "seed=1", "corpus.scale=2", "train.args.width=9"):
        assert load_recipe(recipe, overrides=[change]).jobs()[0].recipe_hash() != first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"trian": {}}, r"trian .*: there is no key .* did you mean 'train'"),
        ({"train": {**BASE["train"], "iteration": 5}}, r"train\.iteration \(line \d+\): there is no key .* did you mean 'iterations'"),
        ({"corpus": {"degradations": ["clean"]}}, "expected exactly one source of images, inputs, pairs, list"),
        ({"corpus": {"images": ["a"], "degradations": [{"blurr": 2}]}}, r"degradations.*Closest: blur"),
        ({"corpus": {"inputs": ["a"], "degradations": [{"blur": 2}]}}, "made from clean images"),
        ({"grid": [{"id": "a"}, {"id": "b", "train": {"lr": -1}}]}, r"grid entry 'b': grid\[1\]\.train\.lr \(line \d+\): .*greater than 0"),
        ({"grid": [{"id": "a"}, {"id": "a"}]}, "same id 'a'"),
        ({"train": {**BASE["train"], "loss": "huber"}}, "loss"),
    ],
)
def test_a_wrong_recipe_is_refused_with_the_place_and_the_nearest_key(tmp_path: Path, change, message) -> None:
    with pytest.raises(RecipeError, match=message):
        load_recipe(written(tmp_path, **change))


def test_a_factory_of_the_recipe_is_looked_for_in_the_recipes_folder_and_one_of_an_override_in_the_current(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    grid = [{"id": "mine"}, {"id": "nets", "train": {"network": "other.py:make", "folder": "nets"}}]
    recipe = written(tmp_path, train={**BASE["train"], "network": "mine.py:make"}, grid=grid)
    assert [job.train.folder for job in load_recipe(recipe).jobs()] == [str(tmp_path), str(tmp_path / "nets")]
    assert load_recipe(recipe, overrides=["train.network=else.py:make"]).jobs()[0].train.folder == "/"
    assert load_recipe(written(tmp_path)).jobs()[0].train.folder is None
    moved = load_recipe(recipe, overrides=["train.folder=/elsewhere"]).jobs()[0]
    assert moved.recipe_hash() == load_recipe(recipe).jobs()[0].recipe_hash()  # where it lies decides nothing


def test_ids_that_some_file_systems_take_for_one_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"grid: the ids 'gr' and 'GR' differ only in case"):
        load_recipe(written(tmp_path, grid=[{"id": "gr"}, {"id": "GR"}]))


def test_twins_that_start_from_each_other_wait_for_their_wave(tmp_path: Path) -> None:
    grid = [
        {"id": "late", "train": {"init": "early"}},
        {"id": "early"},
        {"id": "from-file", "train": {"init": "a.pth"}},
    ]
    jobs = load_recipe(written(tmp_path, grid=grid)).jobs()
    assert [[job.id for job in wave] for wave in waves(jobs)] == [["early", "from-file"], ["late"]]
    circle = [{"id": "a", "train": {"init": "b"}}, {"id": "b", "train": {"init": "a"}}]
    with pytest.raises(RecipeError, match="wait for each other"):
        waves(load_recipe(written(tmp_path, grid=circle)).jobs())


def test_reading_a_recipe_needs_no_torch() -> None:
    imported = "xlli_ray.training.recipe, xlli_ray.training.run, xlli_ray.models.builtin_weights"
    code = f"import sys, {imported}; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_every_training_recipe_of_the_pipelines_can_be_read_and_its_networks_be_made(root: Path) -> None:
    recipes = [path for path in sorted((root / "pipelines").glob("*.yaml")) if "\ntrain:\n" in path.read_text()]
    jobs = {path.stem: load_recipe(path).jobs() for path in recipes}
    assert {name: len(several) for name, several in jobs.items()} == {
        "alignment_transformer": 12,
        "denoise_slack": 24,
        "derain_backgrounds": 48,
        "train_classifier": 1,
        "train_clean_and_noise": 1,
        "train_matched": 6,
        "train_matched_full": 6,
    }


def test_the_family_differs_in_what_its_names_say(root: Path) -> None:
    jobs = {job.id: job for job in load_recipe(root / "pipelines" / "train_matched.yaml").jobs()}
    assert len(jobs) == 6
    pixel = [job for job in jobs.values() if job.train.gan is None]
    assert len({(job.seed, job.train.iterations, job.train.batch, job.train.crop, job.train.lr) for job in pixel}) == 1
    for job in jobs.values():
        assert (job.train.args["global_residual"] == "bilinear") == ("-gr-" in job.id)
        assert (job.train.gan is not None) == job.id.startswith("srgan")
    for twin in ("gr", "nogr"):
        assert jobs[f"srgan-{twin}-clean"].train.init == f"srresnet-{twin}-clean"
