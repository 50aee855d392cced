"""Groups of networks over trainings: what is averaged, what is compared, and how often the intervals hold the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lam_studies import Lam, lam_recipe
from pydantic import ValidationError
from toy_studies import Recipe, Stage, scores, write_study

from xlli_ray.analyses.shared.freshness import Asked, check_asked, resolve
from xlli_ray.analyses.shared.replicates import Group, Grouped, compared_groups, group_difference, group_mean, groups_of, network_means
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import PlanError
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.documents import load_manifest, save_manifest
from xlli_ray.store.records.manifest import ModelRecord
from xlli_ray.store.tables.results import Result
from xlli_ray.store.tables.study_tables import write_tables

SEEDS = (0, 1, 2)


def network(name: str, **tags: Any) -> ModelRecord:
    return ModelRecord(name, "0" * 64, "", "", "toy", 1, 4, 3, (0.0, 1.0), "image", {}, tags)


def forty() -> list[ModelRecord]:
    return [network(f"n{count}-{seed}", count=count, seed=seed) for count in (8, 64) for seed in range(20)]


def test_forty_networks_are_two_groups_and_one_comparison() -> None:
    groups, left = groups_of([*forty(), network("bicubic")], Grouped(by=["count"], replicate="seed"))
    assert [group.name for group in groups] == ["count=8", "count=64"]
    assert [len(group.members) for group in groups] == [20, 20]
    assert left == ["bicubic"]
    assert len(compared_groups(groups)) == 1


def test_networks_of_one_seed_are_one_training() -> None:
    models = [network(f"{wide}{seed}", wide=wide, seed=seed, residual=True) for wide in (True, False) for seed in SEEDS]
    (group,), _ = groups_of(models, Grouped(by=["residual"], replicate="seed"))
    assert group.name == "residual=true"
    found = group_mean(group, {model.id: model.tags["seed"] + (10.0 if model.tags["wide"] else 0.0) for model in models})
    assert (found.mean, found.trainings) == (6.0, 3)
    alone = group_mean(groups_of(models, Grouped(by=["residual"]))[0][0], {model.id: 1.0 for model in models})
    assert alone.trainings == 6


def test_fewer_than_three_trainings_have_a_mean_and_a_reason() -> None:
    group = Group("g", (("a", 0), ("b", 1)))
    found = group_mean(group, {"a": 1.0, "b": 3.0})
    assert found.mean == 2.0
    assert np.isnan(found.low)
    assert found.reason == "2 trainings: an interval takes 3"
    assert group_mean(group, {}).reason == "no network of the group has a value"
    other = group_difference(group, Group("h", (("c", 2),)), {"a": 1.0, "b": 3.0, "c": 0.0})
    assert (other.mean, other.reason) == (2.0, "1 training: an interval takes 3")


def test_partners_are_compared_with_each_other() -> None:
    """What the seed draws moves both alike: their difference is known far better than either mean."""
    one, other = (Group(name, tuple((f"{name}{seed}", seed) for seed in SEEDS)) for name in "ab")
    values = {f"a{seed}": 10.0 * seed + 1 + 0.01 * seed for seed in SEEDS} | {f"b{seed}": 10.0 * seed for seed in SEEDS}
    found = group_difference(one, other, values)
    assert found.paired
    assert found.trainings == 3
    assert 0.9 < found.low < found.mean < found.high < 1.1
    apart = Group("c", tuple((f"b{seed}", seed + 100) for seed in SEEDS))
    welch = group_difference(one, apart, values)
    assert not welch.paired
    assert welch.low < 0 < welch.high


def test_a_network_is_averaged_over_the_photographs_that_all_have() -> None:
    values = np.array([[1.0, 2.0, np.nan], [3.0, 4.0, np.nan], [50.0, np.nan, np.nan], [7.0, 8.0, np.nan]])
    means, images = network_means(values, np.array([0, 0, 1, 2]), 3)
    assert means[:2].tolist() == [(2 + 7) / 2, (3 + 8) / 2]
    assert np.isnan(means[2])
    assert images == 2


@pytest.mark.parametrize("trainings", [3, 5, 10])
@pytest.mark.parametrize("case", ["mean", "partners", "Welch, unequal spread"])
def test_intervals_hold_the_truth_as_often_as_they_say(case: str, trainings: int) -> None:
    """2,000 experiments each: normal trainings, the seed moving both groups. Welch's t of three trainings a group is a careful one."""
    rng, held, studies = np.random.default_rng(trainings), 0, 2000
    one, other = (Group(name, tuple((f"{name}{i}", i if case == "partners" else f"{name}{i}") for i in range(trainings))) for name in "ab")
    for _ in range(studies):
        shared = rng.normal(0, 1, trainings) if case == "partners" else np.zeros(trainings)
        a, b = 30.0 + shared + rng.normal(0, 0.2, trainings), 29.0 + shared + rng.normal(0, 0.5, trainings)
        values = {f"a{i}": a[i] for i in range(trainings)} | {f"b{i}": b[i] for i in range(trainings)}
        found, truth = (group_mean(one, values), 30.0) if case == "mean" else (group_difference(one, other, values), 1.0)
        held += found.low <= truth <= found.high
    assert 0.937 <= held / studies <= (0.98 if case.startswith("Welch") else 0.963)


def test_images_instead_of_trainings_would_promise_far_too_much() -> None:
    """Why there is `replicate`: an interval over the images of one network says nothing of the next training."""
    from xlli_ray.stats.intervals import intervals

    rng, held = np.random.default_rng(0), 0
    for _ in range(400):
        training = rng.normal(0, 0.3)  # dB, of this network on every image
        (found,) = intervals((30.0 + training + rng.normal(0, 0.1, 50))[:, None])
        held += found.low <= 30.0 <= found.high
    assert held / 400 < 0.3


@pytest.mark.parametrize(
    ("fields", "message"),
    [({"replicate": "seed"}, "name the tags that form"), ({"by": ["seed"], "replicate": "seed"}, "each group would be one training")],
)
def test_fields_that_make_no_group_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        Grouped(**fields)


def test_without_groups_parameters_are_what_they_were() -> None:
    assert Grouped().model_dump() == {}
    assert Grouped(by=["count"]).model_dump() == {"by": ["count"], "replicate": None}


def study(folder: Path, recipe: Recipe, tags: Sequence[dict[str, Any]]) -> Any:
    objects = open_objects(str(folder / "study"))
    manifest = write_study(objects, recipe, folder / "pictures")
    models = tuple(replace(model, tags=tag) for model, tag in zip(manifest.models, tags, strict=True))
    save_manifest(objects, replace(manifest, models=models))
    write_tables(Archive(objects, replace(manifest, models=models)))
    return objects


def concluded(objects: Any, kind: str, **params: Any) -> Result:
    manifest = load_manifest(objects)
    asked = Asked(kind, kind, params)
    check_asked([asked], manifest)
    archive = Archive(objects, manifest)
    task = resolve(asked, archive)
    with View(archive, task.cells) as view:
        return task.cls.run(task.params, view, 0)


SIX = [{"count": count, "seed": seed} for count in (8, 64) for seed in SEEDS]


def test_restored_means_of_groups_are_over_trainings(tmp_path: Path) -> None:
    objects = study(tmp_path, Recipe([Stage("restore", value=scores)], models=6), SIX)
    result = concluded(objects, "group_means", by=["count"], replicate="seed", columns=["psnr_y"])
    clean = {row["group"]: row for row in result.tables["group_means"] if row["label"] == "clean"}  # networks are 0.1 dB apart
    assert clean["count=64"]["mean"] - clean["count=8"]["mean"] == pytest.approx(0.3)
    assert {row["trainings"] for row in clean.values()} == {3}
    assert {row["images"] for row in clean.values()} == {3}
    pair = next(row for row in result.tables["group_differences"] if row["label"] == "clean")
    assert (pair["paired"], pair["difference"]) == (True, pytest.approx(-0.3))
    with pytest.raises(PlanError, match=r"stage group_means\.by: no network has the tag 'cuont'; did you mean 'count'\?"):
        concluded(objects, "group_means", by=["cuont"])
    with pytest.raises(PlanError, match=r"no number 'psnr'; did you mean 'psnr_y'\?"):
        concluded(objects, "group_means", by=["count"], columns=["psnr"])


def test_di_of_groups_takes_the_place_of_pairs_of_networks(tmp_path: Path) -> None:
    objects = study(tmp_path, lam_recipe(Lam(controls=None), models=6, pictures=3), SIX)
    result = concluded(objects, "lam_summary", by=["count"], replicate="seed", resamples=200)
    assert result.tables["lam_pairs"] == []
    assert len(result.tables["lam_summary"]) == 6
    (pair,) = result.tables["lam_group_pairs"]
    assert pair["difference"] == pytest.approx(-3.0)  # networks are one apart
    assert [row["trainings"] for row in result.tables["lam_groups"]] == [3, 3]
