"""A bad sample is a row, not a crash; bad surroundings stop the run and mark nothing."""

from __future__ import annotations

import errno
import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import digest, image
from PIL import Image

from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import EnvironmentFailure, NetworkError, PlanError, RecipeError, WeightsError
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects import local as objects_module
from xlli_ray.study import open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]


def bomb(side: int) -> bytes:
    """A PNG of a few hundred bytes that claims side × side pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")


def test_broken_files_are_rejected_rows_with_reasons_and_the_rest_is_measured(
    recipe: Make, run: Run, corpus: Path, tmp_path: Path
) -> None:
    whole = (corpus / "00.png").read_bytes()
    (corpus / "90_truncated.png").write_bytes(whole[: len(whole) // 2])
    (corpus / "91_empty.png").write_bytes(b"")
    (corpus / "92_text.png").write_bytes(b"this is no image")
    (corpus / "93_bomb.png").write_bytes(bomb(60_000))
    (corpus / "94_twin.png").write_bytes(whole)
    summary = run(recipe())
    assert summary.rejected == 4
    assert summary.samples == 24, "the twin is no sample of its own"
    assert summary.failed == 0
    study = open_study(tmp_path / "study")
    reasons = {Path(row["source"]).name: row["reason"] for row in study.failures.to_pylist()}
    assert "truncated" in reasons["90_truncated.png"]
    assert "empty" in reasons["91_empty.png"]
    assert "image" in reasons["92_text.png"]
    assert "pixels" in reasons["93_bomb.png"]
    aliases = study.sql("select distinct aliases from samples where len(aliases) > 0")["aliases"].to_pylist()
    assert [[Path(name).name for name in some] for some in aliases] == [["94_twin.png"]]


def test_a_file_that_changed_since_the_scan_is_a_failed_row_and_can_be_retried(
    recipe: Make, run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import scan_study

    scan_study(recipe(), str(tmp_path / "study"), Options(workers=0, quiet=True))
    original = (corpus / "01.png").read_bytes()
    Image.fromarray(image(99)).save(corpus / "01.png")
    summary = run(recipe())
    assert summary.failed == 2
    study = open_study(tmp_path / "study")
    bad = study.sql("select f.stage, f.reason, s.label from failures f join samples s using (sample_id)").to_pylist()
    assert {row["label"] for row in bad} == {"clean", "noise20"}
    assert {row["stage"] for row in bad} == {"features", "restore"}
    assert all("changed since scan" in row["reason"] for row in bad)
    scores = study.sql("select psnr_y from restore where status = 'failed'")["psnr_y"].to_pylist()
    assert len(scores) == 2
    assert all(np.isnan(scores))
    assert run(recipe()).complete, "failed rows are done: only --retry-failed looks at them again"
    (corpus / "01.png").write_bytes(original)
    again = run(recipe(), retry_failed=True)
    assert again.failed == 0
    assert again.units_run < again.units
    clean = run(recipe(), "undisturbed")
    assert clean.failed == 0
    assert digest(tmp_path / "study") == digest(tmp_path / "undisturbed")


@pytest.mark.parametrize(("network", "reason"), [("toy:nan_on_bright", "not finite"), ("toy:huge", "float16 overflow")])
def test_samples_that_break_a_networks_numbers_are_failed_rows_with_their_reason(
    recipe: Make, run: Run, tmp_path: Path, network: str, reason: str
) -> None:
    layers = [{"features": {"layers": ["net.tail"]}}, {"restore": {}}]
    summary = run(recipe(network, stages=layers))
    assert summary.failed == 4, "two bright images, two degradations"
    study = open_study(tmp_path / "study")
    rows = study.sql("select distinct s.source, f.reason from failures f join samples s using (sample_id)").to_pylist()
    assert {Path(row["source"]).name for row in rows} == {"03.png", "07.png"}
    assert any(reason in row["reason"] for row in rows)
    array = study.array("features/small/net.tail.out")
    values = {b: array.reader(b).rows(np.arange(array.reader(b).meta.rows)) for b in array.buckets}
    for bucket, block in values.items():
        valid = array.reader(bucket).valid
        assert np.isfinite(block[valid]).all()
        assert np.isnan(block[~valid]).all()
    assert sum(int((~array.reader(b).valid).sum()) for b in array.buckets) == 4


def test_a_network_that_returns_another_size_than_its_scale_says_gives_failed_rows(
    recipe: Make, run: Run, tmp_path: Path
) -> None:
    summary = run(recipe("toy:wrong_size"))
    assert summary.failed == 4, "two bright images, two degradations"
    reasons = set(open_study(tmp_path / "study").failures["reason"].to_pylist())
    assert all("declares scale 2" in reason for reason in reasons)


@pytest.mark.parametrize("how", ["assert", "exit"])
def test_a_network_that_raises_for_one_image_costs_that_image_alone(recipe: Make, run: Run, tmp_path: Path, how: str) -> None:
    """An AssertionError ended the run in a traceback, sys.exit without a word."""
    name = {"assert": "AssertionError", "exit": "SystemExit"}[how]
    models = [{"id": "small", "network": "toy:asserts", "args": {"how": how}}]
    summary = run(recipe(models=models, stages=[{"features": {"layers": ["net.tail"]}}, {"restore": {}}]))
    assert summary.failed == 4, "two bright images, two degradations"
    rows = open_study(tmp_path / "study").failures.to_pylist()
    assert all(f"model 'small' (toy:asserts) raised {name} for an input of 1×3×" in row["reason"] for row in rows)
    assert all("too bright" in row["reason"] for row in rows)


def test_a_network_that_computes_in_bfloat16_is_measured_and_its_numbers_are_float32(recipe: Make, run: Run, tmp_path: Path) -> None:
    layers = {"features": {"layers": ["net.tail"], "dtype": "float32"}}
    summary = run(recipe("toy:half_inside", stages=[layers, {"features": {"id": "pooled", "layers": ["net.tail"], "pool": "moments"}},
                                                    {"restore": {"save": True}}]))  # fmt: skip
    assert summary.failed == 0
    assert open_study(tmp_path / "study").sql("select count(*) n from restore where psnr_y > 0")["n"].to_pylist() == [summary.samples]


def test_the_sizes_that_a_network_takes_are_found_when_planning_and_obeyed(recipe: Make, run: Run, tmp_path: Path) -> None:
    summary = run(recipe("toy:square", stages=[{"features": {"layers": ["net.tail"]}}, {"restore": {}}, {"lam": {"nodes": 2}}]))
    assert summary.failed == 0
    assert "model small: takes squares alone (determined by trial): other images are padded by reflection" in summary.notes


def test_a_wrong_scale_is_refused_before_any_work(recipe: Make, run: Run, corpus: Path) -> None:
    with pytest.raises(PlanError, match="enlarges ×2, the corpus holds ×4 samples"):
        run(recipe(corpus={"images": [f"{corpus}/*.png"], "scale": 4}))


def test_inputs_smaller_than_a_network_needs_are_failed_rows_the_rest_is_measured(
    recipe: Make, run: Run, tmp_path: Path, fixtures: Path
) -> None:
    corpus = tmp_path / "large"
    corpus.mkdir()
    Image.fromarray(image(50, 8, 8)).save(corpus / "tiny.png")
    Image.fromarray(image(51, 96, 96)).save(corpus / "enough.png")
    rfdn = {"id": "rfdn", "network": "rfdn", "weights": str(fixtures / "models/rfdn/rfdn_x4.pth")}
    summary = run(recipe(corpus={"images": [f"{corpus}/*.png"], "scale": 4}, models=[rfdn], stages=[{"restore": {}}]))
    assert summary.failed == 1
    assert summary.samples == 2
    failure = open_study(tmp_path / "study").failures.to_pylist()[0]
    assert "too small" in failure["reason"]


def test_a_corpus_of_nothing_but_broken_files_is_refused_with_the_count(
    recipe: Make, run: Run, tmp_path: Path
) -> None:
    folder = tmp_path / "broken"
    folder.mkdir()
    (folder / "a.png").write_bytes(b"no")
    with pytest.raises(PlanError, match="no sample can be read, 1 file rejected"):
        run(recipe(corpus={"images": [f"{folder}/*.png"], "scale": 2}))
    with pytest.raises((PlanError, RecipeError), match=r"nothing\*"):
        run(recipe(corpus={"images": [f"{folder}/nothing*.png"], "scale": 2}))


def test_weights_that_are_gone_or_of_another_network_are_refused_by_name(
    recipe: Make, run: Run, tmp_path: Path, fixtures: Path
) -> None:
    with pytest.raises(WeightsError, match=r"model a: weights: .*gone\.pth"):
        run(recipe(models=[{"id": "a", "network": "imdn", "weights": str(tmp_path / "gone.pth")}]))
    with pytest.raises((WeightsError, NetworkError)):
        run(recipe(models=[{"id": "a", "network": "imdn", "weights": str(fixtures / "models/rfdn/rfdn_x4.pth")}]))
    with pytest.raises(WeightsError, match="vdsr"):
        run(recipe(models=[{"id": "a", "network": "imdn", "weights": str(fixtures / "models/unsafe/vdsr_whole_module.pth")}]))


class FullDisk:
    """Fails every write from the n-th one on, as a disk that is full does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self.left = after
        self.real = os.fsync
        monkeypatch.setattr(objects_module.os, "fsync", self)

    def __call__(self, handle: int) -> None:
        self.left -= 1
        if self.left < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.real(handle)


@pytest.mark.parametrize("after", [3, 40, 90, 140, 190])
def test_a_full_disk_stops_the_run_with_the_way_out_and_the_next_run_finishes_it(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, after: int
) -> None:
    disk = FullDisk(monkeypatch, after)
    with pytest.raises(EnvironmentFailure, match=r"the disk is full.*run the same command again"):
        run(recipe())
    assert not list((tmp_path / "study").rglob("*.partial")), "a unit that fails takes its half-written shards away"
    monkeypatch.setattr(objects_module.os, "fsync", disk.real)
    summary = run(recipe())
    assert summary.failed == 0, "nothing was marked failed for the disk's sake"
    run(recipe(), "undisturbed")
    assert digest(tmp_path / "study") == digest(tmp_path / "undisturbed")


def test_a_read_only_output_is_refused_at_once(recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(EnvironmentFailure, match="read-only: choose another --out"):
        run(recipe())
    monkeypatch.undo()


def test_an_output_that_is_a_file_is_refused(recipe: Make, run: Run, tmp_path: Path) -> None:
    (tmp_path / "study").write_text("not a folder")
    with pytest.raises(EnvironmentFailure, match="not a folder"):
        run(recipe())


def test_two_drivers_at_once_one_stops_and_nothing_is_damaged(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from threading import Event, Thread

    from xlli_ray.engine.run import driver
    from xlli_ray.errors import LeaseError

    made, inside, go_on = recipe(), Event(), Event()
    create_arrays = driver.create_arrays

    def held(*arguments: Any) -> None:  # the first driver is in the middle of its run for as long as the second one tries
        inside.set()
        assert go_on.wait(60)
        create_arrays(*arguments)

    monkeypatch.setattr(driver, "create_arrays", held)
    summaries: list[Summary] = []
    first = Thread(target=lambda: summaries.append(run(made)))
    first.start()
    try:
        assert inside.wait(60)
        with pytest.raises(LeaseError, match=f"pid {os.getpid()}"):
            run(made)
    finally:
        go_on.set()
        first.join()
    assert summaries[0].units_run == summaries[0].units > 0
    run(made, "undisturbed")
    assert digest(tmp_path / "study") == digest(tmp_path / "undisturbed")


def test_a_file_that_kills_its_reader_is_named_by_its_note_and_skipped(recipe: Make, corpus: Path, tmp_path: Path) -> None:
    from xlli_ray.corpus.scan import list_sources
    from xlli_ray.engine.run.scan_runner import ScanJob, Scanner
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.unit_records import read_crash_note

    made = recipe()
    sources = tuple(list_sources(made.corpus, "/")[:3])
    job = ScanJob("s", 0, made.corpus.model_dump(mode="json"), 0, sources, attempt=3, careful=True, skip=(1,))
    result = Scanner(str(tmp_path / "study"), 1).run(job)
    assert (result.files, result.rejected) == (3, 1)
    assert read_crash_note(open_objects(tmp_path / "study"), "scan-s", 0, 1, 3) == 2, "the file in progress"
    assert read_crash_note(open_objects(tmp_path / "study"), "scan-s", 0, 1, 2) is None
