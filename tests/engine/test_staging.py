"""Batches to a GPU and results back, with a card that notes what it is told: the order of copies and kernels, and the same numbers."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from helpers import QUIET

from xlli_ray.engine.run.allowed_models import make_gate
from xlli_ray.engine.run.array_documents import create_arrays
from xlli_ray.engine.run.driver import plan_study, save_manifest
from xlli_ray.engine.run.units import pending_jobs
from xlli_ray.engine.worker import worker as worker_module
from xlli_ray.engine.worker.job import UnitJob
from xlli_ray.engine.worker.run_probes import Measuring
from xlli_ray.engine.worker.staging import Direct, Streamed, staging_for
from xlli_ray.engine.worker.worker import Worker
from xlli_ray.recipe import Recipe
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.unit_records import read_records

Make = Callable[..., Recipe]
CPU = torch.device("cpu")


class FakeEvent:
    def __init__(self, card: FakeCard) -> None:
        self._card, self._name = card, f"event{card.events}"
        card.events += 1

    def record(self, stream: Any) -> None:
        self._card.told.append(f"{self._name} on {stream}")

    def synchronize(self) -> None:
        self._card.told.append(f"host waits for {self._name}")


class FakeCard:
    """The CPU with the vocabulary of a GPU."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self.events = self._streams = 0
        self._on = "compute"

    def stream(self) -> Any:
        self._streams += 1
        return ("in", "out")[self._streams - 1]

    def current(self) -> Any:
        return self._on

    @contextmanager
    def on(self, stream: Any) -> Iterator[None]:
        before, self._on = self._on, stream
        self.told.append(f"on {stream}")
        yield
        self._on = before

    def event(self) -> FakeEvent:
        return FakeEvent(self)

    def wait(self, stream: Any, event: Any) -> None:
        self.told.append(f"{stream} waits for {event._name}")

    def used_on(self, tensor: torch.Tensor, stream: Any) -> None:
        self.told.append(f"kept for {stream}")

    def pinned(self, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
        return torch.empty(shape, dtype=dtype)


def test_a_batch_is_copied_on_a_stream_of_its_own_and_kernels_wait_for_it() -> None:
    card = FakeCard()
    staging = Streamed(CPU, card)
    data = staging.empty((2, 3))
    assert staging.to_device(data) is data
    assert card.told == ["on in", "event0 on in", "compute waits for event0", "kept for compute"]


def test_results_are_copied_after_the_kernels_that_make_them_and_waited_for_once() -> None:
    card = FakeCard()
    tensors = {("cell", "low"): torch.arange(3.0), ("cell", "features"): torch.arange(6.0).reshape(2, 3).T}
    read = Streamed(CPU, card).to_host(tensors)
    assert card.told == ["event0 on compute", "out waits for event0", "on out", "kept for out", "kept for out", "event1 on out"]
    card.told.clear()
    arrays = read()
    assert card.told == ["host waits for event1"], "one wait for all arrays of a batch"
    assert all(np.array_equal(arrays[name], tensor.numpy()) for name, tensor in tensors.items())


def test_the_cpu_copies_nothing() -> None:
    staging, values = staging_for(CPU), torch.arange(4.0)
    assert isinstance(staging, Direct)
    assert staging.to_device(values) is values
    assert staging.to_host({"x": values})()["x"].ctypes.data == values.data_ptr()


def planned(recipe: Recipe, place: Path) -> Path:
    manifest, plan = plan_study(recipe, str(place), QUIET)
    save_manifest(open_objects(place), manifest)
    create_arrays(Archive(open_objects(place), manifest), plan)
    return place


def jobs_of(worker: Worker) -> list[UnitJob]:
    return list(pending_jobs(Listing(worker.objects), worker.manifest.cells, make_gate(worker.manifest.models)))


def run_all(study: Path, **options: Any) -> dict[str, str]:
    """Run every unit from two threads; what is stored, without times."""
    worker = Worker(str(study), 1, **options)
    with ThreadPoolExecutor(2) as threads:
        assert list(threads.map(worker.run, jobs_of(worker)))
    found: dict[str, str] = {}
    for cell in worker.manifest.cells:
        for receipt, table in read_records(Listing(worker.objects), cell.id):
            found[f"{cell.id}/{receipt.unit}"] = repr((receipt.shards, receipt.failed, receipt.one_by_one, table.to_pylist()))
    worker.close()
    return found


@pytest.mark.parametrize(
    ("network", "processes"), [("toy:small", 2), ("toy:nan_on_bright", 0), ("toy:asserts", 0)],
)  # fmt: skip
def test_streams_and_readers_store_the_bytes_of_the_plain_path(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, network: str, processes: int
) -> None:
    layers = ["*:last_conv_input"]
    stages = [{"features": {"layers": layers, "pool": "moments"}}, {"restore": {"save": True}}, {"gram": {"layers": layers}}]
    plain = planned(recipe(network, stages=stages, batch={"features": 2, "restore": 2, "gram": 2}), tmp_path / "plain")
    streamed = tmp_path / "streamed"
    shutil.copytree(plain, streamed)
    wanted = run_all(plain, readers=0)
    card = FakeCard()
    monkeypatch.setattr(worker_module, "staging_for", lambda device: Streamed(device, card))
    assert run_all(streamed, readers=2, processes=processes) == wanted
    assert any(line.startswith("host waits") for line in card.told)


def test_the_next_batch_is_launched_before_the_last_one_is_read(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = recipe("toy:small", stages=[{"gram": {"layers": ["head"]}}], batch={"gram": 2})  # a set is one unit of some batches
    study = planned(chosen, tmp_path / "study")
    order: list[str] = []
    launch = Measuring.launch

    def noted(self: Measuring, *args: Any) -> Callable[[], Any]:
        number = sum(line.startswith("launch") for line in order)
        order.append(f"launch {number}")
        read = launch(self, *args)

        def reading() -> Any:
            order.append(f"read {number}")
            return read()

        return reading

    monkeypatch.setattr(Measuring, "launch", noted)
    monkeypatch.setattr(worker_module, "staging_for", lambda device: Streamed(device, FakeCard()))
    worker = Worker(str(study), 1)
    job = max(jobs_of(worker), key=lambda job: _batches(worker, job))
    count = _batches(worker, job)
    assert count > 2
    worker.run(job)
    worker.close()
    wanted = ["launch 0"]
    for number in range(1, count):
        wanted += [f"launch {number}", f"read {number - 1}"]
    assert order == [*wanted, f"read {count - 1}"]


def _batches(worker: Worker, job: UnitJob) -> int:
    bucket, start, stop = worker.manifest.cell(job.cells[0]).unit(job.unit)
    return len(bucket.forwards(start, stop))


def test_the_next_unit_is_read_while_the_last_batches_of_one_are_computed(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = planned(recipe("toy:small", stages=[{"features": {"layers": ["head"]}}]), tmp_path / "study")
    worker = Worker(str(study), 1, readers=2)
    jobs = jobs_of(worker)[:2]
    begun: list[int] = []
    batches, together = worker._reader.batches, Measuring.together

    def reading(*args: Any) -> Any:
        begun.append(len(begun))
        return batches(*args)

    def computing(self: Measuring, *args: Any) -> Any:
        # of the first unit: it ends only after the second one is being read
        for _ in range(2000):
            if len(begun) == 2:
                return together(self, *args)
            threading_wait()
        raise AssertionError("the second unit waits for the first one to end")

    monkeypatch.setattr(worker._reader, "batches", reading)
    monkeypatch.setattr(Measuring, "together", computing)
    with ThreadPoolExecutor(2) as threads:
        assert [result.failed for result in threads.map(worker.run, jobs)] == [0, 0]
    worker.close()


def threading_wait() -> None:
    import time

    time.sleep(0.005)
