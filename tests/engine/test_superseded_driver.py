"""A driver that was stopped, taken over, and goes on: it changes nothing any more, at whatever point it was."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers import QUIET, digest

from xlli_ray.corpus.scan import list_sources
from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, run_study
from xlli_ray.engine.run.scan_runner import ScanJob, Scanner
from xlli_ray.errors import EnvironmentFailure, LeaseError
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.store.objects.client import fenced, open_objects
from xlli_ray.store.records.fence import Fence
from xlli_ray.store.records.lease import Lease, last_epoch, lease_key
from xlli_ray.study import open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]


def contents(study: Path) -> dict[str, bytes]:
    """Every object but those of leases and events: what no zombie may change. Also half-written ones, which a successor may be writing."""
    parts = [path for path in sorted(study.rglob("*")) if path.is_file()]
    names = {path: path.relative_to(study).as_posix() for path in parts}
    return {name: path.read_bytes() for path, name in names.items() if not name.startswith(("lease/", "events/"))}


class TakenOver:
    """At the n-th change that a driver is about to make, another driver has taken the study over."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, study: Path) -> None:
        self.objects, self.study = open_objects(study), study
        self.at: int | None = None
        self.count = 0
        self.before: dict[str, bytes] = {}
        real = Fence.check

        def check(fence: Fence) -> None:
            self.count += 1
            if self.count == self.at:
                mine = last_epoch(self.objects)
                self.objects.create(lease_key(mine + 1), b'{"host": "successor", "pid": 1, "started": "", "machine": ""}')
                self.objects.put(lease_key(mine + 1).replace(".json", ".end"), b"1")
                self.before = {name: data for name, data in contents(study).items() if not name.endswith(".partial")}
            real(fence)

        monkeypatch.setattr(Fence, "check", check)

    def next(self, at: int | None) -> None:
        self.at, self.count = at, 0


def test_a_driver_that_was_taken_over_changes_nothing_at_any_of_its_writes(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    takeover = TakenOver(monkeypatch, tmp_path / "study")
    run(recipe(), "undisturbed")
    whole, changes = digest(tmp_path / "undisturbed"), takeover.count
    assert changes > 30, "sample table, plan, Zarr documents, valid, tables"
    for at in (1, 4, 24, 9, 13):  # each run goes on where the last one was stopped
        takeover.next(at)
        with pytest.raises(LeaseError, match="taken over by host successor"):
            run(recipe())
        after = {name: data for name, data in contents(tmp_path / "study").items() if not name.endswith(".partial")}
        assert after == takeover.before
    takeover.next(None)
    run(recipe())
    assert digest(tmp_path / "study") == whole


def test_a_driver_that_replaces_stops_at_each_deletion_once_it_was_taken_over(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe())
    whole = digest(tmp_path / "study")
    takeover = TakenOver(monkeypatch, tmp_path / "study")
    for at in (1, 4, 9):
        takeover.next(at)
        with pytest.raises(LeaseError, match="taken over"):
            run(recipe(), replace=("features",))
        assert contents(tmp_path / "study") == takeover.before
    takeover.next(None)
    run(recipe(), replace=("features",))
    assert digest(tmp_path / "study") == whole


def test_a_zombie_sweeps_nothing_of_its_successor(tmp_path: Path) -> None:
    from xlli_ray.store.objects.client import LocalObjects
    from xlli_ray.store.records.lease import Lease

    objects = open_objects(tmp_path)
    lease = Lease.acquire(objects)
    behind = fenced(objects, Fence(lease))
    growing = objects.begin("arrays.zarr/a/c/0")
    growing.write(b"x" * 200_000)
    successor = Lease.acquire(objects, takeover=True)
    assert isinstance(behind, LocalObjects)
    for change in (lambda: behind.sweep("arrays.zarr"), lambda: behind.put("tables/a", b"1"), lambda: behind.create("records/a", b"1"),
                   lambda: behind.delete(["lease/000002.json"]), lambda: behind.begin("b").commit()):  # fmt: skip
        with pytest.raises(LeaseError):
            change()
    growing.commit()
    assert [path.name for path in tmp_path.rglob("*") if path.name in ("a", "b")] == ["a"], "the folder of the growing array"
    successor.release()
    lease.release()


def test_a_run_that_cannot_sweep_what_a_crash_left_gives_its_lease_back(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(recipe())
    (tmp_path / "study/lease/000001.end").unlink()  # as after a kill, of a process that is gone
    monkeypatch.setattr("xlli_ray.store.records.lease.Holder.is_dead_here", lambda self: True)
    monkeypatch.setattr("xlli_ray.store.records.lease._HELD", set())

    def full(self: object, prefix: str, **_: object) -> int:
        raise EnvironmentFailure(30, "read-only")

    with monkeypatch.context() as patched:
        patched.setattr("xlli_ray.store.objects.client.LocalObjects.sweep", full)
        with pytest.raises(EnvironmentFailure, match="read-only"):
            run(recipe())
    assert (tmp_path / "study/lease/000002.end").exists()
    assert run(recipe()).complete


def test_a_scan_of_a_run_that_was_taken_over_records_no_more_files(recipe: Make, tmp_path: Path) -> None:
    """With `workers=0` the paused driver is its own worker: it recorded the files in hand after its successor had written digests.json."""
    objects, made = open_objects(tmp_path / "study"), recipe()
    lease = Lease.acquire(objects)
    scanner = Scanner(objects.url, lease.epoch)
    Lease.acquire(objects, takeover=True).release()
    with pytest.raises(LeaseError, match="took this study over"):
        scanner.run(ScanJob("s", 0, made.corpus.model_dump(mode="json"), 0, tuple(list_sources(made.corpus, "/")[:3])))
    assert not list(objects.list("records"))
    lease.release()


PAUSED = """
import os, signal, sys
sys.path.insert(0, sys.argv[3])
import xlli_ray.engine.run.driver as driver
from xlli_ray.engine.options import Options
from xlli_ray.errors import EnvironmentFailure, LeaseError
from xlli_ray.recipe import load_recipe

real = getattr(driver, sys.argv[4])

def paused(*arguments, **named):
    if sys.argv[4] != "save_manifest" or arguments[1].cells:
        os.kill(os.getpid(), signal.SIGSTOP)
    return real(*arguments, **named)

setattr(driver, sys.argv[4], paused)
try:
    driver.run_study(load_recipe(sys.argv[1]), sys.argv[2], Options(workers=0, quiet=True, replace=tuple(sys.argv[5:])))
except LeaseError as error:
    sys.exit(f"LeaseError: {error}")
"""


@pytest.mark.parametrize(
    "at", [pytest.param("save_manifest", id="before it writes its plan"),
           pytest.param("forget_records", id="before it removes records", marks=pytest.mark.slow)]
)  # fmt: skip
def test_a_process_that_was_stopped_and_taken_over_neither_rewrites_the_plan_nor_removes_records(
    recipe: Make, run: Run, tmp_path: Path, at: str
) -> None:
    place = tmp_path / "study"
    recipe(stages=[{"restore": {}}])
    small = tmp_path / "small.yaml"
    small.write_text((tmp_path / "recipe.yaml").read_text())
    if at == "forget_records":
        run(load_recipe(small))
    replaced = ["restore"] if at == "forget_records" else []
    command = [sys.executable, "-c", PAUSED, str(small), str(place), str(Path(__file__).parent), at, *replaced]
    zombie = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        _, how = os.waitpid(zombie.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(how), zombie.communicate()[1]
        run_study(recipe(), str(place), Options(workers=0, quiet=True, takeover=True))
        before, cells = contents(place), {cell.id for cell in open_study(place).manifest.cells}
        assert len(cells) == 3
        os.kill(zombie.pid, signal.SIGCONT)
        said = zombie.communicate(timeout=120)[1]
    finally:
        zombie.kill()
    assert "LeaseError" in said
    assert "taken over" in said
    assert contents(place) == before
    assert {cell.id for cell in open_study(place).manifest.cells} == cells
    assert run_study(recipe(), str(place), QUIET).complete
    assert yaml.safe_load(small.read_text())["stages"] == [{"restore": {}}]
