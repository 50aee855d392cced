"""`lam_summary` on studies of which everything is known: means, differences, rank correlations, controls, and what must not change them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lam_studies import Lam, image_effect, lam_recipe, psnr, steady
from toy_studies import Recipe, write_study

from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.shared.freshness import asked_in, resolve
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, PlanError
from xlli_ray.stats.rank import spearman
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects

Summarise = Callable[[Recipe], Result]
WINDOWS = 3


@pytest.fixture
def summarise(tmp_path: Path) -> Summarise:
    """Writes a study and runs its `lam_summary` over it."""

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


def test_means_are_means_over_images_of_the_mean_over_windows(summarise: Summarise) -> None:
    result = summarise(lam_recipe())
    truth = np.mean([12.0 + image_effect(i) + 0.3 for i in range(6)])
    for model in range(3):
        found = row(result, "lam_summary", model=f"net{model}")
        assert found["di"] == pytest.approx(truth + model)
        assert found["di_low"] < found["di"] < found["di_high"]
        assert (found["images"], found["windows"], found["height"], found["width"]) == (6, 18, 32, 32)
        assert found["extent"] == pytest.approx(found["di"] / 100 * 1024)
        assert found["gini"] == pytest.approx(1 - found["di"] / 100)
        assert found["psnr_y"] == pytest.approx(np.mean([psnr(model, i) for i in range(6)]))
        assert (found["undefined"], found["nonfinite"], found["inexact"]) == (0, 0, 0)
    assert result.values["di"]["net2"] == pytest.approx(truth + 2)
    assert not result.flags


def test_a_constant_difference_is_exact_whatever_images_do(summarise: Summarise) -> None:
    result = summarise(lam_recipe())
    for one, other, shift in (("net0", "net1", -1.0), ("net0", "net2", -2.0), ("net1", "net2", -1.0)):
        found = row(result, "lam_pairs", model=one, other=other)
        assert [found[name] for name in ("difference", "low", "high")] == pytest.approx([shift] * 3, abs=1e-12)
        assert (found["share"], found["images"], found["windows"]) == (0.0, 6, 18)
        assert found["ratio_low"] < found["ratio"] < found["ratio_high"] < 1


def test_monotone_psnr_gives_one_and_its_reverse_minus_one(summarise: Summarise) -> None:
    result = summarise(lam_recipe(models=5))
    assert row(result, "lam_psnr", scope="across models")["rho"] == pytest.approx(1.0)
    assert row(result, "lam_psnr", scope="across models")["p"] == pytest.approx(2 / 120)
    truth = np.mean([spearman(range(5), [psnr(m, i) for m in range(5)]) for i in range(6)])
    within = row(result, "lam_psnr", scope="within images")
    assert within["rho"] == pytest.approx(truth)
    assert (within["models"], within["images"]) == (5, 6)
    back = summarise(lam_recipe(Lam(di=lambda m, r, w: steady(-m, r, w)), models=5, name="back"))
    assert row(back, "lam_psnr", scope="across models")["rho"] == pytest.approx(-1.0)


def test_below_three_models_rank_correlation_is_undefined_and_said_to_be(summarise: Summarise) -> None:
    result = summarise(lam_recipe(models=2))
    assert all(row["rho"] is None and row["p"] is None for row in rows(result, "lam_psnr"))
    assert any("fewer than 3 models" in note for note in result.notes)
    alone = summarise(lam_recipe(models=1, name="alone"))
    assert rows(alone, "lam_pairs") == []
    assert [figure.name for figure in alone.figures] == ["di", "controls"]


def test_the_order_of_windows_changes_nothing(summarise: Summarise) -> None:
    once, back = summarise(lam_recipe()), summarise(lam_recipe(Lam(reverse=True), name="back"))
    assert once == back


def test_one_di_has_one_interval_on_the_page_and_in_the_summary(summarise: Summarise, tmp_path: Path) -> None:
    """Unequal windows and a map without a DI: the page weighed windows and this analysis images, with two intervals for one DI."""
    from xlli_ray.report.page_means import Asked, Tables
    from xlli_ray.report.page_means import summarise as of_page
    from xlli_ray.study import open_study

    lam = Lam(di=lambda m, r, w: None if (m, r, w) in ((0, 1, 2), (1, 3, 0)) else steady(m, r, w) * (1 + r), controls=None)
    result = summarise(lam_recipe(lam, models=2, name="one"))
    with Tables(open_study(str(tmp_path / "one"))) as tables:
        asked = Asked("lam", "lam", {"di": (0.0, 100.0)}, ["window", "top", "left", "size", "height", "width"])
        (page,) = of_page(tables, asked, models=["net0", "net1"], labels=["clean"])
    for model in ("net0", "net1"):
        item, found = page.values[model, "clean"], row(result, "lam_summary", model=model)
        assert (item.mean, item.low, item.high) == pytest.approx((found["di"], found["di_low"], found["di_high"]), rel=1e-12)
        assert (item.photographs, item.values) == (found["images"], found["windows"])
    (apart,) = page.differences
    pair = row(result, "lam_pairs", model="net0", other="net1")
    ends = (-apart.interval.mean, -apart.interval.high, -apart.interval.low)
    assert ends == pytest.approx((pair["difference"], pair["low"], pair["high"]), rel=1e-9)


def test_two_images_have_no_interval(summarise: Summarise) -> None:
    found = row(summarise(lam_recipe(pictures=2)), "lam_summary", model="net0")
    assert found["di"] is not None
    assert (found["di_low"], found["di_high"], found["extent_low"]) == (None, None, None)


def test_ten_times_the_windows_are_no_more_images(summarise: Summarise) -> None:
    same = lambda m, r, w: 10.0 + m + image_effect(r)  # noqa: E731
    few, many = (summarise(lam_recipe(Lam(windows=n, di=same, controls=None), name=f"w{n}")) for n in (1, 10))
    for name in ("di", "di_low", "di_high", "images"):
        assert row(few, "lam_summary", model="net0")[name] == pytest.approx(row(many, "lam_summary", model="net0")[name])


def test_undefined_maps_are_counted_and_in_no_mean(summarise: Summarise) -> None:
    lam = Lam(di=lambda m, r, w: None if (m, r) == (1, 2) or (m, w) == (2, 1) else steady(m, r, w))
    result = summarise(lam_recipe(lam))
    assert [row(result, "lam_summary", model=f"net{m}")["undefined"] for m in range(3)] == [0, 3, 6]
    assert [row(result, "lam_summary", model=f"net{m}")["windows"] for m in range(3)] == [18, 15, 12]
    pair = row(result, "lam_pairs", model="net1", other="net2")
    assert pair["difference"] == pytest.approx(-1.0), "on windows that both have"
    assert (pair["windows"], pair["images"]) == (10, 5)
    assert any("without DI" in flag and "net1 (3 of 18), net2 (6 of 18)" in flag for flag in result.flags)
    assert any("lack a map" in note for note in result.notes)
    assert row(result, "lam_psnr", scope="across models")["images"] == 5


def test_maps_that_ignore_their_weights_or_their_window_are_flagged(summarise: Summarise) -> None:
    result = summarise(lam_recipe(Lam(blob=lambda m, r, w: float(m == 1), stays=frozenset({2}))))
    random = {f"net{m}": row(result, "lam_controls", model=f"net{m}", control="randomised_weights") for m in range(3)}
    shifted = {f"net{m}": row(result, "lam_controls", model=f"net{m}", control="shifted_window") for m in range(3)}
    assert [item["flag"] for item in random.values()] == [False, True, False]
    assert [item["flag"] for item in shifted.values()] == [False, False, True]
    assert random["net1"]["rho"] == pytest.approx(1.0, abs=1e-6)
    assert random["net1"]["beyond"] == pytest.approx(1.0, abs=1e-6)
    assert random["net0"]["rho"] > 0.6 > 0.3 > abs(random["net0"]["beyond"]), "both lie around the window; beyond that they share nothing"
    assert shifted["net2"]["follows"] == pytest.approx(0, abs=1e-6)
    assert shifted["net0"]["follows"] > 0.7
    assert [item["maps"] for item in random.values()] == [12, 12, 12], "4 samples of 3 windows"
    assert [flag.split(":")[1] for flag in result.flags] == [" net1 (12 of 12)", " net2 (12 of 12)"]
    assert sum(item["fails"] for item in rows(result, "lam_control_maps", model="net1", control="randomised_weights")) == 12


def test_thresholds_are_parameters(summarise: Summarise) -> None:
    lam = Lam(blob=lambda m, r, w: 0.6)
    assert not summarise(lam_recipe(lam, params={"survives": 0.95})).flags
    assert "net0 (12 of 12), net1" in summarise(lam_recipe(lam, params={"survives": 0.3}, name="low")).flags[0]
    loose = summarise(lam_recipe(Lam(error=0.3), name="err"))
    assert any("with an estimated error above 20 %: net0 (18 of 18)" in flag for flag in loose.flags)
    assert not summarise(lam_recipe(Lam(error=0.3), params={"error_limit": 0.4}, name="err2")).flags


def test_without_controls_a_note_asks_for_them(summarise: Summarise) -> None:
    result = summarise(lam_recipe(Lam(controls=None)))
    assert any("controls:" in note for note in result.notes)
    assert rows(result, "lam_controls") == []
    assert "controls" not in [figure.name for figure in result.figures]


def test_sizes_are_kept_apart_and_their_mixture_is_said(summarise: Summarise) -> None:
    sides = lambda r: 32 if r % 2 else 64  # noqa: E731
    lam = Lam(size=sides, di=lambda m, r, w: (10.0 + m) * (32 / sides(r)) ** 2, controls=None)  # the same extent at both sizes
    result = summarise(lam_recipe(lam))
    assert [item["height"] for item in rows(result, "lam_summary", model="net0")] == [32, 64, None]
    small, large, mixed = (row(result, "lam_summary", model="net0", height=side) for side in (32, 64, None))
    assert small["di"] == pytest.approx(10.0)
    assert large["di"] == pytest.approx(2.5)
    assert small["extent"] == pytest.approx(large["extent"])
    assert mixed["extent"] == pytest.approx(small["extent"])
    assert any("2 input sizes" in note for note in result.notes)
    pair = row(result, "lam_pairs", model="net0", other="net1")
    assert [pair[name] for name in ("ratio", "ratio_low", "ratio_high")] == pytest.approx([10 / 11] * 3), "ratios do not depend on size"


def test_degradations_have_rows_of_their_own_and_together(summarise: Summarise) -> None:
    result = summarise(lam_recipe(degradations=("clean", {"blur": 2}), pictures=4))
    assert {item["label"] for item in rows(result, "lam_summary")} == {"clean", "blur2", "all"}
    whole = row(result, "lam_summary", model="net0", label="all")
    assert (whole["images"], whole["windows"]) == (4, 24), "degraded copies are no further images"
    parts = [row(result, "lam_summary", model="net0", label=label)["di"] for label in ("clean", "blur2")]
    assert whole["di"] == pytest.approx(np.mean(parts))
    assert row(result, "lam_pairs", model="net0", other="net1", label="all")["difference"] == pytest.approx(-1)


def test_intervals_of_a_difference_hold_the_truth(summarise: Summarise, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty studies of one population, two models half a point apart on average; their figures are not drawn."""
    for name in ("indices", "pairs", "against_psnr", "controls"):
        monkeypatch.setattr(f"xlli_ray.analyses.lam_summary.figures.{name}", lambda *_: [])
    held = []
    for study in range(20):
        spread = lambda m, r, w, s=study: 12 + 0.5 * m + image_effect(r + 100 * s) + np.random.default_rng((s, m, r, 5)).normal()  # noqa: E731
        result = summarise(lam_recipe(Lam(di=spread, windows=1, controls=None, psnr=False), models=2, pictures=8, name=f"s{study}"))
        pair = row(result, "lam_pairs", model="net0")
        held.append(pair["low"] <= -0.5 <= pair["high"])
        assert pair["high"] - pair["low"] < 4, "images differ by more than this; the pairing removes it"
    assert sum(held) >= 16


def test_psnr_comes_from_the_stage_that_is_meant(summarise: Summarise) -> None:
    without = summarise(lam_recipe(Lam(psnr=False)))
    assert rows(without, "lam_psnr") == []
    assert any("No PSNR" in note for note in without.notes)
    two = lam_recipe(name="two")
    two = replace(two, stages=[*two.stages, replace(two.stages[-1], id="restore2")])
    with pytest.raises(PlanError, match=r"there are 2 restore stages \(restore, restore2\): name one, or null"):
        summarise(two)
    named = lam_recipe(params={"restore": "restore2"}, name="named")
    named = replace(named, stages=[*named.stages, replace(named.stages[-1], id="restore2")])
    assert row(summarise(named), "lam_psnr", scope="across models")["rho"] is not None


def test_the_stage_must_be_a_lam_stage_with_maps(summarise: Summarise) -> None:
    with pytest.raises(PlanError, match=r"lam_summary\.of: no stage 'lamm' here: did you mean 'lam'"):
        summarise(lam_recipe(params={"of": "lamm"}))
    with pytest.raises(PlanError, match="of kind restore, expected lam"):
        summarise(lam_recipe(params={"of": "restore"}, name="kind"))
    with pytest.raises(AnalysisError, match="has no measured map"):
        summarise(lam_recipe(failed=range(20), name="none"))


def test_many_models_make_a_matrix_and_many_degradations_a_heat_map(summarise: Summarise) -> None:
    many = ["clean", *({"noise": level} for level in range(5, 50, 5))]
    result = summarise(lam_recipe(Lam(windows=1, controls=None), models=8, pictures=2, degradations=many))
    assert [figure.name for figure in result.figures] == ["di", "pairs", "psnr"]
    assert "row minus column" in result.figures[1].caption
    assert len(rows(result, "lam_pairs", label="all")) == 28
