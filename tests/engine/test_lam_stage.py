"""The stage `lam` from recipe to table: how windows are chosen, what is refused, and what `verify` says of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import PlanError, RecipeError, WeightsError
from xlli_ray.probes.lam.probe import Lam
from xlli_ray.recipe import Recipe
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.unit_records import read_receipts
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import Study, open_study

Make, Go = Callable[..., Recipe], Callable[..., Summary]
TWO = [{"id": "small", "network": "toy:small"}, {"id": "other", "network": "toy:small", "args": {"seed": 1}}]


def lam(recipe: Make, models: list[dict[str, Any]] | None = None, *, save: bool = False, **params: Any) -> Recipe:
    corpus = {**recipe().dump()["corpus"], "degradations": ["clean"]}
    known = {key: value for key, value in corpus.items() if value is not None and key in ("images", "scale", "degradations")}
    stages = [{"restore": {"save": save}}, {"lam": {"nodes": 2, **params}}]
    return recipe(corpus=known, models=models or TWO[:1], stages=stages, batch={"restore": 2})


def placed(study: Study, model: str = "small") -> dict[str, list[tuple[int, int, int]]]:
    """Sample id → windows of the model's own maps, in order."""
    out: dict[str, list[tuple[int, int, int]]] = {}
    rows = study.sql(f"select sample_id, top, \"left\", size from lam where control = '' and model = '{model}' order by row, \"window\"")
    for row in rows.to_pylist():
        out.setdefault(row["sample_id"], []).append((row["top"], row["left"], row["size"]))
    return out


def test_a_sample_with_fewer_windows_than_asked_for_leaves_gaps_that_are_no_damage(recipe: Make, run: Go, tmp_path: Path) -> None:
    """A 40 × 56 output holds two windows of 20 and a 48 × 48 one four: the array has room for four."""
    assert run(lam(recipe, windows={"size": 20, "per_sample": 4}, signed=True)).failed == 0
    study = open_study(tmp_path / "study")
    assert {len(windows) for windows in placed(study).values()} == {2, 4}
    array = study.array("lam/small/accurate", "map")
    gaps = {int(np.isnan(row).all(axis=(1, 2)).sum()) for sample in placed(study) for row in [array.rows([sample])[0]]}
    assert gaps == {0, 2}
    assert list(verify(study.archive)) == []


def test_windows_are_the_same_for_every_model_also_when_one_model_chooses_them(recipe: Make, run: Go, tmp_path: Path) -> None:
    chosen = lam(recipe, TWO, windows={"size": 12, "per_sample": 2, "choose": {"hardest": {"by": "other"}}})
    assert run(chosen, "hard").failed == 0
    study = open_study(tmp_path / "hard")
    assert placed(study, "small") == placed(study, "other")
    cell = study.manifest.cell("lam/small/accurate")
    assert cell.identity["companions"] == {"other": study.manifest.model("other").weights_sha256}
    assert run(lam(recipe, TWO, windows={"size": 12, "per_sample": 2}), "texture").failed == 0
    assert placed(open_study(tmp_path / "texture")) != placed(study)


def test_the_model_that_chooses_must_exist(recipe: Make, run: Go) -> None:
    with pytest.raises(PlanError, match="no model has the id 'absent'"):
        run(lam(recipe, windows={"choose": {"hardest": {"by": "absent"}}}))


def test_windows_from_a_file_travel_in_the_study(recipe: Make, run: Go, tmp_path: Path) -> None:
    file = tmp_path / "w.csv"
    file.write_text("path,top,left,size\nimages/00.png,3,4,8\nimages/01.png,5,6,8\nimages/01.png,7,8,9\n")
    summary = run(lam(recipe, windows={"file": "w.csv"}))
    study = open_study(tmp_path / "study")
    assert sorted(placed(study).values()) == sorted([[(3, 4, 8)], [(5, 6, 8), (7, 8, 9)]])
    assert summary.failed == 10
    assert "has no line for" in study.failures["reason"][0].as_py()
    file.unlink()
    assert "places" in str(study.manifest.recipe["stages"])


@pytest.mark.parametrize(
    ("text", "words"),
    [("path,top,left\na,1,2\n", "size missing"), ("path,top,left,size\na,1,x,3\n", "line 2"), ("path,top,left,size\n", "no rows"),
     ("path,top,left,size\na,1,2,3\na,1,2,0\n", "line 3"), ("path,top,left,size\na,-1,2,3\n", "line 2")],
)
def test_a_windows_file_that_is_wrong_is_refused_with_the_place(recipe: Make, tmp_path: Path, text: str, words: str) -> None:
    (tmp_path / "w.csv").write_text(text)
    with pytest.raises(RecipeError, match=words):
        lam(recipe, windows={"file": "w.csv"})


def test_a_window_outside_fails_its_sample_and_says_the_size(recipe: Make, run: Go, tmp_path: Path) -> None:
    """Fits in 48 × 48, not in 40 × 56."""
    assert run(lam(recipe, windows=[{"top": 30, "left": 2, "size": 12}])).failed == 4
    reason = open_study(tmp_path / "study").failures["reason"][0].as_py()
    assert "outside the output of 40 rows × 56 columns" in reason


def test_controls_cover_the_first_samples_and_leave_the_maps_alone(recipe: Make, run: Go, tmp_path: Path) -> None:
    run(lam(recipe, windows={"size": 12, "per_sample": 1}))
    both = lam(recipe, windows={"size": 12, "per_sample": 1}, controls=["randomised_weights", "shifted_window"], control_samples=3)
    assert run(both).added == ("lam/small/accurate.randomised_weights", "lam/small/accurate.shifted_window")
    counts = open_study(tmp_path / "study").sql("select control, count(*) as n from lam group by all order by control").to_pylist()
    assert [(row["control"], row["n"]) for row in counts] == [("", 12), ("randomised_weights", 3), ("shifted_window", 3)]


def test_fewer_control_samples_than_degradations_are_refused_in_the_words_of_the_recipe(recipe: Make, run: Go) -> None:
    few = recipe(stages=[{"lam": {"nodes": 2, "controls": ["shifted_window"], "control_samples": 1}}], batch={})
    with pytest.raises(PlanError, match="control_samples"):
        run(few)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"mode": "paper", "nodes": None, "path": "linear_black"}, "needs mode: accurate"),
        ({"tolerance": 0.1}, "give one of them"),
        ({"windows": [{"top": 0, "left": 0, "size": 0}]}, "greater than or equal to 1"),
        ({"windows": {"size": 0}}, "greater than or equal to 1"),
        ({"windowz": {}}, "did you mean 'windows'"),
    ],
)
def test_a_stage_that_contradicts_itself_is_refused(recipe: Make, params: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words):
        lam(recipe, **params)


def test_a_network_that_returns_nan_makes_failed_rows_and_the_rest_is_measured(recipe: Make, run: Go, tmp_path: Path) -> None:
    models = [{"id": "nan", "network": "toy:nan_on_bright"}]
    assert run(lam(recipe, models, windows={"size": 12, "per_sample": 1})).failed == 2
    study = open_study(tmp_path / "study")
    assert study.sql("select count(*) as n from lam where status = 'ok'")["n"][0].as_py() == 10
    assert "not finite" in study.sql("select reason from failures where stage = 'lam'")["reason"][0].as_py()


@pytest.mark.parametrize(
    ("network", "failed", "words"),
    [
        ("toy:detached", 12, "model 'small': its output has no gradient"),
        ("toy:wrong_size", 2, "declares scale 2: for input"),
    ],
)
def test_networks_that_cannot_be_explained_are_failed_rows_that_say_why(
    recipe: Make, run: Go, tmp_path: Path, network: str, failed: int, words: str
) -> None:
    """An output without a gradient, another size than the scale says (of the bright images)."""
    models = [{"id": "small", "network": network}]
    made = lam(recipe, models, windows={"size": 12, "per_sample": 1}, controls=["shifted_window"], crop="never")
    assert run(made).failed == failed
    study = open_study(tmp_path / "study")
    rows = study.sql("select what, count(*) filter (where status = 'failed') as n, min(di) as di from lam group by all").to_pylist()
    assert {row["what"]: row["n"] for row in rows} == {"accurate": failed, "accurate.shifted_window": failed}
    reasons = set(study.sql("select reason from failures where stage = 'lam'")["reason"].to_pylist())
    assert all(words in reason for reason in reasons)
    assert list(verify(study.archive)) == []


def test_a_network_with_nan_weights_is_refused_before_a_map_is_made(recipe: Make, run: Go) -> None:
    with pytest.raises(WeightsError, match=r"model 'small'.*'head\.weight' holds NaN"):
        run(lam(recipe, [{"id": "small", "network": "toy:nan_weights"}], windows={"size": 12, "per_sample": 1}))


def test_a_network_that_ignores_its_input_has_maps_that_are_undefined_and_not_failed(recipe: Make, run: Go, tmp_path: Path) -> None:
    models = [{"id": "small", "network": "toy:blind"}]
    assert run(lam(recipe, models, windows={"size": 12, "per_sample": 1}), "blind").failed == 0
    rows = open_study(tmp_path / "blind").sql("select undefined, isnan(di) as nan, n95 from lam").to_pylist()
    assert rows == [{"undefined": True, "nan": True, "n95": 0}] * 12


def test_out_of_memory_with_many_nodes_a_pass_is_tried_with_fewer_and_recorded(
    recipe: Make, run: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a GPU many nodes share a forward pass. The network here has memory for two of them."""
    models = [{"id": "small", "network": "toy:hungry"}]
    made = lam(recipe, models, nodes=4, windows={"size": 12, "per_sample": 2})
    assert run(made, "plain").failed == 0
    monkeypatch.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
    assert run(made, "short").failed == 0
    studies = [open_study(tmp_path / name) for name in ("plain", "short")]
    one_by_one = [{r.one_by_one for r in read_receipts(Listing(s.objects), "lam/small/accurate")} for s in studies]
    assert one_by_one == [{False}, {True}]
    tables = [study.sql("select sample_id, top, di from lam order by all").to_pylist() for study in studies]
    assert [(row["sample_id"], row["top"]) for row in tables[0]] == [(row["sample_id"], row["top"]) for row in tables[1]]
    np.testing.assert_allclose([row["di"] for row in tables[0]], [row["di"] for row in tables[1]], rtol=1e-3)


@pytest.mark.parametrize("controls", [[], ["randomised_weights", "shifted_window"]])
def test_wide_passes_give_the_tables_and_maps_of_one_image_at_a_time(
    recipe: Make, run: Go, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, controls: list[str]
) -> None:
    """On a GPU many images share a pass. An image without a window and one that cannot be read stay failed rows."""
    made = lam(recipe, windows={"size": 20, "per_sample": 4}, signed=True, controls=controls)
    (tmp_path / "images" / "04.png").write_bytes(b"no image any more")
    first = run(made, "plain")
    monkeypatch.setattr(Lam, "_on_gpu", staticmethod(lambda values: True))
    second = run(made, "wide")
    assert first.failed == second.failed
    studies = [open_study(tmp_path / name) for name in ("plain", "wide")]
    tables = [study.sql("select * from lam order by model, control, sample_id, \"window\"") for study in studies]
    for name in tables[0].column_names:
        ours, theirs = (table[name].to_pylist() for table in tables)
        if isinstance(ours[0], float):
            rounding = 5e-4 if name == "completeness" else 1e-6  # relative to a small difference of two scores
            np.testing.assert_allclose(ours, theirs, rtol=1e-3, atol=rounding, err_msg=name)
        else:
            assert ours == theirs, name
    for cell in ("accurate", *(f"accurate.{control}" for control in controls)):
        for array in ("map", "attribution"):
            for bucket in studies[0].array(f"lam/small/{cell}", array).buckets:
                readers = [study.array(f"lam/small/{cell}", array).reader(bucket) for study in studies]
                ours, theirs = (reader.rows(np.arange(reader.bucket.rows)) for reader in readers)
                np.testing.assert_array_equal(np.isnan(ours), np.isnan(theirs))
                assert np.linalg.norm(np.nan_to_num(ours - theirs)) <= 1e-5 * np.linalg.norm(np.nan_to_num(theirs))


def test_the_page_lists_where_a_window_lies_and_takes_no_mean_of_it(recipe: Make, run: Go, tmp_path: Path) -> None:
    from xlli_ray.report.page import gather

    run(lam(recipe, windows={"size": 12, "per_sample": 1}))
    place = str(tmp_path / "study")
    section = next(section for section in gather(open_study(place), place).sections if section.id == "lam")
    assert {"top", "left", "size", "height", "width", "window"} <= {column.name for column in section.columns}
    averaged = {column.name for column in section.shown}
    assert "di" in averaged
    assert not averaged & {"top", "left", "size", "height", "width", "window"}


def test_the_page_shows_window_map_area_signed_map_and_output_for_each_model(recipe: Make, run: Go, tmp_path: Path) -> None:
    from xlli_ray.report.image_strip import Strip
    from xlli_ray.report.page import gather

    made = lam(recipe, TWO, save=True, windows={"size": 12, "per_sample": 2}, signed=True, controls=["shifted_window"])
    assert run(made).failed == 0
    place = str(tmp_path / "study")
    pieces = next(section for section in gather(open_study(place), place).sections if section.id == "lam").own
    strips = [piece.item for piece in pieces if isinstance(piece.item, Strip)]
    assert [strip.title for strip in strips] == ["Networks side by side", "small", "other"]
    names = [[tile.caption.split(",")[0] for tile in row.tiles if tile] for row in strips[1].rows]
    assert names == [["target and window", "map", "contribution area", "signed map", "target", "output"]] * 4


def test_a_denoiser_and_a_network_with_attention_work_by_the_same_stage(
    recipe: Make, run: Go, corpus: Path, tmp_path: Path, fixtures: Path
) -> None:
    """DnCNN: scale 1, one channel, also from the noisy input to the clean one. CRAFT: attention in windows, no finite reach."""
    window = {"size": 12, "per_sample": 2}
    denoise = recipe(
        corpus={"images": [f"{corpus}/0[12].png"], "scale": 1, "degradations": [{"noise": 25}]},
        models=[{"id": "dncnn", "weights": str(fixtures / "models/dncnn/dncnn_gray_s25.pth")}], batch={},
        stages=[{"lam": {"nodes": 3, "windows": window, "signed": True}},
                {"lam": {"id": "pair", "nodes": 1, "windows": window, "path": "pair"}}],
    )  # fmt: skip
    assert run(denoise, "denoise").failed == 0
    study = open_study(tmp_path / "denoise")
    rows = study.sql("select stage, height, width, undefined, di from lam").to_pylist()
    assert len(rows) == 2 * 2 * 2
    assert [(row["height"], row["width"], row["undefined"]) for row in rows] == [(48, 48, False)] * 8
    assert all(0 < row["di"] < 100 for row in rows)
    assert study.array("lam/dncnn/accurate", "attribution").reader().meta.shape == (2, 1, 48, 48)
    attention = recipe(
        corpus={"images": [f"{corpus}/01.png"], "scale": 4},
        models=[{"id": "craft", "weights": str(fixtures / "models/craft/craft_x4.pth")}], batch={},
        stages=[{"lam": {"nodes": 3, "windows": window}}],
    )  # fmt: skip
    assert run(attention, "attention").failed == 0
    (row, _) = open_study(tmp_path / "attention").sql("select di, error_estimate from lam").to_pylist()
    assert 0 < row["di"] < 100
    assert row["error_estimate"] > 0
