"""SRGA of a real network on real photographs: scikit-learn and scipy beside it, and a recipe from pictures to the index."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from helpers import QUIET
from sklearn.decomposition import PCA

from xlli_ray.engine.run.driver import run_study
from xlli_ray.recipe import parse_recipe
from xlli_ray.stats.ggd import GRID, RATIOS
from xlli_ray.stats.gram import gram
from xlli_ray.stats.srga import fit_gram, scores_of, srga
from xlli_ray.study import Study, open_study

COMPONENTS = 12
LABELS = ("clean", "blur2", "noise20")


def recipe(**srga: object) -> dict[str, object]:
    return {
        "name": "photos",
        "corpus": {"images": ["skimage://*"], "scale": 4, "patches": {"size": 64, "per_image": 4},
                   "degradations": ["clean", {"blur": 2}, {"noise": 20}]},
        "models": [{"id": "net", "weights": "builtin:srresnet-nogr-clean"}],
        "stages": [{"srga": {"components": COMPONENTS, "resamples": 4, **srga}}],
    }  # fmt: skip


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two stages over the same photographs: one reads Gram matrices, one the features themselves."""
    place = tmp_path_factory.mktemp("photos") / "study"
    raw = recipe()
    raw["stages"] = [*raw["stages"], {"srga": {"id": "stored", "components": COMPONENTS, "resamples": 4, "store_features": True}}]  # type: ignore[misc]
    run_study(parse_recipe(raw, base=Path.cwd()), str(place), QUIET)
    return open_study(str(place))


@pytest.fixture(scope="module")
def features(study: Study) -> dict[str, np.ndarray]:
    """Label → float32 (N, D), as stored."""
    array = study.array("stored-features/net/last.in")
    rows = study.sql("select sample_id, label from samples order by row").to_pylist()
    return {label: array.rows([row["sample_id"] for row in rows if row["label"] == label]).reshape(-1, 32 * 64 * 64) for label in LABELS}


@pytest.mark.parametrize("label", LABELS)
def test_scores_and_fit_are_those_of_scikit_learns_full_pca_and_scipy(label: str, features: dict[str, np.ndarray]) -> None:
    """Their PCA of the features themselves, in float64, and the fit as the authors' program has it, mean and all."""
    theirs = PCA(COMPONENTS, svd_solver="full").fit_transform(features[label].astype(np.float64))
    ours, _ = scores_of(gram(features[label]), COMPONENTS)
    signs = np.sign((ours * theirs).sum(axis=0))
    assert np.abs(ours * signs - theirs).max() < 2e-4 * np.abs(theirs).max()
    v = theirs.reshape(-1)
    v = v[np.abs(v - v.mean()) < 5 * v.std()]
    sigma, ratio = np.sqrt(np.mean(v**2)), np.mean(v**2) / np.mean(np.abs(v - v.mean())) ** 2
    found = fit_gram(gram(features[label]), COMPONENTS)
    assert found.sigma == pytest.approx(sigma, rel=1e-5)
    assert found.dropped == theirs.size - v.size
    assert found.alpha == pytest.approx(float(GRID[np.abs(RATIOS - ratio).argmin()]), abs=0.00101)


def test_a_line_of_a_recipe_goes_from_pictures_to_the_index(study: Study, features: dict[str, np.ndarray]) -> None:
    rows = {(row["stage"], row["label"]): row for row in study.sql("select * from srga").to_pylist()}
    for stage in ("srga", "stored"):
        for label in LABELS[1:]:
            alone = srga(features["clean"], features[label], components=COMPONENTS, resamples=0)
            found = rows[stage, label]
            assert found["srga"] == pytest.approx(alone.srga, abs=1e-6)
            assert found["sigma"] == pytest.approx(alone.test.sigma, rel=1e-7)
            assert found["psnr_y"] > 15
            assert found["low"] < found["srga"] < found["high"]
    assert set(study.result("srga").figures) == {"srga", "fits", "spectra"}


def test_gram_matrices_of_both_ways_agree(study: Study, features: dict[str, np.ndarray]) -> None:
    stored = study.array("srga-gram/net/last.in")
    ids = study.sql("select sample_id from samples where label = 'blur2' order by row")["sample_id"].to_pylist()
    matrix, other = stored.rows(ids), gram(features["blur2"])
    assert np.abs(matrix - other).max() <= 1e-6 * np.abs(other).max()


def test_the_same_line_again_computes_nothing(study: Study, tmp_path: Path) -> None:
    raw = recipe(components=10)
    raw["stages"] = [*raw["stages"], {"srga": {"id": "stored", "components": COMPONENTS, "resamples": 4, "store_features": True}}]  # type: ignore[misc]
    summary = run_study(parse_recipe(raw, base=Path.cwd()), study.objects.url, QUIET)
    assert summary.units_run == 0
    assert {row["k"] for row in open_study(study.objects.url).sql("select k from srga where stage = 'srga'").to_pylist()} == {10}
