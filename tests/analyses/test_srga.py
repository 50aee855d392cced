"""`srga` on studies of which everything is known: the same numbers as from the arrays, sets that must be refused, rankings."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.linalg import hadamard
from srga_studies import DEGRADATIONS, LABELS, PICTURES, Srga, features_of, srga_recipe
from toy_studies import Recipe, write_study

from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.shared import feature_gram
from xlli_ray.analyses.shared.freshness import asked_in, resolve
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.analyses.srga import sets as srga_sets
from xlli_ray.analyses.srga.analysis import Srga as Analysis
from xlli_ray.analyses.srga.figures import levels, ranking
from xlli_ray.corpus.degradations import get
from xlli_ray.errors import AnalysisError, PlanError
from xlli_ray.plots.palette import NETWORKS, network_looks
from xlli_ray.stats.ggd import from_moments
from xlli_ray.stats.gram import gram
from xlli_ray.stats.srga import fit_gram, index_of, srga
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.manifest import FamilyRecord

Conclude = Callable[[Recipe], Result]


@pytest.fixture
def conclude(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Conclude:
    """Writes a study and runs its `srga` over it; figures have their own tests."""
    from xlli_ray.analyses.srga import figures as srga_figures

    for name in ("levels", "ranking", "fits", "spectra"):
        monkeypatch.setattr(srga_figures, name, lambda *_: ())

    def go(recipe: Recipe) -> Result:
        objects = open_objects(str(tmp_path / recipe.name))
        manifest = write_study(objects, recipe, tmp_path / f"{recipe.name}-pictures")
        task = resolve(asked_in(manifest)[0], Archive(objects, manifest))
        with View(Archive(objects, manifest), task.cells) as view:
            return task.cls.run(task.params, view, 5)

    return go


def rows(result: Result, table: str, **where: Any) -> list[dict[str, Any]]:
    return [row for row in result.tables[table] if all(row[key] == value for key, value in where.items())]  # type: ignore[union-attr]


def row(result: Result, table: str, **where: Any) -> dict[str, Any]:
    (found,) = rows(result, table, **where)
    return found


def features(model: int, label: str, kept: Any = slice(None)) -> np.ndarray:
    return features_of(model, label, PICTURES)[kept]


@pytest.mark.parametrize("kind", ["gram", "features"])
def test_numbers_are_those_of_the_arrays(kind: str, conclude: Conclude) -> None:
    result = conclude(srga_recipe(Srga(kind)))
    for model in range(3):
        for label in LABELS:
            found = row(result, "srga", model=f"net{model}", label=label)
            alone = srga(features(model, "clean"), features(model, label), components=8, resamples=0)
            assert found["srga"] == pytest.approx(alone.srga, abs=1e-6)
            assert (found["sigma"], found["ratio"]) == pytest.approx((alone.test.sigma, alone.test.fit.ratio), rel=1e-7)
            assert (found["alpha"], found["dropped"], found["kl"]) == pytest.approx((alone.test.alpha, alone.test.dropped, alone.kl))
            assert (found["n"], found["k"], found["struck"], found["images"], found["rank"]) == (24, 8, 0, 24, 8)
            assert found["psnr_y"] == pytest.approx(31 + 0.1 * model)
            assert found["layer"] == "tail.in"
            if label != "clean":
                assert found["low"] < found["srga"] < found["high"]
                assert (found["state"], found["reason"], found["under_floor"]) == ("ok", "", False)
    reference = row(result, "srga", model="net0", label="clean")
    assert (reference["state"], reference["family"], reference["srga"], reference["low"]) == ("reference", "reference", 0.0, None)
    assert reference["floor"] > 1, "what other contents of this kind score for nothing"
    assert row(result, "srga", model="net0", label="blur2")["level"] == 2.0
    assert result.values["srga"]["net1"]["noise20"] == row(result, "srga", model="net1", label="noise20")["srga"]
    spectrum = rows(result, "srga_spectrum", model="net2", label="blur1")
    wanted = fit_gram(gram(features(2, "blur1")), 8).spectrum
    assert [item["component"] for item in spectrum] == list(range(1, 9))
    assert [item["variance"] for item in spectrum] == pytest.approx(wanted[:8].tolist(), rel=1e-5)
    assert [item["share"] for item in spectrum] == pytest.approx((wanted / wanted.sum())[:8].tolist(), rel=1e-5)


@pytest.mark.parametrize("kind", ["gram", "features"])
def test_designs_whose_scores_are_known_come_out_of_a_study(kind: str, conclude: Conclude) -> None:
    """Scores are ±s/√N exactly (tests/stats/test_srga.py); in `blur1` one component is trimmed whole."""
    number, count = 32, 30
    j = np.arange(1, count + 1)
    spectra = {"clean": 10 * 0.95**j, "blur1": np.where(j == 1, 100.0, 8 * 0.95**j)}
    columns = hadamard(number)[:, 1 : count + 1] / math.sqrt(number)
    basis, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(72, count)))

    def design(model: int, label: str, samples: int) -> np.ndarray:
        return ((columns * spectra[label]) @ basis.T + 2.0).astype(np.float32)

    study = srga_recipe(Srga(kind, samples=number, features=design), params={"components": count, "resamples": 0}, models=1,
                        degradations=("clean", {"blur": 1}))  # fmt: skip
    result = conclude(study)
    kept = {"clean": spectra["clean"], "blur1": spectra["blur1"][1:]}
    fits = {}
    for label, values in kept.items():
        found = row(result, "srga", label=label)
        assert found["dropped"] == number * (count - len(values))
        assert found["sigma"] == pytest.approx(math.sqrt(np.mean(values**2) / number), rel=1e-5)
        assert found["ratio"] == pytest.approx(np.mean(values**2) / np.mean(values) ** 2, rel=1e-5)
        fits[label] = from_moments(np.mean(values**2) / number, np.mean(values) / math.sqrt(number))
    assert row(result, "srga", label="blur1")["srga"] == pytest.approx(index_of(fits["clean"], fits["blur1"]), abs=1e-4)


def test_gram_matrices_and_stored_features_give_the_same_result(conclude: Conclude) -> None:
    one, other = conclude(srga_recipe(Srga("gram"))), conclude(srga_recipe(Srga("features"), name="features"))
    for table in ("srga", "srga_families", "srga_pairs"):
        for a, b in zip(rows(one, table), rows(other, table)):
            assert {k: v for k, v in a.items() if not isinstance(v, float)} == {k: v for k, v in b.items() if not isinstance(v, float)}
            numbers = [k for k, v in a.items() if isinstance(v, float)]
            assert [a[k] for k in numbers] == pytest.approx([b[k] for k in numbers], rel=1e-6, abs=1e-6)


def test_features_that_do_not_fit_into_memory_go_through_a_scratch_file(
    conclude: Conclude, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    held = conclude(srga_recipe(Srga("features")))
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    files: list[str] = []
    real = feature_gram.np.memmap

    def spied(place: Any, *args: Any, **kwargs: Any) -> Any:
        files.append(str(place))
        return real(place, *args, **kwargs)

    monkeypatch.setattr(srga_sets, "feature_gram", partial(feature_gram.feature_gram, memory=1000, scratch=str(scratch)))
    monkeypatch.setattr(feature_gram.np, "memmap", spied)
    assert conclude(srga_recipe(Srga("features"), name="spilt")) == held
    assert sum(name.startswith(str(scratch)) for name in files) == 12
    assert list(scratch.iterdir()) == [], "nothing is left behind"


@pytest.mark.parametrize("kind", ["gram", "features"])
def test_a_content_that_failed_in_one_set_is_struck_from_all(kind: str, conclude: Conclude) -> None:
    failed = frozenset({3, PICTURES + 7, 2 * PICTURES + 7})  # a clean one, and one content in both blurs
    result = conclude(srga_recipe(Srga(kind, failed=failed)))
    kept = np.setdiff1d(np.arange(PICTURES), [3, 7])
    for label in LABELS[1:]:
        found = row(result, "srga", model="net1", label=label)
        assert (found["n"], found["struck"], found["images"]) == (22, 2, 22)
        alone = srga(features(1, "clean", kept), features(1, label, kept), components=8, resamples=0)
        assert found["srga"] == pytest.approx(alone.srga, abs=1e-5)
    assert any("left out of all: net0 2, net1 2, net2 2" in note for note in result.notes)


def test_a_set_that_mostly_failed_is_given_up_before_it_takes_the_others_along(conclude: Conclude) -> None:
    result = conclude(srga_recipe(Srga(failed=frozenset(range(PICTURES, PICTURES + 14)))))
    lost = row(result, "srga", model="net0", label="blur1")
    assert (lost["state"], lost["reason"], lost["srga"]) == ("refused", "10 of 24 samples measured", None)
    assert row(result, "srga", model="net0", label="blur2")["struck"] == 0
    assert any("net1 blur1 (10 of 24" in flag for flag in result.flags)
    with pytest.raises(AnalysisError, match="net0: no content was measured in every set"):
        conclude(srga_recipe(Srga(failed=frozenset(range(PICTURES))), name="reference"))


def test_too_few_samples_are_refused_by_name(conclude: Conclude) -> None:
    with pytest.raises(AnalysisError, match=r"net0: 24 samples in each set, 24 components need at least 25.*components: 12"):
        conclude(srga_recipe(params={"components": 24}))


def test_constant_features_have_no_index_and_are_flagged(conclude: Conclude) -> None:
    def dead(model: int, label: str, samples: int) -> np.ndarray:
        if (model, label) in {(1, "blur2"), (2, "clean")}:
            return np.full((samples, 72), 0.3, np.float32)
        return features_of(model, label, samples)

    result = conclude(srga_recipe(Srga(features=dead)))
    broken = row(result, "srga", model="net1", label="blur2")
    assert (broken["state"], broken["srga"], broken["alpha"], broken["sigma"]) == ("degenerate", None, None, 0.0)
    assert all(found["state"] == "degenerate" for found in rows(result, "srga", model="net2"))
    assert row(result, "srga", model="net1", label="blur1")["state"] == "ok"
    (flag,) = [flag for flag in result.flags if flag.startswith("constant features")]
    assert "net1 blur2" in flag
    assert "net2 noise20 (the reference is degenerate" in flag
    assert not rows(result, "srga_families"), "no set in which every model has an index"
    assert any("no ranking" in note for note in result.notes)


def test_a_set_of_other_contents_is_flagged_and_in_no_ranking(conclude: Conclude, monkeypatch: pytest.MonkeyPatch) -> None:
    """Clean patches of other contents: no degradation, and yet a high index. It does not exceed its floor."""
    real = srga_sets._set

    def other(table: Any, label: str, meaning: Any) -> srga_sets.ImageSet:
        item = real(table, label, meaning)
        return replace(item, contents=tuple(f"other {c}" for c in item.contents)) if label == "noise20" else item

    def contents(model: int, label: str, samples: int) -> np.ndarray:
        rng = np.random.default_rng((3, model))
        values = rng.normal(size=(samples, 72)) * np.arange(1, 73) ** -0.7
        return values.astype(np.float32) if label == "noise20" else features_of(model, label, samples)

    monkeypatch.setattr(srga_sets, "_set", other)
    result = conclude(srga_recipe(Srga(features=contents)))
    for model in range(3):
        found = row(result, "srga", model=f"net{model}", label="noise20")
        assert found["state"] == "unpaired"
        assert "other contents" in found["reason"]
        assert found["floor"] == pytest.approx(row(result, "srga", model=f"net{model}", label="clean")["floor"])
        assert found["srga"] > 1, "no degradation at all"
        assert found["under_floor"] == (found["srga"] <= found["floor"])
    under = [item["model"] for item in rows(result, "srga", label="noise20") if item["under_floor"]]
    assert under
    (flag,) = [flag for flag in result.flags if flag.startswith("not distinguishable from chance")]
    assert [f"{model} noise20" in flag for model in ("net0", "net1", "net2")] == [model in under for model in ("net0", "net1", "net2")]
    assert {item["family"] for item in rows(result, "srga_families")} == {"blur"}
    assert not rows(result, "srga_pairs", label="noise20")
    assert any("not ranked: noise20" in flag for flag in result.flags)


def test_unequal_numbers_of_samples_are_refused_by_name(conclude: Conclude, monkeypatch: pytest.MonkeyPatch) -> None:
    real = srga_sets._set

    def shorter(table: Any, label: str, meaning: Any) -> srga_sets.ImageSet:
        item = real(table, label, meaning)
        return replace(item, rows=item.rows[:20], contents=item.contents[:20], images=item.images[:20]) if label == "blur2" else item

    monkeypatch.setattr(srga_sets, "_set", shorter)
    result = conclude(srga_recipe(Srga("features")))
    refused = row(result, "srga", model="net0", label="blur2")
    assert (refused["state"], refused["srga"], refused["n"]) == ("refused", None, None)
    assert "unequal N: 20 samples, 24 in clean" in refused["reason"]
    assert any("net2 blur2 (unequal N" in flag for flag in result.flags)
    assert row(result, "srga", model="net0", label="blur1")["n"] == 24


def test_a_reference_that_is_not_there_is_named_with_what_is(conclude: Conclude) -> None:
    with pytest.raises(AnalysisError, match=r"no set 'blur3' here; did you mean 'blur\d'\? Sets: clean, blur1, blur2, noise20"):
        conclude(srga_recipe(params={"reference": "blur3"}))
    result = conclude(srga_recipe(params={"reference": "blur1"}, name="other"))
    assert row(result, "srga", model="net0", label="blur1")["srga"] == 0.0
    assert row(result, "srga", model="net0", label="clean")["srga"] > 2


def test_stored_float16_is_refused_unless_asked_for(conclude: Conclude) -> None:
    with pytest.raises(AnalysisError, match=r"stored as float16.*allow_float16: true"):
        conclude(srga_recipe(Srga("features", dtype="float16")))
    allowed = conclude(srga_recipe(Srga("features", dtype="float16"), params={"allow_float16": True}, name="allowed"))
    assert row(allowed, "srga", model="net0", label="blur2")["srga"] > 1


def test_clipped_fits_are_flagged(conclude: Conclude) -> None:
    def spiky(model: int, label: str, samples: int) -> np.ndarray:
        values = np.zeros((samples, 72), np.float32)
        for i in range(3):  # scores of two values: no shape is so flat
            values[:, i] = np.where(np.arange(samples) // 2**i % 2, 1, -1) * (1 + 0.01 * i)
        return values

    result = conclude(srga_recipe(Srga(features=spiky), params={"components": 3}))
    found = row(result, "srga", model="net0", label="clean")
    assert (found["clipped"], found["alpha"]) == (True, pytest.approx(9.999))
    assert any(flag.startswith("alpha clipped") and "net2 noise20" in flag for flag in result.flags)


def test_fewer_components_than_asked_for_are_flagged(conclude: Conclude) -> None:
    def poor(model: int, label: str, samples: int) -> np.ndarray:
        values = features_of(model, label, samples).copy()
        values[6:] = values[:6].repeat(3, axis=0)  # six contents, four times each
        return values

    result = conclude(srga_recipe(Srga(features=poor)))
    assert row(result, "srga", model="net0", label="clean")["rank"] == 5
    assert any("hold more than rounding: net0 clean (5)" in flag for flag in result.flags)


def test_models_are_ranked_with_ties(conclude: Conclude) -> None:
    """Model 2 loses least to each degradation; two copies of one network are tied."""
    result = conclude(srga_recipe())
    for family in ("blur", "noise", "all"):
        order = [item["model"] for item in rows(result, "srga_families", family=family)]
        assert order == ["net2", "net1", "net0"], family
    blur = row(result, "srga_families", model="net2", family="blur")
    values = [row(result, "srga", model="net2", label=label)["srga"] for label in ("blur1", "blur2")]
    assert blur["srga"] == pytest.approx(np.mean(values))
    assert (blur["sets"], blur["first"], blur["last"]) == (2, 1, 1)
    same = conclude(srga_recipe(Srga(features=lambda m, label, n: features_of(min(m, 1), label, n)), name="copies"))
    places = {item["model"]: (item["first"], item["last"]) for item in rows(same, "srga_families", family="blur")}
    assert places == {"net0": (3, 3), "net1": (1, 2), "net2": (1, 2)}
    pair = row(same, "srga_pairs", model="net1", other="net2", family="blur", label=None)
    assert [pair[key] for key in ("difference", "low", "high", "floor", "apart")] == [0.0, 0.0, 0.0, 0.0, False]
    apart = row(same, "srga_pairs", model="net0", other="net1", label="blur2")
    assert apart["apart"]
    assert apart["difference"] == pytest.approx(
        row(same, "srga", model="net0", label="blur2")["srga"] - row(same, "srga", model="net1", label="blur2")["srga"]
    )


def test_paired_differences_are_surer_than_their_ends(conclude: Conclude) -> None:
    """The same draws for each model: what the contents do to both drops out."""
    result = conclude(srga_recipe(params={"resamples": 20}))
    pair = row(result, "srga_pairs", model="net1", other="net2", label="blur2")
    ends = [row(result, "srga", model=name, label="blur2") for name in ("net1", "net2")]
    alone = math.hypot(*(item["high"] - item["low"] for item in ends))
    assert pair["high"] - pair["low"] < alone


def test_without_draws_there_are_no_intervals_and_everybody_is_tied(conclude: Conclude) -> None:
    result = conclude(srga_recipe(params={"resamples": 0}))
    found = row(result, "srga", model="net0", label="blur2")
    assert found["srga"] > 0
    assert [found[key] for key in ("low", "high", "floor")] == [None, None, None]
    assert {(item["first"], item["last"]) for item in rows(result, "srga_families")} == {(1, 3)}
    assert any("No intervals" in note for note in result.notes)


def test_a_model_far_below_the_best_is_flagged_and_no_psnr_is_said(conclude: Conclude) -> None:
    poor = Srga(restore=lambda model, row, label: {"psnr_y": 30.0 - 8 * (model == 1)})
    assert any("3 dB below the best model (30.0 dB)" in flag and "net1 (22.0 dB)" in flag for flag in conclude(srga_recipe(poor)).flags)
    none = conclude(srga_recipe(Srga(restore=None), name="none"))
    assert any("A dead network scores 0, too" in note for note in none.notes)
    assert row(none, "srga", model="net0", label="blur1")["psnr_y"] is None


def test_the_authors_solver_and_the_refined_fit_are_what_the_kernel_does(conclude: Conclude) -> None:
    result = conclude(srga_recipe(params={"solver": "authors", "refine": True, "resamples": 0}))
    fits = [fit_gram(gram(features(0, label)), 8, "authors", refine=True).fit for label in ("clean", "blur2")]
    found = row(result, "srga", model="net0", label="blur2")
    assert found["srga"] == pytest.approx(index_of(*fits), abs=1e-6)
    assert found["alpha"] == pytest.approx(fits[1].alpha, rel=1e-7)


def test_a_recipe_line_brings_its_measurements() -> None:
    models = [{"id": "a"}, {"id": "b", "output": "none"}]
    params, stages = Analysis.brings({"components": 60}, "mine", models)
    assert params == {"components": 60, "of": "mine-gram"}
    assert stages == [{"gram": {"id": "mine-gram", "layers": ["*:last_conv_input"]}}, {"restore": {"models": ["a"]}}]
    params, stages = Analysis.brings({"store_features": True, "layer": "RB16", "restore": None}, "srga", models)
    assert params["of"] == "srga-features"
    assert stages == [{"features": {"id": "srga-features", "layers": ["RB16"], "dtype": "float32", "codec": "blosc"}}]
    assert Analysis.brings(params, "srga", models) == (params, [])
    Analysis.Params(**params)


def test_which_layer_is_meant_must_be_clear(conclude: Conclude) -> None:
    two = srga_recipe(params={"layer": "x"}, name="two")
    stages = [replace(two.stages[0], whats=("tail.in", "trunk.0.out")), *two.stages[1:]]
    with pytest.raises(PlanError, match=r"srga.layer: 'x' does not match exactly one of the 2 layers of net0 .* \(tail.in, trunk.0.out\)"):
        conclude(replace(two, stages=stages))
    one = srga_recipe(params={"layer": "tail.in"}, name="one")
    assert row(conclude(replace(one, stages=stages)), "srga", model="net0", label="blur1")["layer"] == "tail.in"
    with pytest.raises(PlanError, match=r"srga.of: no stage 'grm' here: did you mean 'srga-gram'"):
        conclude(srga_recipe(params={"of": "grm"}, name="of"))


@pytest.mark.usefixtures("drawn")
def test_figures_for_many_models_and_none() -> None:
    nothing = {"low": None, "high": None, "floor": None}
    made = [{"model": f"m{i}", "label": label, "family": "blur", "level": 1.0 * k, "srga": 1.0 + i + k, "state": "ok", **nothing}
            for i in range(10) for k, label in enumerate(("blur1", "blur2"))]  # fmt: skip
    many = [f"m{i}" for i in range(10)]
    (heat,) = levels(made, many, network_looks(many), Labels())
    assert "m9" in heat.svg
    assert list(levels([], ["a"], network_looks(["a"]), Labels())) == []
    alone = {"model": "a", "family": "blur", "sets": 1, "srga": 1.0, "first": 1, "last": 1, **nothing}
    assert list(ranking([alone], ["a"], network_looks(["a"]))) == []


@pytest.mark.usefixtures("drawn")
def test_a_network_is_drawn_in_no_degradations_colour() -> None:
    """Two networks over blur: once the first was in blur's blue and the second in noise's orange."""
    models = ["other", "a", "b"]  # the study's; `other` is no input, and the colours stay those of the study
    looks = network_looks(models)
    rows = [{"model": m, "label": f"blur{k}", "family": "blur", "level": 1.0 * k, "srga": 1.0 + k + i, "low": 1.0, "high": 4.0,
             "floor": 0.1, "state": "ok"} for i, m in enumerate("ab") for k in (1, 2)]  # fmt: skip
    ranked = [{"model": m, "family": "blur", "sets": 2, "srga": 1.0, "low": 0.5, "high": 1.5, "first": 1, "last": 2} for m in "ab"]
    meaning = Labels({}, {name: FamilyRecord(name, get(name).AXIS, True, get(name).COLOUR) for name in ("blur", "noise", "jpeg")})
    for figure in (*levels(rows, ["a", "b"], looks, meaning), *ranking(ranked, ["a", "b"], looks)):
        drawn = figure.svg.lower()
        for model in "ab":
            assert looks[model].colour.lower() in drawn
        assert not [name for name in meaning.families if meaning.type_colour(name).lower() in drawn]
        assert NETWORKS[0].lower() not in drawn, "the look of the model that is not here"


def test_example_study_has_the_labels_that_its_features_are_keyed_by() -> None:
    from xlli_ray.corpus.degradations import parse

    assert tuple(parse(item).label for item in DEGRADATIONS) == LABELS
