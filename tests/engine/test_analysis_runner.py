"""Analyses in a run: made when needed and only then, stale when their inputs change, and no fault of one costs anything else.

The analysis is the one of docs/extending.md, taken from that page as it stands.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import xlli_ray
from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, plan_study, run_study
from xlli_ray.errors import EnvironmentFailure, PlanError, StudyError
from xlli_ray.plots.dots import Dots
from xlli_ray.plots.view import to_svg
from xlli_ray.recipe import Recipe
from xlli_ray.registry import ANALYSES
from xlli_ray.report.page import write_report
from xlli_ray.report.text import status_text
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.verify.check_study import verify

Make = Callable[..., Recipe]
Run = Callable[..., Summary]
DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
TWO = [{"id": "one", "network": "toy:small"}, {"id": "two", "network": "toy:small", "args": {"seed": 1}, "tags": {"deep": True}}]
THREE = [*TWO, {"id": "three", "network": "toy:small", "args": {"seed": 2}}]


@pytest.fixture
def agreement(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ModuleType]:
    """The module of the page, registered as the page says."""
    (code,) = (block for block in re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL) if block.startswith('"""Agreement'))
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "agreement_of_the_docs.py").write_text(code)
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setitem(ANALYSES, "agreement", "agreement_of_the_docs:Agreement")
    import agreement_of_the_docs  # type: ignore[import-not-found]

    yield agreement_of_the_docs
    del sys.modules["agreement_of_the_docs"]


def stages(*analyses: Any) -> list[Any]:
    return [{"restore": {}}, *(analyses or ({"agreement": {}},))]


def results(study: Path) -> dict[str, bytes]:
    return {str(path.relative_to(study)): path.read_bytes() for path in sorted((study / "results").rglob("*")) if path.is_file()}


def test_a_run_makes_it_once_and_everything_follows(agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path) -> None:
    asked = recipe(models=TWO, stages=stages())
    summary = run(asked)
    assert summary.analyses == ("agreement",)
    assert summary.analyses_failed == ()
    study = xlli_ray.open_study(tmp_path / "study")
    found = study.result("agreement")
    assert found.state == "current"
    (row,) = found.tables["agreement"].to_pylist()
    assert (row["stage"], row["model"], row["other"], row["images"]) == ("agreement", "one", "two", 12)
    assert study.sql("select rho from agreement")["rho"][0].as_py() == row["rho"] == pytest.approx(found.values["median rho"])
    assert found.figures["agreement"].startswith("<svg")
    view = found.views["agreement"]
    assert isinstance(view, Dots)
    assert view.rows == ("one · two",)
    assert re.sub("\n<metadata>.*?</metadata>", "", found.figures["agreement"]) == to_svg(view), "what is stored draws what is shown"
    assert set(study.results) == {"agreement"}
    state = study.status()
    assert state["complete"]
    assert "analysis agreement: current" in status_text(state)
    page = Path(write_report(str(tmp_path / "study"))).read_text()
    assert 'id="result-agreement"' in page
    assert "do two networks find the same images difficult" in page
    assert "Spearman&#39;s ρ of their PSNR over the images" in page
    assert "<metadata>" not in page
    assert list(verify(study.archive)) == []
    before = results(tmp_path / "study")
    again = run(asked)
    assert again.complete
    assert again.analyses == ()
    assert results(tmp_path / "study") == before


def test_its_numbers_are_those_of_scipy(agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path) -> None:
    from scipy.stats import spearmanr

    run(recipe(models=TWO, stages=stages()))
    study = xlli_ray.open_study(tmp_path / "study")
    table = study.sql("select model, source_sha, avg(psnr_y) as v from restore join samples using (sample_id) group by all order by all")
    values = table["v"].to_numpy().reshape(2, 12)
    (row,) = study.result("agreement").tables["agreement"].to_pylist()
    assert row["rho"] == pytest.approx(spearmanr(*values).statistic)
    assert row["low"] <= row["rho"] <= row["high"]


def test_two_studies_of_one_recipe_give_the_same_bytes_whatever_happened_to_them(
    agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path
) -> None:
    asked = recipe(models=TWO, stages=stages())
    run(asked, "plain")
    run(recipe(models=TWO[:1], stages=[{"restore": {}}]), "parts")  # in two runs, and some units again: other epochs
    records = sorted((tmp_path / "parts" / "records" / "restore").rglob("*.arrow"))
    records[0].unlink()
    run(asked, "parts")
    assert results(tmp_path / "plain") == results(tmp_path / "parts")



def test_an_analysis_enters_no_identity(agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path) -> None:
    run(recipe(models=TWO, stages=[{"restore": {}}]))
    cells = xlli_ray.open_study(tmp_path / "study").manifest.cells
    mark = xlli_ray.open_study(tmp_path / "study").manifest.planned
    added = run(recipe(models=TWO, stages=stages()))
    assert (added.units_run, added.analyses) == (0, ("agreement",))
    changed = run(recipe(models=TWO, stages=stages({"agreement": {"resamples": 150}})))
    assert (changed.units_run, changed.analyses) == (0, ("agreement",))
    manifest = xlli_ray.open_study(tmp_path / "study").manifest
    assert manifest.cells == cells
    assert manifest.planned == mark, "networks are not run for a plan because an analysis changed"


def test_changed_inputs_make_it_stale_and_the_next_run_makes_it_again(
    agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path
) -> None:
    run(recipe(models=TWO, stages=stages()))
    run(recipe(models=THREE, stages=[{"restore": {}}]))  # does not ask for the analysis: it is kept, and stale
    study = xlli_ray.open_study(tmp_path / "study")
    found = study.result("agreement")
    assert found.state == "stale"
    assert "restore/three/restore was added" in found.why
    assert "stale" in repr(found)
    text = status_text(study.status())
    assert "analysis agreement: stale, kept from an earlier recipe – restore/three/restore was added" in text
    assert study.status()["complete"], "what the recipe asks for is there"
    assert "<strong>Stale.</strong>" in Path(write_report(str(tmp_path / "study"))).read_text()
    assert run(recipe(models=THREE, stages=stages())).analyses == ("agreement",)
    assert xlli_ray.open_study(tmp_path / "study").result("agreement").tables["agreement"].num_rows == 3


def test_version_tags_and_replace_make_it_again(
    agreement: ModuleType, recipe: Make, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    run(recipe(models=TWO, stages=stages()))
    before = results(tmp_path / "study")
    assert run(recipe(models=TWO, stages=stages()), replace=("agreement",)).analyses == ("agreement",)
    assert results(tmp_path / "study") == before
    monkeypatch.setattr(agreement.Agreement, "VERSION", 2)
    assert xlli_ray.open_study(tmp_path / "study").result("agreement").why == "version 1 → 2"
    assert run(recipe(models=TWO, stages=stages())).analyses == ("agreement",)
    tagged = [{**TWO[0], "tags": {"deep": False}}, TWO[1]]
    assert run(recipe(models=tagged, stages=stages())).analyses == ("agreement",)


def test_models_chooses_what_it_sees(agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path) -> None:
    summary = run(
        recipe(
            models=THREE,
            stages=stages(
                {"agreement": {"models": ["one", "three"]}},
                {"agreement": {"id": "deep", "models": {"deep": True}}},
                {"agreement": {"id": "every"}},
            ),
        )
    )
    assert summary.analyses == ("agreement", "every")
    assert summary.analyses_failed == (("deep", "agreement needs two models, or more"),)
    study = xlli_ray.open_study(tmp_path / "study")
    assert study.sql("select stage, count(*) as n from agreement group by all order by all").to_pylist() == [
        {"stage": "agreement", "n": 1}, {"stage": "every", "n": 3}
    ]  # fmt: skip
    assert len(study.result("agreement").stored.made.inputs) == 2


def test_a_crash_in_one_costs_only_that_one(
    agreement: ModuleType, recipe: Make, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = recipe(models=TWO, stages=stages({"agreement": {}}, {"agreement": {"id": "later"}}))
    run(asked)
    kept = results(tmp_path / "study")
    real = agreement.Agreement.run

    def broken(params: Any, view: Any, seed: int) -> Any:
        if params.resamples == 300:
            raise ZeroDivisionError("by\nnothing")
        return real(params, view, seed)

    monkeypatch.setattr(agreement.Agreement, "run", broken)
    changed = recipe(models=TWO, stages=stages({"agreement": {"resamples": 300}}, {"agreement": {"id": "later", "resamples": 200}}))
    summary = run(changed)
    assert summary.analyses == ("later",)
    ((name, reason),) = summary.analyses_failed
    assert name == "agreement"
    assert reason.startswith("ZeroDivisionError: by")
    assert not summary.complete
    study = xlli_ray.open_study(tmp_path / "study")
    assert {state.id: state.state for state in study.analyses} == {"agreement": "failed", "later": "current"}
    assert not study.status()["complete"]
    assert study.result("agreement").state == "failed"
    now = results(tmp_path / "study")
    assert all(now[key] == data for key, data in kept.items() if key.startswith("results/agreement/")), "the last result is kept"
    assert "<strong>Failed.</strong> ZeroDivisionError" in Path(write_report(str(tmp_path / "study"))).read_text()
    events = "".join(path.read_text() for path in (tmp_path / "study" / "events").iterdir())
    assert "Traceback" in events
    monkeypatch.setattr(agreement.Agreement, "run", real)
    assert run(changed).analyses == ("agreement",)
    assert "results/agreement/failed.json" not in results(tmp_path / "study")


def test_errors_of_the_surroundings_stop_the_run(
    agreement: ModuleType, recipe: Make, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def full(params: Any, view: Any, seed: int) -> Any:
        raise EnvironmentFailure(28, "disk full")

    monkeypatch.setattr(agreement.Agreement, "run", full)
    with pytest.raises(EnvironmentFailure):
        run(recipe(models=TWO, stages=stages()))
    assert not (tmp_path / "study" / "results").exists()


def test_a_writer_killed_between_files_leaves_no_result(
    agreement: ModuleType, recipe: Make, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from xlli_ray.store.objects.client import LocalObjects

    asked = recipe(models=TWO, stages=stages())
    run(asked)
    whole = results(tmp_path / "study")
    put = LocalObjects.put

    def dies(self: Any, key: str, data: Any) -> None:
        if key.endswith("agreement.svg"):
            raise KeyboardInterrupt
        put(self, key, data)

    with monkeypatch.context() as patch:
        patch.setattr(LocalObjects, "put", dies)
        with pytest.raises(KeyboardInterrupt):
            run(asked, replace=("agreement",))
    study = xlli_ray.open_study(tmp_path / "study")
    assert study.results == {}
    assert [state.state for state in study.analyses] == ["missing"]
    with pytest.raises(StudyError, match="no result 'agreement'"):
        study.result("agreement")
    assert run(asked).analyses == ("agreement",)
    assert results(tmp_path / "study") == whole


def test_a_damaged_file_is_found_and_not_believed(agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path) -> None:
    run(recipe(models=TWO, stages=stages()))
    place = tmp_path / "study" / "results" / "agreement"
    (place / "agreement.svg").write_bytes(b"<svg/>")
    study = xlli_ray.open_study(tmp_path / "study")
    assert any("agreement.svg: the bytes differ" in line and "--replace agreement" in line for line in verify(study.archive))
    with pytest.raises(xlli_ray.XlliError, match="not the bytes that"):
        _ = study.result("agreement").figures
    assert "not the bytes" in Path(write_report(str(tmp_path / "study"))).read_text()
    (place / "agreement.json").write_text("{}")
    study = xlli_ray.open_study(tmp_path / "study")
    assert any("agreement.json: the bytes differ" in line for line in verify(study.archive))
    with pytest.raises(xlli_ray.XlliError, match=r"agreement\.json: not the bytes that"):
        _ = study.result("agreement").views
    (place / "result.json").write_text("{")
    assert xlli_ray.open_study(tmp_path / "study").results == {}
    assert run(recipe(models=TWO, stages=stages())).analyses == ("agreement",)


@pytest.mark.parametrize(
    ("stage", "match"),
    [
        ({"agreement": {"of": "restor"}}, r"stage agreement: agreement.of: no stage 'restor' here: did you mean 'restore'\?"),
        ({"agreement": {"of": "features"}}, "of kind features, expected restore"),
        ({"agreement": {"models": []}}, "no stage 'restore' here: add one"),
    ],
)
def test_inputs_that_are_not_there_are_refused_before_anything_is_computed(
    agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path, stage: dict[str, Any], match: str
) -> None:
    asked = recipe(models=TWO, stages=[{"features": {"layers": ["head"]}}, {"restore": {}}, stage])
    with pytest.raises(PlanError, match=match):
        plan_study(asked, str(tmp_path / "study"), Options(workers=0, quiet=True))
    with pytest.raises(PlanError, match=match):
        run(asked)
    assert not (tmp_path / "study" / "records" / "restore").exists()


def test_names_that_collide_are_refused(
    agreement: ModuleType, recipe: Make, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    for name in ("restore", "samples"):
        with monkeypatch.context() as patch:
            patch.setattr(agreement.Agreement, "TABLES", (replace(agreement.AGREEMENT, name=name),))
            with pytest.raises(PlanError, match=f"the SQL table {name} of agreement is taken by the study itself or a probe"):
                run(recipe(models=TWO, stages=stages()))
    run(recipe(models=TWO, stages=[{"restore": {"id": "agreement"}}]), "other")
    with pytest.raises(PlanError, match="has measurements of a stage with that id"):
        run(recipe(models=TWO, stages=[{"restore": {}}, {"agreement": {}}]), "other")


def test_what_is_not_as_declared_is_an_error_in_words(
    agreement: ModuleType, recipe: Make, run: Run, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from xlli_ray.store.tables.results import Result

    cases = {
        "was declared, and not returned": Result({}),
        "column 'rhoo' is not declared": Result({"agreement": [{"rhoo": 1.0}]}),
        "not as declared": Result({"agreement": [{"rho": "high"}]}),
        "which it does not declare": Result({"agreement": [], "more": []}),
    }
    for number, (match, result) in enumerate(cases.items()):
        monkeypatch.setattr(agreement.Agreement, "run", lambda params, view, seed, out=result: out)
        summary = run(recipe(models=TWO, stages=stages({"agreement": {"resamples": 200 + number}})))
        assert match in summary.analyses_failed[0][1]
    assert not (tmp_path / "study" / "results" / "agreement" / "result.json").exists()


def test_a_study_in_a_bucket_has_results_too(agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path) -> None:
    """Tables are registered, not viewed, where there are no local files."""
    from xlli_ray.store.tables import study_tables as tables

    run(recipe(models=TWO, stages=stages({"agreement": {}}, {"agreement": {"id": "again"}})))
    study = xlli_ray.open_study(tmp_path / "study")

    class Remote:
        """The same objects, not as a local folder."""

        url = "memory://study"

        def __getattr__(self, name: str) -> Any:
            return getattr(open_objects(str(tmp_path / "study")), name)

    far = tables.query(Archive(Remote(), study.manifest), "select stage, rho from agreement order by stage")  # type: ignore[arg-type]
    assert far.to_pylist() == study.sql("select stage, rho from agreement order by stage").to_pylist()


def test_run_in_python_raises_when_an_analysis_failed(
    agreement: ModuleType, recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe(models=TWO[:1], stages=stages())
    with pytest.raises(xlli_ray.XlliError, match="agreement: agreement needs two models, or more"):
        xlli_ray.run(str(tmp_path / "recipe.yaml"), str(tmp_path / "study"))
    study = xlli_ray.open_study(tmp_path / "study")
    assert study.sql("select count(*) as n from restore")["n"][0].as_py() == 24
    with pytest.raises(StudyError, match="the analysis 'agreement' failed: agreement needs two models"):
        study.result("agreement")


def test_the_studys_seed_and_the_stages_id_key_the_draws(agreement: ModuleType, recipe: Make, run: Run, tmp_path: Path) -> None:
    run(recipe(models=TWO, stages=stages({"agreement": {"resamples": 101}}, {"agreement": {"id": "other", "resamples": 101}})))
    study = xlli_ray.open_study(tmp_path / "study")
    one, other = (study.result(name).tables["agreement"].to_pylist()[0] for name in ("agreement", "other"))
    assert one["rho"] == other["rho"]
    assert (one["low"], one["high"]) != (other["low"], other["high"])
    assert np.isfinite([one["low"], one["high"]]).all()


def test_limits_and_events_know_nothing_of_them(agreement: ModuleType, recipe: Make, tmp_path: Path) -> None:
    asked = recipe(models=TWO, stages=stages())
    _, plan = plan_study(asked, str(tmp_path / "study"), Options(workers=0, quiet=True))
    assert {cell.stage for cell in plan.cells} == {"restore"}
    run_study(asked, str(tmp_path / "study"), Options(workers=0, quiet=True))
    stored = json.loads((tmp_path / "study" / "study.json").read_text())
    assert [stage["kind"] for stage in stored["recipe"]["stages"]] == ["restore", "agreement"]
