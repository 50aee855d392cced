"""What a run says while it runs: rates in words that fit what is measured, what is left, and a line while something long says nothing."""

from __future__ import annotations

import io
import re
import sys
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import QUIET
from pydantic import BaseModel

from xlli_ray.analyses.analysis import Result
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.engine import events as told
from xlli_ray.engine.events import Events
from xlli_ray.engine.options import Options
from xlli_ray.engine.run import progress as clock
from xlli_ray.engine.run import units
from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.run.progress import Progress
from xlli_ray.recipe import Recipe
from xlli_ray.registry import ANALYSES
from xlli_ray.store.objects.client import LocalObjects, Objects
from xlli_ray.store.records.manifest import Cell

Make = Callable[..., Recipe]


class Time:
    """A clock that is set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(clock.time, "monotonic", lambda: self.now)


def test_maps_are_told_in_seconds_each_and_samples_by_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    progress = Progress("run", 40, started=0.0, _last=0.0)
    progress.expect("sample", 20.0)
    progress.expect("map", 2000.0)
    time.now = 30.0
    assert progress.line() == "run: 0/40 samples, 0 failed, 30 s so far", "before the first unit ends"
    time.now = 2.0
    progress.add(20, 1, 0, {}, noun="sample", made=20, work=20.0)
    time.now = 42.0
    progress.add(5, 0, 0, {}, noun="map", made=20, work=500.0)
    assert progress.paces() == "10.0 samples/s, 2 s/map"
    assert progress.left() == pytest.approx(120.0), "1,500 of 2,000 at the pace of maps, whatever samples took"
    assert progress.line() == "run: 25/40 samples, 1 failed, 10.0 samples/s, 2 s/map, 26 %, 120 s left"


def test_samples_measured_without_a_network_do_not_tell_how_long_the_networks_will_take(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four samples of flow took two seconds, and a study of a few minutes was said to take a week."""
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    progress = Progress("run", 8, started=0.0, _last=0.0)
    progress.expect("sample", 0.0)
    progress.expect("sample", 4e9)
    clock[0] = 2.0
    progress.add(4, 0, 0, {"compute": 2.0})
    assert progress.left() is None
    assert progress.line().startswith("run: 4/8 samples, 0 failed, 2.0 samples/s, 2 s so far")
    clock[0] = 5.0
    progress.add(2, 0, 0, {"compute": 3.0}, work=2e9)
    assert progress.left() == pytest.approx(3.0)


def test_the_time_that_is_left_follows_workers_that_come_and_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four fifths of the workers were taken away an hour ago; the mean over the whole run said a fifth of the time that was left."""
    time = Time(monkeypatch)
    progress = Progress("run", 100_000, started=0.0, _last=0.0)
    progress.expect("sample", 100_000.0)

    def work(seconds: int, a_second: int) -> None:
        for _ in range(0, seconds, 5):
            time.now += 5.0
            progress.add(5 * a_second, 0, 0, {}, noun="sample", made=5 * a_second, work=5.0 * a_second)

    work(3600, 10)
    assert progress.left() == pytest.approx(6400, rel=0.02)
    work(3600, 2)
    assert progress.left() == pytest.approx((100_000 - 43_200) / 2, rel=0.05)
    work(1200, 10)
    assert progress.left() == pytest.approx((100_000 - 55_200) / 10, rel=0.05)
    assert progress.window() == (600.0, pytest.approx(10.0, rel=0.05))
    assert len(progress._bins) < 70, "no more memory for a week"


def test_slow_samples_are_told_in_seconds_each_and_a_scan_counts_files(monkeypatch: pytest.MonkeyPatch) -> None:
    time = Time(monkeypatch)
    progress = Progress("scan", 4, "file", started=0.0, _last=0.0)
    time.now = 5.0
    progress.add(2, 0, 0, {})
    assert progress.line() == "scan: 2/4 files, 0 failed, 2.5 s/file, 50 %, 5 s left"


def test_a_run_counts_maps_and_not_the_samples_that_they_are_of(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    seen: list[Progress] = []
    monkeypatch.setattr(units, "Progress", lambda *args: seen.append(Progress(*args)) or seen[-1])
    corpus = {key: value for key, value in recipe().dump()["corpus"].items() if key in ("images", "scale")}
    stages = [{"restore": {}}, {"lam": {"nodes": 2, "windows": [{"top": 2, "left": 2, "size": 8}, {"top": 9, "left": 9, "size": 8}]}}]
    run_study(recipe(corpus=corpus, stages=stages, batch={}), str(tmp_path / "study"), Options(workers=0))
    (progress,) = seen
    assert {noun: pace.made for noun, pace in progress.by.items()} == {"sample": 12, "map": 24}
    assert {noun: pace.done / pace.planned for noun, pace in progress.by.items()} == {"sample": 1.0, "map": 1.0}
    last = [line for line in capsys.readouterr().err.splitlines() if line.startswith("run: ")][-1]
    assert re.search(r"24/24 samples, 0 failed, .*s/map", last)


def test_a_unit_that_takes_minutes_does_not_silence_the_run(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The pool looks in often while a unit computes; each time the line may be due."""
    monkeypatch.setattr(told, "INTERVAL_SECONDS", 0.0)
    stream = io.StringIO()
    made: list[Events] = []

    def events(objects: Objects, epoch: int, *, quiet: bool) -> Events:
        made.append(Events(objects, epoch, stream=stream))
        return made[-1]

    monkeypatch.setattr("xlli_ray.engine.run.session.Events", events)
    run_study(recipe(), str(tmp_path / "study"), QUIET)
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("run: ")]
    assert lines[0].startswith("run: 0/24 samples, 0 failed"), "before any unit was done"


class Nothing(BaseModel):
    """No fields."""


class Slow:
    """Reads one array and then thinks until somebody has heard of it."""

    KIND = "slow"
    VERSION = 1
    REFERENCE = "none"
    TABLES = ()
    Params = Nothing

    heard = threading.Event()

    @classmethod
    def inputs(cls, params: Any, cells: Sequence[Cell]) -> list[str]:
        return [cell.id for cell in cells]

    @classmethod
    def run(cls, params: Any, view: View, seed: int) -> Result:
        view.array(view.cells[0].id)
        assert cls.heard.wait(60), "nothing was said"
        return Result({}, [])


def test_a_long_analysis_says_where_it_is_and_for_how_long(
    recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Heard(io.StringIO):
        def write(self, text: str) -> int:
            if re.search(r"analysis slow: at features/small/head\.out, 1 of 2 inputs opened, \d+ s so far", text):
                Slow.heard.set()
            return super().write(text)

    monkeypatch.setitem(sys.modules, "slow_analysis", SimpleNamespace(Slow=Slow))
    monkeypatch.setitem(ANALYSES, "slow", "slow_analysis:Slow")
    monkeypatch.setattr(told, "INTERVAL_SECONDS", 0.05)
    stream = Heard()
    monkeypatch.setattr("xlli_ray.engine.run.session.Events", lambda objects, epoch, *, quiet: Events(objects, epoch, stream=stream))
    asked = recipe(stages=[{"features": {"layers": ["head", "tail:input"]}}, {"slow": {}}])
    summary = run_study(asked, str(tmp_path / "study"), QUIET)
    assert (summary.analyses, summary.analyses_failed) == (("slow",), ())
    assert not [thread for thread in threading.enumerate() if thread.name == "xlli-heartbeat"], "none is left"


def test_nothing_beats_when_quiet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(told, "INTERVAL_SECONDS", 0.01)
    stream, asked = io.StringIO(), threading.Event()
    events = Events(LocalObjects(tmp_path / "study"), 1, stream=stream, quiet=True)

    def text() -> str:
        asked.set()
        return "analysis x"

    with events.beating(text):
        assert asked.wait(60)
    assert stream.getvalue() == ""
