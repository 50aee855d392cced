"""The stage `gram` from recipe to store: a set is a unit, the matrix is that of the stored features, failures leave the others alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import digest

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, run_study
from xlli_ray.errors import PlanError
from xlli_ray.recipe import Recipe
from xlli_ray.stats.gram import gram
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import Study, open_study

Make, Run = Callable[..., Recipe], Callable[..., Summary]
LABELS = ["clean", {"noise": 20}, {"blur": 2}]


def patches(recipe: Make, network: str = "toy:small", **sections: Any) -> Recipe:
    """Patches of one size, three sets of the same contents."""
    base = recipe().dump()["corpus"]
    corpus = {"images": base["images"], "scale": 2, "patches": {"size": 32, "min_std": 0}, "degradations": LABELS}
    layer = "head" if network == "toy:small" else "net.head"
    stages = [{"gram": {"layers": [layer]}}, {"features": {"layers": [layer], "dtype": "float32"}}]
    return recipe(network, **{"corpus": corpus, "stages": stages, "batch": {"gram": 2, "features": 2}, **sections})


def pair(study: Study, layer: str = "head.out") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Gram rows, features and set of each row, in the order of the table."""
    rows = study.sql("select label from samples order by row")["label"].to_pylist()
    return (*(study.array(f"{stage}/small/{layer}").reader().rows(range(len(rows))) for stage in ("gram", "features")), np.array(rows))


def test_each_set_is_a_unit_and_its_matrix_is_that_of_the_stored_features(recipe: Make, run: Run, tmp_path: Path) -> None:
    made = patches(recipe)
    assert run(made).failed == 0
    study = open_study(tmp_path / "study")
    assert study.manifest.cell("gram/small/head.out").units == len(LABELS)
    matrix, features, label = pair(study)
    for one in ("clean", "noise20", "blur2"):
        assert (matrix[label == one] == gram(features[label == one])).all()
    assert list(verify(study.archive)) == []
    assert run(made).complete


@pytest.mark.usefixtures("ray_session")
def test_two_ray_workers_give_the_same_bytes(recipe: Make, run: Run, tmp_path: Path) -> None:
    made = patches(recipe)
    run(made, "alone")
    run_study(made, str(tmp_path / "two"), Options(workers=2, quiet=True))
    assert digest(tmp_path / "alone") == digest(tmp_path / "two")


def test_a_sample_that_fails_is_a_failed_row_and_a_column_of_nan(recipe: Make, run: Run, tmp_path: Path) -> None:
    assert run(patches(recipe, "toy:nan_on_bright")).failed > 0
    study = open_study(tmp_path / "study")
    matrix, features, label = pair(study, "net.head.out")
    bad = np.isnan(features).all(axis=(1, 2, 3))
    assert bad.any()
    assert np.isnan(matrix[bad]).all()
    for one in ("clean", "noise20", "blur2"):
        here, good = label == one, ~bad[label == one]
        assert (matrix[here][np.ix_(good, good)] == gram(features[here][good])).all()
        assert np.isnan(matrix[here][:, ~good]).all()
    assert list(verify(study.archive)) == []
    reasons = set(study.failures["reason"].to_pylist())
    assert any("not finite" in reason for reason in reasons)


def test_stages_that_can_share_the_units_of_sets_and_so_their_forward_pass(recipe: Make, run: Run, tmp_path: Path) -> None:
    made = patches(recipe, stages=[{"gram": {"layers": ["head"]}}, {"restore": {}}], batch={"gram": 2, "restore": 2})
    summary = run(made)
    manifest = open_study(tmp_path / "study").manifest
    assert manifest.cell("gram/small/head.out").group == manifest.cell("restore/small/restore").group
    assert summary.units == len(LABELS)
    without = patches(recipe, stages=[{"restore": {}}], batch={"restore": 2})
    assert run(without, "without").units > len(LABELS)
    scores = "select sample_id, psnr_y from restore order by row"
    assert open_study(tmp_path / "study").sql(scores).equals(open_study(tmp_path / "without").sql(scores))


@pytest.mark.slow  # some 25 s of workers that start
def test_a_sample_that_kills_its_worker_is_marked_and_the_set_is_finished(
    recipe: Make, ray_session: None, corpus: Path, tmp_path: Path
) -> None:
    """One bright image of five: each crash costs a worker's start."""
    images = {"images": [str(corpus / f"{i:02d}.png") for i in range(1, 6)], "scale": 2, "patches": {"size": 32, "min_std": 0}}
    made = patches(recipe, "toy:kill_on_bright", corpus=images, stages=[{"gram": {"layers": ["net.head"]}}], batch={"gram": 2})
    study_folder = tmp_path / "study"
    run_study(made, str(study_folder), Options(workers=1, quiet=True))
    study = open_study(study_folder)
    crashed = study.sql("select distinct row from failures where stage = 'gram' and kind = 'crash'").to_pylist()
    matrix = study.array("gram/small/net.head.out").reader().rows(range(5))
    assert [{"row": row} for row in np.flatnonzero(np.isnan(matrix).all(axis=1)).tolist()] == crashed
    assert len(crashed) == 1


def test_sets_of_different_size_are_refused_by_name(recipe: Make, run: Run) -> None:
    from xlli_ray.engine.run.ranges import set_rows
    from xlli_ray.store.records.manifest import Bucket

    bucket = Bucket("h0032w0032", 32, 32, 0, 17, (("clean", 0, 10), ("web", 10, 7)))
    with pytest.raises(PlanError, match=r"same number of samples.*web 7, clean 10"):
        set_rows(bucket, ((0, 17),), "gram")
    assert set_rows(bucket, ((0, 7), (10, 7)), "gram") == 7
