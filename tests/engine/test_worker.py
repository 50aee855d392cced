"""A worker by itself: what it puts and when, how it reads, and where its memory comes from."""

from __future__ import annotations

import gc
import os
import shutil
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import QUIET

from xlli_ray.corpus.files.prefetch import Ahead
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.sample import Loader, Sample, sample_from_row
from xlli_ray.engine.run.allowed_models import make_gate
from xlli_ray.engine.run.array_documents import create_arrays
from xlli_ray.engine.run.driver import plan_study, save_manifest
from xlli_ray.engine.run.units import pending_jobs
from xlli_ray.engine.worker import batches as batches_module
from xlli_ray.engine.worker.batches import BatchReader
from xlli_ray.engine.worker.job import Clock
from xlli_ray.engine.worker.worker import Worker
from xlli_ray.errors import LeaseError
from xlli_ray.recipe import Recipe
from xlli_ray.store.archive import Archive
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.lease import lease_key
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.unit_records import read_records
from xlli_ray.store.tables.sample_table import SampleReader

Make = Callable[..., Recipe]


@pytest.fixture
def planned(recipe: Make, tmp_path: Path) -> Path:
    """A study with a plan and its documents, of which nothing is computed."""
    place = tmp_path / "study"
    manifest, plan = plan_study(recipe(), str(place), QUIET)
    save_manifest(open_objects(place), manifest)
    create_arrays(Archive(open_objects(place), manifest), plan)
    return place


def files(study: Path) -> set[str]:
    return {str(path.relative_to(study)) for path in (study / "arrays.zarr").rglob("*") if path.is_file()}


def handles(study: Path) -> list[str]:
    """Of arrays: files that this process has open."""
    links = [Path(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd")]
    return [str(link.readlink()) for link in links if link.is_symlink() and str(study / "arrays.zarr") in str(link.readlink())]


def test_shards_get_their_names_only_after_the_look_for_a_later_run(planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xlli_ray.engine.worker import worker as module

    before, seen = files(planned), []

    def look(*_: object) -> bool:
        new = files(planned) - before
        seen.append(new)
        return False

    monkeypatch.setattr(module, "superseded", look)
    worker = Worker(str(planned), 1)
    job = next(iter(pending_jobs(Listing(worker.objects), worker.manifest.cells, make_gate(worker.manifest.models))))
    worker.run(job)
    assert seen[0], "chunks were written beside while the unit was computed"
    assert all(name.endswith(".partial") for name in seen[0])
    assert not any(name.endswith(".partial") for name in files(planned))
    assert len(files(planned) - before) == len(seen[0])
    worker.close()


def test_a_zombie_of_an_old_epoch_replaces_no_shard_and_leaves_nothing_behind(planned: Path) -> None:
    worker = Worker(str(planned), 1)
    before = files(planned)
    worker.objects.put(lease_key(2), b"{}")
    for job in list(pending_jobs(Listing(worker.objects), worker.manifest.cells, make_gate(worker.manifest.models)))[:3]:
        with pytest.raises(LeaseError, match="took this study over"):
            worker.run(job)
    assert files(planned) == before
    assert not list((planned / "records" / "features").rglob("*"))
    assert handles(planned) == []
    worker.close()


def test_a_worker_of_a_study_that_was_removed_writes_nothing_into_the_one_made_in_its_place(planned: Path) -> None:
    """`rm -rf` and a new run under a driver that is still ending: both are of epoch 1."""
    objects = open_objects(planned)
    objects.put(lease_key(1), b"the first driver")
    worker = Worker(str(planned), 1)
    objects.put(lease_key(1), b"another driver")
    before = files(planned)
    with pytest.raises(LeaseError, match="took this study over"):
        worker.run(next(iter(pending_jobs(Listing(worker.objects), worker.manifest.cells, make_gate(worker.manifest.models)))))
    assert files(planned) == before


def test_a_unit_that_ends_in_an_error_of_the_program_gives_its_files_up(planned: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xlli_ray.engine.worker import worker as module

    before, growing = files(planned), []

    def fail(*_: object) -> bool:
        growing.append(handles(planned))
        raise KeyError("a bug")

    monkeypatch.setattr(module, "superseded", fail)
    worker = Worker(str(planned), 1)
    with pytest.raises(KeyError, match="a bug"):
        worker.run(next(iter(pending_jobs(Listing(worker.objects), worker.manifest.cells, make_gate(worker.manifest.models)))))
    assert growing[0], "shards were on their way"
    assert files(planned) == before
    assert handles(planned) == []
    worker.close()


def rows(study: Path) -> list[Sample]:
    worker = Worker(str(study), 1)
    bucket = worker.manifest.cells[0].buckets[0]
    table = SampleReader(worker.objects, worker.manifest.samples).rows(0, bucket.rows)  # type: ignore[arg-type]
    worker.close()
    return [sample_from_row(row) for row in table.to_pylist()]


def reader_of(threads: int, **loader: int) -> BatchReader:
    """A reader with `threads` readers; 0: whoever asks reads."""
    ahead = Ahead(read_bytes)
    return BatchReader(Loader(**loader, read=ahead), torch.device("cpu"), threads=threads, ahead=ahead)


@pytest.mark.parametrize("together", [1, 3, 8])
@pytest.mark.parametrize("threads", [0, 1, 2, 5])
def test_batches_hold_what_the_loader_gives_however_readers_share_the_work(
    planned: Path, monkeypatch: pytest.MonkeyPatch, together: int, threads: int
) -> None:
    monkeypatch.setattr(batches_module, "TOGETHER", together)
    samples = rows(planned)
    gone = samples[1].source
    Path(gone).unlink()
    reader = reader_of(threads, cache_bytes=0)
    ranges = [range(i, min(i + 5, len(samples))) for i in range(0, len(samples), 5)]
    seen = 0
    for positions, batch, reasons in reader.batches(samples, ranges, {2}, Clock()):
        for i, position in enumerate(positions):
            sample = samples[position]
            good = sample.source != gone and position != 2
            assert batch.ok[i] == good
            wanted = Loader().load(sample).input if good else np.zeros(batch.input.shape[1:], np.float32)
            assert batch.input[i].numpy().tobytes() == wanted.tobytes()
            assert (i in reasons) == (sample.source == gone and position != 2)
            seen += 1
    assert seen == len(samples)
    reader.close()


@pytest.mark.parametrize("threads", [0, 2])
def test_a_batch_is_let_go_when_another_is_given(planned: Path, threads: int) -> None:
    """A batch that lives on while others come made the heap of a worker grow, and fresh pages cost more than decoding."""
    samples = rows(planned)
    reader = reader_of(threads)
    ranges = [range(i, i + 1) for i in range(len(samples))]
    alive: list[weakref.ref[torch.Tensor]] = []
    gc.disable()  # what only the collector of cycles lets go of stays for long
    try:
        for _, batch, _ in reader.batches(samples, ranges, set(), Clock()):
            assert not [one for one in alive if one() is not None]
            alive.append(weakref.ref(batch.input))
            del batch
    finally:
        gc.enable()
    assert len(alive) == len(samples) > 6
    reader.close()


@pytest.mark.parametrize("threads", [0, 2])
def test_what_lies_in_a_bucket_comes_many_files_at_once(planned: Path, threads: int) -> None:
    """Two readers that fetched for themselves would have two files in flight, and a GPU would wait for the network."""
    samples = [replace(sample, source=f"memory://{sample.source}") for sample in rows(planned)]
    several = len({sample.source for sample in samples[:8]})
    assert several > 3
    together = threading.Barrier(several)  # broken, with an error, unless all are asked for at the same time

    def read(uri: str) -> bytes:
        together.wait(30)
        return read_bytes(uri.removeprefix("memory://"))

    ahead = Ahead(read)
    reader = BatchReader(Loader(read=ahead), torch.device("cpu"), threads=threads, ahead=ahead)
    ((_, batch, reasons),) = reader.batches(samples[:8], [range(8)], set(), Clock())
    assert batch.ok.all()
    assert not reasons
    reader.close()


def contents(study: Path) -> dict[str, bytes]:
    """Of arrays, and of records without what tells where and how long."""
    found = {name: (study / name).read_bytes() for name in files(study)}
    objects = open_objects(study)
    for cell in Worker(str(study), 1).manifest.cells:
        for receipt, table in read_records(Listing(objects), cell.id):
            found[f"{cell.id}/{receipt.unit}"] = repr((receipt.shards, receipt.failed, receipt.one_by_one, table.to_pylist())).encode()
    return found


@pytest.mark.parametrize("network", ["toy:small", "toy:nan_on_bright"])
def test_a_worker_without_a_core_to_spare_stores_the_same_bytes(planned: Path, recipe: Make, tmp_path: Path, network: str) -> None:
    place = tmp_path / "alone"
    chosen = recipe(network, corpus={"images": [f"{tmp_path}/images/*.png"], "scale": 2, "patches": {"size": 16, "per_image": 3},
                                     "degradations": ["clean", {"noise": 20}, {"blur": 1.0}]})  # fmt: skip
    manifest, plan = plan_study(chosen, str(place), QUIET)
    save_manifest(open_objects(place), manifest)
    create_arrays(Archive(open_objects(place), manifest), plan)
    Path(rows(place)[0].source).unlink()
    other = tmp_path / "beside"
    shutil.copytree(place, other)
    for study, readers in ((place, 0), (other, 2)):
        worker = Worker(str(study), 1, readers=readers)
        with ThreadPoolExecutor(2) as threads:
            jobs = pending_jobs(Listing(worker.objects), worker.manifest.cells, make_gate(worker.manifest.models))
            done = list(threads.map(worker.run, jobs))
        assert sum(result.failed for result in done) > 0
        worker.close()
    assert contents(place) == contents(other)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="arenas are a matter of glibc, which is Linux's")
def test_threads_that_start_after_one_arena_share_the_first_one(tmp_path: Path) -> None:
    program = """
import ctypes, os, threading, sys
from xlli_ray.store.records.listing import Listing
from xlli_ray.engine.worker.environment import one_arena
if not one_arena(): print("1"); sys.exit()  # no glibc
import pyarrow  # starts a thread
threads = [threading.Thread(target=lambda: bytes(1 << 20)) for _ in range(8)]
for t in threads: t.start()
for t in threads: t.join()
libc = ctypes.CDLL(None)
libc.fopen.restype = ctypes.c_void_p
file = ctypes.c_void_p(libc.fopen(sys.argv[1].encode(), b"w"))
libc.malloc_info(0, file); libc.fclose(file)
print(open(sys.argv[1]).read().count("<heap nr"))
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    env["PYTHONPATH"] = os.pathsep.join(path for path in sys.path if path)
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path / "arenas")], env=env, capture_output=True, text=True)
    assert done.stdout.strip() == "1", done
