"""What is computed, what is kept, what is refused: cells and their identity."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import digest, edit_study

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, scan_study
from xlli_ray.errors import PlanError, StudyError
from xlli_ray.recipe import Recipe
from xlli_ray.store.verify.check_study import verify
from xlli_ray.study import open_study

SMALL = {"id": "small", "network": "toy:small"}
OTHER = {"id": "other", "network": "toy:small", "args": {"seed": 1}}


def test_the_same_command_again_is_complete_and_computes_nothing(
    recipe: Callable[..., Recipe], run: Callable[..., Summary]
) -> None:
    first = run(recipe())
    again = run(recipe())
    assert first.units_run == first.units > 0
    assert again.complete
    assert again.samples == first.samples == 24


def test_adding_a_model_a_layer_and_a_stage_recomputes_nothing_else(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    first = run(recipe())
    before = digest(tmp_path / "study")
    with_model = run(recipe(models=[SMALL, OTHER]))
    assert set(with_model.added) == {"features/other/head.out", "features/other/tail.in", "restore/other/restore"}
    assert with_model.units_run == first.units
    layers = [{"features": {"layers": ["head", "tail:input", "body.1"]}}, {"restore": {}}, {"restore": {"id": "kept", "save": True}}]
    more = run(recipe(models=[SMALL, OTHER], stages=layers))
    assert set(more.added) == {f"{c}" for m in ("small", "other") for c in (f"features/{m}/body.1.out", f"kept/{m}/restore")}
    after = digest(tmp_path / "study")
    arrays = {name: sha for name, sha in before.items() if name.startswith(("arrays", "samples"))}
    assert arrays.items() <= after.items()


def test_other_content_under_the_same_id_is_refused_and_the_field_named(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    run(recipe())
    before = digest(tmp_path / "study")
    with pytest.raises(PlanError, match=r"features/small/.*weights sha256 was .*--replace features"):
        run(recipe(args={"seed": 5}))
    half = [{"features": {"layers": ["head"], "dtype": "float32"}}]
    with pytest.raises(PlanError, match="dtype was 'float16', is now 'float32'"):
        run(recipe(stages=half))
    with pytest.raises(PlanError, match="batch was 2, is now 3"):
        run(recipe(batch={"features": 3, "restore": 3}))
    with pytest.raises(PlanError, match="seed was 0, is now 1"):
        run(recipe(seed=1))
    with pytest.raises(PlanError, match=r"holds the study 'toy', the recipe is 'another'"):
        run(recipe(name="another"))
    assert digest(tmp_path / "study") == before
    assert run(recipe()).complete, "a refusal leaves the study as it was"


def test_replace_computes_the_named_stage_anew_and_leaves_the_rest(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    run(recipe())
    before = digest(tmp_path / "study")
    single = [{"features": {"layers": ["head", "tail:input"], "dtype": "float32"}}, {"restore": {}}]
    summary = run(recipe(stages=single), replace=("features",))
    after = digest(tmp_path / "study")
    assert summary.units_run > 0
    assert after["tables/restore.parquet"] == before["tables/restore.parquet"]
    study = open_study(tmp_path / "study")
    assert set(study.sql("select dtype from features")["dtype"].to_pylist()) == {"float32"}
    assert run(recipe(stages=single)).complete


def test_another_corpus_is_refused_before_the_sample_table_is_touched(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], corpus: Path, tmp_path: Path
) -> None:
    run(recipe())
    before = digest(tmp_path / "study")
    blurred = {"images": [f"{corpus}/*.png"], "scale": 2, "degradations": ["clean", {"blur": 2}]}
    with pytest.raises(PlanError, match=r"corpus\.degradations was"):
        run(recipe(corpus=blurred))
    fewer = {"images": [f"{corpus}/0*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]}
    with pytest.raises(PlanError, match="has other samples than this study"):
        run(recipe(corpus=fewer))
    assert digest(tmp_path / "study") == before
    assert run(recipe()).complete


def test_a_limited_run_has_a_folder_and_a_table_of_its_own(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    assert run(recipe(), "few", limit=3).samples == 2, "one image, clean and noisy"
    assert run(recipe()).samples == 24


def test_a_plan_above_the_limits_is_refused_with_numbers_and_ways_out(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match=r"needs .* \(features .*\); the limit is 1.0 kB.*pool: mean"):
        run(recipe(limits={"bytes": "1kB"}))
    with pytest.raises(PlanError, match=r"hours on .* workers; the limit is"):
        run(recipe(limits={"hours": 1e-12}))
    assert not (tmp_path / "study" / "arrays.zarr").exists()


def test_max_rows_keeps_the_same_contents_under_each_degradation(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    with pytest.raises(PlanError, match="less than one image under each of 2 degradations"):
        run(recipe(stages=[{"features": {"layers": ["head"], "max_rows": 1}}]))
    run(recipe(stages=[{"features": {"layers": ["head"], "max_rows": 9}}]))
    array = open_study(tmp_path / "study").array("features/small/head.out")
    kept = [row for bucket in array.buckets for row in array.samples(bucket).select(["content", "label"]).to_pylist()]
    assert len(kept) == 8, "at most nine, the same number under both"
    contents = {label: {r["content"] for r in kept if r["label"] == label} for label in ("clean", "noise20")}
    assert contents["clean"] == contents["noise20"]


def test_another_torch_than_when_the_study_began_is_said(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    run(recipe())
    version = open_study(tmp_path / "study").manifest.versions["torch"]
    edit_study(tmp_path / "study", lambda document: document["versions"].update(torch="1.0"))
    assert run(recipe()).notes == (), "nothing is computed, nothing is said"
    edit_study(tmp_path / "study", lambda document: document["versions"].update(torch="1.0"))
    (note,) = run(recipe(models=[SMALL, OTHER])).notes
    assert f"torch 1.0 → {version}" in note


def test_a_refused_plan_leaves_the_studys_recipe_as_it_was(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    run(recipe())
    before = (tmp_path / "study" / "study.json").read_bytes()
    with pytest.raises(PlanError):
        run(recipe(args={"seed": 5}))
    assert (tmp_path / "study" / "study.json").read_bytes() == before


def test_a_damaged_shard_is_found_and_replaced_though_nothing_else_changed(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path
) -> None:
    run(recipe())
    whole = digest(tmp_path / "study")
    shard = next(iter(sorted((tmp_path / "study/arrays.zarr/features/small/head.out").rglob("features/c/*/*/*/0"))))
    shard.write_bytes(bytes(255 - byte for byte in shard.read_bytes()))
    study = open_study(tmp_path / "study")
    (finding,) = verify(study.archive)
    assert "bytes differ from the record" in finding
    name = "features/small/head.out"
    assert f"--replace {name}" in finding
    bucket = shard.parents[5].name
    with pytest.raises(StudyError, match="xlli verify"):
        study.array(name).reader(bucket).rows([0])
    assert run(recipe(), replace=(name,)).failed == 0
    assert digest(tmp_path / "study") == whole
    assert list(verify(open_study(tmp_path / "study").archive)) == []


def test_a_study_that_was_only_scanned_can_be_asked(recipe: Callable[..., Recipe], tmp_path: Path) -> None:
    scan_study(recipe(), str(tmp_path / "study"), Options(workers=0, quiet=True))
    study = open_study(tmp_path / "study")
    assert study.status()["samples"] == 24
    assert study.models.num_rows == 0
    assert study.sql("select count(*) as n from samples")["n"].to_pylist() == [24]


def test_a_probe_that_gains_a_column_leaves_nulls_in_older_cells(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlli_ray.probes.measurement import Column
    from xlli_ray.probes.restore import Restore

    older = Restore.COLUMNS
    monkeypatch.setattr(Restore, "COLUMNS", older[:2])
    run(recipe(stages=[{"restore": {}}]))
    monkeypatch.setattr(Restore, "COLUMNS", older)
    run(recipe(stages=[{"restore": {}}, {"restore": {"id": "again"}}]))
    assert isinstance(older[2], Column)
    rows = open_study(tmp_path / "study").sql("select stage, psnr_rgb from restore").to_pylist()
    assert all((row["psnr_rgb"] is None) == (row["stage"] == "restore") for row in rows)


def test_a_complete_study_notices_a_raised_version_of_a_degradation_or_of_resizing(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A3: the plan's mark held neither, so the same command said "complete" over numbers of another degradation."""
    from xlli_ray.corpus import resize
    from xlli_ray.corpus.degradations.noise import Noise

    run(recipe())
    assert run(recipe()).complete
    with monkeypatch.context() as patch:
        patch.setattr(Noise, "VERSION", 2)
        with pytest.raises(PlanError, match=r"degradation versions was \{'noise': 1\}, is now \{'noise': 2\}"):
            run(recipe())
    with monkeypatch.context() as patch:
        patch.setattr(resize, "VERSION", 2)
        with pytest.raises(PlanError, match=r"degradation versions was \{'noise': 1\}, is now \{'noise': 1, 'resize': 2\}"):
            run(recipe())
    assert run(recipe()).complete


def test_a_raised_version_of_a_users_own_network_is_noticed_although_its_weights_are_the_same(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import toy
    from safetensors.torch import save_file

    save_file(toy.small().state_dict(), tmp_path / "small.safetensors")
    models = [{"id": "small", "network": "toy:small", "weights": str(tmp_path / "small.safetensors")}]
    run(recipe(models=models))
    assert run(recipe(models=models)).complete
    monkeypatch.setattr(toy, "VERSION", 2, raising=False)
    with pytest.raises(PlanError, match="network version was 1, is now 2"):
        run(recipe(models=models))
    (tmp_path / "small.safetensors").unlink()  # the study has the weights; the network's code is still another
    with pytest.raises(PlanError, match="network version was 1, is now 2"):
        run(recipe(models=models))


def test_what_an_entry_says_of_a_companion_is_part_of_the_identity_and_not_asked_of_older_cells(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Windows of `hardest: {by: other}` follow `other`'s output, which its range changes as much as its weights do."""
    lam = {"lam": {"models": ["small"], "windows": {"size": 8, "per_sample": 1, "choose": {"hardest": {"by": "other"}}}, "nodes": 6}}
    asked = {"stages": [lam], "corpus": {"images": [f"{tmp_path}/images/00.png"], "scale": 2}}
    run(recipe(models=[SMALL, OTHER], **asked))
    (cell,) = open_study(tmp_path / "study").manifest.cells
    assert cell.identity["companion settings"] == {"other": {"args": {"seed": 1}}}
    wider = [SMALL, {**OTHER, "range": [0, 255]}]
    with pytest.raises(PlanError, match=r"companion settings was .*, is now .*'range': \[0\.0, 255\.0\]"):
        run(recipe(models=wider, **asked))
    with monkeypatch.context() as patch:
        patch.setattr("xlli_ray.engine.run.wanted_cells.companion_settings", lambda record: {})  # as it was before this was written down
        run(recipe(models=[SMALL, OTHER], **asked), "older")
    more = {**asked, "stages": [lam, {"restore": {}}]}
    assert set(run(recipe(models=[SMALL, OTHER], **more), "older").added) == {"restore/small/restore", "restore/other/restore"}
