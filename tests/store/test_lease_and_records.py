"""One driver at a time; records that the first writer of an epoch and the highest epoch win."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest

from xlli_ray.errors import LeaseError
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.store.records import lease as lease_module
from xlli_ray.store.records import listing as listing_module
from xlli_ray.store.records.lease import Lease, last_epoch, superseded
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.seal import sealed_json
from xlli_ray.store.records.unit_records import Receipt, pack_records, read_records, write_record


@pytest.fixture
def objects(tmp_path: Path) -> Objects:
    return open_objects(tmp_path)


def test_a_second_driver_on_this_machine_stops_and_names_host_and_pid(objects: Objects) -> None:
    first = Lease.acquire(objects)
    with pytest.raises(LeaseError, match=f"pid {os.getpid()}"):
        Lease.acquire(objects)
    first.release()
    second = Lease.acquire(objects)
    assert second.epoch == first.epoch + 1
    second.release()


def test_a_killed_driver_leaves_no_lock(objects: Objects, tmp_path: Path) -> None:
    code = (
        "import os, signal, sys; from xlli_ray.store.objects.client import open_objects; from xlli_ray.store.records.lease import Lease;"
        f"Lease.acquire(open_objects({str(tmp_path)!r})); os.kill(os.getpid(), signal.SIGKILL)"
    )
    subprocess.run([sys.executable, "-c", code], check=False)
    assert last_epoch(objects) == 1
    lease = Lease.acquire(objects)
    assert lease.epoch == 2
    lease.release()


def test_on_another_machine_only_the_beats_tell_whether_it_lives(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease_module, "PATIENCE_SECONDS", 0.4)
    first = Lease.acquire(objects)
    elsewhere = lease_module.Holder("elsewhere", 1, "0", "another machine")
    monkeypatch.setattr(lease_module.Holder, "here", lambda: elsewhere)
    monkeypatch.setattr(lease_module.Holder, "is_dead_here", lambda self: None)
    with pytest.raises(LeaseError, match="another run holds this study"):
        Lease.acquire(objects)
    first._stop.set()  # its machine is gone: no beat, no end
    first._thread.join()
    second = Lease.acquire(objects)
    assert second.epoch == 2
    second.release()


def test_takeover_makes_the_old_driver_stop(objects: Objects, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lease_module, "BEAT_SECONDS", 0.05)
    first = Lease.acquire(objects)
    second = Lease.acquire(objects, takeover=True)
    assert superseded(objects, first.epoch)
    for _ in range(100):
        if first._lost:
            break
        first._stop.wait(0.05)
    with pytest.raises(LeaseError, match="taken over"):
        first.check()
    first.release()
    second.check()
    second.release()


def receipt(unit: int, epoch: int) -> Receipt:
    return Receipt(cell="s/m/w", unit=unit, epoch=epoch, bucket="h1w1", start=unit, stop=unit + 1)


def rows(value: float) -> pa.Table:
    return pa.table({"row": pa.array([1], pa.int64()), "x": pa.array([value])})


def test_within_an_epoch_the_first_record_stays_and_a_later_epoch_wins(objects: Objects) -> None:
    assert write_record(objects, receipt(0, 1), rows(1.0))
    assert not write_record(objects, receipt(0, 1), rows(2.0)), "a zombie of the same epoch finds its key taken"
    assert write_record(objects, receipt(0, 3), rows(3.0))
    assert write_record(objects, receipt(0, 2), rows(2.0)), "a zombie of an old epoch can write, but nobody reads it"
    ((newest, table),) = read_records(Listing(objects), "s/m/w")
    assert newest.epoch == 3
    assert table["x"].to_pylist() == [3.0]


def test_packing_keeps_every_row_and_a_kill_between_its_steps_changes_nothing(
    objects: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 40  # a thousand take the same steps
    monkeypatch.setattr(listing_module, "PACK", size)
    for unit in range(size + 3):
        write_record(objects, receipt(unit, 1), rows(float(unit)))
    before = [(r, t["x"].to_pylist()) for r, t in read_records(Listing(objects), "s/m/w")]
    original = type(objects).delete
    monkeypatch.setattr(type(objects), "delete", lambda self, keys: None)  # killed after the pack, before the removal
    assert pack_records(Listing(objects), "s/m/w", epoch=1) == 1
    assert [(r, t["x"].to_pylist()) for r, t in read_records(Listing(objects), "s/m/w")] == before
    monkeypatch.setattr(type(objects), "delete", original)
    write_record(objects, receipt(7, 2), rows(-7.0))  # a retried unit, newer than the pack
    assert set(Listing(objects).entries("s/m/w")) == set(range(size + 3))
    after = {r.unit: t["x"].to_pylist() for r, t in read_records(Listing(objects), "s/m/w")}
    assert after[7] == [-7.0]
    assert pack_records(Listing(objects), "s/m/w", epoch=2) == 1, "the newer record goes into a new pack"
    packed = [(r, t["x"].to_pylist()) for r, t in read_records(Listing(objects), "s/m/w")]
    assert packed[7] == (replace(before[7][0], epoch=2), [-7.0])
    assert [p for p in packed if p[0].unit != 7] == [b for b in before if b[0].unit != 7]
    assert len(list(objects.list("records"))) == 4, "one pack and the three units beyond it"
    assert pack_records(Listing(objects), "s/m/w", epoch=3) == 0


@pytest.mark.parametrize("beat", [sealed_json({"count": 450}), b"450"], ids=["sealed", "as it was written before there were seals"])
def test_a_run_in_progress_says_for_how_long_by_its_own_heartbeat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, beat: bytes) -> None:
    from xlli_ray.store.records.lease import BEAT_SECONDS, running

    monkeypatch.setattr(Lease, "_beat", lambda self: None)
    objects = open_objects(tmp_path)
    lease = Lease.acquire(objects)
    objects.put("lease/000001.beat", beat)
    found = running(objects)
    assert found is not None
    assert found["seconds"] == 450 * BEAT_SECONDS
    objects.put("lease/000001.beat", b"half a bea")
    found = running(objects)
    assert found is not None
    assert found["seconds"] == 0, "unknown, and no reason to fail"
    lease.release()


def test_a_run_in_progress_is_told_with_its_process_and_a_run_that_ended_or_died_is_none(tmp_path: Path) -> None:
    from xlli_ray.store.records.lease import Holder, running

    objects = open_objects(tmp_path)
    assert running(objects) is None
    lease = Lease.acquire(objects)
    found = running(objects)
    assert found is not None
    assert found["pid"] == os.getpid()
    lease.release()
    assert running(objects) is None
    dead = {"host": Holder.here().host, "pid": 2**22 + 5, "started": "1", "machine": Holder.here().machine}
    objects.create("lease/000002.json", json.dumps(dead).encode())
    assert running(objects) is None, "killed without a word"
