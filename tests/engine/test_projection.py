"""What `xlli plan` promises: it grows with what is asked for, falls with what is done, and enters nothing that is stored."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import toy
from helpers import QUIET

from xlli_ray.engine.run import projection
from xlli_ray.engine.run.driver import plan_study, run_study
from xlli_ray.models.model import ImageModel, Model
from xlli_ray.probes.lam.attribution import FORWARD_SHARE
from xlli_ray.probes.lam.params import Params
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.probes.lam.receptive_field import Radius
from xlli_ray.probes.lam.timing import MapTime
from xlli_ray.recipe import Recipe

Make = Callable[..., Recipe]
SMALL = ImageModel("small", toy.small().eval().requires_grad_(False), "toy", 1, 2, 3, (0.0, 1.0), 1, 1, "image", "")


def times(radius: Radius | None = None, **params: Any) -> MapTime:
    """A second for a node's network and a thousandth for its blur, over 1,000 pixels."""
    probe = Lam(Params(**params), {})
    return MapTime(SMALL, probe.params, probe.nodes, radius, 5.0, 2.0, 1.001, 0.001, 1000)


def test_windows_share_forwards_where_they_have_no_crops() -> None:
    four, one = ([{"top": 4 * i, "left": 4, "size": 8} for i in range(count)] for count in (4, 1))
    shared = FORWARD_SHARE + (1 - FORWARD_SHARE) * 4
    assert times(nodes=10, windows=one).sample(100, 100) == pytest.approx((2 + 10) * 10 + 0.1)
    assert times(nodes=10, windows=four).sample(100, 100) == pytest.approx((2 + 10 * shared) * 10 + 0.1)
    assert times(mode="paper", windows=one).sample(100, 100) == pytest.approx((2 + 42) * 10 + 0.42)


def test_a_short_reach_costs_its_crop_and_the_blur_of_the_whole_image() -> None:
    place = [{"top": 100, "left": 100, "size": 8}]
    crop = (5 + 2 * 10) ** 2  # the window and the pixel that its score reads more: 4.5 input pixels, in five
    assert times(Radius(10, 10), nodes=10, windows=place).sample(100, 100) == pytest.approx((2 + 10) * crop / 1000 + 0.1)
    assert times(Radius(200, 200), nodes=10, windows=place).sample(100, 100) == pytest.approx((2 + 10) * 10 + 0.1), "no crop is smaller"


def test_a_grid_costs_all_its_windows_and_a_rule_no_more_than_there_are() -> None:
    grid = times(nodes=1, windows={"size": 20, "choose": "grid"})
    nine = FORWARD_SHARE + (1 - FORWARD_SHARE) * 9
    assert grid.sample(31, 31) == pytest.approx((2 + nine) * 0.961 + 0.000961), "62 × 62 output pixels hold three by three"
    few = times(nodes=1, windows={"size": 20, "per_sample": 50})
    assert few.sample(31, 31) == grid.sample(31, 31)
    assert times(windows={"size": 64}).sample(31, 31) == 0, "what has no window fails, which costs nothing"


@pytest.mark.parametrize(
    "params",
    [{}, {"mode": "paper"}, {"gates": "averaged"}, {"tolerance": 0.1}, {"objective": "error"}, {"objective": {"channel": 1}},
     {"path": "linear_mean"}, {"windows": {"size": 500}}, {"windows": [{"top": 1, "left": 1, "size": 4}]}],
    ids=str,
)  # fmt: skip
def test_every_kind_of_map_can_be_tried(params: dict[str, Any]) -> None:
    before = torch.get_num_threads()
    found = Lam(Params(**params), {}).timing(SMALL)
    assert found.node > 0
    assert found.once > 0
    assert found.ends >= 0
    assert torch.get_num_threads() == before


def test_what_is_done_is_not_promised_again_and_nothing_stored_depends_on_a_clock(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = recipe(stages=[{"restore": {}}, {"lam": {"nodes": 2, "windows": {"size": 8, "per_sample": 1}}}], batch={})
    out = str(tmp_path / "study")
    manifest, plan = plan_study(asked, out, QUIET)
    assert plan.timed is not None
    assert plan.timed > 0
    with monkeypatch.context() as slower:
        slower.setattr(projection, "_forward", lambda model: 1.0)
        other, longer = plan_study(asked, str(tmp_path / "other"), QUIET)
    assert longer.timed is not None
    assert longer.timed > plan.timed + 24 * 400, "a second a pixel"
    assert other.cells == manifest.cells
    run_study(asked, out, QUIET)
    assert plan_study(asked, out, QUIET)[1].timed == 0.0


def test_a_network_that_cannot_be_tried_is_planned_all_the_same(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its samples will be failed rows with the reason; how long that takes nobody knows."""

    def breaks(model: Model) -> float:
        raise AssertionError("not for this image")

    monkeypatch.setattr(projection, "_forward", breaks)
    before = torch.get_num_threads()
    _, plan = plan_study(recipe(), str(tmp_path / "study"), QUIET)
    assert (len(plan.added), plan.timed, torch.get_num_threads()) == (3, None, before)
