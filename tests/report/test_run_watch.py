"""`xlli status --watch`: few requests whatever the size of the study, one clock, and an exit code that tells how the run ended."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from xlli_ray.engine.run.progress import Progress
from xlli_ray.engine.run.tally import Tally
from xlli_ray.engine.run_log import RunLog
from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.report.run_watch.asked import Asked
from xlli_ray.report.run_watch.command import LOGS, Networks, Watcher, status, watch
from xlli_ray.report.run_watch.verdict import PARTS_SECONDS
from xlli_ray.report.run_watch.view import as_json, block, line
from xlli_ray.store.objects.client import LocalObjects, Objects, open_objects
from xlli_ray.store.records.lease import Holder, Lease, lease_key
from xlli_ray.store.records.seal import sealed_json
from xlli_ray.store.run_status.look import SILENT_SECONDS, Observer
from xlli_ray.store.run_status.prometheus import metrics_text
from xlli_ray.store.run_status.status import Ended, Remark, RunStatus, status_key, to_bytes
from xlli_ray.store.run_status.together import together
from xlli_ray.store.tables.trainings import Network, Trainings

ELSEWHERE = Holder("elsewhere", 7, "1", "another-boot:pid:[1]")
UNIT = {"group": "g", "attempt": 0, "samples": 10, "failed": 1, "reasons": {"missing file: …": 1}, "began": 0.0, "ended": 1.0,
        "node": "", "device": "cpu"}  # fmt: skip


class Clock:
    """This process's clock, set by hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 100.0
        monkeypatch.setattr("time.monotonic", lambda: self.now)


@pytest.fixture
def objects(tmp_path: Path) -> LocalObjects:
    found = open_objects(tmp_path)
    assert isinstance(found, LocalObjects)
    return found


def lease(objects: Objects, holder: Holder, *, epoch: int = 1, beat: int = 0, ended: bool = False) -> None:
    objects.put(lease_key(epoch), sealed_json(asdict(holder)))
    objects.put(f"lease/{epoch:06d}.beat", sealed_json({"count": beat}))
    if ended:
        objects.put(f"lease/{epoch:06d}.end", b"1")


def running(holder: Holder = ELSEWHERE, **fields: Any) -> RunStatus:
    """A run in the middle, on three nodes."""
    tally = Tally(1)
    tally.event("start", {})
    tally.event("planned", {"units": 100, "missing": 80})
    progress = Progress("run", 800)
    progress.expect("sample", 800.0)
    progress.add(30, 3, 0, {}, work=30.0)
    tally.event("begin", {"phase": "run", "total": 800})
    for number in range(60):
        host, good = ("a", "b", "slow")[number % 3], {} if number < 3 else {"failed": 0, "reasons": {}}
        tally.event("unit", {**UNIT, **good, "unit": number, "host": host, "pid": number % 3, "ended": 9.0 if host == "slow" else 1.0})
    tally.progress(progress)
    tally.event("lost", {"reason": "worker 7777 ended by signal 9"})
    return replace(tally.status(1), holder=holder, **fields)


def part(number: int, count: int, ended: Ended | None = None, **fields: Any) -> tuple[str, bytes]:
    """Key and status of a part that holds 10 units."""
    made = running(what="part", part=f"{number}/{count}", ended=ended, units_missing=10, units_share=10, left=None if ended else 5.0)
    return status_key(1, f"part{number:06d}-1700000000000"), to_bytes(replace(made, **fields))


# -- requests -----------------------------------------------------------------------------------------------------


@pytest.fixture
def requests(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Requests to the store: each method of reading, by its name."""
    calls: Counter[str] = Counter()
    for name in ("get", "get_range", "size", "list"):
        monkeypatch.setattr(LocalObjects, name, _counting(calls, name))
    return calls


def _counting(calls: Counter[str], name: str) -> Callable[..., Any]:
    usual = getattr(LocalObjects, name)

    def counting(self: Any, *args: Any) -> Any:
        calls[name] += 1
        return usual(self, *args)

    return counting


def test_a_look_at_a_run_is_four_small_requests_whatever_the_study_holds(objects: LocalObjects, requests: Counter[str]) -> None:
    lease(objects, ELSEWHERE)
    objects.put(status_key(1), to_bytes(running(total=10**7, units_planned=10**6)))
    for number in range(50):
        objects.put(f"records/restore/m/restore/{number:07d}.000001.arrow", b"never read")
        objects.put(f"events/000001-{number:05d}.jsonl", b"never read")
    watcher = Watcher("s", objects)
    watcher.look()
    assert requests["get"] <= 6
    assert requests["list"] == 1, "which lease is the last, once"
    requests.clear()
    watcher.look()
    assert dict(requests) == {"get": 4}


def test_a_look_at_parts_lists_once_and_reads_those_that_have_not_ended(objects: LocalObjects, requests: Counter[str]) -> None:
    lease(objects, ELSEWHERE, ended=True)
    for number in range(1, 9):
        objects.put(*part(number, 8, Ended("finished") if number > 3 else None))
    watcher = Watcher("s", objects)
    watcher.look()
    requests.clear()
    watcher.look()
    assert dict(requests) == {"list": 1, "get": 2 + 3}


def test_trainings_are_read_by_the_logs_of_the_first_that_are_not_finished(objects: LocalObjects, requests: Counter[str]) -> None:
    networks = tuple(Network(f"n{number:03d}", 100) for number in range(100))
    objects.put("n000/card.json", b"{}")
    look = Networks(objects, Trainings("t", networks))
    requests.clear()
    assert [one.state for one in look.look(None)][:2] == ["finished", "waiting"]
    assert dict(requests) == {"get": LOGS}


# -- who is alive -------------------------------------------------------------------------------------------------


def test_whether_a_holder_elsewhere_lives_is_told_by_its_heartbeat_and_this_clock(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its own clock is decades off."""
    clock = Clock(monkeypatch)
    lease(objects, ELSEWHERE)
    objects.put(status_key(1), to_bytes(running(began=1.0, now=500.0, left=1000.0)))
    watcher = Watcher("s", objects)
    first = watcher.look()
    assert (first.look.life.alive, first.verdict.over) == (None, False)
    assert "not yet known whether it is alive" in block(first)
    clock.now += 10
    lease(objects, ELSEWHERE, beat=5)
    second = watcher.look()
    assert second.look.life.alive is True
    assert second.remaining == 990.0, "ten seconds of this clock have passed since its news"
    clock.now += SILENT_SECONDS / 2
    quiet = watcher.look()
    assert (quiet.verdict.over, "no heartbeat for 30 s" in block(quiet)) == (False, True)
    clock.now += SILENT_SECONDS
    last = watcher.look()
    assert (last.verdict.over, last.verdict.code) == (True, 75)
    assert "the same command continues" in last.verdict.text


def test_a_process_of_this_machine_that_was_killed_is_gone_at_once(objects: LocalObjects) -> None:
    lease(objects, replace(Holder.here(), started="0"))
    view = Watcher("s", objects).look()
    assert (view.verdict.over, view.verdict.code) == (True, 75)
    assert "its process is gone" in block(view)


def test_a_run_that_takes_over_is_followed(objects: LocalObjects) -> None:
    lease(objects, ELSEWHERE)
    watcher = Watcher("s", objects)
    assert watcher.look().look.epoch == 1
    lease(objects, replace(ELSEWHERE, host="next"), epoch=2)
    view = watcher.look()
    assert (view.look.epoch, view.verdict.over) == (2, False)
    assert "run 2 on next, pid 7" in block(view)


# -- how it ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("ended", "code", "text"),
    [
        (Ended("finished"), 0, "the run has finished"),
        (Ended("failed", 1, "ddr failed; the rest is done"), 1, "the run has ended: ddr failed"),
        (Ended("stopped", 75, "it was told to end"), 75, "the run stopped: it was told to end; what is done is kept, the same command"),
        (Ended("stopped", 3, "EnvironmentFailure: the disk is full"), 3, "the disk is full; what is done is kept"),
        (Ended("stopped", 2, "PlanError: no"), 2, "the run stopped: PlanError: no"),
    ],
)
def test_the_exit_code_of_a_watch_is_that_of_the_run(
    objects: LocalObjects, capsys: pytest.CaptureFixture[str], ended: Ended, code: int, text: str
) -> None:
    lease(objects, ELSEWHERE, ended=True)
    objects.put(status_key(1), to_bytes(running(ended=ended, phase="ended")))
    assert status(str(objects.root), Asked(watch=True)) == code
    assert text in capsys.readouterr().out


def test_a_run_is_watched_until_it_ends(objects: LocalObjects) -> None:
    """Beside a driver in another thread: a block, lines when something changes, a block."""
    held = Lease.acquire(objects)
    log, out = RunLog(objects, held.epoch), io.StringIO()
    log.event("start", {})
    log.event("begin", {"phase": "run", "total": 800})
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(watch("s", objects, every=0.05, json_lines=False, stream=out)))
    thread.start()
    until = time.monotonic() + 60
    while "measuring" not in out.getvalue() and time.monotonic() < until:
        time.sleep(0.05)
    log.event("end", {"phase": "run"})
    log.close()
    held.release()
    thread.join(60)
    assert codes == [0], out.getvalue()
    assert "s: run 1 on " in out.getvalue()
    assert out.getvalue().rstrip().endswith("the run has finished")


def test_a_study_without_a_run_says_so_and_an_old_one_too(objects: LocalObjects) -> None:
    with pytest.raises(StudyError, match="no run has begun here; start one with `xlli run RECIPE --out"):
        status(str(objects.root), Asked(watch=True))
    with pytest.raises(StudyError, match="no run has left a status here"):
        status(str(objects.root), Asked(prometheus=True))
    lease(objects, ELSEWHERE, ended=True)
    view = Watcher("s", objects).look()
    assert (view.verdict.over, view.verdict.code) == (True, 1)
    assert "the last one left no status: it is of an earlier version" in block(view)


def test_a_job_is_not_watched_but_the_study_that_it_writes_to() -> None:
    Asked().check_job("slurm:7")
    with pytest.raises(StudyError, match="--watch is for a study: give the folder or bucket that slurm:7 writes to"):
        Asked(watch=True).check_job("slurm:7")


def test_a_damaged_status_hides_nothing_else(objects: LocalObjects) -> None:
    lease(objects, replace(Holder.here(), started="0"))
    objects.put(status_key(1), to_bytes(running())[:-30])
    assert Watcher("s", objects).look().verdict.code == 75


def test_a_store_that_does_not_answer_for_a_moment_is_asked_again(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lease(objects, ELSEWHERE)
    objects.put(status_key(1), to_bytes(running()))
    looks, usual = [], Observer.look

    def look(self: Observer) -> Any:
        looks.append(1)
        if len(looks) == 2:
            failure = EnvironmentFailure(5, "timed out")
            failure.passing = True
            raise failure
        if len(looks) == 3:
            lease(objects, ELSEWHERE, ended=True)
            objects.put(status_key(1), to_bytes(running(ended=Ended("finished"))))
        return usual(self)

    monkeypatch.setattr(Observer, "look", look)
    assert watch("s", objects, every=0.01, json_lines=False, stream=io.StringIO()) == 0
    assert capsys.readouterr().err == "the store does not answer, looking again: timed out\n"


# -- parts --------------------------------------------------------------------------------------------------------


def test_parts_that_have_not_begun_are_waited_for_and_the_end_of_all_is_0(
    objects: LocalObjects, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = Clock(monkeypatch)
    lease(objects, ELSEWHERE, ended=True)
    objects.put(*part(1, 3, Ended("finished")))
    objects.put(*part(2, 3))
    watcher = Watcher("s", objects)
    view = watcher.look()
    assert "parts: 1 running, 1 finished, 1 not begun, 0 stopped, 0 gone" in block(view)
    assert "without 1 part that has not begun" in block(view)
    objects.put(*part(2, 3, Ended("stopped", 75, "it was told to end")))
    clock.now += 5
    view = watcher.look()
    assert (view.verdict.over, view.verdict.text) == (False, "waiting: 1 of 3 parts finished, 1 stopped, 0 gone, 1 not begun")
    assert "part 2/3 on elsewhere: it was told to end" in block(view)
    clock.now += PARTS_SECONDS + 1
    view = watcher.look()
    assert (view.verdict.over, view.verdict.code) == (True, 75)
    for number in (2, 3):
        key, data = part(number, 3, Ended("finished"))
        objects.put(key.replace("17000", "17001"), data)
    view = Watcher("s", objects).look()
    assert (view.verdict.over, view.verdict.code) == (True, 0)
    assert "all parts have finished: `xlli run` without --part concludes" in block(view)


def test_parts_are_one_run_and_the_slow_node_among_them_is_named() -> None:
    def one(host: str, seconds: float, left: float | None) -> RunStatus:
        tally = Tally(1)
        for _ in range(20):
            tally.event("unit", {**UNIT, "unit": 0, "host": host, "pid": 1, "ended": seconds})
        return replace(tally.status(1), what="part", left=left, done=200, total=400, recent=2.0)

    whole = together([one("a", 1.0, 10.0), one("slow", 5.0, 50.0), one("c", 1.0, 12.0), one("c", 1.0, 12.0)])
    assert (whole.done, whole.total, whole.left, whole.recent) == (800, 1600, 50.0, 8.0)
    assert [(node.host, node.units) for node in whole.nodes] == [("slow", 20), ("a", 20), ("c", 40)]
    assert whole.nodes[0].slowness == pytest.approx(5.0)
    assert whole.reasons == {"missing file: …": 80}
    assert together([one("a", 1.0, 10.0), one("b", 1.0, None)]).left is None, "one that runs does not know yet"


# -- what is shown ------------------------------------------------------------------------------------------------


def test_the_block_tells_nodes_reasons_losses_and_when_it_will_end(objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    Clock(monkeypatch)
    lease(objects, ELSEWHERE)
    objects.put(status_key(1), to_bytes(running(left=3900.0)))
    view = Watcher("s", objects).look()
    text = block(view)
    assert "measuring: 30/800 samples (4 %), 80/100 units, 20 of them done before this run" in text
    assert "(in 65 min), by the work that is left\n  then tables and analyses, whose time is not known\n" in text
    rows = [row.split() for row in text.splitlines() if row.startswith(("slow", "a ", "b "))]
    assert rows[0][0] == "slow", "the slowest first"
    assert float(rows[0][-2]) > 5
    assert "failed 3 of 30 samples:\n  3 × missing file: …\n" in text
    assert "lost with their workers: 1 unit; 0 done again:\n  1 × worker N ended by signal 9" in text
    assert "measuring, 30/800 samples, 3 failed" in line(view)
    assert "65 min left, 3 nodes, slowest slow " in line(view)


def test_a_run_that_waits_for_nodes_does_not_look_as_if_it_hung(objects: LocalObjects) -> None:
    lease(objects, ELSEWHERE)
    objects.put(status_key(1), to_bytes(running(note=Remark(0.0, "no worker has a node: waiting"))))
    view = Watcher("s", objects).look()
    assert "before: no worker has a node: waiting" in block(view)
    assert "no worker has a node: waiting" in line(view)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"phase": "scan"}, "expected end: not known before the study is planned"),
        ({"phase": "concluding"}, "expected end: units are done; how long tables and analyses take is not known"),
        ({"left": None}, "expected end: not known yet, no unit that runs a network is finished"),
    ],
)
def test_what_is_not_known_of_the_end_is_said(objects: LocalObjects, fields: dict[str, Any], said: str) -> None:
    lease(objects, ELSEWHERE)
    objects.put(status_key(1), to_bytes(running(**fields)))
    assert said in block(Watcher("s", objects).look())


def test_a_kind_of_output_of_which_none_is_made_is_called_a_guess(objects: LocalObjects) -> None:
    tally, progress = Tally(1), Progress("run", 40)
    progress.expect("sample", 20.0)
    progress.expect("map", 2000.0)
    progress.add(20, 0, 0, {}, noun="sample", made=20, work=20.0)
    tally.event("begin", {"phase": "run", "total": 40})
    tally.progress(progress)
    lease(objects, ELSEWHERE)
    objects.put(status_key(1), to_bytes(tally.status(1)))
    assert "no map is finished yet, so its time is only guessed from multiply-adds" in block(Watcher("s", objects).look())


def test_programs_get_a_json_object_for_each_look(objects: LocalObjects, capsys: pytest.CaptureFixture[str]) -> None:
    lease(objects, ELSEWHERE, ended=True)
    objects.put(status_key(1), to_bytes(running(ended=Ended("finished"))))
    assert status(str(objects.root), Asked(watch=True, json=True)) == 0
    (told,) = map(json.loads, capsys.readouterr().out.splitlines())
    assert (told["over"], told["code"], told["status"]["reasons"]) == (True, 0, {"missing file: …": 3})
    assert told["status"]["nodes"][0]["host"] == "slow"


def test_names_from_a_study_cannot_write_to_the_terminal(objects: LocalObjects) -> None:
    nasty = "\x1b[2Jhost\r\n"
    lease(objects, replace(ELSEWHERE, host=nasty))
    made = running()
    node = replace(made.nodes[0], host=nasty)
    objects.put(status_key(1), to_bytes(replace(made, nodes=(node, *made.nodes), reasons={nasty: 3}, lost={nasty: 1}, about=nasty)))
    view = Watcher("s", objects).look()
    for text in (block(view), line(view)):
        assert "\x1b" not in text
        assert "\r" not in text
    json.dumps(as_json(view))


GARBAGE: tuple[Any, ...] = (
    None, True, -1, 0, 1 << 63, 10**40, -(10**30), 0.5, 1e308, float("nan"), float("inf"), "", "x", "3/", "9999999999/2", "\0", [], [[]],
    [1, 2, 3], {}, {"a": {"b": []}}, [None] * 50, "é" * 300, {"": -5}, {"a": [1, -1e14]},
)  # fmt: skip


def test_whatever_a_sealed_status_says_is_shown_or_ignored(tmp_path: Path) -> None:
    """Of a study from someone else: every field, and every field of a node, an end and a kind, with every kind of rubbish."""
    objects = open_objects(f"memory://{tmp_path.name}")
    lease(objects, ELSEWHERE, ended=True)
    whole = asdict(running(ended=Ended("finished"), part="1/2"))
    whole["kinds"], whole["nodes"] = list(whole["kinds"]), list(whole["nodes"])
    places = [(whole, name) for name in whole]
    places += [(one, name) for one in (whole["nodes"][0], whole["kinds"][0], whole["ended"], whole["holder"]) for name in one]
    shown = 0
    for place, name in places:
        kept = place[name]
        for rubbish in GARBAGE:
            place[name] = rubbish
            for key in (status_key(1), status_key(1, "part000001-1700000000000")):
                objects.put(key, sealed_json(whole))
            view = Watcher("s", objects).look()
            shown += view.status is not None
            assert block(view)
            assert line(view)
            json.dumps(as_json(view), allow_nan=False)
            if view.status is not None:
                assert metrics_text(view.status, "s")
        place[name] = kept
    assert 0.1 < shown / (len(places) * len(GARBAGE)) < 0.9


def test_the_end_of_trainings_is_told_by_the_iterations_seen_from_here(objects: LocalObjects, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = Clock(monkeypatch)
    look = Networks(objects, Trainings("t", (Network("one", 1000), Network("two", 1000))))
    look.look(None)
    assert look.left() is None
    clock.now += 60
    objects.put("one/log.jsonl", b'{"iteration": 500, "loss": 0.1}\n')
    assert [one.iteration for one in look.look(None)] == [500, 0]
    assert look.left() == pytest.approx(180.0)


def test_the_program_does_not_load_torch_or_ray_to_watch() -> None:
    loaded = "', '.join(name for name in ('torch', 'ray', 'duckdb') if name in sys.modules)"
    code = f"import sys, xlli_ray.report.run_watch.command\nsys.exit({loaded} or 0)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
