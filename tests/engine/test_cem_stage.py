"""The stage `cem` from recipe to table: the same map wherever it is computed, what is refused, and what `verify` says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import PlanError, RecipeError
from xlli_ray.recipe import Recipe
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

Make, Go = Callable[..., Recipe], Callable[..., Summary]
FEW = {"draws": {"first": 4, "most": 8}, "pool_size": 64, "max_rows": 2}


def cem(recipe: Make, degradations: list[Any] | None = None, scale: int = 2, **params: Any) -> Recipe:
    images = recipe().dump()["corpus"]["images"]
    corpus = {"images": images, "scale": scale, "degradations": degradations or ["clean"]}
    models = [{"id": "small", "network": "toy:small", "args": {"scale": scale}}]
    return recipe(corpus=corpus, models=models, stages=[{"cem": {"windows": {"size": 8, "per_sample": 2}, **FEW, **params}}])


def test_a_map_has_its_effects_errors_and_draws_and_its_row_counts_them(recipe: Make, run: Go, tmp_path: Path) -> None:
    summary = run(cem(recipe))
    assert summary.failed == 0
    study = open_study(tmp_path / "study")
    rows = study.sql("select * from cem order by row, \"window\"").to_pylist()
    assert len(rows) == 4
    effect, draws, error = (study.array("cem/small/cem", name).rows([rows[0]["sample_id"]])[0] for name in ("effect", "draws", "error"))
    assert effect.shape[0] == 2
    assert ((draws == 0) == (effect == 0)).mean() > 0.5, "the toy network sees five pixels: the rest was not tried"
    assert not effect[draws == 0].any()
    assert not error[draws == 0].any()
    for row in rows:
        assert row["block"] == 4
        assert row["corruption"] == "none"
        counted = row["helping"] + row["harming"] + row["neutral"] + row["undecided"]
        assert counted == study.array("cem/small/cem", "draws").rows([row["sample_id"]])[0][0].size
    assert rows[0]["draws"] == draws[0].sum()
    assert list(verify(study.archive)) == []


def test_patches_carry_what_the_inputs_carry(recipe: Make, run: Go, tmp_path: Path) -> None:
    run(cem(recipe, ["clean", {"blur": 2.0}, {"noise": 20}], max_rows=3))
    rows = open_study(tmp_path / "study").sql("select distinct label, corruption from cem join samples using (sample_id)").to_pylist()
    assert {row["label"]: row["corruption"] for row in rows} == {"clean": "none", "blur2": "pool", "noise20": "pool"}
    run(cem(recipe, [{"rain": "hu25-small"}, {"blur": 2.0}], scale=1, max_rows=2), "one")
    rows = open_study(tmp_path / "one").sql("select distinct label, corruption from cem join samples using (sample_id)").to_pylist()
    assert {row["label"]: row["corruption"] for row in rows} == {"rain-hu25-small": "kept", "blur2": "pool"}


def test_maps_do_not_depend_on_batches_crops_or_on_who_computes_them(recipe: Make, run: Go, tmp_path: Path) -> None:
    run(cem(recipe))
    run(cem(recipe, crop="never"), "whole")
    first, whole = (open_study(tmp_path / name).array("cem/small/cem", "effect") for name in ("study", "whole"))
    ids = [row["sample_id"] for row in open_study(tmp_path / "study").sql("select distinct sample_id from cem").to_pylist()]
    for one, other in zip(first.rows(ids), whole.rows(ids)):
        np.testing.assert_allclose(one, other, atol=2e-3)


def test_what_a_stage_cannot_measure_is_refused_before_it_starts(recipe: Make, run: Go) -> None:
    with pytest.raises(RecipeError, match="64 patches for up to 128 draws of a block"):
        cem(recipe, draws={"first": 4, "most": 128})
    with pytest.raises(RecipeError, match="draws: most 4 is below first 16"):
        cem(recipe, draws={"first": 16, "most": 4})
    with pytest.raises(PlanError, match="no window: an output of"):
        run(cem(recipe, windows={"size": 512}))
    inputs = recipe().dump()["corpus"]["images"]
    without = recipe(corpus={"inputs": inputs}, stages=[{"cem": {}}])
    with pytest.raises(PlanError, match="cem measures PSNR and needs a target"):
        run(without)


def test_a_single_call_gives_the_map_of_the_study_when_given_its_key(recipe: Make, run: Go, tmp_path: Path) -> None:
    import toy

    import xlli_ray

    run(cem(recipe, [{"blur": 2.0}]))
    study = open_study(tmp_path / "study")
    line = study.sql('select * from cem join samples using (sample_id) order by cem.row, "window" limit 1').to_pylist()[0]
    sample = study.sample(line["sample_id"])
    assert sample.target is not None
    found = xlli_ray.cem(
        toy.small(), np.moveaxis(sample.input, 0, 2), tuple(line[name] for name in ("top", "left", "size")),
        target=np.moveaxis(sample.target, 0, 2), scale=2, label=line["label"], seed=sample.row["seed"], sample=sample.id, pool_size=64,
        draws=FEW["draws"],
    )  # fmt: skip
    stored = {name: study.array("cem/small/cem", name).rows([sample.id])[0][0] for name in ("effect", "error", "draws")}
    np.testing.assert_array_equal(found.draws, stored["draws"])
    np.testing.assert_allclose(found.effect, stored["effect"], atol=1e-5)
    np.testing.assert_allclose(found.error, stored["error"], atol=1e-5)
    for name in ("psnr", "helping", "harming", "neutral", "undecided", "range", "corruption"):
        assert found.numbers[name] == pytest.approx(line[name]) if isinstance(line[name], float) else found.numbers[name] == line[name]


def test_patches_may_come_from_files_of_ones_own(recipe: Make, run: Go, tmp_path: Path) -> None:
    images = recipe().dump()["corpus"]["images"]
    run(cem(recipe), "photographs")
    summary = run(cem(recipe, pool=images), "own")
    assert summary.failed == 0
    photographs, own = (open_study(tmp_path / name) for name in ("photographs", "own"))
    ids = [row["sample_id"] for row in own.sql("select distinct sample_id from cem").to_pylist()]
    one, other = (study.array("cem/small/cem", "effect").rows(ids)[0] for study in (photographs, own))
    assert one.shape == other.shape
    assert not np.array_equal(one, other)
    assert run(cem(recipe, pool=images), "own").units_run == 0, "the same files: nothing is computed again"
    with pytest.raises(RecipeError, match="matches no file"):
        cem(recipe, pool=["nowhere/*.png"])
    with pytest.raises(PlanError, match="too small for a patch"):
        run(cem(recipe, pool=images, block=400), "small")


def test_the_page_shows_effects_and_verdicts_of_every_network_as_the_table_counts_them(recipe: Make, run: Go, tmp_path: Path) -> None:
    from xlli_ray.probes.cem.verdicts import decided_again
    from xlli_ray.report.page import gather

    asked = cem(recipe).dump()
    models = [{"id": name, "network": "toy:small", "args": {"scale": 2, "seed": k}} for k, name in enumerate(("one", "two"))]
    stages = [{stage["kind"]: {**stage["params"], "id": stage["id"]}} for stage in asked["stages"]]
    run(recipe(corpus=asked["corpus"], models=models, stages=stages))
    study = open_study(tmp_path / "study")
    section = next(one for one in gather(study, str(tmp_path / "study")).sections if one.kind == "cem")
    strips = [piece.item for piece in section.own if not isinstance(piece.item, str)]
    assert len(strips) == 4, "two windows of two samples"
    shown = [[panel.caption for panel in row.panels if panel] for row in strips[0].view.rows]
    assert len(shown) == 2
    assert shown[0][:2] == ["target and window", "effects"]
    scales = {row.panels[1].layers[0].scale for row in strips[0].view.rows}
    assert len(scales) == 1
    cell = next(one for one in study.archive.manifest.cells if one.model == "one")
    for line in study.sql("select * from cem where model = 'one'").to_pylist():
        stored = {name: study.array("cem/one/cem", name).rows([line["sample_id"]])[0] for name in ("effect", "error", "draws")}
        found = {name: values[line["window"]] for name, values in stored.items()}
        decided = decided_again(found, cell.params)
        counts = [int((decided == verdict).sum()) for verdict in (1, -1, 2)]
        assert counts == [line["helping"], line["harming"], line["undecided"]]
