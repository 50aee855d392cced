"""Stages of `lam` by other methods, and its cascade, from recipe to table, page and analysis."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xlli_ray.engine.run.driver import Summary
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.recipe import Recipe
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

Make, Go = Callable[..., Recipe], Callable[..., Summary]
WINDOWS = {"size": 12, "per_sample": 2}
METHODS: dict[str, Any] = {
    "gradient_input": "gradient_input", "smoothgrad": {"smoothgrad": {"draws": 4}}, "occlusion": {"occlusion": {"size": 6}},
}  # fmt: skip


def study(recipe: Make, corpus: Path, stages: list[dict[str, Any]]) -> Recipe:
    return recipe(corpus={"images": [f"{corpus}/0[1-4].png"], "scale": 2, "degradations": ["clean"]}, stages=stages, batch={})


def stage(name: str, **params: Any) -> dict[str, Any]:
    return {"lam": {"id": name, "method": METHODS[name], "windows": WINDOWS, "signed": True, **params}}


def test_methods_stand_beside_the_maps_of_before_which_are_not_made_again(
    recipe: Make, run: Go, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"lam": {"nodes": 2, "windows": WINDOWS, "signed": True}}
    run(study(recipe, corpus, [own]))
    files = sorted((tmp_path / "study" / "arrays.zarr").rglob("*"))
    first = {path: path.read_bytes() for path in files if "c" in path.parts and path.is_file()}
    assert first
    every = [own, *(stage(name, controls=["randomised_weights"]) for name in METHODS)]
    cells = [f"{name}/small/{name}{control}" for name in METHODS for control in ("", ".randomised_weights")]
    assert sorted(run(study(recipe, corpus, every)).added) == sorted(cells)
    assert all(path.read_bytes() == before for path, before in first.items())
    monkeypatch.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
    assert run(study(recipe, corpus, every), "wide").failed == 0
    plain, wide = (open_study(tmp_path / name) for name in ("study", "wide"))
    assert list(verify(plain.archive)) == []
    query = (
        "select stage, what, sample_id, \"window\", top, \"left\", size, mode, path, nodes, di, error_estimate, completeness from lam "
        "order by all"
    )
    ours, theirs = (one.sql(query).to_pylist() for one in (plain, wide))
    places = {
        name: frozenset((row["sample_id"], row["window"], row["top"], row["left"]) for row in ours if row["stage"] == name)
        for name in ("lam", *METHODS)
    }
    assert len(set(places.values())) == 1, "the same windows for all"
    for row, other in zip(ours, theirs, strict=True):
        if row["stage"] in METHODS:
            assert (row["mode"], row["path"]) == (row["stage"], "")
            assert np.isnan(row["completeness"])
            assert np.isfinite(row["error_estimate"]) == (row["stage"] == "smoothgrad")
            assert row["di"] == pytest.approx(other["di"], rel=1e-3)
            assert row["nodes"] == other["nodes"]
    for name in METHODS:
        for array in ("map", "attribution"):
            readers = [one.array(f"{name}/small/{name}", array) for one in (plain, wide)]
            samples = plain.sql("select distinct sample_id from samples order by all")["sample_id"].to_pylist()
            one, other = (np.concatenate([reader.rows([sample]).ravel() for sample in samples]) for reader in readers)
            assert np.linalg.norm(one - other) <= 1e-4 * np.linalg.norm(one)


def test_the_page_and_the_summary_take_maps_of_any_method(recipe: Make, run: Go, corpus: Path, tmp_path: Path) -> None:
    from xlli_ray.report.page import gather

    summaries = [{"lam_summary": {"id": f"{name}_summary", "of": name}} for name in METHODS]
    run(study(recipe, corpus, [*(stage(name) for name in METHODS), *summaries]))
    place = str(tmp_path / "study")
    done = open_study(place)
    for name in METHODS:
        result = done.result(f"{name}_summary")
        rows = result.tables["lam_summary"].to_pylist()
        assert sum(row["windows"] for row in rows if row["height"] is not None) == 8
        for row in rows:
            assert 0 < row["di"] < 100
            assert row["completeness"] is None or np.isnan(row["completeness"])
    sections = {section.id: section for section in gather(done, place).sections}
    assert set(METHODS) <= set(sections)


def test_cascades_are_stored_and_left_out_of_the_controls_of_the_summary(recipe: Make, run: Go, corpus: Path, tmp_path: Path) -> None:
    own = {"nodes": 2, "windows": WINDOWS, "controls": ["randomised_weights"], "control_samples": 3}
    summary = {"lam_summary": {}}
    run(study(recipe, corpus, [{"lam": own}, summary]))
    place = tmp_path / "study"
    before = open_study(place).result("lam_summary").tables["lam_controls"].to_pylist()
    more = run(study(recipe, corpus, [{"lam": {**own, "controls": ["randomised_weights", "cascade"]}}, summary]))
    assert sorted(more.added)[:3] == [f"lam/small/accurate.cascade_{depth}" for depth in (25, 50, 75)]
    done = open_study(place)
    counts = done.sql("select control, count(*) as n from lam where control like 'cascade%' group by all order by control").to_pylist()
    assert counts == [{"control": f"cascade_{depth}", "n": 6} for depth in (25, 50, 75)]
    result = done.result("lam_summary")
    assert [row["control"] for row in result.tables["lam_controls"].to_pylist()] == ["randomised_weights"]
    assert result.tables["lam_controls"].to_pylist()[0]["model"] == before[0]["model"]
    assert list(verify(done.archive)) == []
    maps = [done.array(f"lam/small/accurate.{name}", "map") for name in ("cascade_25", "cascade_75", "randomised_weights")]
    (sample, *_) = done.sql("select sample_id from lam where control = 'cascade_25' order by row")["sample_id"].to_pylist()
    found = [one.rows([sample])[0] for one in maps]
    assert len({one.tobytes() for one in found}) == 3


def test_deletion_and_infidelity_try_the_map_itself_and_know_nothing_of_a_cascade(
    recipe: Make, run: Go, corpus: Path, tmp_path: Path
) -> None:
    """A cascade that is added later is measured, and what was tried is not tried again."""
    own = {"nodes": 2, "windows": WINDOWS, "signed": True, "controls": ["randomised_weights"], "control_samples": 2}
    trials = [{"deletion": {"of": "lam", "random_orders": 1}}, {"infidelity": {"of": "lam", "squares": 4, "noise": 4}}]
    run(study(recipe, corpus, [{"lam": own}, *trials]))
    later = run(study(recipe, corpus, [{"lam": {**own, "controls": ["randomised_weights", "cascade"], "cascade": [0.5]}}, *trials]))
    assert later.added == ("lam/small/accurate.cascade_50",)
    assert later.failed == 0
    done = open_study(tmp_path / "study")
    needed = {cell.id: cell.needs for cell in done.manifest.cells if cell.needs}
    own_cells = ("lam/small/accurate", "lam/small/accurate.randomised_weights")
    assert needed == {"deletion/small/deletion": own_cells, "infidelity/small/infidelity": own_cells}
    rankings = done.sql("select ranking, count(*) as n from deletion group by all order by all").to_pylist()
    assert rankings == [{"ranking": name, "n": 8} for name in ("control", "map", "nearest", "random")]
