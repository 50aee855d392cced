"""What must fail is refused before an image is read; what a corpus is too small for, before anything is computed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from helpers import QUIET

from xlli_ray.engine.run.corpus_files import CorpusFiles
from xlli_ray.engine.run.driver import plan_study, run_study
from xlli_ray.errors import LayerPatternError, NetworkError, PlanError, WeightsError, XlliError
from xlli_ray.recipe import Recipe

Make = Callable[..., Recipe]


@pytest.fixture
def unread(monkeypatch: pytest.MonkeyPatch) -> None:
    """No image may be scanned. Their names are listed before, to tell how many workers the study needs."""

    def never(*_: Any, **__: Any) -> None:
        pytest.fail("the corpus was looked at before the recipe was checked")

    monkeypatch.setattr(CorpusFiles, "take", never)


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


def test_a_patch_of_a_billion_pixels_asks_for_no_such_image(recipe: Make, tmp_path: Path) -> None:
    """The layers were looked at on an image of the patch's size: 750 GB."""
    asked = recipe(corpus={**one_each(recipe), "patches": {"size": 10**12}})
    with pytest.raises(PlanError, match="no sample"):
        plan_study(asked, str(tmp_path / "study"), QUIET)


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
    told = r"stage srga: srga\.components: 300 components need at least 301 .* there are 8 .* or set it to 4 or fewer"
    for go in (plan_study, run_study):
        with pytest.raises(PlanError, match=told):
            go(recipe(**sets(components=300)), str(study), QUIET)
    assert not list(study.glob("records/srga-gram/**/*")), "nothing was computed"


def test_components_that_are_not_given_follow_from_the_samples_and_the_result_says_so(recipe: Make, tmp_path: Path) -> None:
    out = str(tmp_path / "study")
    _, plan = plan_study(recipe(**sets()), out, QUIET)
    assert "stage srga: 4 components, half of the 8 samples in a set; set `components` for another number" in plan.notes
    summary = run_study(recipe(**sets()), out, QUIET)
    assert summary.analyses == ("srga",)
    from xlli_ray.study import open_study

    result = open_study(out).results["srga"]
    assert set(result.tables["srga"]["k"].to_pylist()) == {4}
    assert any("4 components (default: 300, or half of the samples if that is less)" in note for note in result.notes)


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


@pytest.mark.parametrize(
    ("stage", "told"),
    [
        (
            {"lam": {"windows": [{"top": 90, "left": 2, "size": 12}]}},
            r"stage lam: model small can measure none of 12 samples: window \(top 90, left 2, size 12\) is outside the output of 48 "
            r"rows × 48 columns: top \+ size must be below 48.*Change the parameters of the stage",
        ),
        (
            {"lam": {"windows": {"size": 64}}},
            r"none of 12 samples: no window: an output of 48 rows × 48 columns holds none of size 64; windows of up to 47 fit",
        ),
        ({"lam": {"windows": {"size": 48, "choose": "grid"}}}, "none of 12 samples: .* windows of up to 47 fit .and 1 other reason."),
        ({"lam": {"windows": {"file": "gone.csv"}}}, "none of 12 samples: no window: the windows file has no line for .*ends of those of"),
        ({"lam": {"windows": {"file": "large.csv"}}}, r"none of 12 samples: window \(top 47, left 0, size 9\) is outside"),
        ({"lam": {"windows": {"choose": {"hardest": {"by": "triple"}}}, "models": ["small"]}}, "model triple, which upscales ×3, for .*×2"),
    ],
    ids=["list", "size", "grid", "no line", "file", "companion"],
)
def test_windows_that_fit_nothing_are_refused_by_the_plan_before_any_unit(
    recipe: Make, tmp_path: Path, stage: dict[str, Any], told: str
) -> None:
    (tmp_path / "gone.csv").write_text("path,top,left,size\nother/00.png,3,4,8\n")
    (tmp_path / "large.csv").write_text("path,top,left,size\n" + "".join(f"{i:02}.png,47,0,9\n" for i in range(12)))
    triple = {"id": "triple", "network": "toy:small", "args": {"scale": 3}}
    models = [{"id": "small", "network": "toy:small"}, *([triple] if "models" in stage["lam"] else [])]
    study = tmp_path / "study"
    sections = {"models": models, "stages": [{"lam": {"nodes": 2, **stage["lam"]}}], "batch": {}, "corpus": one_each(recipe)}
    for go in (plan_study, run_study):
        with pytest.raises(PlanError, match=f"(?s){told}"):
            go(recipe(**sections), str(study), QUIET)
    assert not list(study.glob("records/lam/**/*")), "nothing was computed"


def one_each(recipe: Make) -> dict[str, Any]:
    """The images themselves: four of 40 × 56 pixels and eight of 48 × 48, as outputs."""
    corpus = recipe().dump()["corpus"]
    return {"images": corpus["images"], "scale": corpus["scale"], "degradations": ["clean"]}


def test_the_plan_counts_the_samples_that_some_windows_do_not_fit(recipe: Make, tmp_path: Path) -> None:
    """Fits in 48 × 48, not in 40 × 56; and a file that names two of twelve."""
    (tmp_path / "two.csv").write_text("path,top,left,size\n00.png,3,4,8\nimages/01.png,5,6,8\n")
    stages = [
        {"lam": {"id": "low", "nodes": 2, "windows": [{"top": 30, "left": 2, "size": 12}]}},
        {"lam": {"id": "few", "nodes": 2, "windows": {"file": "two.csv"}, "controls": ["shifted_window"], "control_samples": 4}},
    ]
    asked = recipe(stages=stages, batch={}, corpus=one_each(recipe))
    out = str(tmp_path / "study")
    _, plan = plan_study(asked, out, QUIET)
    few, low = (note for note in plan.notes if "cannot be measured" in note)
    failed = "cannot be measured and will be failed rows:"
    assert low.startswith(f"stage low, small: 4 of 12 samples {failed} window (top 30, left 2, size 12)")
    assert "the output of 40 rows × 56 columns" in low
    assert few.startswith(f"stage few, small: 10 of 12 samples {failed} no window: the windows file has no line for ")
    assert run_study(asked, out, QUIET).failed == 11, "10 and 4, three of them in both"
    assert {low, few} <= set(run_study(asked, out, QUIET).notes), "as long as it is true, also when there is nothing to do"


def test_what_is_too_small_to_score_is_refused_when_it_is_everything(recipe: Make, tmp_path: Path) -> None:
    (tmp_path / "tiny").mkdir()
    from PIL import Image

    Image.new("RGB", (4, 8)).save(tmp_path / "tiny" / "a.png")
    tiny = recipe(stages=[{"restore": {}}], batch={}, corpus={"images": ["tiny/*.png"], "scale": 2}, baseline=False)
    with pytest.raises(PlanError, match="stage restore: model small can measure none of 1 sample: too small to score: the target is 4×8"):
        plan_study(tiny, str(tmp_path / "study"), QUIET)
