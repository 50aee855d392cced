"""Reader processes: they give what the loader gives, and whatever happens to them shows in no batch."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import image
from PIL import Image

from xlli_ray.corpus.box import Box
from xlli_ray.corpus.files.prefetch import Ahead
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.corpus.sample import Loaded, Sample, study_loader
from xlli_ray.corpus.spec import CorpusSpec
from xlli_ray.engine.worker.batches import BatchReader
from xlli_ray.engine.worker.job import Clock
from xlli_ray.engine.worker.readers import BEHIND, FIRST, Readers
from xlli_ray.engine.worker.tasks import MOST_PROCESSES, WorkerSpec, with_readers

CORPUS: dict[str, Any] = {"images": ["x"], "scale": 2, "degradations": ["clean", {"noise": 20}]}


def samples_of(folder: Path, count: int = 6, patches: int = 0) -> list[Sample]:
    """Images of 48×40 pixels with noise, or so many patches of each."""
    out = []
    for number in range(count):
        path = folder / f"{number}.png"
        Image.fromarray(image(number, 48, 40)).save(path)
        sha = sha256_hex(path.read_bytes())
        whole = Sample(
            number, f"s{number}", f"c{number}", str(path), sha, None, None, "noise20", 2, "images", 0, None, 24, 20,
        )  # fmt: skip
        boxes = [Box(2 * k, 4 * k, 16) for k in range(patches)]
        out += [replace(whole, content=f"c{number}-{box.top}", box=box, height=8, width=8) for box in boxes] or [whole]
    return out


def until(true: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + 60
    while not true():
        assert time.monotonic() < end, what
        time.sleep(0.01)


@contextmanager
def readers(load: Callable[..., Loaded | str], limit: int = 2, corpus: dict[str, Any] = CORPUS) -> Iterator[Readers]:
    made = Readers(corpus, load, limit=limit)
    made.grow()
    try:
        until(lambda: made.ready >= min(limit, FIRST), "readers start")
        yield made
    finally:
        pids = made.pids()
        made.close()
        until(lambda: not any(alive(pid) for pid in pids), "no reader outlives its worker")


def alive(pid: int) -> bool:
    with suppress(OSError):
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[-1].split()[0] != "Z"
    return False


def never(sample: Sample, clock: Clock, place: np.ndarray) -> Loaded | str:
    raise AssertionError(f"{sample.sample_id} was loaded in this process")


def outcomes(made: Readers, samples: Sequence[Sample], clock: Clock | None = None) -> tuple[np.ndarray, list[Loaded | str]]:
    places = np.full((len(samples), *samples[0].size.shape()), np.nan, np.float32)
    parts = made.submit(samples, clock or Clock(), places, 2)
    return places, [one for part in parts for one in part.result(60)]


@pytest.mark.parametrize("patches", [0, 3])
def test_a_reader_gives_what_the_loader_gives_to_the_bit(tmp_path: Path, patches: int) -> None:
    samples, clock = samples_of(tmp_path, patches=patches), Clock()
    with readers(never) as made:
        for _ in range(2):  # the second time from its cache, into memory that has been used
            places, found = outcomes(made, samples, clock)
            for sample, place, one in zip(samples, places, found, strict=True):
                wanted = study_loader(CORPUS).load(sample)
                assert isinstance(one, Loaded)
                assert one.input is place or one.input.base is places
                assert place.tobytes() == wanted.input.tobytes()
                assert one.target is not None
                assert wanted.target is not None
                assert one.target.tobytes() == wanted.target.tobytes()
    assert clock.seconds()["read"] > 0


def test_by_products_come_back_as_well(tmp_path: Path) -> None:
    corpus: dict[str, Any] = {**CORPUS, "degradations": ["clean", {"rain": 0.02}]}
    label = CorpusSpec(**corpus).mixtures[1].label
    samples = [replace(sample, label=label) for sample in samples_of(tmp_path, 2)]
    with readers(never, 1, corpus) as made:
        _, found = outcomes(made, samples)
    for sample, one in zip(samples, found, strict=True):
        wanted = study_loader(corpus).load(sample)
        assert isinstance(one, Loaded)
        assert wanted.extras
        assert {name: extra.tobytes() for name, extra in one.extras.items()} == {name: x.tobytes() for name, x in wanted.extras.items()}


def test_a_sample_that_cannot_be_loaded_is_judged_by_the_worker(tmp_path: Path) -> None:
    samples = samples_of(tmp_path)
    Path(samples[1].source).write_bytes(b"no longer an image")
    judged: list[str] = []

    def judge(sample: Sample, clock: Clock, place: np.ndarray) -> str:
        judged.append(sample.sample_id)
        return "changed since scan"

    with readers(judge) as made:
        _, found = outcomes(made, samples)
    assert judged == ["s1"]
    assert [isinstance(one, str) for one in found] == [number == 1 for number in range(6)]


def test_a_reader_that_is_killed_is_replaced_and_its_samples_are_not_lost(tmp_path: Path) -> None:
    samples = samples_of(tmp_path)
    loader = study_loader(CORPUS)

    def load(sample: Sample, clock: Clock, place: np.ndarray) -> Loaded:
        return loader.load(sample, into=place)

    with readers(load) as made:
        first = made.pids()
        for pid in first:
            os.kill(pid, signal.SIGKILL)
        places, _ = outcomes(made, samples)
        assert all(place.tobytes() == loader.load(sample).input.tobytes() for sample, place in zip(samples, places, strict=True))
        until(lambda: made.ready == 2, "another one starts")
        assert not set(made.pids()) & set(first)


def test_a_reader_that_dies_again_and_again_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("xlli_ray.engine.worker.readers.LIVES", 2)
    samples = samples_of(tmp_path, 2)
    seen: list[str] = []

    def load(sample: Sample, clock: Clock, place: np.ndarray) -> str:
        seen.append(sample.sample_id)
        return "here"

    with readers(load, 1) as made:
        for _ in range(3):
            for pid in made.pids():
                os.kill(pid, signal.SIGKILL)
            assert outcomes(made, samples)[1] == ["here", "here"]
        assert made.ready == 0
    assert len(seen) == 6


def test_patches_of_one_image_are_decoded_by_one_reader(tmp_path: Path) -> None:
    samples = samples_of(tmp_path, 4, patches=3)
    with readers(never) as made:
        asked: list[tuple[int, str]] = []
        for number, reader in enumerate(made._readers):
            submit = reader.submit

            def noted(some: Sequence[Sample], *rest: Any, number: int = number, submit: Any = submit) -> Any:
                asked.extend((number, sample.source) for sample in some)
                return submit(some, *rest)

            reader.submit = noted  # type: ignore[method-assign]
        for _ in range(3):
            outcomes(made, samples)
    homes = {source: {number for number, other in asked if other == source} for _, source in asked}
    assert all(len(home) == 1 for home in homes.values())
    assert {number for number, _ in asked} == {0, 1}, "and both readers have some"


def test_a_file_leaves_its_reader_when_that_one_has_fallen_behind(tmp_path: Path) -> None:
    """Files that the first readers took would stay with them for the whole study, and readers that started later would have nothing."""
    samples = samples_of(tmp_path, 1, patches=2)
    with readers(never) as made:
        home = made._choose(samples)
        (other,) = [reader for reader in made._readers if reader is not home]
        home.pending = BEHIND
        assert made._choose(samples) is home, "a little behind: it has the file decoded"
        home.pending = BEHIND + 1
        assert made._choose(samples) is other
        home.pending = 0
        assert made._choose(samples) is other, "which is its home now"


def test_readers_start_when_a_batch_comes_too_late_and_change_no_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    samples = samples_of(tmp_path, 8)
    ranges = [range(i, i + 2) for i in range(0, 8, 2)]
    ahead = Ahead(read_bytes)
    made: list[Readers] = []

    def begin(load: Any) -> Readers:
        made.append(Readers(CORPUS, load, limit=3))
        return made[0]

    monkeypatch.setattr("xlli_ray.engine.worker.batches.LATE_SECONDS", -1.0)
    monkeypatch.setattr("xlli_ray.engine.worker.readers.FIRST", 2)
    reader = BatchReader(
        study_loader(CORPUS, read=ahead), torch.device("cpu"), threads=2, ahead=ahead, processes=begin, most=3,
    )  # fmt: skip

    def all_bytes() -> bytes:
        return b"".join(batch.input.numpy().tobytes() for _, batch, _ in reader.batches(samples, ranges, set(), Clock()))

    by_threads = all_bytes()
    until(lambda: made[0].ready == 2, "the first ones start")
    assert all_bytes() == by_threads
    until(lambda: made[0].ready == 3, "and more, up to the limit")
    assert all_bytes() == by_threads
    reader.close()
    assert made[0].pids() == []


def test_readers_end_when_their_worker_is_killed(tmp_path: Path) -> None:
    program = """
import time
from xlli_ray.engine.worker.readers import Readers
made = Readers({"images": ["x"], "scale": 2}, None, limit=2)
made.grow()
while made.ready < 2:
    time.sleep(0.01)
print(*made.pids(), flush=True)
time.sleep(600)
"""
    worker = subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True)
    assert worker.stdout is not None
    pids = [int(word) for word in worker.stdout.readline().split()]
    assert len(pids) == 2
    assert all(alive(pid) for pid in pids)
    worker.kill()
    worker.wait()
    until(lambda: not any(alive(pid) for pid in pids), "a reader ends with its standard input")
    worker.stdout.close()


def test_a_reader_loads_neither_torch_nor_ray() -> None:
    program = "import sys, xlli_ray.corpus.reader_process; print(*sorted({'torch', 'ray', 'zarr'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip() == ""


@pytest.mark.parametrize(
    ("device", "workers", "cores", "readers", "processes"),
    [
        ("cpu", 2, 2, 0, 0),
        ("cpu", 1, 2, 2, 0),
        ("cuda:0", 1, 16, 2, MOST_PROCESSES),
        ("cuda", 4, 16, 2, 3),
        ("cuda", 1, 1, 2, 0),
        ("cuda", 0, 4, 2, 3),
    ],
)
def test_processes_read_for_gpus_on_the_cores_that_workers_leave(
    device: str, workers: int, cores: int, readers: int, processes: int
) -> None:
    spec = with_readers(WorkerSpec("study", 1, device=device), workers=workers, cores=cores)
    assert (spec.readers, spec.processes) == (readers, processes)
