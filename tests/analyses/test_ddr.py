"""`ddr` on studies of which everything is known: CHI against scikit-learn, effects that grow, ratios, pictures, both routes, bad input."""

from __future__ import annotations

import errno
import io
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from ddr_studies import LAYERS, PICTURES, SHAPE, content_of, ddr_recipe, features
from PIL import Image
from sklearn.decomposition import PCA
from sklearn.metrics import calinski_harabasz_score
from toy_studies import Recipe, write_study

from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.ddr import figures as ddr_figures
from xlli_ray.analyses.ddr import layers as ddr_layers
from xlli_ray.analyses.ddr.params import Params
from xlli_ray.analyses.ddr.samples import Samples, own_contents
from xlli_ray.analyses.shared import feature_gram, thumbnails
from xlli_ray.analyses.shared.freshness import Asked, check_asked, resolve
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.corpus.degradations import get
from xlli_ray.errors import AnalysisError, EnvironmentFailure, PlanError, RecipeError
from xlli_ray.recipe import parse_recipe
from xlli_ray.stats.gram import gram
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.documents import load_manifest
from xlli_ray.store.records.manifest import Bucket, SampleTable
from xlli_ray.store.tables.results import read_file, write_result

LABELS = ("clean", "blur1", "blur2", "noise20")
Ddr = Callable[..., Result]
QUICK: dict[str, Any] = {"embed": [], "permutations": 99, "thumbnails": False}


@pytest.fixture
def ddr(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Ddr:
    """Writes a study and runs `ddr` over it, without figures of numbers; `.task` and `.objects` are those of the last run."""
    drawn = {name: getattr(ddr_figures, name) for name in ("depth_curves", "contrasts", "pairs")}

    def go(recipe: Recipe, *, figures: bool = False, **params: Any) -> Result:
        for name, draw in drawn.items():
            monkeypatch.setattr(ddr_figures, name, draw if figures else lambda *_: [])
        place = tmp_path / recipe.name
        objects = open_objects(str(place))
        manifest = write_study(objects, recipe, tmp_path / f"{recipe.name}-pictures") if not place.exists() else None
        manifest = manifest or load_manifest(objects)
        assert manifest is not None
        go.objects, go.task = objects, resolve(Asked("ddr", "ddr", {**QUICK, **params}), Archive(objects, manifest))  # type: ignore[attr-defined]
        with View(Archive(objects, manifest), go.task.cells) as view:  # type: ignore[attr-defined]
            return go.task.cls.run(go.task.params, view, 5)  # type: ignore[attr-defined]

    return go


def rows(result: Result, table: str, **where: Any) -> list[dict[str, Any]]:
    return [row for row in result.tables[table] if all(row[key] == value for key, value in where.items())]  # type: ignore[union-attr]


def row(result: Result, table: str, **where: Any) -> dict[str, Any]:
    (found,) = rows(result, table, **where)
    return found


def stored(model: int, layer: int, labels: int = 4) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(features, degradation, content) as the study holds them."""
    make = features(layer)
    x = np.array([make(model, i, SHAPE).astype(np.float32).ravel() for i in range(labels * PICTURES)])
    label, content = np.divmod(np.arange(len(x)), PICTURES)
    return x, label, content


def parts(found: dict[str, Any]) -> float:
    """How exact CHI is when BD and WD are exact to a millionth of the scatter, as float32 products make them: relative."""
    return 1e-6 / found["share"] + 1e-6 / (1 - found["share"])


def test_every_chi_is_scikit_learns_of_the_stored_features(ddr: Ddr) -> None:
    result = ddr(ddr_recipe(), components=20)
    kind = np.array([0, 1, 1, 2])
    for model in range(2):
        for layer, what in enumerate(LAYERS):
            x, label, content = stored(model, layer)
            scores = PCA(20, svd_solver="full").fit_transform(x.astype(np.float64))
            for space, points in (("full", x.astype(np.float64)), ("pca20", scores)):
                here = {"model": f"net{model}", "layer": what.removesuffix(".out"), "space": space}
                blurred = slice(PICTURES, 3 * PICTURES)
                wanted = {"type": (points, kind[label]), "content": (points, content), "level blur": (points[blurred], label[blurred])}
                for labels, (some, names) in wanted.items():
                    found = row(result, "ddr", **here, labels=labels)
                    assert found["chi"] == pytest.approx(calinski_harabasz_score(some, names), rel=parts(found)), (here, labels)
                    assert (found["samples"], found["classes"], found["depth"]) == (len(some), len(set(names)), layer)
                    assert found["images"] == PICTURES
                for i, one in enumerate(LABELS):
                    for k in range(i + 1, 4):
                        both = (label == i) | (label == k)
                        found = row(result, "ddr_pairs", **here, label=one, other=LABELS[k])
                        assert found["chi"] == pytest.approx(calinski_harabasz_score(points[both], label[both]), rel=parts(found))
    assert not result.flags


def test_effects_are_found_where_they_are_and_nowhere_else(ddr: Ddr) -> None:
    result = ddr(ddr_recipe())
    for layer in ("head", "trunk.0", "trunk.1", "trunk.2"):
        nothing = row(result, "ddr", model="net0", layer=layer, labels="type", space="full")
        assert nothing["p"] > 0.02
        assert nothing["null_chi"] == pytest.approx(nothing["chi"], rel=0.5)
        content = row(result, "ddr", model="net0", layer=layer, labels="content", space="full")
        assert (content["p"], content["chi"] > 50) == (0.01, True)
    deep = row(result, "ddr", model="net1", layer="trunk.2", labels="type", space="full")
    assert (deep["p"], deep["chi"] > 5 * deep["null_high"]) == (0.01, True)
    assert 0 < deep["low"] < deep["chi"] < deep["high"]
    curve = [found["chi"] for found in rows(result, "ddr", model="net1", labels="type", space="full")]
    assert len(curve) == 4
    assert curve == sorted(curve)


def test_ratios_are_ratios_with_the_sign_that_was_put_in(ddr: Ddr) -> None:
    result = ddr(ddr_recipe(models=3))
    for space in ("full", "pca47"):
        chi = {(r["model"], r["layer"], r["labels"]): r["chi"] for r in rows(result, "ddr", space=space)}
        found = row(result, "ddr_contrasts", kind="models", model="net1", other="net2", layer="trunk.2", space=space)
        assert found["ratio"] == pytest.approx(chi["net1", "trunk.2", "type"] / chi["net2", "trunk.2", "type"])
        assert (found["subject"], found["against"], found["above"]) == ("net1", "net2", pytest.approx(0.0, abs=1e-6))
        assert found["low"] < found["ratio"] < found["high"] < 1
        depth = row(result, "ddr_contrasts", kind="depth", model="net2", labels="type", space=space)
        assert depth["chi"] == pytest.approx(math.sqrt(chi["net2", "trunk.1", "type"] * chi["net2", "trunk.2", "type"]))
        assert (depth["subject"], depth["against"]) == ("trunk.1 … trunk.2", "head … trunk.0")
        assert depth["low"] > 1
        labels = row(result, "ddr_contrasts", kind="labels", model="net0", layer="trunk.2", space=space)
        assert labels["ratio"] == pytest.approx(chi["net0", "trunk.2", "type"] / chi["net0", "trunk.2", "content"])
        assert labels["high"] < 1
        levels = row(result, "ddr_contrasts", kind="levels", model="net2", layer="trunk.2", space=space)
        assert (levels["subject"], levels["against"]) == ("clean – blur2", "clean – blur1")
        assert (levels["above"], levels["low"] > 1) == (pytest.approx(1.0, abs=1e-6), True)
    trunk = ddr(ddr_recipe(models=3), depth=["trunk.*"])
    assert row(trunk, "ddr_contrasts", kind="depth", model="net2", labels="type", space="full")["against"] == "trunk.0 … trunk.0"


def test_equal_networks_have_a_ratio_of_one_without_any_width(ddr: Ddr) -> None:
    same = features(3)
    result = ddr(ddr_recipe(make=lambda layer: lambda model, i, shape: same(1, i, shape) * (1 + model)))
    found = row(result, "ddr_contrasts", kind="models", layer="trunk.2", space="full")
    assert (found["ratio"], found["low"], found["high"]) == pytest.approx((1, 1, 1), rel=1e-6)


def test_a_stream_says_what_the_gram_matrix_says(ddr: Ddr, monkeypatch: pytest.MonkeyPatch) -> None:
    by_gram = ddr(ddr_recipe(), components=6)
    monkeypatch.setattr(ddr_layers, "MOST", 10)
    streamed = ddr(ddr_recipe(), components=6)
    assert "range finder" in " ".join(streamed.notes)
    for table in ("ddr", "ddr_pairs", "ddr_contrasts"):
        assert len(rows(streamed, table)) == len(rows(by_gram, table))
        for one, other in zip(rows(by_gram, table), rows(streamed, table)):
            assert {key: one[key] for key in ("model", "layer", "space")} == {key: other[key] for key in ("model", "layer", "space")}
            if table == "ddr_contrasts":
                continue
            # float32 products are exact to a millionth of the scatter; a range finder's directions are not quite the best ones
            tolerance = parts(one) if one["space"] == "full" else 0.05
            assert other["chi"] == pytest.approx(one["chi"], rel=tolerance)
            assert other["low"] == pytest.approx(one["low"], rel=max(1e-3, 2 * tolerance))
    assert row(streamed, "ddr", model="net1", layer="head", labels="content", space="full")["p"] is None
    assert row(streamed, "ddr", model="net1", layer="head", labels="type", space="full")["p"] is not None
    monkeypatch.setattr(ddr_layers, "MEMORY", 0)
    tight = ddr(ddr_recipe(), components=6)
    assert {r["space"] for r in rows(tight, "ddr")} == {"pca6"}
    assert "left out" in " ".join(tight.notes)


def test_where_features_wait_changes_no_bit_and_nothing_stays_behind(ddr: Ddr, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ddr(ddr_recipe())
    task, objects = ddr.task, ddr.objects  # type: ignore[attr-defined]
    from xlli_ray.store.records.documents import load_manifest

    manifest = load_manifest(objects)
    assert manifest is not None
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with View(Archive(objects, manifest), task.cells) as view:
        array = view.array("features/net1/trunk.2.out")
        held, on_disk = (feature_gram.feature_gram(array, memory=size, scratch=str(scratch)) for size in (1 << 30, 0))
        assert (held[0] == np.arange(4 * PICTURES)).all()
        assert (held[0] == on_disk[0]).all()
        assert (held[1] == on_disk[1]).all()
        assert (held[1] == gram(stored(1, 3)[0])).all()
        assert list(scratch.iterdir()) == []
        some, part = feature_gram.feature_gram(array, rows=np.array([40, 3, 7]))
        assert some.tolist() == [3, 7, 40]
        assert part.shape == (3, 3)
        with pytest.raises(AnalysisError, match="no input size h9"):
            feature_gram.feature_gram(array, "h9")

        def full(*_: Any) -> None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

        monkeypatch.setattr(os, "posix_fallocate", full)
        with pytest.raises(EnvironmentFailure, match="no room"):
            feature_gram.feature_gram(array, memory=0, scratch=str(scratch))
    assert list(scratch.iterdir()) == []


# -- bad input ---------------------------------------------------------------------------------------------------


def test_one_class_is_nothing_to_separate(ddr: Ddr) -> None:
    with pytest.raises(AnalysisError, match=r"nothing to separate.*needs two classes"):
        ddr(ddr_recipe(("clean",)))
    levels = ddr(ddr_recipe(({"blur": 1}, {"blur": 2}), name="levels"))
    assert {r["labels"] for r in rows(levels, "ddr")} == {"level blur", "content"}
    assert "One type of degradation" in " ".join(levels.notes)


def test_a_label_that_no_sample_has_is_named(ddr: Ddr) -> None:
    with pytest.raises(AnalysisError, match=r"no sample has the label 'blur3'.*blur"):
        ddr(ddr_recipe(), degradations=["clean", "blur3"])
    failed = ddr(ddr_recipe(failed=range(PICTURES, 2 * PICTURES), name="failed"))
    assert failed.flags == ["no measured sample has the label: blur1"]
    assert row(failed, "ddr", model="net1", layer="head", labels="type", space="full")["samples"] == 3 * PICTURES
    assert not rows(failed, "ddr_pairs", label="clean", other="blur1")


def test_a_class_of_one_is_flagged(ddr: Ddr) -> None:
    result = ddr(ddr_recipe(("clean", {"blur": 1}), failed=range(PICTURES + 1, 2 * PICTURES)))
    assert any("a class of one sample" in flag and "type" in flag for flag in result.flags)
    assert row(result, "ddr", model="net1", layer="head", labels="type", space="full")["smallest"] == 1


def test_identical_points_are_flagged_and_have_no_chi(ddr: Ddr) -> None:
    result = ddr(ddr_recipe(make=lambda layer: lambda model, i, shape: np.full(shape, 2.5)), embed=["pca", "tsne"], seeds=1)
    assert any("identical points" in flag for flag in result.flags)
    found = row(result, "ddr", model="net0", layer="head", labels="type", space="full")
    assert (found["chi"], found["low"], found["p"], found["bd"], found["wd"]) == (None, None, None, 0, 0)


def test_samples_with_nan_are_left_out_and_counted(ddr: Ddr) -> None:
    def broken(layer: int) -> Callable[..., np.ndarray]:
        make = features(layer)
        hole = np.where(np.arange(SHAPE[-1]) == 3, np.nan, 1.0)
        return lambda model, i, shape: make(model, i, shape) * (hole if i == 5 else 1)

    result = ddr(ddr_recipe(make=broken))
    assert "8 measured samples contain NaN or infinity" in " ".join(result.notes)
    x, label, _ = stored(1, 3)
    kept = np.arange(len(x)) != 5
    found = row(result, "ddr", model="net1", layer="trunk.2", labels="type", space="full")
    assert found["chi"] == pytest.approx(calinski_harabasz_score(x[kept], np.array([0, 1, 1, 2])[label[kept]]), rel=parts(found))
    def lost(layer: int) -> Callable[..., np.ndarray]:
        return features(layer) if layer != 1 else lambda model, i, shape: np.full(shape, np.nan)

    one = ddr(ddr_recipe(make=lost, name="one"))
    assert len(one.flags) == 2
    assert all("every sample contains NaN" in flag for flag in one.flags)
    assert {r["layer"] for r in rows(one, "ddr")} == {"head", "trunk.1", "trunk.2"}
    with pytest.raises(AnalysisError, match=r"no layer can be used.*every sample contains NaN"):
        ddr(ddr_recipe(make=lambda layer: lambda model, i, shape: np.full(shape, np.nan), name="all"))


def test_layers_that_do_not_exist_are_refused_with_the_nearest(ddr: Ddr) -> None:
    with pytest.raises(AnalysisError, match=r"'trunk.9' matches no stored layer.*trunk"):
        ddr(ddr_recipe(), layers=["head", "trunk.9"])
    only = ddr(ddr_recipe(name="some"), layers=["trunk.*"])
    assert {(r["layer"], r["depth"]) for r in rows(only, "ddr")} == {("trunk.0", 0), ("trunk.1", 1), ("trunk.2", 2)}
    with pytest.raises(PlanError, match=r"ddr\.from"):
        ddr(ddr_recipe(name="other"), **{"from": "feature"})


def test_the_word_from_survives_recipe_study_and_result() -> None:
    raw = {
        "name": "n", "corpus": {"images": ["*.png"], "scale": 4}, "models": [{"id": "a", "weights": "builtin:srresnet-gr-clean"}],
        "stages": [{"features": {"id": "deep", "layers": ["head"]}}, {"ddr": {"from": "deep", "layers": ["head"]}}],
    }  # fmt: skip
    recipe = parse_recipe(raw, base=Path.cwd())
    params = recipe.stages[1].parsed()
    assert isinstance(params, Params)
    assert params.source == "deep"
    again = parse_recipe(recipe.dump(), base=Path.cwd())
    assert again.stages[1].parsed() == params == Params(**params.model_dump())
    raw["stages"][1] = {"ddr": {"frm": "deep"}}  # type: ignore[index]
    with pytest.raises(RecipeError, match=r"did you mean 'from'.*Valid here: from, layers"):
        parse_recipe(raw, base=Path.cwd())


# -- pictures ----------------------------------------------------------------------------------------------------


def test_a_recipe_that_asks_for_resamples_still_runs_is_told_that_they_have_no_effect_and_means_the_same(ddr: Ddr) -> None:
    ddr(ddr_recipe())
    manifest = load_manifest(ddr.objects)  # type: ignore[attr-defined]
    assert manifest is not None
    without = ddr.task.made  # type: ignore[attr-defined]
    asked = Asked("ddr", "ddr", {**QUICK, "resamples": 300})
    made = resolve(asked, Archive(ddr.objects, manifest)).made  # type: ignore[attr-defined]
    assert made.fingerprint == without.fingerprint
    assert "resamples" not in made.params
    (note,) = check_asked([asked], manifest)
    assert note.startswith("stage ddr: `resamples` no longer has an effect")
    assert check_asked([Asked("ddr", "ddr", QUICK)], manifest) == []


def test_the_stronger_of_two_levels_is_the_lower_one_where_a_higher_level_is_less_of_a_degradation() -> None:
    """Ratios of levels took quality 90 for more jpeg than quality 10, and drew it in the stronger colour."""
    labels = ("clean", "jpeg10", "jpeg90", "blur4", "blur2", "blur2+noise10", "blur1+noise10")
    meaning = Labels.of(SampleTable("hash", "corpus", len(labels), 1, (Bucket("h0008w0008", 8, 8, 0, len(labels), tuple(
        (label, i, 1) for i, label in enumerate(labels))),), 1, 1))  # fmt: skip
    none = np.zeros(0, np.int64)
    samples = Samples(none, none, none, none, labels, (), (), (), meaning)
    assert [labels[code] for code in samples.levels("jpeg")] == ["jpeg90", "jpeg10"]
    assert [labels[code] for code in samples.levels("blur")] == ["blur2", "blur4"]
    assert [labels[code] for code in samples.levels("blur+noise")] == ["blur2+noise10", "blur1+noise10"]
    shades = meaning.shades(labels)
    assert shades["jpeg10"] == meaning.colour("jpeg10") == get("jpeg").COLOUR
    assert shades["jpeg90"] != meaning.colour("jpeg90") == get("jpeg").COLOUR


def test_own_contents_are_each_there_once_and_every_degradation_sees_every_image(ddr: Ddr) -> None:
    images, patches, labels = 10, 6, 3
    content = np.tile(np.repeat(np.arange(images), patches) * patches + np.tile(np.arange(patches), images), labels)
    many = images * patches
    samples = Samples(np.arange(labels * many), np.repeat(np.arange(labels), many), content, content // patches,
                      ("clean", "blur2", "noise20"), tuple("abcdefghij"), ("",) * labels * many, ("",) * many, Labels())  # fmt: skip
    chosen = own_contents(samples, np.arange(labels * many), np.random.default_rng(0))
    assert sorted(content[chosen]) == list(range(many))
    table = np.zeros((images, labels), int)
    np.add.at(table, (samples.image[chosen], samples.label[chosen]), 1)
    assert (table == patches // labels).all()
    some = np.arange(labels * many)[samples.label != 1]
    assert set(samples.label[own_contents(samples, some, np.random.default_rng(0))]) == {0, 2}


@pytest.mark.usefixtures("drawn")
def test_pictures_say_how_far_they_can_be_believed_and_their_points_can_be_read(ddr: Ddr) -> None:
    recipe = ddr_recipe(("clean", {"blur": 2}), pictures=24)
    result = ddr(recipe, embed=["pca", "tsne"], seeds=3, thumbnails=True)
    assert len(rows(result, "ddr_embeddings")) == 2 * 2 * 2
    for found in rows(result, "ddr_embeddings", model="net1", layer="trunk.2"):
        assert found["samples"] == {"own": 24, "same": 48}[found["contents"]]
        assert found["seeds"] == {"pca": 1, "tsne": 3}[found["method"]]
        assert 0.4 < found["trustworthiness"] <= 1
        assert (found["trustworthiness_sd"] is None) == (found["method"] == "pca")
        assert found["chance"] == pytest.approx(0.48, abs=0.02)
    objects, task = ddr.objects, ddr.task  # type: ignore[attr-defined]
    written = write_result(objects, task.made, task.cls.TABLES, result, {})
    file = next(table for table in written.tables if table.name == "ddr_points")
    points = pq.read_table(io.BytesIO(read_file(objects, "ddr", file)))
    assert points.num_rows == 2 * 2 * (24 + 48)
    query = duckdb.sql("from points where model = 'net1' and method = 'tsne' and contents = 'own' order by point")
    first = query.to_arrow_table().to_pylist()
    assert [item["point"] for item in first] == list(range(24))
    for item in first:
        pixels = np.asarray(Image.open(io.BytesIO(item["thumbnail"]["bytes"])))
        assert pixels.shape == (32, 32, 3)
        assert len(item["neighbours"]["ids"]) == len(item["neighbours"]["distances"]) == 15
        assert item["point"] not in item["neighbours"]["ids"]
        assert item["neighbours"]["distances"] == sorted(item["neighbours"]["distances"])
        assert item["image"].endswith(".png")
    (figure,) = [figure for figure in result.figures if figure.name == "embedding"]
    assert figure.svg.count("<image") == 2 * 2 * 2, "a thumbnail for each degradation in each picture of own contents"


def test_a_corpus_that_is_gone_costs_the_thumbnails_only(ddr: Ddr, tmp_path: Path) -> None:
    recipe = ddr_recipe(("clean", {"blur": 2}))
    ddr(recipe)
    for path in sorted((tmp_path / "toy-pictures").glob("*.png"))[:4]:
        path.unlink()
    result = ddr(recipe, embed=["pca"], thumbnails=True)
    assert any("8 inputs could not be read" in note for note in result.notes)
    assert sum(item["thumbnail"] is None for item in rows(result, "ddr_points")) == 2 * (4 + 8)


def test_thumbnails_are_the_inputs_of_the_network(ddr: Ddr, tmp_path: Path) -> None:
    ddr(ddr_recipe(("clean", {"blur": 2})))
    from xlli_ray.store.records.documents import load_manifest

    manifest = load_manifest(ddr.objects)  # type: ignore[attr-defined]
    assert manifest is not None
    with View(Archive(ddr.objects, manifest), manifest.cells) as view:  # type: ignore[attr-defined]
        whole, small = (thumbnails.inputs(view, [3, PICTURES + 3], edge=edge) for edge in (64, 10))
        assert thumbnails.inputs(view, []) == {}
    assert list(whole) == [3, PICTURES + 3]
    assert whole[3].shape == (32, 32, 3)
    assert np.abs(whole[3].astype(int) - whole[PICTURES + 3]).mean() > 1, "one is blurred"
    assert small[3].shape == (8, 8, 3)
    assert small[3].mean() == pytest.approx(whole[3].mean(), abs=1)
    assert content_of(PICTURES + 3, PICTURES) == (1, 3)
    decoded = np.asarray(Image.open(io.BytesIO(thumbnails.png(whole[3]))))
    assert (decoded == whole[3]).all()


@pytest.mark.usefixtures("drawn")
def test_figures_have_a_line_for_each_network_and_say_their_space(ddr: Ddr) -> None:
    result = ddr(ddr_recipe(models=3), figures=True)
    names = [figure.name for figure in result.figures]
    assert names == ["depth", "ratio_models", "ratio_depth", "ratio_labels", "ratio_levels", "pairs"]
    for figure in result.figures:
        assert "pca47" in figure.svg + figure.caption
    depth = result.figures[0].svg
    assert all(f"net{i}" in depth for i in range(3))

