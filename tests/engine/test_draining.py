"""A node that the cluster announces to take away: its workers finish what they have, get no more, and move."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from helpers import HERE, digest

from xlli_ray.corpus.scan import list_sources
from xlli_ray.engine.pools import draining
from xlli_ray.engine.pools.draining import Places
from xlli_ray.engine.pools.local import Lost
from xlli_ray.engine.pools.ray_pool import unseen
from xlli_ray.engine.run.driver import Summary
from xlli_ray.engine.run.scan_runner import Scanner, scan_files
from xlli_ray.engine.run.units import run_units
from xlli_ray.engine.worker.job import UnitJob, UnitResult
from xlli_ray.engine.worker.tasks import WorkerSpec
from xlli_ray.recipe import Recipe
from xlli_ray.store.objects.client import open_objects
from xlli_ray.store.records.lease import Lease
from xlli_ray.study import open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]


def test_workers_of_a_draining_node_are_named_and_the_node_is_told_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "time", SimpleNamespace(time=lambda: 1000.0))
    told: list[tuple[str, str]] = []
    leaving: dict[str, int] = {}
    places = Places(leaving, lambda kind, text, **_: told.append((kind, text)))
    for worker, node in enumerate(("aa" * 14, "bb" * 14, "aa" * 14)):
        places.found(worker, node)
    assert set(places.leaving()) == set()
    leaving["aa" * 14] = 1_031_000
    leaving["cc" * 14] = 0
    assert set(places.leaving()) == {0, 2}
    assert set(places.leaving()) == {0, 2}
    places.left(0)
    places.found(0, "bb" * 14)
    assert set(places.leaving()) == {2}
    leaving["bb" * 14] = 0
    assert set(places.leaving()) == {0, 1, 2}
    assert told == [
        ("draining", "node aaaaaaaaaaaa will be taken away within 31 s: its 2 workers finish what they have and move"),
        ("draining", "node bbbbbbbbbbbb will be taken away: its 2 workers finish what they have and move"),
    ]
    leaving["dd" * 14] = 0
    places.found(1, "dd" * 14)
    places.leaving()
    assert told[2] == ("draining", "node dddddddddddd will be taken away: its worker finishes what it has and moves")


def test_a_run_whose_workers_have_no_place_says_so_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "WITHOUT_PLACE_SECONDS", 0.0)
    told: list[str] = []
    places = Places({}, lambda kind, text: told.append(f"{kind}: {text}"))
    for present in (0, 0, 0, 1, 0, 0):
        places.working(present, lambda: "1 × (2 CPUs, 0 GPUs)")
        time.sleep(0.001)
    assert told == ["waiting: no worker has a place in the cluster; waiting for nodes with room. They have 1 × (2 CPUs, 0 GPUs)"] * 2


def test_units_that_a_taken_node_took_along_are_not_searched_for_a_sample(recipe: Make, run: Run, tmp_path: Path) -> None:
    """However often: on spot machines a unit may be lost many times, and a search would take twice the time and could name an innocent."""
    jobs_seen: list[Any] = []

    class Taking:
        workers = 1

        def run(self, task: str, jobs: deque[Any], stop: Callable[[], None]) -> Any:
            while jobs:
                job = jobs.popleft()
                jobs_seen.append(job)
                yield job, Lost("the node was taken away", taken=True) if job.attempt < 40 else UnitResult(job, 1, 0, 0, {})

    run(recipe(), "s")
    study = open_study(tmp_path / "s")
    cell = study.manifest.cells[0]
    job = UnitJob(cell.group, 0, (cell.id,))
    assert run_units(study.archive, deque([job]), Taking, _Silent(), _Epoch()) == 40
    assert {one.mode for one in jobs_seen} == {"batches"}
    assert [one.attempt for one in jobs_seen] == list(range(41))


def test_files_that_a_taken_node_was_reading_are_not_suspected(recipe: Make, corpus: Path, tmp_path: Path) -> None:
    spec, objects, jobs_seen = recipe().corpus, open_objects(tmp_path), list[Any]()

    class Taking:
        workers = 1

        def run(self, task: str, jobs: deque[Any], stop: Callable[[], None]) -> Any:
            while jobs:
                job = jobs.popleft()
                jobs_seen.append(job)
                yield job, Lost("the node was taken away", taken=True) if job.attempt < 40 else Scanner(objects.url, 1).run(job)

    section, sources = spec.model_dump(mode="json"), list_sources(spec, "/")
    section.pop("pies")
    rows, scanned = scan_files(objects, sources, section, "c", Taking, _Silent(), seed=0, stop=_Epoch().check, epoch=1)
    assert scanned == len(rows) == 12
    assert {row["status"] for row in rows} == {"ok"}
    assert [(job.attempt, job.careful, job.skip) for job in jobs_seen] == [(attempt, False, ()) for attempt in range(41)]


def test_a_node_that_does_not_see_the_run_is_named_before_its_first_job(tmp_path: Path) -> None:
    """One that joined later: those of the start have been asked (`nodes_see`)."""
    host, spec = socket.gethostname(), WorkerSpec(str(tmp_path), 1)
    assert unseen(spec).startswith(f"node {host} does not see the run of {tmp_path}: use a path that all nodes share")
    lease = Lease.acquire(open_objects(tmp_path))
    assert unseen(spec) == ""
    lease.release()
    assert unseen(replace(spec, study="s3://")).startswith(f"node {host} does not see s3:// (")


class _Epoch:
    epoch = 1

    def check(self) -> None: ...


class _Silent:
    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_, **__: None


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "seconds", "images"), [("in time", "1.5", "*"), ("too late", "8", "0[0-4]")])
def test_a_node_that_is_drained_loses_no_unit_in_time_and_at_most_two_without_blame_too_late(
    recipe: Make, run: Run, corpus: Path, tmp_path: Path, kind: str, seconds: str, images: str
) -> None:
    """Real raylets and the GCS' own drain. In time: the node ends by itself once it is idle, so its worker has moved."""
    chosen = {"images": [f"{corpus}/{images}.png"], "scale": 2, "degradations": ["clean", {"noise": 20}]}
    slow = recipe("toy:slow", corpus=chosen, batch={"restore": 1}, stages=[{"restore": {"save": True}}])
    run(slow, "calm")
    script, out = tmp_path / "drain.py", tmp_path / "s"
    script.write_text(_DRAIN)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path]), "XLLI_TOY_SECONDS": seconds}
    command = [sys.executable, str(script), str(tmp_path / "recipe.yaml"), str(out), kind]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    result = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("{")))
    events = [json.loads(line) for path in sorted(out.glob("events/*.jsonl")) for line in path.read_text().splitlines()]
    assert [event["node"] for event in events if event["event"] == "draining"] == [result["node"]]
    lost = [event for event in events if event["event"] == "lost"]
    if kind == "in time":
        assert result["ended by itself"]
        assert lost == []
    else:
        assert 1 <= len(lost) <= 2
        assert all(event["taken"] and event["mode"] == "batches" for event in lost)
    assert "will be taken away" in done.stderr
    assert digest(out) == digest(tmp_path / "calm")


_DRAIN = """
import json, logging, sys, threading, time
from pathlib import Path
import ray
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason
from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.options import Options
from xlli_ray.recipe import load_recipe

recipe, out, kind = load_recipe(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
health = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
small = {"object_store_memory": 100 << 20}
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": health, **small})
nodes = [cluster.add_node(num_cpus=1, **small) for _ in range(3)]
ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
result = {}

def drain():
    while len([p for p in (out / "records").rglob("*.arrow") if p.name[0] != "." and "scan-" not in str(p.relative_to(out))]) < 2:
        time.sleep(0.05)
    free = ray._private.state.available_resources_per_node()
    node = next(one for one in nodes if free[one.node_id].get("CPU", 0) < 1)  # one of the two with a worker
    client = GcsClient(address=cluster.address)
    reason = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    until = int(time.time() * 1000) + 30_000
    result["node"] = node.node_id
    assert client.drain_node(node.node_id, reason, "spot", until)[0]
    if kind == "too late":
        time.sleep(6)  # the driver has looked
        cluster.remove_node(node, allow_graceful=False)
        return
    raylet = node.all_processes["raylet"][0].process
    end = time.monotonic() + 60
    while raylet.poll() is None and time.monotonic() < end:
        time.sleep(0.1)
    result["ended by itself"] = raylet.poll() is not None

thread = threading.Thread(target=drain, daemon=True)
thread.start()
run_study(recipe, str(out), Options(workers=2, address=cluster.address))
thread.join(timeout=70)
print(json.dumps(result))
ray.shutdown()
cluster.shutdown()
"""
