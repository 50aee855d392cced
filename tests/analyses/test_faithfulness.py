"""`faithfulness` on studies whose truth is known, its arithmetic in closed form, and a small study of real networks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from faithfulness_studies import BLOCK, GRID, PLACES, SIZE, Truth, effect_of, faithfulness_recipe, fall, luck
from test_contract import made_in, ran
from toy_studies import SCALE

from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.faithfulness.agreement import agreement, by_block
from xlli_ray.analyses.faithfulness.analysis import Faithfulness
from xlli_ray.analyses.faithfulness.findings import findings
from xlli_ray.analyses.faithfulness.measures import least_agreed, verdict
from xlli_ray.analyses.faithfulness.params import Params
from xlli_ray.analyses.faithfulness.tables import DELETION_ONLY, INSERTION_ONLY, MORE, NO_MORE, OPEN
from xlli_ray.analyses.faithfulness.weights import drawn_share
from xlli_ray.analyses.shared.findings import Outcome
from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import AnalysisError, PlanError
from xlli_ray.recipe import Recipe
from xlli_ray.stats.intervals import Interval, intervals
from xlli_ray.study import open_study


def result(folder: Path, truth: Truth | None = None, params: dict[str, Any] | None = None, **fields: Any) -> Result:
    found: Result = ran(made_in(folder, faithfulness_recipe(truth, **fields)), "faithfulness", params or {})[1]
    return found


def row_of(found: Result, table: str, **asked: Any) -> dict[str, Any]:
    (row,) = [row for row in found.tables[table] if all(row[name] == value for name, value in asked.items())]
    return row


def said(found: Result, untrained: tuple[str, ...] = ()) -> list[Any]:
    tables = {name: pa.Table.from_pylist(list(rows)) for name, rows in found.tables.items() if rows}
    return list(findings(Outcome({"level": 0.95}, tables, [figure.name for figure in found.figures], untrained)))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Result:
    return result(tmp_path_factory.mktemp("whole"), pictures=8)


# -- more than distance -----------------------------------------------------------------------------------------


def test_gains_are_means_over_images_with_t_intervals_and_decide_the_verdict(whole: Result) -> None:
    gains = np.array([np.mean([0.1 + 0.01 * luck(1, 0, row) + 0.002 * luck(2, 0, row, w) for w in (0, 1)]) for row in range(8)])
    (wanted,) = intervals(gains[:, None], difference=True)
    row = row_of(whole, "faithfulness", model="net0", method="lam")
    assert (row["deletion_gain"], row["deletion_low"], row["deletion_high"]) == pytest.approx((wanted.mean, wanted.low, wanted.high))
    assert (row["images"], row["windows"]) == (8, 16)
    verdicts = {(row["model"], row["method"]): (row["verdict"], row["flag"]) for row in whole.tables["faithfulness"]}
    assert verdicts["net0", "lam"] == (MORE, False)
    assert {verdicts[model, method] for model, method in verdicts if (model, method) != ("net0", "lam")} == {(NO_MORE, True)}
    assert whole.flags[0].startswith("the map says no more than distance (neither gain over nearest first is shown): near of net0, lam of")


def test_rivals_are_nearest_the_mean_of_random_orders_and_the_control(whole: Result) -> None:
    by = {row["rival"]: row for row in whole.tables["faithfulness_gains"] if (row["model"], row["method"]) == ("net0", "lam")}
    gain = row_of(whole, "faithfulness", model="net0", method="lam")["deletion_gain"]
    assert by["nearest"]["deletion"] == pytest.approx(gain)
    assert by["random"]["deletion"] == pytest.approx(gain + 0.3), "the mean of two random orders"
    assert by["control"]["insertion"] == pytest.approx(gain + 0.05)
    assert not [row for row in whole.tables["faithfulness_gains"] if (row["method"], row["rival"]) == ("near", "control")], "it has none"


@pytest.mark.parametrize(
    ("deletion", "insertion", "wanted"),
    [((0.1, 0.2), (0.1, 0.2), MORE), ((-0.1, 0.2), (-0.2, -0.1), NO_MORE), ((0.1, 0.2), (0.0, 0.2), DELETION_ONLY),
     ((-0.1, 0.0), (0.1, 0.3), INSERTION_ONLY), ((np.nan, np.nan), (np.nan, np.nan), OPEN)],
)  # fmt: skip
def test_the_verdict_is_by_the_lower_ends_of_both_intervals(
    deletion: tuple[float, float], insertion: tuple[float, float], wanted: str
) -> None:
    assert verdict(Interval(0.1, *deletion, 5), Interval(0.1, *insertion, 5)) == wanted


def test_windows_that_do_not_change_are_left_out_and_counted(tmp_path: Path) -> None:
    found = result(tmp_path, Truth(still=lambda row, window: row == 0 or window == 1), pictures=5, models=1)
    row = row_of(found, "faithfulness", method="lam")
    assert (row["images"], row["windows"]) == (4, 4)
    assert any("6 windows of a network that do not change" in note for note in found.notes)


# -- causal effects ---------------------------------------------------------------------------------------------


def test_a_map_of_the_effects_agrees_fully_and_one_of_distance_only_as_far_as_distance_goes(whole: Result) -> None:
    for model in ("net0", "net1", "net2"):
        true, near = (row_of(whole, "faithfulness", model=model, method=method) for method in ("lam", "near"))
        assert true["rho"] == true["beyond"] == 1
        assert near["rho_low"] > 0.3
        assert near["beyond_low"] < 0 < near["beyond_high"]


def test_agreement_is_over_the_blocks_that_were_tried() -> None:
    effect, draws = effect_of(0, 0, 0), np.full((GRID, GRID), 4)
    other = np.repeat(np.repeat(np.abs(effect), BLOCK, 0), BLOCK, 1)
    other[:, -BLOCK:] = 9.0  # where nothing was tried
    window = (*PLACES[0], SIZE)
    assert agreement(other, effect, draws, window, SCALE, BLOCK)[0] < 0.9
    draws[:, -1] = 0
    assert agreement(other, effect, draws, window, SCALE, BLOCK) == (1.0, 1.0)
    assert np.isnan(agreement(other * np.nan, effect, draws, window, SCALE, BLOCK)).all()
    assert np.isnan(agreement(other, effect, 0 * draws, window, SCALE, BLOCK)).all()
    alone = np.repeat(np.repeat(fall(0), BLOCK, 0), BLOCK, 1)
    assert np.isnan(agreement(alone, effect, draws, window, SCALE, BLOCK)[1]), "nothing is left beyond position"


def test_of_clips_agreement_is_over_the_blocks_of_all_frames() -> None:
    effect = np.stack([effect_of(0, row, 0) for row in range(3)])
    values = np.repeat(np.repeat(np.abs(effect), BLOCK, 1), BLOCK, 2)
    assert agreement(values, effect, np.ones_like(effect, np.int32), (*PLACES[0], SIZE), SCALE, BLOCK) == (1.0, 1.0)


def test_blocks_at_the_border_are_smaller() -> None:
    values = np.arange(35.0).reshape(5, 7)
    found = by_block(values, 3)
    assert found.shape == (2, 3)
    assert found[0, 0] == values[:3, :3].mean()
    assert found[1, 2] == values[3:, 6:].mean()


# -- weights, infidelity, pairs, examples -----------------------------------------------------------------------


def test_maps_fade_as_weights_are_drawn(whole: Result) -> None:
    half, all_ = (row_of(whole, "faithfulness_weights", model="net0", drawn=share) for share in (0.5, 1.0))
    assert half["beyond"] > 0.5 > 0.2 > all_["beyond_high"]
    assert all_["beyond_low"] < 0.1
    assert half["ssim_low"] > all_["ssim_high"], "and by structural similarity"
    assert {row["method"] for row in whole.tables["faithfulness_weights"]} == {"lam"}
    names = ("accurate", "accurate.randomised_weights", "smoothgrad.cascade_25", "accurate.shifted_window")
    assert [drawn_share(what) for what in names] == [None, 1.0, 0.25, None]


def test_infidelity_completeness_and_sparseness_are_means(whole: Result) -> None:
    lam, near = (row_of(whole, "faithfulness", model="net0", method=method) for method in ("lam", "near"))
    share = np.mean([0.2 + 0.01 * luck(7, 0, row) for row in range(8)])
    assert lam["infidelity_share"] == pytest.approx(share)
    assert lam["infidelity"] == lam["noise_infidelity"] == pytest.approx(2 * share)
    assert near["infidelity_share"] == pytest.approx(share + 0.3)
    assert (lam["completeness"], lam["sparseness"]) == (pytest.approx(0.02), pytest.approx(0.8))


def test_differences_are_paired_on_the_same_windows(whole: Result) -> None:
    between = row_of(whole, "faithfulness_pairs", compared="networks", model="net0", other_model="net1", method="lam",
                     measure="deletion_gain")  # fmt: skip
    one, other = (row_of(whole, "faithfulness", model=model, method="lam")["deletion_gain"] for model in ("net0", "net1"))
    assert between["difference"] == pytest.approx(one - other)
    assert between["low"] > 0.15
    within = row_of(whole, "faithfulness_pairs", compared="methods", model="net0", measure="infidelity_share")
    assert (within["method"], within["other_method"]) == ("lam", "near")
    assert (within["low"], within["high"]) == pytest.approx((-0.3, -0.3)), "an image's luck is the same for both"


def test_curves_are_relative_to_the_distance_at_the_baseline(whole: Result) -> None:
    mine = [row for row in whole.tables["faithfulness_curves"] if (row["model"], row["order"]) == ("net0", "nearest")]
    assert [row["percent"] for row in mine] == [0, 1, 2, 5, 10, 20, 35, 50, 75, 100]
    assert mine[3]["deletion"] == pytest.approx(np.mean([0.5 + 0.05 * luck(3, row, w) for row in range(8) for w in (0, 1)]))
    assert (mine[0]["deletion"], mine[-1]["deletion"], mine[0]["insertion"], mine[-1]["insertion"]) == (0, 1, 1, 0)


def test_examples_are_where_methods_agree_least_each_of_another_image() -> None:
    class Two:
        models, image = ["a", "b"], np.array([0, 0, 1])

    rho = np.full((3, 2, 2), 0.9)
    rho[0, 1], rho[1, 1], rho[2, 0], rho[1, 0] = 0.1, 0.2, 0.3, np.nan
    assert least_agreed(Two(), rho, 2) == [("b", 0), ("a", 2)]  # type: ignore[arg-type]
    assert least_agreed(Two(), rho, 3) == [("b", 0), ("a", 2), ("b", 1)]  # type: ignore[arg-type]


# -- subsets ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "truth",
    [Truth(cem=False), Truth(infidelity=False), Truth(controls=False), Truth(methods=("lam",)),
     Truth(cem=False, infidelity=False, controls=False)],
)  # fmt: skip
def test_what_is_missing_is_said_and_the_rest_concluded(truth: Truth, tmp_path: Path) -> None:
    found = result(tmp_path, truth, models=1, pictures=4)
    row = row_of(found, "faithfulness", method="lam")
    assert row["verdict"] == MORE
    assert (row["rho"] is None) == (not truth.cem)
    assert (row["infidelity"] is None) == (not truth.infidelity)
    assert bool(found.tables["faithfulness_weights"]) == truth.controls
    notes = " ".join(found.notes)
    assert ("there is no cem stage" in notes, "there is no infidelity stage" in notes) == (not truth.cem, not truth.infidelity)
    assert ("not tested: add `controls" in notes) == (not truth.controls)
    assert said(found)


def test_fewer_than_three_images_have_no_interval_and_no_verdict(tmp_path: Path) -> None:
    found = result(tmp_path, models=1, pictures=2)
    row = row_of(found, "faithfulness", method="lam")
    assert (row["deletion_low"], row["verdict"], row["flag"]) == (None, OPEN, False)
    assert any(note.startswith("No intervals and no verdicts: they take 3 images, not 2") for note in found.notes)
    first = said(found)[0]
    assert first.text.startswith("Whether a map says more than distance from the window cannot be told: the largest gain")
    assert "no interval" in first.text


def test_degradations_have_rows_of_their_own_and_together(tmp_path: Path) -> None:
    found = result(tmp_path, models=1, pictures=3, degradations=("clean", {"blur": 2}))
    assert {row["label"] for row in found.tables["faithfulness"]} == {"clean", "blur2", "all"}
    row = row_of(found, "faithfulness", method="lam", label="all")
    assert (row["images"], row["windows"]) == (3, 12), "copies of an image are one image"


def test_stages_that_are_not_there_or_several_are_named(tmp_path: Path) -> None:
    place = made_in(tmp_path, faithfulness_recipe(models=1, pictures=1))
    with pytest.raises(PlanError, match="no stage 'effects' here: did you mean 'cem'"):
        ran(place, "faithfulness", {"cem": "effects"})
    cells = open_study(place).manifest.cells
    twice = [*cells, *(c for c in [type(cells[0])(**{**vars(c), "stage": "cem2"}) for c in cells if c.kind == "cem"])]
    with pytest.raises(PlanError, match=r"faithfulness.cem: there are 2 cem stages \(cem, cem2\): name one, or null"):
        Faithfulness.inputs(Params(), twice)
    assert not any(name.startswith(("cem", "infidelity")) for name in Faithfulness.inputs(Params(cem=None, infidelity=None), twice))


def test_a_study_without_a_measured_window_is_an_error_in_words(tmp_path: Path) -> None:
    with pytest.raises(AnalysisError, match="stage deletion has measured no window"):
        result(tmp_path, failed=range(100))


# -- sentences --------------------------------------------------------------------------------------------------


def test_findings_say_which_maps_beat_distance_what_agrees_and_what_is_learnt(whole: Result) -> None:
    first, second, third = said(whole)
    assert first.text.startswith("1 of 6 maps (each a method on a network) says more than distance from the window")
    assert "the largest gain on deletion is that of lam of net0, 0.099 (95 % interval 0.094 to 0.104; 8 photographs)" in first.text
    assert first.flag.startswith("no more than distance is shown: near of net0")
    assert second.text.startswith("Maps rank the blocks of the input as their causal effects do, beyond what distance from the window")
    assert "lam of net" in second.text
    assert third.text.startswith("With all weights drawn anew no map keeps half of the variance of its ranks")
    assert (first.figure, second.figure, third.figure) == ("gain", "gain", "weights")


def test_untrained_networks_are_not_ranked(whole: Result) -> None:
    first, *_ = said(whole, ("net0",))
    assert first.text.startswith("No map is shown to say more than distance from the window")


# -- a whole study ----------------------------------------------------------------------------------------------


def test_a_study_of_real_networks_is_concluded(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, drawn: None
) -> None:
    windows = {"size": 8, "per_sample": 2}
    lam = {"nodes": 2, "windows": windows, "signed": True, "max_rows": 3}
    stages = [
        {"lam": {**lam, "controls": ["randomised_weights"], "control_samples": 3}}, {"lam": {"id": "black", "path": "linear_black", **lam}},
        {"cem": {"windows": windows, "draws": {"first": 4, "most": 4}, "pool_size": 64, "max_rows": 3}},
        {"deletion": {"of": ["lam", "black", "cem"], "random_orders": 2, "max_rows": 3}},
        {"infidelity": {"of": ["lam", "black"], "squares": 8, "noise": 4, "max_rows": 3}},
        {"faithfulness": {}},
    ]  # fmt: skip
    images = recipe().dump()["corpus"]["images"]
    assert run(recipe(corpus={"images": images, "scale": 2, "degradations": ["clean"]}, stages=stages)).failed == 0
    found = open_study(tmp_path / "study").result("faithfulness")
    rows = found.tables["faithfulness"].to_pylist()
    assert {row["method"] for row in rows} == {"lam", "black", "cem"}
    by = {row["method"]: row for row in rows}
    assert by["cem"]["rho"] is None
    assert by["lam"]["rho"] > 0
    assert by["black"]["infidelity"] > 0
    assert {"gain", "curves", "weights", "examples"} <= set(found.figures)
    direct = open_study(tmp_path / "study").sql(
        "select avg(g) as gain from (select s.source_sha, avg(deletion_gain) as g from deletion d join samples s using (row) "
        "where d.\"of\" = 'lam' and d.ranking = 'map' group by all)"
    )["gain"].to_pylist()
    assert by["lam"]["deletion_gain"] == pytest.approx(direct[0])
