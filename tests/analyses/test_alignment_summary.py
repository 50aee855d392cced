"""`alignment_summary` on studies of which everything is known: differences by motion, what maps follow, and what it refuses."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from alignment_studies import EDGES, alignment_recipe, hard, pixels, windowed
from toy_studies import Recipe, write_study

from xlli_ray.analyses.alignment_summary.tables import TABLES
from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.shared.freshness import asked_in, check_asked, resolve
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, PlanError
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects

Summarise = Callable[[Recipe], Result]


@pytest.fixture
def summarise(tmp_path: Path) -> Summarise:
    """Writes a study and runs its `alignment_summary` over it."""

    def go(recipe: Recipe) -> Result:
        objects = open_objects(str(tmp_path / recipe.name))
        manifest = write_study(objects, recipe, tmp_path / f"{recipe.name}-pictures")
        asked = asked_in(manifest)
        check_asked(asked, manifest)
        task = resolve(asked[0], Archive(objects, manifest))
        with View(Archive(objects, manifest), task.cells) as view:
            return task.cls.run(task.params, view, 5)

    return go


def rows(result: Result, table: str, **where: Any) -> list[dict[str, Any]]:
    return [row for row in result.tables[table] if all(row[key] == value for key, value in where.items())]  # type: ignore[union-attr]


def row(result: Result, table: str, **where: Any) -> dict[str, Any]:
    (found,) = rows(result, table, **where)
    return found


def test_a_network_that_is_as_good_within_a_window_and_worse_beyond_is_said_to_be_so(summarise: Summarise) -> None:
    result = summarise(alignment_recipe())
    found = row(result, "alignment_windows", group="net0", other="net1", window=8.0)
    assert (found["inside"], found["inside_low"], found["inside_high"]) == pytest.approx((0, 0, 0), abs=1e-3)
    assert (found["beyond"], found["beyond_low"], found["beyond_high"]) == pytest.approx((10 * np.log10(2),) * 3, abs=1e-3)
    assert (found["change"], found["clips"], found["reason"]) == (pytest.approx(found["beyond"] - found["inside"]), 6, "")
    mixed = row(result, "alignment_windows", group="net0", other="net1", window=16.0)
    assert 0 < mixed["inside"] < 10 * np.log10(2), "what moves 8 to 16 pixels is inside now"


def test_the_psnr_of_a_bin_is_that_of_the_pooled_error_of_all_clips(summarise: Summarise) -> None:
    result = summarise(alignment_recipe())
    for place, low in enumerate(EDGES):
        # of ten visible values and one occluded, with twice the error, in three textures
        squared = sum(3 * pixels(r, place) * 12 * windowed(1, r, place) for r in range(6))
        count = sum(3 * pixels(r, place) * 11 for r in range(6))
        found = rows(result, "alignment_motion", group="net1", stratum="all", motion_low=low)
        (one,) = [some for some in found if some["values"] == count]
        assert one["psnr"] == pytest.approx(10 * np.log10(255**2 * count / squared), abs=1e-2)
        assert one["psnr_low"] < one["psnr"] < one["psnr_high"]
    each = [10 * np.log10(255**2 / (40 * hard(r))) for r in range(6)]
    visible = row(result, "alignment_motion", group="net0", stratum="visible", motion_low=0.0, motion_high=0.5)
    assert visible["psnr"] < np.mean(each) - 0.05, "a mean of PSNRs would be another number"


def test_a_network_against_itself_differs_by_exactly_nothing(summarise: Summarise) -> None:
    result = summarise(alignment_recipe(lambda model, r, place: 30.0 * hard(r)))
    found = rows(result, "alignment_differences", group="net0", other="net1")
    assert len(found) > len(EDGES)
    assert {(one["difference"], one["difference_low"], one["difference_high"]) for one in found} == {(0.0, 0.0, 0.0)}


def test_the_control_of_one_frame_stands_second_and_networks_that_lose_to_it_are_flagged(summarise: Summarise) -> None:
    def level(model: int, r: int, place: int) -> float:
        return hard(r) * (20.0, 60.0, 40.0)[model] * float(np.exp(np.random.default_rng((model, r)).normal(0, 0.02)))

    result = summarise(alignment_recipe(level, params={"single": "net2"}))
    compared = {(one["group"], one["other"]) for one in rows(result, "alignment_windows")}
    assert compared == {("net0", "net1"), ("net0", "net2"), ("net1", "net2")}
    gain = row(result, "alignment_windows", group="net0", other="net2", window=8.0)
    assert gain["inside_low"] < 10 * np.log10(2) < gain["inside_high"]
    (flag,) = [flag for flag in result.flags if flag.startswith("worse than net2")]
    assert "net1 (" in flag
    assert "net0" not in flag


def test_a_difference_that_bends_at_the_window_has_its_knot_there(summarise: Summarise) -> None:
    middle = [*((low + high) / 2 for low, high in pairwise(EDGES)), 40.0]

    def level(model: int, r: int, place: int) -> float:
        """Network 1 loses 0.1 dB for each pixel of motion beyond 8."""
        lost = 0.1 * max(0.0, middle[place] - 8) if model == 1 else 0.0
        return 200.0 * hard(r) * 10 ** (lost / 10)

    found = row(summarise(alignment_recipe(level, models=2)), "alignment_knots", group="net0", other="net1")
    assert (found["slope"], found["bend"]) == pytest.approx((0.0, 0.1), abs=2e-3)
    assert found["bend_low"] == pytest.approx(0.1, abs=5e-3) == found["bend_high"]
    assert (found["best"], found["best_low"], found["best_high"]) == (8, 8, 8)


def test_the_control_may_be_named_by_the_value_of_its_tag(summarise: Summarise) -> None:
    result = summarise(alignment_recipe(params={"by": ["depth"], "single": "2"}))
    assert {one["other"] for one in rows(result, "alignment_windows")} == {"depth=1", "depth=2"}
    assert {one["group"] for one in rows(result, "alignment_windows", other="depth=2")} == {"depth=0", "depth=1"}
    with pytest.raises(AnalysisError, match=r"no group '7': .*Groups: depth=0, depth=1, depth=2"):
        summarise(alignment_recipe(params={"by": ["depth"], "single": "7"}, name="b"))


def test_groups_of_three_trainings_have_intervals_over_trainings_too(summarise: Summarise) -> None:
    def level(model: int, r: int, place: int) -> float:
        return 30.0 * hard(r) * float(np.exp(0.1 * (model - 1)))

    result = summarise(alignment_recipe(level, params={"by": ["family"], "replicate": "depth"}))
    found = rows(result, "alignment_motion", stratum="all")
    assert {one["group"] for one in found} == {"family=toy"}
    assert {(one["trainings"], one["over"]) for one in found} == {(3, "trainings and clips")}
    assert not rows(result, "alignment_differences")


def test_maps_that_move_with_the_object_follow_it_and_maps_that_stay_do_not(summarise: Summarise) -> None:
    speed = (1.5, 2.0, 3.0, 4.0, 2.5, 3.5)
    result = summarise(alignment_recipe(velocity=lambda r: speed[r % 6], follows=lambda model, r: (1.0, 0.0, 0.5 + 0.4 * (-1) ** r)[model]))
    still, moved = (row(result, "alignment_maps", group=name) for name in ("net1", "net0"))
    assert (moved["follows"], moved["verdict"]) == (pytest.approx(1.0, abs=1e-3), "follows")
    assert (still["follows"], still["verdict"]) == (pytest.approx(0.0, abs=1e-3), "stays")
    assert row(result, "alignment_maps", group="net2")["verdict"] == "undecided"
    assert moved["tracking_error"] == pytest.approx(0.0, abs=2e-3)
    assert still["tracking_error"] == pytest.approx(still["motion"], rel=1e-3)
    assert still["motion"] == pytest.approx(np.mean(speed), rel=1e-3)
    assert (moved["centre_share"], moved["effective_frames"], moved["windows"], moved["clips"]) == pytest.approx((0.5, 2.5, 12, 6))


def test_maps_of_clips_without_motion_say_nothing_of_following(summarise: Summarise) -> None:
    found = row(summarise(alignment_recipe(velocity=lambda r: 0.25)), "alignment_maps", group="net0")
    assert (found["verdict"], found["windows"], found["follows"]) == ("no motion", 0, None)
    assert found["centre_share"] == pytest.approx(0.5)


def test_hardly_any_motion_beyond_the_window_is_a_flag(summarise: Summarise) -> None:
    assert not [flag for flag in summarise(alignment_recipe()).flags if "hardly any motion" in flag]
    result = summarise(alignment_recipe(thin=True, name="thin"))
    (flag,) = [flag for flag in result.flags if "hardly any motion" in flag]
    assert "of the pixels move 8 px or further" in flag
    found = row(result, "alignment_windows", group="net0", other="net1", window=8.0)
    assert (found["beyond_low"], found["reason"]) == (None, "1 clip: an interval takes 3")
    assert np.isfinite(found["inside_low"])


def test_without_maps_the_table_of_maps_is_empty_and_no_flow_is_needed(summarise: Summarise) -> None:
    result = summarise(alignment_recipe(maps=False))
    assert rows(result, "alignment_maps") == []
    assert rows(result, "alignment_windows")


@pytest.mark.usefixtures("drawn")
def test_figures_have_a_line_for_each_pair_and_name_the_bins(summarise: Summarise) -> None:
    result = summarise(alignment_recipe())
    names = [figure.name for figure in result.figures]
    assert names == ["psnr_by_motion", "difference_by_motion", "difference_by_content", "maps"]
    text = result.figures[1].svg
    assert "net0 − net1" in text
    assert "≥ 32" in text


def test_a_stage_or_network_that_is_not_there_is_named_with_the_nearest(summarise: Summarise) -> None:
    with pytest.raises(PlanError, match=r"alignment_summary\.single: no network 'net7': did you mean 'net[012]'\?"):
        summarise(alignment_recipe(params={"single": "net7"}))
    with pytest.raises(PlanError, match=r"alignment_summary\.of: no stage 'motion_errors' here: did you mean 'motion_error'\?"):
        summarise(alignment_recipe(params={"of": "motion_errors"}, name="b"))


def test_every_table_has_only_known_columns(summarise: Summarise) -> None:
    result = summarise(alignment_recipe())
    for table in TABLES:
        assert {name for one in rows(result, table.name) for name in one} == {column.name for column in table.columns}
