"""Worker processes without Ray, for studies of seconds: the bytes, and the fate of whoever dies, are those of Ray's."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from helpers import digest
from test_resume import events

from xlli_ray.engine.options import Options
from xlli_ray.engine.pools import process_pool
from xlli_ray.engine.pools.local import Lost
from xlli_ray.engine.pools.process_pool import ProcessPool
from xlli_ray.engine.pools.run_pool import Pools
from xlli_ray.engine.run import brief_study
from xlli_ray.engine.run.corpus_files import CorpusFiles
from xlli_ray.engine.run.driver import Summary, run_study
from xlli_ray.engine.run.plan import Plan
from xlli_ray.engine.run.scan_runner import ScanJob
from xlli_ray.engine.run.session import import_path
from xlli_ray.engine.worker.environment import device_name
from xlli_ray.engine.worker.tasks import WorkerSpec
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import open_objects
from xlli_ray.study import open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]


@pytest.fixture
def without_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two CPU slots, and no Ray."""

    def refused(*_: Any, **__: Any) -> None:
        raise AssertionError("Ray was started")

    monkeypatch.setattr("xlli_ray.engine.pools.ray_pool.RayPool", refused)
    monkeypatch.setattr("xlli_ray.engine.pools.run_pool.default_workers", lambda *_: 2)


@pytest.mark.usefixtures("without_ray")
def test_a_study_of_seconds_gives_the_bytes_of_a_run_in_this_process_and_starts_no_ray(
    recipe: Make, run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []
    monkeypatch.setattr(process_pool._Process, "__init__", counted(process_pool._Process.__init__, made))
    run(recipe(), "here")
    monkeypatch.setattr(brief_study, "MOMENT", 0.0)
    assert run(recipe(), "two", workers=None).units_run > 0
    assert len(made) == 2, "one for each slot"
    assert digest(tmp_path / "two") == digest(tmp_path / "here")


@pytest.mark.usefixtures("without_ray")
def test_the_worker_of_a_study_of_seconds_also_builds_and_plans_so_that_this_process_builds_no_network(
    recipe: Make, run: Run, corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = {"images": [str(corpus / "01.png")], "scale": 4}
    network = {"id": "net", "weights": "builtin:srresnet-gr-clean"}
    asked = recipe(corpus=images, models=[network], stages=[{"restore": {"save": True}}], baseline=True)
    run(asked, "here")
    loaded, made = [], []  # type: ignore[var-annotated]
    monkeypatch.setattr(process_pool._Process, "__init__", counted(process_pool._Process.__init__, made))
    monkeypatch.setattr("xlli_ray.models.build_model.load_model", None)
    run_study(asked, str(tmp_path / "there"), Options(quiet=True), ahead=lambda: loaded.append(1))
    assert digest(tmp_path / "there") == digest(tmp_path / "here")
    assert loaded == [1], "what comes after is loaded meanwhile"
    assert len(made) == 1, "one worker does, whatever it has slots for"
    manifest = open_study(str(tmp_path / "there")).manifest
    assert (manifest.models, manifest.device) == (open_study(str(tmp_path / "here")).manifest.models, device_name("cpu"))
    monkeypatch.setattr(process_pool, "ProcessPool", None)
    run_study(asked, str(tmp_path / "there"), Options(quiet=True), ahead=lambda: loaded.append(2))
    assert loaded == [1], "a finished study loads nothing"


def counted(function: Callable[..., None], calls: list[int]) -> Callable[..., None]:
    def counting(*args: Any) -> None:
        calls.append(len(calls))
        function(*args)

    return counting


@pytest.mark.usefixtures("without_ray")
def test_a_worker_that_dies_loses_its_jobs_and_another_takes_its_place(recipe: Make, run: Run, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    killer = recipe("toy:kill_once", args={"marker": str(marker), "after": 3})
    summary = run(killer, "killed", workers=None)
    assert marker.exists(), "a worker was killed"
    assert summary.failed == 0
    lost = [event for event in events(tmp_path / "killed") if event["event"] == "lost"]
    assert 1 <= len(lost) <= 2
    assert all("signal 9" in str(event["reason"]) for event in lost)
    run(killer, "calm")
    assert digest(tmp_path / "killed") == digest(tmp_path / "calm")


@pytest.mark.slow
@pytest.mark.usefixtures("without_ray")
def test_a_sample_that_kills_every_worker_is_a_failed_row(recipe: Make, run: Run, corpus: Path, tmp_path: Path) -> None:
    images = {"images": [str(corpus / f"{i:02d}.png") for i in (1, 2, 3)], "scale": 2}
    assert run(recipe("toy:kill_on_bright", corpus=images), "killer", workers=None).failed == 1
    rows = open_study(tmp_path / "killer").sql("select distinct s.source, f.kind from failures f join samples s using (sample_id)")
    assert [(Path(row["source"]).name, row["kind"]) for row in rows.to_pylist()] == [("03.png", "crash")]


@pytest.fixture
def pool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ProcessPool]:
    """Two workers that scan, and load no torch."""
    light = "from xlli_ray.engine.pools import process_pool as p; p._preload = lambda: None; p.serve({handle})"
    monkeypatch.setattr(process_pool, "_SERVE", f"import sys; sys.path[:] = {{paths!r}}; {light}")
    ours = ProcessPool(WorkerSpec(str(tmp_path), 1, paths=import_path()), workers=2)
    yield ours
    ours.close()


def processes(pool: ProcessPool) -> list[int]:
    return [one._process.pid for one in pool._processes]


def test_an_error_of_a_job_is_raised_here_and_the_pool_is_of_further_use(pool: ProcessPool, tmp_path: Path) -> None:
    open_objects(str(tmp_path))
    bad = ScanJob("x", 0, {"images": ["a.png"], "no_such_key": 1}, 0, ())
    with pytest.raises(RuntimeError, match="error in a worker:\nValidationError"):
        list(pool.run("scan", deque([bad, bad, bad]), lambda: None))
    good = ScanJob("x", 1, {"images": ["a.png"], "scale": 2}, 0, ())
    ((job, outcome),) = pool.run("scan", deque([good]), lambda: None)
    assert job is good
    assert (outcome.unit, outcome.files) == (1, 0)


def test_whoever_asks_to_stop_is_heard_while_jobs_are_in_flight(pool: ProcessPool) -> None:
    asked = iter([None, EnvironmentFailure(28, "disk full")])

    def stop() -> None:
        if (error := next(asked)) is not None:
            raise error

    jobs = deque(ScanJob("x", unit, {"images": ["a.png"], "scale": 2}, 0, ()) for unit in range(6))
    with pytest.raises(EnvironmentFailure, match="disk full"):
        list(pool.run("scan", jobs, stop))


def test_workers_that_die_at_once_are_told_with_how_they_ended(pool: ProcessPool) -> None:
    job = ScanJob("x", 0, {"images": ["a.png"], "scale": 2}, 0, ())
    for pid in processes(pool):
        os.kill(pid, signal.SIGSTOP)
    jobs, killed = deque([job]), processes(pool)

    def stop() -> None:
        for pid in killed:
            os.kill(pid, signal.SIGKILL)
        killed.clear()

    ((_, outcome),) = pool.run("scan", jobs, stop)
    assert isinstance(outcome, Lost)
    assert "by signal 9" in outcome.reason


def test_a_worker_that_cannot_start_says_why_and_one_without_a_job_is_not_started_again_and_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(process_pool, "_SERVE", "raise ImportError('no module named networks')  # {paths!r} {handle}")
    made: list[int] = []
    monkeypatch.setattr(process_pool._Process, "__init__", counted(process_pool._Process.__init__, made))
    pool = ProcessPool(WorkerSpec(str(tmp_path), 1), workers=3)
    jobs = deque([ScanJob("x", 0, {"images": ["a.png"], "scale": 2}, 0, ())])
    for _, outcome in pool.run("scan", jobs, lambda: None):
        assert isinstance(outcome, Lost)
        assert outcome.reason.endswith("with exit code 1: ImportError: no module named networks")
    pool.close()
    assert len(made) == 4, "one in place of the one with the job"


def test_closing_leaves_no_process(pool: ProcessPool) -> None:
    started = processes(pool)
    pool.close()
    assert not any(map(psutil.pid_exists, started))


def test_workers_end_with_a_driver_that_is_killed(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys\nfrom xlli_ray.engine.pools.process_pool import ProcessPool\n"
        "from xlli_ray.engine.worker.tasks import WorkerSpec\n"
        f"pool = ProcessPool(WorkerSpec({str(tmp_path)!r}, 1, paths=tuple(sys.path)), workers=2)\n"
        "print(*[one._process.pid for one in pool._processes], flush=True)\nos.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = [int(pid) for pid in done.stdout.split()]
    assert len(left) == 2
    until = time.monotonic() + 60
    while any(psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE for pid in left):
        assert time.monotonic() < until, "a worker outlived its driver"
        time.sleep(0.05)


def test_what_outgrows_seconds_gets_ray_and_a_number_of_workers_always_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    class Fake:
        workers = 2
        room = 2

        def __init__(self, *_: Any, **__: Any) -> None:
            made.append(type(self).__name__)

        def wait_ready(self) -> None: ...
        def close(self) -> None:
            made.append("closed")

    class Processes(Fake): ...

    class Ray(Fake): ...

    monkeypatch.setattr("xlli_ray.engine.pools.process_pool.ProcessPool", Processes)
    monkeypatch.setattr("xlli_ray.engine.pools.ray_pool.RayPool", Ray)

    def ended(pools: Pools, *, outgrown: bool = False) -> list[str]:
        made.clear()
        pools.warm(brief=True)
        if outgrown:
            pools.outgrow()
        pools()
        pools.close()
        return made

    spec, objects = WorkerSpec(str(tmp_path), 1), open_objects(str(tmp_path))
    assert ended(Pools(Options(), spec, objects, ())) == ["Processes", "closed"]
    assert ended(Pools(Options(), spec, objects, ()), outgrown=True) == ["Processes", "closed", "Ray", "closed"]
    assert ended(Pools(Options(workers=2), spec, objects, ()), outgrown=True) == ["Ray", "closed"]
    assert ended(Pools(Options(gpus_per_worker=1.0), spec, objects, ())) == ["Ray", "closed"]


def test_a_study_seems_brief_by_its_files_and_then_by_its_plan(recipe: Make, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = recipe()
    assert brief_study.seems_brief(CorpusFiles(asked.corpus), None)
    monkeypatch.setattr(brief_study, "CHUNK", 11)
    assert not brief_study.seems_brief(CorpusFiles(asked.corpus), None), "it has twelve files"
    assert brief_study.seems_brief(CorpusFiles(asked.corpus), None, limit=11)
    run(asked)
    manifest = open_study(run(asked).study).manifest
    assert brief_study.seems_brief(CorpusFiles(asked.corpus), manifest)
    monkeypatch.setattr(brief_study, "SECONDS", Plan(manifest.cells).seconds / 2)
    assert not brief_study.seems_brief(CorpusFiles(asked.corpus), manifest)
    assert brief_study.is_momentary(Plan(manifest.cells))
