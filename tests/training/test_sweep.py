"""A sweep: every combination is a network with an id and tags of its own, and what is not swept stays what it was."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import pytest
import yaml

from xlli_ray.errors import RecipeError
from xlli_ray.training.data import read_images
from xlli_ray.training.identity import identity_of
from xlli_ray.training.images import image_of, scan_here, training_samples
from xlli_ray.training.recipe import Job, TrainCorpus, load_recipe
from xlli_ray.training.run import train, waves
from xlli_ray.training.sweep import points

BASE = {
    "name": "study",
    "corpus": {"images": ["photos/*.png"]},
    "train": {"network": "srresnet", "args": {"width": 4, "blocks": 1}, "iterations": 4, "batch": 2, "crop": 32},
}


def jobs(folder: Path, *overrides: str, **changes: object) -> list[Job]:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump({**BASE, **changes}, sort_keys=False))
    return load_recipe(path, overrides=overrides).jobs()


def test_every_combination_is_a_network_whose_id_and_tags_say_what_it_is(tmp_path: Path) -> None:
    sweep = {"seed": [0, 1], "corpus.count": [8, 64], "corpus.degradations": {"clean": ["clean"], "soft": [{"blur": [0, 4]}]}}
    found = jobs(tmp_path, sweep=sweep, tags={"family": "tiny"})
    assert [job.id for job in found][:3] == ["study-seed0-count8-clean", "study-seed0-count8-soft", "study-seed0-count64-clean"]
    assert len({job.id for job in found}) == len(found) == 8
    last = found[-1]
    assert (last.seed, last.corpus.count, last.corpus.degradations) == (1, 64, [{"blur": [0, 4]}])
    assert last.tags == {"family": "tiny", "seed": 1, "count": 64, "degradations": "soft"}
    assert last.corpus.images == [str(tmp_path / "photos/*.png")]


def test_a_swept_field_is_overridden_by_its_path_with_dots(tmp_path: Path) -> None:
    sweep = {"seed": [0, 1], "corpus.count": [8, 64], "corpus.degradations": {"clean": ["clean"], "soft": [{"blur": [0, 4]}]}}
    changed = ["sweep.corpus.count=[3]", "sweep.seed=[7]", "sweep.corpus.degradations={hard: [{blur: 5}]}", "sweep.train.lr=[0.5]"]
    (job,) = jobs(tmp_path, *changed, sweep=sweep)
    assert (job.seed, job.corpus.count, job.corpus.degradations, job.train.lr) == (7, 3, [{"blur": 5}], 0.5)
    with pytest.raises(RecipeError, match=r"corpus\.count: no value; give a list"):
        jobs(tmp_path, "sweep.corpus.count=[]", sweep=sweep)


def test_each_entry_of_the_grid_is_swept_and_starts_from_its_own_twin(tmp_path: Path) -> None:
    grid = [{"id": "late", "train": {"init": "early", "iterations": 2}}, {"id": "early", "tags": {"first": True}}]
    found = jobs(tmp_path, sweep={"seed": [0, 1]}, grid=grid)
    assert [(job.id, job.train.init) for job in found] == [
        ("late-seed0", "early-seed0"), ("late-seed1", "early-seed1"), ("early-seed0", None), ("early-seed1", None),
    ]  # fmt: skip
    assert found[2].tags == {"first": True, "seed": 0}
    assert [[job.id for job in wave] for wave in waves(found)] == [["early-seed0", "early-seed1"], ["late-seed0", "late-seed1"]]


def test_values_without_a_sweep_change_no_id_and_no_hash(tmp_path: Path) -> None:
    (plain,) = jobs(tmp_path)
    (swept,) = jobs(tmp_path, sweep={"train.lr": [0.001]})
    assert (plain.id, swept.id, swept.tags) == ("study", "study-lr0.001", {"lr": 0.001})
    assert plain.recipe_hash() == swept.recipe_hash()
    assert "count" not in plain.content()["corpus"]
    assert identity_of(plain, [], None).sha256 == identity_of(swept, [], None).sha256


def test_paths_and_factories_of_a_sweep_lie_beside_the_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir("/")
    sweep = {"corpus.images": {"few": ["few/*.png"], "many": "many/*.png"}, "train.network": {"mine": "net.py:make", "ours": "srresnet"}}
    found = {job.id: job for job in jobs(tmp_path, sweep=sweep)}
    assert found["study-many-mine"].corpus.images == [str(tmp_path / "many/*.png")]
    assert found["study-few-mine"].train.folder == str(tmp_path)


def test_a_field_of_the_sweep_can_be_set_on_the_command_line(tmp_path: Path) -> None:
    found = jobs(tmp_path, "sweep={seed: [7], train.batch: [1]}", sweep={"seed": [0, 1, 2]})
    assert [job.id for job in found] == ["study-seed7-batch1"]


def test_fields_of_one_last_name_are_told_apart_by_their_whole_path() -> None:
    (point,) = points({"train.args.width": [4], "train.gan.width": [8]})
    assert point.suffix == "-train_args_width4-train_gan_width8"
    assert point.tags == {"train_args_width": 4, "train_gan_width": 8}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sweep": {"corpus.degradations": [["clean"]]}}, r"sweep \(line \d+\): corpus\.degradations: .* has no short name; give names"),
        ({"sweep": {"train.init": ["a/b.pth"]}}, r"cannot be part of a folder's name; give it a name"),
        ({"sweep": {"seed": []}}, "seed: no value"),
        ({"sweep": {"seed": {"two words": 1}}}, "'two words' is not a valid name of a value"),
        ({"sweep": {"train.lr": [1, 1]}}, "two values would both be called 'lr1'"),
        ({"sweep": {"validate.every": [1]}}, r"validate\.every is not a field of a training"),
        ({"sweep": {"train": {"a": {}}}}, "train is not a field of a training"),
        ({"sweep": {"train.args": {"a": {}}, "train.args.width": [4]}}, "train.args and train.args.width: the first contains the second"),
        ({"sweep": {"seed": list(range(40)), "train.batch": list(range(1, 40))}}, "1560 combinations, each a network to train"),
        ({"sweep": {"corpus.count": [0]}}, r"'study-count0': sweep\.corpus\.count \(line \d+\): .*greater than or equal to 1"),
        ({"sweep": {"train.iteration": [5]}}, r"sweep\.train\.iteration \(line \d+\): there is no key .*did you mean 'iterations'"),
        ({"sweep": {"seed": [1]}, "grid": [{"id": "a", "seed": 3}]}, r"grid\[0\]\.seed \(line \d+\): the sweep sets seed for every entry"),
        ({"sweep": {"seed": [1]}, "tags": {"seed": 3}}, r"tags\.seed \(line \d+\): the sweep writes the tag 'seed'"),
    ],
)  # fmt: skip
def test_a_wrong_sweep_is_refused_with_the_place_and_the_way_out(tmp_path: Path, changes: dict, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        jobs(tmp_path, **changes)


def shas(folder: Path, count: int | None, seed: int) -> list[str]:
    corpus = TrainCorpus(images=[str(folder / "*.png")], count=count)
    rows = scan_here(corpus.scanned())
    listed = sorted(image_of(sample).sha256 for sample in training_samples(corpus, rows, seed))
    assert sorted(image.sha256 for image in read_images(corpus, rows, seed=seed)[0]) == listed
    return listed


def test_fewer_images_are_among_more_of_the_same_seed_and_names_decide_nothing(photos: Path, tmp_path: Path) -> None:
    one, two, three = (shas(photos, count, 0) for count in (1, 2, 3))
    assert set(one) < set(two) < set(three) < set(shas(photos, None, 0))
    assert len({tuple(shas(photos, 2, seed)) for seed in range(8)}) > 1
    for index, path in enumerate(sorted(photos.glob("*.png"))):
        shutil.copy(path, tmp_path / f"{9 - index}.png")
    assert shas(tmp_path, 2, 0) == two


def test_more_images_than_there_are_stop_the_run_before_it_starts(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**BASE, "corpus": {"images": [f"{photos}/*.png"], "count": 5}}))
    with pytest.raises(RecipeError, match=r"corpus\.count is 5, but the corpus has 4 images"):
        train(path, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_sweep_is_trained_and_a_study_can_name_its_networks(photos: Path, tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    sweep = {"seed": [0, 1], "corpus.count": [1, 3]}
    path.write_text(yaml.safe_dump({**BASE, "corpus": {"images": [f"{photos}/*.png"]}, "sweep": sweep}, sort_keys=False))
    models = yaml.safe_load(train(path, tmp_path / "out").read_text())["models"]
    assert [model["tags"] for model in models] == [{"seed": seed, "count": count} for seed in (0, 1) for count in (1, 3)]
    assert len({model["sha256"] for model in models}) == 4
    card = json.loads((tmp_path / "out/study-seed1-count3/card.json").read_text())
    assert (len(card["images"]), card["recipe"]["corpus"]["count"], card["recipe"]["seed"]) == (3, 3, 1)
    weights = (tmp_path / "out/study-seed0-count1/weights.safetensors").read_bytes()
    path.write_text(yaml.safe_dump({**BASE, "corpus": {"images": [f"{photos}/*.png"], "count": 1}}))
    train(path, tmp_path / "alone")
    assert hashlib.sha256(weights).hexdigest() == json.loads((tmp_path / "alone/study/card.json").read_text())["weights"]["sha256"]
