"""`derain_summary` on studies of which everything is known: gaps, alternatives, backgrounds that repeat, κ, and what it refuses."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from derain_studies import PERFECT, SEEN, UNSEEN, derain_recipe, effect
from toy_studies import Recipe, write_study

import xlli_ray
from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.derain_summary import figures
from xlli_ray.analyses.derain_summary.kappa import sign_accuracy
from xlli_ray.analyses.derain_summary.measures import backgrounds
from xlli_ray.analyses.derain_summary.params import Params, read_kappa
from xlli_ray.analyses.derain_summary.tables import TABLES
from xlli_ray.analyses.shared.freshness import asked_in, check_asked, resolve
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, PlanError, RecipeError
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects

Summarise = Callable[[Recipe], Result]
KNOWN = {"seen": [SEEN]}


@pytest.fixture
def drawn(tmp_path: Path) -> Summarise:
    """Writes a study and runs its `derain_summary` over it."""

    def go(recipe: Recipe) -> Result:
        objects = open_objects(str(tmp_path / recipe.name))
        manifest = write_study(objects, recipe, tmp_path / f"{recipe.name}-pictures")
        asked = asked_in(manifest)
        check_asked(asked, manifest)
        task = resolve(asked[0], Archive(objects, manifest))
        with View(Archive(objects, manifest), task.cells) as view:
            return task.cls.run(task.params, view, 5)

    return go


@pytest.fixture
def summarise(drawn: Summarise, monkeypatch: pytest.MonkeyPatch) -> Summarise:
    """The same without figures, which are most of what a test would take."""
    for name in ("removal", "gaps", "along", "kappa"):
        monkeypatch.setattr(figures, name, lambda *_: iter(()))
    return drawn


def rows(result: Result, table: str, **where: Any) -> list[dict[str, Any]]:
    return [row for row in result.tables[table] if all(row[key] == value for key, value in where.items())]  # type: ignore[union-attr]


def row(result: Result, table: str, **where: Any) -> dict[str, Any]:
    (found,) = rows(result, table, **where)
    return found


def test_means_are_over_backgrounds_and_a_constant_gap_is_exact(summarise: Summarise) -> None:
    result = summarise(derain_recipe(params=KNOWN))
    shift = np.mean([effect(i, 6) for i in range(6)])
    for model in range(3):
        found = row(result, "derain_summary", group=f"net{model}", label=SEEN)
        assert (found["rho"], found["rain"], found["backgrounds"]) == (pytest.approx(0.95 + shift), "seen", 6)
        assert found["rho_low"] < found["rho"] < found["rho_high"]
        assert found["over"] == "photographs"
        gap = row(result, "derain_gaps", group=f"net{model}", unseen=UNSEEN)
        assert [gap[name] for name in ("gap", "gap_low", "gap_high")] == pytest.approx([0.2 + 0.01 * model] * 3, abs=1e-12)
        assert gap["ratio"] == pytest.approx(1 - (0.2 + 0.01 * model) / (0.95 + shift))
        assert (gap["verdict"], gap["alternative"], gap["paired"], gap["seen"]) == ("fits the rain", "", True, SEEN)
    assert not result.flags


def test_change_in_the_rain_never_stands_alone(drawn: Summarise) -> None:
    """E_R has no upper bound: a table, figure or flag that has it has ρ, D⊥ and E_B, too."""
    bad = lambda model, number, label: {"rho": 1.7, "d_perp": 60.0, "e_background": 30.0}  # noqa: E731
    result = drawn(derain_recipe(bad, params=KNOWN))
    for table in TABLES:
        names = {column.name for column in table.columns}
        assert not any(name.startswith("e_rain") for name in names) or {"rho", "d_perp", "e_background"} <= names
    for figure in result.figures:
        assert "E_R" not in figure.view or all(text in figure.view for text in ("ρ", "D⊥", "E_B"))
    told = [flag for flag in result.flags if "its E_R is no removal" in flag]
    assert len(told) == 1
    assert all(text in told[0] for text in ("ρ 1.7", "D⊥ 60.0", "E_B 30.0"))
    assert "removal" in [figure.name for figure in result.figures]


def test_alternatives_to_a_gap_are_checked_and_printed(summarise: Summarise) -> None:
    under = summarise(derain_recipe(lambda m, r, label: {"rho": 0.5 if label == SEEN else 0.3, "d_perp": 2.0, "e_background": 1.0},
                                    params=KNOWN, name="under"))  # fmt: skip
    assert "under-fitted (ρ on seen rain 0.5" in row(under, "derain_gaps", group="net0")["alternative"]
    assert row(under, "derain_gaps", group="net0")["verdict"] == "not learned"
    assert any("net0 (0.5" in flag for flag in under.flags)
    bad = summarise(derain_recipe(lambda m, r, label: {"rho": 1.7, "d_perp": 60.0, "e_background": 30.0}, params=KNOWN, name="bad"))
    text = row(bad, "derain_gaps", group="net1")["alternative"]
    assert "corrupted (100 % of seen, 100 % of unseen)" in text
    assert row(bad, "derain_summary", group="net0", label=SEEN)["e_rain_input"] > 1.5 * PERFECT
    assert any("its E_R is no removal" in flag and "more, see the column corrupted of derain_summary" in flag for flag in bad.flags)
    swollen = summarise(derain_recipe(lambda m, r, label: {"rho": 0.2, "d_perp": 20.0, "e_background": 3.0}, params=KNOWN, name="swollen"))
    assert "E_R inflated" in row(swollen, "derain_gaps", group="net0")["alternative"]


def test_verdicts_follow_the_interval(summarise: Summarise) -> None:
    def value(model: int, number: int, label: str) -> dict[str, float]:
        spread = (0.001, 0.2, 0.001)[model] * (-1) ** number if label == UNSEEN else 0.0
        return {"rho": 0.95 - (0.3 if model == 2 and label == UNSEEN else 0.0) + spread, "d_perp": 1.0, "e_background": 1.0}

    result = summarise(derain_recipe(value, params=KNOWN, pictures=8))
    verdicts = [row(result, "derain_gaps", group=f"net{model}")["verdict"] for model in range(3)]
    assert verdicts == ["generalizes", "undecided", "fits the rain"]


def test_trainings_and_backgrounds_both_are_in_the_interval_of_a_group(summarise: Summarise) -> None:
    """Seeds that differ by 0.1 under equal photographs: over photographs alone the interval would be a tenth of that."""
    value = lambda model, number, label: {"rho": 0.7 + 0.1 * model, "d_perp": 1.0, "e_background": 1.0}  # noqa: E731
    result = summarise(derain_recipe(value, params=KNOWN | {"by": ["family"], "replicate": "depth"}, pictures=40))
    found = row(result, "derain_summary", label=SEEN)
    assert (found["trainings"], found["backgrounds"], found["over"]) == (3, 40, "trainings and photographs")
    assert found["rho_high"] - found["rho_low"] > 0.3
    gap = row(result, "derain_gaps")
    assert (gap["gap_low"], gap["gap_high"]) == (pytest.approx(0, abs=1e-12), pytest.approx(0, abs=1e-12)), "seeds are paired"


def test_repeated_backgrounds_are_one_unit() -> None:
    """Nine pairs of Rain100 repeat a background; and the same image lies in other files in Rain100L and in Rain100H."""
    files, pixels = np.array(["a", "b", "c", "d", "b"]), np.array(["p", "q", "p", "r", "q"])
    assert backgrounds(files, pixels).tolist() == [0, 1, 0, 2, 1]
    assert backgrounds(np.array(list("abcd")), np.array(list("pqrp"))).tolist() == [0, 1, 2, 0]
    chain = backgrounds(np.array(list("abbc")), np.array(list("ppqq")))
    assert chain.tolist() == [0, 0, 0, 0], "a is b by its pixels, b is c by others"


def test_two_rains_on_six_files_of_rain100_are_two_backgrounds(fixtures: Path, tmp_path: Path, summarise: Summarise) -> None:
    """003 is 004; the clean files of Rain100L and of Rain100H are the same pixels in other bytes."""
    names = ("003", "004", "005")
    sets = [(rain, f"{fixtures}/rain/{rain}") for rain in ("R100H", "R100L")]
    pairs = {side: [f"{folder}/{side}/{name}.png" for _, folder in sets for name in names] for side in ("rainy", "clean")}
    recipe = {
        "name": "rain", "baseline": False,
        "corpus": {"pairs": {"input": pairs["rainy"], "target": pairs["clean"], "label": [rain for rain, _ in sets for _ in names]}},
        "models": [{"id": "same", "network": "xlli_ray.models.networks.bicubic:make", "args": {"scale": 1},
                    "tags": {"trained_on": "R100H"}}],
        "stages": [{"derain": {"mask": {"threshold": 50}}}, {"derain_summary": {}}],
    }  # fmt: skip
    (tmp_path / "rain.yaml").write_text(json.dumps(recipe))
    study = xlli_ray.run(str(tmp_path / "rain.yaml"), str(tmp_path / "study"))
    found = {line["label"]: line for line in study.result("derain_summary").tables["derain_summary"].to_pylist()}
    assert [found[rain]["backgrounds"] for rain in ("R100H", "R100L")] == [2, 2]
    assert [found[rain]["reason"] for rain in found] == ["2 photographs: an interval takes 3"] * 2
    assert found["R100H"]["coverage"] > 0.2 > 0.1 > found["R100L"]["coverage"]
    (gap,) = study.result("derain_summary").tables["derain_gaps"].to_pylist()
    assert (gap["paired"], gap["backgrounds"], gap["verdict"], gap["alternative"]) == (
        True, 2, "not learned", "under-fitted (ρ on seen rain 0.00)",
    )  # fmt: skip


def test_ten_rains_of_one_background_are_no_more_backgrounds(summarise: Summarise) -> None:
    result = summarise(derain_recipe(params=KNOWN, pictures=8, background=lambda number: f"{number % 8 // 2}"))
    assert row(result, "derain_summary", group="net0", label=SEEN)["backgrounds"] == 4
    assert any("16 samples of 4 backgrounds" in note for note in result.notes)


def test_networks_are_compared_on_the_same_backgrounds(summarise: Summarise) -> None:
    result = summarise(derain_recipe(params=KNOWN))
    found = row(result, "derain_differences", group="net0", other="net2", label=UNSEEN, measure="rho")
    assert [found[name] for name in ("difference", "difference_low", "difference_high")] == pytest.approx([0.02] * 3, abs=1e-12)
    assert row(result, "derain_differences", group="net0", other="net1", label=SEEN, measure="e_background")["difference"] == 0.5


def test_a_tag_that_names_a_label_says_what_was_seen(summarise: Summarise) -> None:
    by_tag = summarise(derain_recipe(params={"seen": {"depth": {"0": [SEEN], "1": [UNSEEN]}}}, name="tag"))
    assert row(by_tag, "derain_gaps", group="net1")["unseen"] == SEEN
    assert rows(by_tag, "derain_gaps", group="net2") == []
    assert any("not known which rain was seen by net2" in note for note in by_tag.notes)
    unsaid = summarise(derain_recipe(name="unsaid"))
    assert rows(unsaid, "derain_gaps") == []
    assert any("Which rain was seen in training is not known" in note for note in unsaid.notes)


@pytest.mark.parametrize(
    ("params", "error", "words"),
    [
        ({"seen": ["noise11"]}, PlanError, "did you mean 'noise10'"),
        ({"seen": [SEEN], "unseen": ["heavy"]}, PlanError, "unseen: no sample has the label 'heavy'"),
        ({"seen": "trained"}, AnalysisError, "no network has the tag 'trained'"),
        ({"seen": "depth"}, AnalysisError, "names none of the labels"),
        ({"seen": [SEEN], "along": "depth"}, PlanError, "is not in `by`"),
        ({"seen": [SEEN], "kappa": [{"set": "nobody", "kappa": 1.0}]}, AnalysisError, "none of its rows belongs to a group"),
    ],
)
def test_what_cannot_be_meant_is_refused_in_words(params: dict[str, Any], error: type[Exception], words: str, summarise: Summarise) -> None:
    with pytest.raises(error, match=words):
        summarise(derain_recipe(params=params))


def test_kappa_against_the_gap(drawn: Summarise) -> None:
    """Five networks whose gap falls as κ rises: ρ = −1, and signs that are right but for none."""
    value = lambda m, r, label: {"rho": 0.95 - (0.3 - 0.08 * m if label == UNSEEN else 0), "d_perp": 1.0, "e_background": 1.0}  # noqa: E731
    kappa = [{"depth": m, "kappa": m - 3.5, "kappa_low": m - 3.6, "kappa_high": m - 3.4} for m in range(5)]
    result = drawn(derain_recipe(value, models=5, params=KNOWN | {"by": ["depth"], "kappa": kappa}))
    found = row(result, "derain_kappa_tests")
    assert (found["points"], found["rho"], found["p"]) == (5, pytest.approx(-1), pytest.approx(2 / 120))
    assert (found["decided"], found["accuracy"]) == (5, 1.0)
    assert found["null_accuracy"] < 0.75
    assert found["accuracy_p"] == pytest.approx(1 / 5, abs=0.02), "the one that learned the image stays in its place once in five"
    assert [row["predicted"] for row in rows(result, "derain_kappa")] == ["fits the rain"] * 4 + ["learns the image"]
    assert {"kappa", "along", "gaps", "removal"} <= {figure.name for figure in result.figures}


def test_rows_of_kappa_find_their_groups_by_count_rain_and_seed(summarise: Summarise) -> None:
    """As `complexity_kappa` has them: rain by its label, the subset by a tag, `all` for every image, several measures, seeds averaged."""
    own = {"k95": 0, "preq": 1000}
    kappa: list[dict[str, Any]] = [
        {"degradation": label, "set": f"N{depth}-seed{seed}", "depth": depth, "seed": seed, "measure": kind,
         "kappa": own[kind] + depth + 0.5 * seed + (100 if label == UNSEEN else 0), "kappa_low": -1.0}
        for label in (SEEN, UNSEEN) for depth in (0, 1) for seed in (0, 1) for kind in own
    ]  # fmt: skip
    kappa.append({"degradation": SEEN, "set": "all", "measure": "k95", "kappa": -9.0})
    result = summarise(derain_recipe(models=3, params=KNOWN | {"by": ["depth"], "kappa": kappa}))
    got = {(row["group"], row["measure"]): row["kappa"] for row in rows(result, "derain_kappa")}
    assert got == {("depth=0", "k95"): 0.25, ("depth=1", "k95"): 1.25, ("depth=2", "k95"): -9.0, ("depth=0", "preq"): 1000.25,
                   ("depth=1", "preq"): 1001.25}  # fmt: skip
    assert {row["measure"]: row["points"] for row in rows(result, "derain_kappa_tests")} == {"k95": 3, "preq": 2}


def test_signs_that_are_all_alike_prove_nothing() -> None:
    accuracy, null, p = sign_accuracy(np.ones(6, bool), np.array([1, 1, 1, 1, 0, 1], bool), np.random.default_rng(0))
    assert (accuracy, null, p) == (pytest.approx(5 / 6), pytest.approx(5 / 6), 1.0)
    assert np.isnan(sign_accuracy(np.ones(0, bool), np.ones(0, bool), np.random.default_rng(0))).all()


def test_kappa_comes_from_a_file_and_stays_in_the_recipe(tmp_path: Path) -> None:
    path = tmp_path / "complexity_kappa.parquet"
    table = {"stage": ["c", "c"], "count": [8, 64], "set": ["a", "b"], "kappa": [-0.5, float("nan")], "kappa_low": [-0.7, 0.0],
             "verdict": ["x", "y"]}  # fmt: skip
    pq.write_table(pa.table(table), path)
    inlined = Params.inlined({"kappa": "complexity_kappa.parquet"}, lambda text: str(tmp_path / text))
    assert inlined["kappa"] == [{"count": 8, "set": "a", "kappa": -0.5, "kappa_low": -0.7, "verdict": "x"}]
    assert Params(**inlined).kappa is not None
    with pytest.raises(RecipeError, match="cannot be read"):
        read_kappa(tmp_path / "none.parquet")
    pq.write_table(pa.table({"a": [1]}), path)
    with pytest.raises(RecipeError, match="no column kappa; its columns: a"):
        read_kappa(path)
