"""A training study: lease, events, status, page, resume; any store; one bad network costs the others nothing."""

from __future__ import annotations

import json
import re
import signal
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from training_runs import HERE, break_twelve, launch, run_here, standing, until, weights, write_recipe

from xlli_ray.cli import app
from xlli_ray.engine.options import Options
from xlli_ray.engine.run import scan_runner, training_runner
from xlli_ray.engine.run.training_runner import train_recipe
from xlli_ray.engine.worker.training import TrainingWorker, TrainJob
from xlli_ray.errors import EnvironmentFailure, LeaseError, RecipeError, StudyError
from xlli_ray.report.training_page import write_training_page
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.records.lease import Lease
from xlli_ray.store.tables.trainings import FILES
from xlli_ray.store.verify.check_training import training_findings
from xlli_ray.training.images import scan_here
from xlli_ray.training.recipe import load_recipe
from xlli_ray.training.run import train

TWO = {"seed": [0, 1]}


def test_a_study_ends_with_the_bytes_of_the_plain_loop_in_a_folder_and_in_memory(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sweep=TWO)
    train(recipe, tmp_path / "plain")
    memory = f"memory://{tmp_path.name}"
    for out in (str(tmp_path / "study"), memory):
        found = run_here(recipe, out)
        assert (found.networks, found.trained, found.failed) == (2, 2, {})
        for name, sha in weights(out).items():
            assert json.loads((tmp_path / f"plain/{name}/card.json").read_text())["weights"]["sha256"] == sha
        assert run_here(recipe, out).trained == 0
    assert open_objects(memory).get("models.yaml") == (tmp_path / "plain/models.yaml").read_bytes()


def test_a_folder_of_before_counts_as_done_and_becomes_a_study(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sweep=TWO)
    train(recipe, tmp_path / "out")
    before = (tmp_path / "out/tiny-seed0/weights.safetensors").stat().st_mtime_ns
    assert run_here(recipe, str(tmp_path / "out")).trained == 0
    assert (tmp_path / "out/tiny-seed0/weights.safetensors").stat().st_mtime_ns == before
    assert standing(str(tmp_path / "out"))["done"] == 2


def test_a_killed_driver_goes_on_from_its_checkpoints_to_the_same_bytes(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sweep=TWO, iterations=60)
    whole, out = str(tmp_path / "whole"), str(tmp_path / "out")
    run_here(recipe, whole)
    driver = launch(recipe, out, workers=0)
    until(lambda: (tmp_path / "out/tiny-seed0/checkpoint.pt").exists(), driver)
    driver.send_signal(signal.SIGKILL)
    driver.communicate()
    left = standing(out)
    assert left["running"] is None
    assert left["done"] < 2
    assert run_here(recipe, out).trained == 2 - left["done"]
    assert weights(out) == weights(whole)
    for name in weights(out):
        assert (tmp_path / "out" / name / "log.jsonl").read_bytes() == (tmp_path / "whole" / name / "log.jsonl").read_bytes()


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_twelve_networks_end_with_the_same_bytes_though_a_worker_and_the_driver_are_killed(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, sweep={"seed": [0, 1, 2, 3], "corpus.count": [1, 2, 4]}, iterations=300)
    run_here(recipe, str(tmp_path / "whole"))
    break_twelve(recipe, str(tmp_path / "out"))
    assert weights(str(tmp_path / "out")) == weights(str(tmp_path / "whole"))
    assert len(weights(str(tmp_path / "out"))) == 12
    assert (tmp_path / "out/models.yaml").read_bytes() == (tmp_path / "whole/models.yaml").read_bytes()


def test_two_workers_train_at_once_and_twins_wait_for_each_other(tmp_path: Path) -> None:
    grid = [{"id": "late", "train": {"init": "early", "iterations": 5}}, {"id": "early"}, {"id": "other", "seed": 3}]
    recipe = write_recipe(tmp_path, grid=grid)
    run_here(recipe, str(tmp_path / "here"))
    found = train_recipe(recipe, str(tmp_path / "there"), options=replace(HERE, workers=2))
    assert (found.trained, found.failed) == (3, {})
    assert weights(str(tmp_path / "there")) == weights(str(tmp_path / "here"))


def test_a_worker_that_is_lost_gives_its_training_back_and_three_losses_without_a_checkpoint_end_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = write_recipe(tmp_path, sweep={"seed": [0, 1, 2]})
    given: list[str] = []

    def outcomes(study, ready, options, spec, say):
        worker = TrainingWorker(spec.study, spec.epoch)
        while ready:
            job = ready.popleft()
            given.append(job.id)
            if job.id.endswith("seed2"):
                yield job, training_runner.Lost("killed")
            elif job.id.endswith("seed1") and given.count(job.id) < 6:
                study.objects.put(f"{job.id}/checkpoint.pt", bytes([given.count(job.id)]))  # each time a step further
                yield job, training_runner.Lost("killed")
                study.objects.delete([f"{job.id}/checkpoint.pt"])
            elif job.id.endswith("seed0") and given.count(job.id) < 8:
                yield job, training_runner.Lost("its node was taken away", taken=True)
            else:
                yield job, worker.run(job)

    monkeypatch.setattr(training_runner, "_outcomes", outcomes)
    found = run_here(recipe, str(tmp_path / "out"))
    assert list(found.failed) == ["tiny-seed2"]
    assert "lost 3 times without a new checkpoint: killed" in found.failed["tiny-seed2"]
    assert [given.count(f"tiny-seed{seed}") for seed in (0, 1, 2)] == [8, 6, 3]
    assert found.trained == 2


def test_a_network_that_fails_costs_the_others_nothing_and_is_tried_again(tmp_path: Path) -> None:
    (tmp_path / "broken_net.py").write_text("def make():\n    raise RuntimeError('no such layer')\n")
    bad = {"id": "bad", "train": {"network": "broken_net.py:make", "args": {}}}
    grid = [bad, {"id": "child", "train": {"init": "bad"}}, {"id": "good"}]
    recipe = write_recipe(tmp_path, grid=grid)
    content = yaml.safe_load(recipe.read_text())
    content["train"].pop("args")
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    out = str(tmp_path / "out")
    found = run_here(recipe, out)
    assert found.trained == 1
    assert "no such layer" in found.failed["bad"]
    assert found.failed["child"] == "it starts from bad, which has no weights"
    assert [one["state"] for one in standing(out)["trainings"]] == ["failed", "failed", "finished"]
    assert [model["id"] for model in yaml.safe_load((tmp_path / "out/models.yaml").read_text())["models"]] == ["good"]
    assert b"bad failed." in Path(write_training_page(open_objects(out))).read_bytes()
    assert not run_here(recipe, out).trained
    recipe.write_text(yaml.safe_dump({**content, "grid": [{"id": "bad"}]}))
    assert run_here(recipe, out).trained == 1
    assert standing(out)["trainings"][0]["state"] == "finished"


def test_a_worker_of_a_run_that_was_superseded_writes_no_more(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    objects = open_objects(str(tmp_path / "out"))
    first = Lease.acquire(objects)
    worker = TrainingWorker(objects.url, first.epoch)
    first.release()
    Lease.acquire(objects).release()
    (job,) = load_recipe(recipe).jobs()
    with pytest.raises(LeaseError, match="another run took this study over; tiny stops at its last checkpoint"):
        worker.run(TrainJob(job.model_dump(mode="json"), tuple(scan_here(job.corpus.scanned()))))
    assert not (tmp_path / "out/tiny").exists()


def test_a_second_driver_is_refused_while_the_first_one_lives(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    lease = Lease.acquire(open_objects(str(tmp_path / "out")))
    try:
        with pytest.raises(LeaseError, match="another run holds this study"):
            run_here(recipe, str(tmp_path / "out"))
    finally:
        lease.release()


def test_what_cannot_be_trained_here_is_refused_before_anything_is(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path, grid=[{"id": "lease"}])
    with pytest.raises(RecipeError, match="'lease' cannot be the id of a network"):
        run_here(recipe, str(tmp_path / "out"))
    assert not (tmp_path / "out").exists()
    open_objects(str(tmp_path / "study")).put("study.json", b"{}")
    with pytest.raises(StudyError, match="holds a study of measurements"):
        run_here(write_recipe(tmp_path), str(tmp_path / "study"))
    run_here(recipe := write_recipe(tmp_path, iterations=5), str(tmp_path / "out"))
    with pytest.raises(RecipeError, match=r"another, finished training: train\.iterations was 5, is now 31"):
        train_recipe(recipe, str(tmp_path / "out"), overrides=["train.iterations=31"], options=HERE)


def test_the_command_line_trains_says_how_it_stands_and_draws_the_curves(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(tmp_path, sweep=TWO, validate={"images": [str(tmp_path / "photos/0.png")], "every": 10})
    out = str(tmp_path / "out")
    assert app(["train", str(recipe), "--out", out], result_action="return_value") == 0
    said = capsys.readouterr().out
    assert f"models: {out}/models.yaml" in said
    assert re.search(r"tiny-seed0  30/30  loss 0\.\d+", said)
    app(["status", out], result_action="return_value")
    assert "tiny: 2 of 2 networks trained\n" in capsys.readouterr().out
    app(["status", out, "--json"], result_action="return_value")
    assert [one["state"] for one in json.loads(capsys.readouterr().out)["trainings"]] == ["finished"] * 2
    app(["report", out], result_action="return_value")
    page = Path(capsys.readouterr().out.removeprefix("report: ").strip()).read_text()
    assert page.count('<img class="plot" src="data:image/svg+xml;base64,') == 2  # the loss, and one validation score
    assert "2 of 2 networks trained" in page
    assert "tiny-seed1" in page
    assert list((tmp_path / "out/events").glob("*.jsonl"))


def test_a_file_that_cannot_be_used_is_left_out_and_told_and_one_that_changes_is_noticed(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, out = write_recipe(tmp_path), str(tmp_path / "out")
    (tmp_path / "photos/bad.png").write_bytes(b"no image")
    found = run_here(recipe, out)
    assert found.trained == 1
    assert re.fullmatch(r"corpus: 1 file of 5 rejected: .*bad\.png: not an image: .*", found.notes[0])
    assert len(json.loads((tmp_path / "out/tiny/card.json").read_text())["images"]) == 4
    app(["status", out], result_action="return_value")
    assert re.search(r"rejected .*bad\.png: not an image", capsys.readouterr().out)
    assert b"1 file of the corpus left out." in Path(write_training_page(open_objects(out))).read_bytes()
    (tmp_path / "photos/bad.png").write_bytes((tmp_path / "photos/0.png").read_bytes() + b"and more")
    with pytest.raises(RecipeError, match=r"images: 5 now, 4 then; 1 with bytes that it was not trained on"):
        run_here(recipe, out)


def test_the_files_of_a_grid_are_scanned_once_and_never_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe, out = write_recipe(tmp_path, sweep={"seed": [0, 1], "corpus.count": [1, 2]}, iterations=5), str(tmp_path / "out")
    scanned: list[str] = []
    decode = scan_runner.scan_source
    monkeypatch.setattr(scan_runner, "scan_source", lambda source, *rest: (scanned.append(source.uri), decode(source, *rest))[1])
    run_here(recipe, out)
    assert run_here(recipe, out).trained == 0
    assert len(scanned) == len(set(scanned)) == 4


def flipped(objects: Objects, key: str) -> bytes:
    """One bit of an object flips. Returns what it was."""
    data = objects.get(key)
    changed = bytearray(data)
    changed[len(data) // 2] ^= 1
    objects.put(key, bytes(changed))
    return data


def test_verify_finds_and_names_a_flipped_bit_in_every_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe, out = write_recipe(tmp_path, sweep=TWO), str(tmp_path / "out")
    run_here(recipe, out)
    objects = open_objects(out)
    assert app(["verify", out], result_action="return_value") == 0
    assert "intact: every object is as it was written" in capsys.readouterr().out
    files = [f"tiny-seed1/{name}" for name in FILES if name != "failed.json"]
    single = ["training.json", "models.yaml", "digests.json", "lease/000001.json"]
    for key in [*files, *single, *objects.list("records")]:
        before = flipped(objects, key)
        assert key in {finding.key for finding in training_findings(objects)}, key
        objects.put(key, before)
    objects.put("tiny-seed1/more.bin", b"x")
    objects.delete(["tiny-seed0/curve.svg"])
    assert app(["verify", out], result_action="return_value") == 1
    said = capsys.readouterr().out
    assert "tiny-seed1/more.bin: no object of this study" in said
    assert "tiny-seed0/curve.svg: missing; delete the folder tiny-seed0 to train this network again" in said


def test_what_a_killed_run_was_writing_is_noted_and_what_is_finished_stays_checked(tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path, sweep=TWO), str(tmp_path / "out")
    run_here(recipe, out)
    objects = open_objects(out)
    objects.delete(["tiny-seed0/card.json"])
    run_here(recipe, out)
    assert list(training_findings(objects)) == []
    objects.delete(["tiny-seed0/card.json", "digests.json"])
    again = Lease.acquire(objects)  # a run that ends nowhere
    objects.put("tiny-seed0/checkpoint.pt", b"further")
    again.release()
    assert [finding.key for finding in training_findings(objects)] == ["tiny-seed0", "digests.json"]
    flipped(objects, "tiny-seed1/weights.safetensors")
    assert "tiny-seed1/weights.safetensors" in {finding.key for finding in training_findings(objects)}


def test_a_study_that_went_on_and_was_killed_has_notes_for_its_unfinished_network(tmp_path: Path) -> None:
    recipe, out = write_recipe(tmp_path), str(tmp_path / "out")
    (tmp_path / "broken_net.py").write_text("def make():\n    raise RuntimeError('no such layer')\n")
    content = yaml.safe_load(recipe.read_text())
    content |= {"grid": [{"id": "bad", "train": {"network": "broken_net.py:make"}}, {"id": "good"}]}
    recipe.write_text(yaml.safe_dump(content, sort_keys=False))
    run_here(recipe, out)
    objects, notes = open_objects(out), []
    assert [(finding.kind, finding.key) for finding in training_findings(objects)] == [("missing", "bad")]
    again = Lease.acquire(objects)
    objects.put("bad/failed.json", b"{}")
    again.release()
    assert [finding.key for finding in training_findings(objects, notes=notes)] == ["bad"]
    assert [note.split(":")[0] for note in notes] == ["bad/failed.json"]


def test_a_device_that_contradicts_the_recipe_is_refused(tmp_path: Path) -> None:
    recipe = write_recipe(tmp_path)
    with pytest.raises(RecipeError, match=r"train.device is cuda:1 in the recipe, --device is cpu"):
        train_recipe(recipe, str(tmp_path / "out"), overrides=["train.device=cuda:1"], options=Options(workers=0, device="cpu"))
    with pytest.raises(EnvironmentFailure, match=r"--device cuda:1: no GPU is visible here"):
        train_recipe(recipe, str(tmp_path / "out"), overrides=["train.device=cuda:1"], options=Options(workers=0))
    assert not (tmp_path / "out").exists()
