"""κ and the complexity of sets: its sign where it is known, subsets as trainings take them, and what it refuses."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from complexity_studies import PICTURES, complexity_recipe
from PIL import Image
from test_contract import made_in, ran

import xlli_ray
from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.complexity_summary import learning
from xlli_ray.analyses.complexity_summary.measures import Measured, measured
from xlli_ray.analyses.complexity_summary.pairs import kappa_of, verdict
from xlli_ray.corpus.degradations import parse
from xlli_ray.errors import AnalysisError, PlanError
from xlli_ray.probes.complexity import cut, grid_places
from xlli_ray.stats import prequential
from xlli_ray.stats.image_complexity import entropy
from xlli_ray.stats.patch_cloud import centred, told
from xlli_ray.training.corpus import TrainCorpus
from xlli_ray.training.images import scan_here, training_samples

Rows = list[dict[str, Any]]


def summarised(tmp_path: Path, params: dict[str, Any] | None = None, **changes: Any) -> Result:
    return ran(made_in(tmp_path, complexity_recipe(**changes)), "complexity_summary", params or {})[1]


def by(rows: Any, *keys: str) -> dict[Any, dict[str, Any]]:
    return {tuple(row[key] for key in keys): row for row in rows}


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Result:
    """Residuals of 3 and of 40 directions on images of 12, all twelve photographs and subsets of 4 and 8."""
    return summarised(tmp_path_factory.mktemp("complexity"), {"counts": [4, 8], "features": "features.head"})


def test_a_residual_of_fewer_directions_fits_and_one_of_more_is_left_to_the_image(found: Result) -> None:
    rows = by(found.tables["complexity_kappa"], "degradation", "set", "measure")
    for measure in ("eff_rank", "k95", "id_twonn", "id_mle", "eff_rank_normalised", "k95_normalised", "id_twonn_normalised"):
        simple, rich = rows["noise10", "all", measure], rows["noise20", "all", measure]
        assert (simple["verdict"], rich["verdict"]) == ("fits the degradation", "learns the image"), measure
        assert simple["kappa_low"] < simple["kappa"] < simple["kappa_high"] < 0 < rich["kappa_low"] < rich["kappa"] < rich["kappa_high"]
    assert math.exp(rows["noise10", "all", "eff_rank"]["kappa"]) == pytest.approx(3 / 12, rel=0.1)


def test_both_sides_have_equally_many_patches_and_kappa_is_the_log_of_their_ratio(found: Result) -> None:
    sets = by(found.tables["complexity_sets"], "degradation", "set", "measure", "side")
    for row in found.tables["complexity_kappa"]:
        image, residual = (sets[row["degradation"], row["set"], row["measure"], side] for side in ("image", "degradation"))
        assert image["points"] == residual["points"]
        assert row["kappa"] == pytest.approx(math.log(residual["value"] / image["value"]))
        assert row["n"] == residual["images"] == (row["count"] or PICTURES)
    assert sets["noise10", "all", "eff_rank", "image"]["half"] == pytest.approx(12, rel=0.1)
    assert sets["noise10", "all", "set_bpp", "image"]["low"] is None


def test_fewer_photographs_have_wider_intervals(found: Result) -> None:
    rows = by(found.tables["complexity_kappa"], "degradation", "count", "measure")
    few, all_ = rows["noise10", 4, "eff_rank"], rows["noise10", None, "eff_rank"]
    assert few["kappa_high"] - few["kappa_low"] > all_["kappa_high"] - all_["kappa_low"]
    assert any("4 photographs" in flag for flag in found.flags)


def test_clean_samples_have_no_residual_and_no_kappa_and_it_says_so(found: Result) -> None:
    assert {row["degradation"] for row in found.tables["complexity_kappa"]} == {"noise10", "noise20"}
    assert any("no κ: clean" in note for note in found.notes)
    assert {row["side"] for row in found.tables["complexity_sets"] if row["degradation"] == "clean"} == {"image"}


def test_features_of_noise_have_as_many_dimensions_as_channels(found: Result) -> None:
    rows = by(found.tables["complexity_features"], "degradation", "measure")
    assert rows["clean", "eff_rank"]["value"] == pytest.approx(6, rel=0.02)
    assert rows["noise20", "id_mle"]["value"] == pytest.approx(6, rel=0.15)
    assert rows["clean", "eff_rank"]["layer"] == "head"


def test_a_photograph_without_residuals_moves_the_other_side_only() -> None:
    nan = math.nan
    residual, image = Measured(2.0, np.array([0.1, -0.1, nan]), nan), Measured(4.0, np.array([0.1, -0.1, 0.0]), nan)
    kappa, low, high, n = kappa_of(residual, image, level=0.95)
    assert (kappa, n) == (pytest.approx(math.log(0.5)), 3)
    assert low == high == pytest.approx(kappa), "what both share is no uncertainty of their ratio"


def test_an_interval_that_holds_0_or_is_missing_is_undecided() -> None:
    assert [verdict(*ends) for ends in ((-2, -1), (1, 2), (-1, 1), (math.nan, math.nan))] == [
        "fits the degradation", "learns the image", "undecided", "undecided",
    ]  # fmt: skip


def test_leaving_out_a_photograph_is_what_measuring_the_others_gives() -> None:
    rng = np.random.default_rng(0)
    points, group = rng.standard_normal((240, 6)) * [9, 5, 3, 2, 1, 1], np.arange(240) % 4
    whole, rest = measured(points, group, 4, rng), measured(points[group != 2], group[group != 2], 4, rng)
    for name in ("eff_rank", "k95"):
        assert whole[name].value * math.exp(whole[name].shift[2]) == pytest.approx(rest[name].value, rel=1e-9)
        assert math.isnan(rest[name].shift[2])


def test_too_few_points_have_a_rank_and_no_dimension() -> None:
    found = measured(np.random.default_rng(0).standard_normal((30, 5)), np.arange(30) % 3, 3, np.random.default_rng(1))
    assert found["eff_rank"].value > 1
    assert math.isnan(found["id_mle"].value)


def test_rain_of_a_wider_range_has_more_directions_though_its_images_have_less_entropy() -> None:
    """The ordering that was measured for these ranges: 5.4 < 8.9 < 17.1 and 8 < 14 < 35 on 32 layers of 128 × 128."""
    rank, components, rates = [], [], []
    for size in ("small", "medium", "large"):
        rain = parse({"rain": {"preset": f"neurips23-{size}"}})
        layers = [rain.apply(np.zeros((128, 128, 3), np.uint8), "input", key=f"{size}{i}").image[..., 0] for i in range(12)]
        points = np.concatenate([cut(layer, grid_places(128, 128, 64, np.random.default_rng(i))) for i, layer in enumerate(layers)])
        found = measured(centred(points[told(points)]), np.zeros(int(told(points).sum()), int), 1, np.random.default_rng(0))
        rank.append(found["eff_rank"].value)
        components.append(found["k95"].value)
        rates.append(np.mean([entropy(layer) for layer in layers]))
    assert rank[0] < 0.8 * rank[1] < 0.8 * 0.8 * rank[2]
    assert components[0] < 0.8 * components[1] < 0.8 * 0.8 * components[2]
    assert rates[2] < min(rates[:2])


# -- subsets, corpora, bad input --------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    (tmp_path / "photos").mkdir()
    for i in range(6):
        coarse = np.random.default_rng(i).integers(0, 255, (8, 8, 3), np.uint8)
        Image.fromarray(coarse.repeat(6, 0).repeat(6, 1)).save(tmp_path / "photos" / f"{i}.png")
    return tmp_path


def run(folder: Path, corpus: str, stages: str) -> xlli_ray.Study:
    (folder / "recipe.yaml").write_text(f"name: c\ncorpus: {corpus}\nstages: {stages}\n")
    return xlli_ray.run(str(folder / "recipe.yaml"), str(folder / "study"))


@pytest.fixture
def small_learner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learning curves of a smaller network: its size is not what is tested here."""
    monkeypatch.setattr(prequential, "WIDTH", 4)
    monkeypatch.setattr(prequential, "BATCH", 2)
    monkeypatch.setattr(learning, "TEXTURES", 4)


@pytest.mark.usefixtures("small_learner")
def test_a_subset_holds_the_images_that_a_training_with_this_count_and_seed_takes(photos: Path) -> None:
    corpus = f'{{images: ["{photos}/photos/*.png"], scale: 1, degradations: [{{noise: 30}}]}}'
    summary = "{complexity_summary: {counts: [3], seeds: [7], prequential: {steps: 20}}}"
    study = run(photos, corpus, f"[{{complexity: {{patches: 36, crop: 32}}}}, {summary}]")
    rows = by(study.result("complexity_summary").tables["complexity_kappa"].to_pylist(), "set", "measure")
    assert rows["N3-seed7", "k95"]["n"] == 3
    assert rows["N3-seed7", "preq"]["n"] == 3, "of trainings"
    training = TrainCorpus(images=[f"{photos}/photos/*.png"], scale=1, count=3)
    taken = {sample.source_sha for sample in training_samples(training, scan_here(training.scanned()), 7)}
    (photos / "three").mkdir()
    for path in (photos / "photos").glob("*.png"):
        if hashlib.sha256(path.read_bytes()).hexdigest() in taken:
            (photos / "three" / path.name).write_bytes(path.read_bytes())
    there = by(study.result("complexity_summary").tables["complexity_sets"].to_pylist(), "set", "measure", "side")
    (photos / "study").rename(photos / "whole")
    alone = run(photos, corpus.replace("/photos/*", "/three/*"), "[{complexity: {patches: 36}}, {complexity_summary: {}}]")
    same = by(alone.result("complexity_summary").tables["complexity_sets"].to_pylist(), "set", "measure", "side")
    for side in ("image", "degradation"):
        assert there["N3-seed7", "eff_rank", side]["value"] == pytest.approx(same["all", "eff_rank", side]["value"], rel=1e-9)


def test_pairs_of_a_light_and_a_heavy_rain_on_the_same_backgrounds_are_compared_with_those(photos: Path) -> None:
    (photos / "rainy").mkdir()
    for path in (photos / "photos").glob("*.png"):
        pixels = np.asarray(Image.open(path)).astype(int)
        streaks = np.zeros(pixels.shape[:2], int)
        streaks[:, :: 3 + int(path.stem)] = 60
        Image.fromarray(np.minimum(pixels + streaks[..., None], 255).astype(np.uint8)).save(photos / "rainy" / path.name)
    corpus = f'{{pairs: {{input: "{photos}/rainy/*.png", target: "{photos}/photos/*.png"}}}}'
    result = run(photos, corpus, "[{complexity: {}}, {complexity_summary: {}}]").result("complexity_summary")
    rows = by(result.tables["complexity_kappa"].to_pylist(), "degradation", "measure")
    assert rows["given", "k95_normalised"]["kappa"] < 0, "upright streaks of one width"


def test_inputs_without_targets_are_measured_and_have_no_kappa(photos: Path) -> None:
    study = run(photos, f'{{inputs: "{photos}/photos/*.png"}}', "[{complexity: {}}, {complexity_summary: {}}]")
    result = study.result("complexity_summary")
    assert result.tables["complexity_kappa"].num_rows == 0
    assert {row["side"] for row in result.tables["complexity_sets"].to_pylist()} == {"image"}


def test_flat_images_are_an_error_in_words(photos: Path) -> None:
    for path in (photos / "photos").glob("*.png"):
        Image.fromarray(np.full((40, 40, 3), 10 * int(path.stem), np.uint8)).save(path)
    corpus = f'{{images: ["{photos}/photos/*.png"], scale: 1}}'
    with pytest.raises(AnalysisError, match="the images are flat"):
        run(photos, corpus, "[{complexity: {}}, {complexity_summary: {}}]")


@pytest.mark.parametrize(
    ("params", "words"),
    [({"counts": [20]}, "20 images are asked for, and the corpus has at most 12"),
     ({"prequential": {}}, "add `crop: 64` to the complexity stage"),
     ({"features": "features.haed"}, r"did you mean features.head\?"),
     ({"of": "complexty"}, "did you mean 'complexity'")],
)  # fmt: skip
def test_what_cannot_work_is_refused_before_anything_is_computed(params: dict[str, Any], words: str, tmp_path: Path) -> None:
    from xlli_ray.analyses.complexity_summary.analysis import ComplexitySummary
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import load_manifest

    manifest = load_manifest(open_objects(str(made_in(tmp_path, complexity_recipe()))))
    assert manifest is not None
    assert manifest.samples is not None
    parsed = ComplexitySummary.Params(**params)

    def planned() -> None:
        wanted = ComplexitySummary.inputs(parsed, manifest.cells)
        ComplexitySummary.check(parsed, [cell for cell in manifest.cells if cell.id in wanted], manifest.samples)

    with pytest.raises(PlanError, match=words):
        planned()


def test_more_images_than_were_measured_are_an_error_in_words(tmp_path: Path) -> None:
    place = made_in(tmp_path, replace(complexity_recipe(), failed=(0, 12, 24)))
    with pytest.raises(AnalysisError, match="12 images are asked for, and 11 images were measured"):
        ran(place, "complexity_summary", {"counts": [12]})


@pytest.mark.parametrize("params", [{"features": "features"}, {"counts": [0]}, {"counts": [8, 8]}, {"seeds": []}])
def test_parameters_that_mean_nothing_are_refused(params: dict[str, Any]) -> None:
    from xlli_ray.analyses.complexity_summary.params import Params

    with pytest.raises(ValueError, match=r"STAGE\.LAYER|integers ≥ 1|each value once|at least 1"):
        Params(**params)
