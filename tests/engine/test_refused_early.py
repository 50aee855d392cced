"""What must fail is refused before an image is read; what a corpus is too small for, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import QUIET

from xlli_ray.engine import scan
from xlli_ray.engine.driver import plan_study, run_study
from xlli_ray.errors import LayerPatternError, NetworkError, PlanError, WeightsError, XlliError
from xlli_ray.recipe import Recipe

Make = Callable[..., Recipe]


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image may be looked at, not even listed."""

    def never(*_: Any, **__: Any) -> None:
        pytest.fail("the corpus was looked at before the recipe was checked")

    monkeypatch.setattr(scan, "list_sources", never)


FEATURES = {"features": {"layers": ["head"]}}


@pytest.mark.usefixtures("unread")
@pytest.mark.parametrize(
    ("sections", "kind", "told"),
    [
        ({"models": [{"id": "a", "network": "imdn", "weights": "gone.pth"}]}, WeightsError, "missing file: .*gone.pth"),
        ({"models": [{"id": "a", "network": "imnd", "weights": "builtin:srresnet-gr-clean"}]}, NetworkError, "imnd.*imdn"),
        ({"models": [{"id": "a", "weights": "builtin:srresnet-gr-cleen"}]}, XlliError, "srresnet-gr-clean"),
        ({"stages": [{"features": {"layers": ["haed"]}}]}, LayerPatternError, "haed"),
        ({"stages": [{"lam": {"objective": {"channel": 3}}}]}, PlanError, "channel 3"),
        ({"stages": [{"lam": {"windows": {"choose": {"hardest": {"by": "smal"}}}}}]}, PlanError, "no model has the id 'smal'.*'small'"),
        ({"corpus": {"images": ["*.png"], "scale": 3}}, PlanError, "enlarges ×2, the corpus holds ×3"),
        ({"stages": [FEATURES, {"ddr": {"from": "feature"}}]}, PlanError, "ddr.from: no stage 'feature' .*did you mean 'features'"),
        ({"stages": [{"restore": {}}, {"lam_summary": {}}]}, PlanError, "stage lam_summary: lam_summary.of: no stage 'lam' here"),
        (
            {"stages": [FEATURES, {"srga": {"of": "features"}}, {"restore": {"id": "r1"}}, {"restore": {"id": "r2"}}]},
            PlanError, "srga.restore: there are 2 restore stages",
        ),
    ],
    ids=["weights", "network", "builtin", "layer", "channel", "companion", "scale", "ddr.from", "lam_summary.of", "srga.restore"],
)
def test_a_recipe_that_names_what_is_not_there_is_refused_before_an_image_is_read(
    recipe: Make, tmp_path: Path, sections: dict[str, Any], kind: type[XlliError], told: str
) -> None:
    for go in (run_study, plan_study):
        with pytest.raises(kind, match=f"(?s){told}"):
            go(recipe(**sections), str(tmp_path / "study"), QUIET)


@pytest.mark.usefixtures("unread")
def test_replacing_what_is_not_there_is_refused_with_the_nearest(recipe: Make, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match=r"--replace restor: there is no such stage, model or cell\. Did you mean 'restore'"):
        run_study(recipe(), str(tmp_path / "study"), replace(QUIET, replace=("restor",)))


def test_a_cell_can_be_replaced_once_the_study_has_it(recipe: Make, tmp_path: Path) -> None:
    out = str(tmp_path / "study")
    run_study(recipe(), out, QUIET)
    assert run_study(recipe(), out, replace(QUIET, replace=("restore/small/restore",))).units_run > 0
    with pytest.raises(PlanError, match=r"--replace restore/small/restor: .*Did you mean 'restore/small/restore'"):
        run_study(recipe(), out, replace(QUIET, replace=("restore/small/restor",)))


def sets(**srga: Any) -> dict[str, Any]:
    """Six photographs as the README's recipe would have them: few patches, and the default number of components."""
    return {"stages": [{"srga": {"layer": "head", "resamples": 0, **srga}}], "batch": {}}


def test_more_components_than_samples_are_refused_by_the_plan_with_what_would_work(recipe: Make, tmp_path: Path) -> None:
    study = tmp_path / "study"
    told = r"stage srga: srga\.components: 300 components need at least 301 .* there are 8 .* or say 4 or fewer"
    for go in (plan_study, run_study):
        with pytest.raises(PlanError, match=told):
            go(recipe(**sets(components=300)), str(study), QUIET)
    assert not list(study.glob("records/srga-gram/**/*")), "nothing was computed"


def test_components_that_are_not_given_follow_from_the_samples_and_the_result_says_so(recipe: Make, tmp_path: Path) -> None:
    out = str(tmp_path / "study")
    _, plan = plan_study(recipe(**sets()), out, QUIET)
    assert "stage srga: 4 components, half of the 8 samples in a set; `components` would say another number" in plan.notes
    summary = run_study(recipe(**sets()), out, QUIET)
    assert summary.analyses == ("srga",)
    from xlli_ray.study import open_study

    result = open_study(out).results["srga"]
    assert set(result.tables["srga"]["k"].to_pylist()) == {4}
    assert any("4 components (the recipe says nothing: 300, or half of the samples where that is fewer)" in note for note in result.notes)


@pytest.mark.parametrize(
    ("stages", "told"),
    [
        (sets(reference="claen")["stages"], r"srga\.reference: there is no set 'claen' .*did you mean 'clean'"),
        ([FEATURES, {"srga": {"of": "features", "layer": "head"}}], r"srga\.of: features/small/head\.out is stored as float16"),
        ([FEATURES, {"ddr": {"layers": ["haed"]}}], r"ddr\.layers: 'haed' matches no stored layer\. Did you mean 'head'"),
        ([FEATURES, {"ddr": {"embed_layers": ["trunk"]}}], r"ddr\.embed_layers: 'trunk' matches none .*head"),
        ([FEATURES, {"ddr": {"depth": ["trunk"]}}], r"ddr\.depth: 'trunk' matches none .*head"),
        ([FEATURES, {"ddr": {"degradations": ["noise2"]}}], r"ddr\.degradations: no sample has the label 'noise2': did you mean 'noise20'"),
        ([FEATURES, {"ddr": {"labels": ["level"]}}], r"ddr\.labels: nothing to separate by level in 8 clean, 8 noise20"),
        ([FEATURES, {"ddr": {"degradations": ["clean"], "labels": ["type", "content"]}}], r"nothing to separate by type, content"),
    ],
)
def test_what_an_analysis_cannot_conclude_from_this_corpus_is_refused_by_the_plan(
    recipe: Make, tmp_path: Path, stages: list[Any], told: str
) -> None:
    with pytest.raises(PlanError, match=told):
        plan_study(recipe(stages=stages, batch={}), str(tmp_path / "study"), QUIET)
