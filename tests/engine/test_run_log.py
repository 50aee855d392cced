"""What a run leaves for those who watch it: a log with hosts, times and reasons, a small status, and metrics that Prometheus reads."""

from __future__ import annotations

import json
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from helpers import QUIET
from prometheus_client.parser import text_string_to_metric_families

from xlli_ray.engine import run_log
from xlli_ray.engine.events import Events
from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, run_study
from xlli_ray.engine.run.part_run import Part, run_part
from xlli_ray.engine.run.progress import Progress
from xlli_ray.engine.run.tally import Tally
from xlli_ray.engine.run_log import RunLog, ending
from xlli_ray.engine.worker.job import Place
from xlli_ray.errors import ClusterLost, EnvironmentFailure, LeaseError, PlanError, StudyError
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.run_status.prometheus import metrics_text
from xlli_ray.store.run_status.reasons import MOST, OTHERS, fewest, short, without_secrets
from xlli_ray.store.run_status.status import RunStatus, parse, parse_key, read_status, status_key

Make = Callable[..., Recipe]
Run = Callable[..., Summary]


def events(study: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for path in sorted(study.glob("events/*.jsonl")) for line in path.read_text().splitlines()]


def status(study: Path, epoch: int = 1) -> RunStatus:
    found = read_status(open_objects(study), status_key(epoch))
    assert found is not None
    return found


def unit(**fields: Any) -> dict[str, Any]:
    """An event of a unit."""
    usual = {"group": "g", "unit": 0, "attempt": 0, "samples": 10, "failed": 0, "reasons": {}, "bytes": 5, "began": 0.0, "ended": 1.0,
             "host": "a", "node": "", "pid": 1, "device": "cpu"}  # fmt: skip
    return {**usual, **fields}


def test_each_unit_is_logged_with_where_when_and_why_samples_failed(recipe: Make, run: Run, corpus: Path, tmp_path: Path) -> None:
    from xlli_ray.engine.run.driver import scan_study

    scan_study(recipe(), str(tmp_path / "study"), QUIET)
    (corpus / "05.png").unlink()
    run(recipe())
    units = [one for one in events(tmp_path / "study") if one["event"] == "unit"]
    assert len(units) == 12
    for one in units:
        assert (one["host"], one["pid"], one["device"], one["attempt"]) == (socket.gethostname(), os.getpid(), "cpu", 0)
        assert one["node"] == Place.here("cpu").node, "'' unless another test has joined Ray in this process"
        assert one["began"] <= one["ended"] <= one["time"] + 1e-3
        assert one["bytes"] > 0
        assert {"read", "compute", "put"} <= set(one["seconds"])
    failed = [one for one in units if one["failed"]]
    assert sum(one["failed"] for one in failed) == sum(sum(one["reasons"].values()) for one in units) == 2
    assert {reason for one in failed for reason in one["reasons"]} == {"missing file: …"}, "no path: it differs for each sample"
    said = status(tmp_path / "study", 2)
    assert (said.what, said.phase, said.units, said.units_planned, said.failed) == ("run", "ended", 12, 12, 2)
    assert (said.reasons, said.ended and said.ended.how) == ({"missing file: …": 2}, "finished")
    assert [(node.host, node.units, node.failed) for node in said.nodes] == [(socket.gethostname(), 12, 2)]


def test_the_log_of_a_week_is_a_few_objects_with_every_line_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """10,080 minutes were 10,080 objects."""
    monkeypatch.setattr(run_log, "SEGMENT_BYTES", 20_000)
    monkeypatch.setattr(RunLog, "_begin", lambda self: None)
    objects = open_objects(tmp_path)
    log = RunLog(objects, 7)
    for minute in range(300):
        for number in range(3):
            log.event("unit", unit(unit=3 * minute + number))
        log._put_segment()
    log._put_segment()
    keys = list(objects.list("events"))
    size = sum(objects.size(key) for key in keys)
    assert len(keys) <= size / 20_000 + 1
    assert [one["unit"] for one in events(tmp_path)] == list(range(900))


def test_a_segment_that_grows_keeps_what_it_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RunLog, "_begin", lambda self: None)
    log = RunLog(open_objects(tmp_path), 1)
    log.event("unit", unit())
    log._put_segment()
    first = (tmp_path / "events/000001-00000.jsonl").read_bytes()
    log.event("unit", unit(unit=1))
    log._put_segment()
    assert (tmp_path / "events/000001-00000.jsonl").read_bytes().startswith(first)
    assert len(events(tmp_path)) == 2


def test_the_status_is_small_and_bounded_however_much_happens() -> None:
    tally = Tally(1)
    for number in range(3000):
        place = {"host": f"node-{number % 600}", "pid": number, "group": f"group-{number % 300}"}
        tally.event("unit", unit(**place, failed=1, reasons={f"reason {'x' * (number % 400)}": 1}))
        tally.event("lost", {"reason": f"worker {number} died of {'y' * (number % 400)}"})
    said = tally.status(1)
    assert len(run_log.to_bytes(said)) < 100_000
    assert (len(said.nodes), said.nodes_more, said.units) == (200, 400, 3000)
    assert sum(said.reasons.values()) == sum(said.lost.values()) == 3000
    assert len(said.reasons) == len(said.lost) == MOST + 1


def test_a_slow_node_is_named_and_one_with_the_large_images_is_not() -> None:
    tally = Tally(1)
    for number in range(60):
        host, seconds = (("slow", 3.0), ("large", 50.0), ("c", 1.0), ("c", 1.0))[number % 4]
        group = "large images" if host == "large" else "small images"
        tally.event("unit", unit(unit=number, host=host, group=group, ended=seconds))
        if number % 8 == 3:
            tally.event("unit", unit(host="d", group="large images", ended=50.0))
    slowness = {node.host: node.slowness for node in tally.status(1).nodes}
    assert max(slowness, key=slowness.__getitem__) == "slow"
    assert slowness["slow"] > 1.5
    assert slowness["large"] == pytest.approx(1.0, abs=0.01)


def test_a_slow_worker_of_a_fast_node_is_named() -> None:
    """One of eight GPUs that throttles hides in the mean of its node."""
    tally = Tally(1)
    for number in range(240):
        pid = number % 12
        tally.event("unit", unit(host="a" if pid < 8 else "b", pid=100 + pid, ended=4.0 if pid == 5 else 1.0))
    node = next(node for node in tally.status(1).nodes if node.host == "a")
    assert (node.workers, node.slowest_worker) == (8, 105)
    assert node.slowest_worker_time > 2.5 > 2 > node.slowness


def test_that_a_run_waits_for_nodes_is_said_until_a_unit_is_done() -> None:
    tally = Tally(1)
    tally.event("waiting", {"text": "no worker has a node: waiting"})
    assert (note := tally.status(1).note) is not None
    assert note.text == "no worker has a node: waiting"
    tally.event("unit", unit())
    assert tally.status(2).note is None
    tally.event("draining", {"text": "node spot-3 leaves", "node": "x"})
    tally.event("unit", unit())
    assert (note := tally.status(3).note) is not None
    assert note.text == "node spot-3 leaves"


def test_two_raylets_of_one_host_are_two_nodes_and_lost_units_are_counted() -> None:
    tally = Tally(1)
    for node in ("aaaa", "bbbb"):
        tally.event("unit", unit(node=node, attempt=1))
    tally.event("lost", {"reason": "worker 4242 ended by signal 9"})
    said = tally.status(1)
    assert {(node.host, node.node) for node in said.nodes} == {("a", "aaaa"), ("a", "bbbb")}
    assert (dict(said.lost), said.again) == ({"worker N ended by signal 9": 1}, 2)
    assert said.last_error is not None
    assert "worker N ended" in said.last_error.text


def test_a_phase_begins_without_the_pace_of_the_one_before() -> None:
    """A training was said to make 3.7 networks a second, as the scan had read files."""
    tally, progress = Tally(1), Progress("scan", 60, "file")
    progress.add(60, 1, 0, {"read": 1.0})
    tally.event("begin", {"phase": "scan", "total": 60})
    tally.progress(progress)
    assert tally.status(1).recent > 0
    tally.event("begin", {"phase": "train", "total": 3})
    said = tally.status(2)
    assert (said.noun, said.done, said.total, said.failed, said.recent, said.kinds, dict(said.seconds)) == ("network", 0, 3, 0, 0.0, (), {})


@pytest.mark.parametrize(
    ("error", "how", "code", "reason"),
    [
        (None, "finished", 0, ""),
        (PlanError("too many samples\nmore"), "stopped", 2, "PlanError: too many samples"),
        (EnvironmentFailure(28, "/x: the disk is full"), "stopped", 3, "EnvironmentFailure: /x: the disk is full"),
        (ClusterLost(111, "the raylet died"), "stopped", 75, "ClusterLost: the raylet died"),
        (LeaseError("taken over"), "stopped", 4, "LeaseError: taken over"),
        (StudyError("s3://b/x?X-Amz-Signature=abc: no"), "stopped", 1, "StudyError: s3://b/x?… no"),
        (KeyboardInterrupt(), "stopped", 130, "it was told to end"),
        (ZeroDivisionError(), "stopped", 1, "ZeroDivisionError"),
    ],
)
def test_how_a_run_ended_is_its_last_word(error: BaseException | None, how: str, code: int, reason: str) -> None:
    ended = ending(type(error) if error else None, error)
    assert (ended.how, ended.code, ended.reason) == (how, code, reason)


def test_a_run_that_stops_says_so_and_leaves_no_thread(recipe: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from xlli_ray.engine.run import driver

    def full(*_: Any, **__: Any) -> None:
        raise EnvironmentFailure(28, "/study: the disk is full: free space there")

    monkeypatch.setattr(driver, "run_units", full)
    with pytest.raises(EnvironmentFailure):
        run_study(recipe(), str(tmp_path / "study"), QUIET)
    ended = status(tmp_path / "study").ended
    assert ended is not None
    assert (ended.how, ended.code, ended.reason) == ("stopped", 3, "EnvironmentFailure: /study: the disk is full: free space there")
    assert not [thread for thread in threading.enumerate() if thread.name == "xlli-log"]


def test_a_plan_and_a_scan_say_what_they_are(recipe: Make, tmp_path: Path) -> None:
    """After `xlli plan` a finished run was said to have left no status."""
    from xlli_ray.engine.run.driver import plan_study, scan_study

    scan_study(recipe(), str(tmp_path / "study"), QUIET)
    plan_study(recipe(), str(tmp_path / "study"), QUIET)
    for epoch, what in ((1, "scan"), (2, "plan")):
        said = status(tmp_path / "study", epoch)
        assert (said.what, said.ended and said.ended.how) == (what, "finished")


def test_a_store_that_fails_is_left_to_the_work_to_report(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = open_objects(tmp_path)

    def fail(*_: Any) -> None:
        raise EnvironmentFailure(5, "the store does not answer")

    monkeypatch.setattr(type(objects), "put", fail)
    with Events(objects, 1, quiet=True) as told:
        told.event("start", command="xlli run")
    assert not list(tmp_path.glob("events/*"))


def test_a_driver_without_events_leaves_nothing(tmp_path: Path) -> None:
    with Events(open_objects(tmp_path), 1, quiet=True):
        pass
    assert not list(tmp_path.iterdir())


def test_parts_have_a_status_each_and_an_attempt_of_its_own(recipe: Make, tmp_path: Path) -> None:
    for number in (1, 2, 2):
        run_part(recipe(), str(tmp_path / "s"), QUIET, Part(number, 2))
    names = [name for key in open_objects(tmp_path / "s").list("events") if (name := parse_key(key)) is not None]
    assert [(name.epoch, name.part) for name in names] == [(1, 1), (1, 2), (1, 2), (1, 0)]
    parts = [read_status(open_objects(tmp_path / "s"), name.key) for name in names if name.part]
    assert [(one.what, one.part, one.ended and one.ended.how) for one in parts if one] == [
        ("part", "1/2", "finished"), ("part", "2/2", "finished"), ("part", "2/2", "finished"),
    ]  # fmt: skip
    assert [(one.units, one.units_missing, one.units_share, one.units_planned) for one in parts if one] == [
        (6, 6, 6, 12), (6, 6, 6, 12), (0, 0, 6, 12),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("missing file: /data/set/0001.png", "missing file: …"),
        ("missing file: s3://bucket/a/b.png?X-Amz-Signature=abc", "missing file: …"),
        ("too small: 12 x 9 pixels cannot be downscaled by 4", "too small: N x N pixels cannot be downscaled by N"),
        ("not an image: 7 bytes, beginning with b'nothing'; expected PNG", "not an image: N bytes, beginning with b…; expected PNG"),
        ("target images/a_1.png: empty file: 0 bytes", "target …: empty file: N bytes"),
        ("changed since scan\nTraceback", "changed since scan"),
        ("", "no reason"),
        ("x" * 999, "x" * 159 + "…"),
    ],
)
def test_a_reason_is_the_same_for_all_samples_that_fail_for_it(said: str, kept: str) -> None:
    assert short(said) == kept
    assert short(kept) == kept


def test_rare_reasons_are_counted_together() -> None:
    counts = fewest({f"r{number:03d}": number for number in range(1, 101)} | {OTHERS: 7})
    assert len(counts) == MOST + 1
    assert next(iter(counts)) == "r100"
    assert sum(counts.values()) == 5050 + 7


def test_no_secret_of_a_command_is_logged(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    urls = "--set corpus.images=[https://me:geheim@host/a.png?sig=GEHEIM&x=1,https://host/b.png#GEHEIM]"
    command = f"xlli run r.yaml {urls} --set token=GEHEIM AWS_SECRET_ACCESS_KEY=GEHEIM"
    with Events(objects, 1, quiet=True) as told:
        told.event("start", command=command)
        told.event("lost", reason="OSError: https://host/a.png?sig=GEHEIM: 403")
    text = "".join(path.read_text() for path in tmp_path.glob("events/*"))
    assert "geheim" not in text.lower()
    assert without_secrets("xlli run a.yaml --out s3://bucket/x") == "xlli run a.yaml --out s3://bucket/x"


# -- metrics ------------------------------------------------------------------------------------------------------


def families(text: str) -> dict[str, Any]:
    """As Prometheus reads them."""
    found = list(text_string_to_metric_families(text))
    assert len({one.name for one in found}) == len(found)
    return {one.name: one for one in found}


def test_metrics_follow_the_conventions_and_prometheus_reads_them(recipe: Make, tmp_path: Path) -> None:
    file = tmp_path / "xlli.prom"
    run_study(recipe(), str(tmp_path / "study"), Options(workers=0, quiet=True, metrics=str(file)))
    found = families(file.read_text())
    value = {name: one.samples[0].value for name, one in found.items() if len(one.samples) == 1}
    assert (value["xlli_samples_done"], value["xlli_units_done"], value["xlli_run_running"], value["xlli_run_exit_code"]) == (24, 12, 0, 0)
    assert value["xlli_written_bytes"] > 0
    for one in found.values():
        assert one.documentation
        assert one.type in ("counter", "gauge")
        for sample in one.samples:
            assert sample.name.endswith("_total") == (one.type == "counter")
            assert sample.labels["study"] == str(tmp_path / "study")
    assert {sample.labels["activity"] for sample in found["xlli_worker_activity_seconds"].samples} >= {"read", "compute"}


def test_metrics_of_a_run_in_progress_tell_when_it_will_end_and_survive_any_text() -> None:
    nasty = 'a "quoted" \\ back\nslash'
    tally = Tally(3)
    tally.event("unit", unit(host=nasty, failed=2, reasons={nasty: 2}))
    tally._set(left=90.0, now=1000.0)
    said = tally.status(1)
    found = families(metrics_text(said, nasty))
    assert found["xlli_remaining_seconds"].samples[0].value == 90.0
    assert found["xlli_expected_end_timestamp_seconds"].samples[0].value == pytest.approx(said.now + 90.0, abs=0.01)
    assert found["xlli_failures"].samples[0].labels == {"study": nasty, "reason": nasty}
    assert found["xlli_node_workers"].samples[0].labels == {"study": nasty, "node": nasty}
    assert "xlli_remaining_seconds" not in families(metrics_text(said, "s", running=False))


def test_a_place_where_no_file_of_metrics_can_be_is_refused_before_anything_is_computed(recipe: Make, tmp_path: Path) -> None:
    for place in (tmp_path / "none/x.prom", tmp_path):
        with pytest.raises(PlanError, match="expected a file in an existing folder"):
            run_study(recipe(), str(tmp_path / "study"), Options(workers=0, quiet=True, metrics=str(place)))
    assert not (tmp_path / "study/study.json").exists()


@pytest.mark.parametrize(
    "change",
    [lambda text: text[:-40], lambda text: text.replace('"count": 1', '"count": "x"'), lambda _: "[]", lambda _: "", lambda _: "{}"],
)
def test_a_damaged_status_is_our_error(change: Callable[[str], str]) -> None:
    text = run_log.to_bytes(Tally(1).status(1)).decode()
    assert parse(text.encode(), "s").count == 1
    with pytest.raises(StudyError):
        parse(change(text).encode(), "s")
