"""Kill anything at any moment, run the same command again: the same bytes, and only what was unfinished is computed.

`docs/recovery.md` tells each crash point in a paragraph. Workers and raylets die here for real (SIGKILL).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from helpers import HERE, digest, image
from PIL import Image

from xlli_ray.engine.run.driver import Summary
from xlli_ray.recipe import Recipe, load_recipe
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import SIZES
from xlli_ray.store.records.unit_records import read_receipts
from xlli_ray.study import open_study

Make = Callable[..., Recipe]
Run = Callable[..., Summary]


def events(study: Path) -> list[dict[str, object]]:
    return [json.loads(line) for path in sorted(study.glob("events/*.jsonl")) for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("ray_session")
def test_ray_with_one_and_two_workers_gives_the_bytes_of_a_run_in_this_process(
    recipe: Make, run: Run, tmp_path: Path
) -> None:
    run(recipe(), "here")
    run(recipe(), "one", workers=1)
    run(recipe(), "two", workers=2)
    assert digest(tmp_path / "one") == digest(tmp_path / "here")
    assert digest(tmp_path / "two") == digest(tmp_path / "here")


@pytest.mark.usefixtures("ray_session")
def test_a_killed_worker_costs_at_most_two_units_and_no_byte(recipe: Make, run: Run, tmp_path: Path) -> None:
    marker = tmp_path / "marker"
    killer = recipe("toy:kill_once", args={"marker": str(marker), "after": 3})
    summary = run(killer, "killed", workers=1)
    assert marker.exists(), "the worker was killed"
    assert summary.failed == 0
    lost = [event for event in events(tmp_path / "killed") if event["event"] == "lost"]
    assert 1 <= len(lost) <= 2
    assert not list((tmp_path / "killed").rglob("*.partial")), "the shards that it was writing are swept"
    run(killer, "calm")
    assert digest(tmp_path / "killed") == digest(tmp_path / "calm")


def test_half_a_record_that_a_killed_worker_left_is_swept_before_the_next_units(recipe: Make, run: Run, tmp_path: Path) -> None:
    """Its driver ended its lease in good order, so nothing says that there was a crash."""
    run(recipe())
    litter = next((tmp_path / "study" / "records").rglob("*.arrow")).with_name(".0000009.000001.arrow.0badcafe.partial")
    litter.write_bytes(b"half")
    models = [{"id": name, "network": "toy:small", "args": {"seed": seed}} for seed, name in enumerate(("small", "other"))]
    models[0]["args"] = {}
    assert run(recipe(models=models)).units_run > 0
    assert not litter.exists()


@pytest.mark.usefixtures("ray_session")
def test_a_sample_that_kills_every_worker_is_marked_and_the_others_keep_their_bytes(
    recipe: Make, run: Run, corpus: Path, tmp_path: Path
) -> None:
    images = {"images": [str(corpus / f"{i:02d}.png") for i in (1, 2, 3, 4, 5)], "scale": 2}
    summary = run(recipe("toy:kill_on_bright", corpus=images), "killer", workers=1)
    assert summary.failed == 1
    study = open_study(tmp_path / "killer")
    rows = study.sql("select distinct s.source, f.kind from failures f join samples s using (sample_id)").to_pylist()
    assert [(Path(row["source"]).name, row["kind"]) for row in rows] == [("03.png", "crash")]
    receipts = [receipt for cell in study.manifest.cells for receipt in read_receipts(Listing(study.objects), cell.id)]
    assert not any(receipt.one_by_one for receipt in receipts), "the search changes no batch"
    run(recipe("toy:nan_on_bright", corpus=images), "calm")
    name = "features/small/net.head.out"
    array, calm = study.array(name), open_study(tmp_path / "calm").array(name)
    compared = 0
    for bucket in array.buckets:
        theirs, mine = calm.reader(bucket), array.reader(bucket)
        assert (mine.valid == theirs.valid).all(), "the same one sample is missing in both"
        positions = [int(i) for i in range(len(mine.valid)) if mine.valid[i]]
        assert mine.rows(positions).tobytes() == theirs.rows(positions).tobytes()
        compared += len(positions)
    assert compared == 4


def write_recipe(tmp_path: Path, corpus: Path, models: int = 3) -> Path:
    path = tmp_path / "killed.yaml"
    data = {
        "name": "toy",
        "baseline": False,
        "corpus": {"images": [f"{corpus}/*.png"], "scale": 2, "degradations": ["clean", {"noise": 20}, {"blur": 1}]},
        "models": [{"id": f"m{i}", "network": "toy:small", "args": {"seed": i}} for i in range(models)],
        "stages": [{"features": {"layers": ["head", "tail:input"]}}, {"restore": {"save": True}}],
        "batch": {"features": 1, "restore": 1},
    }
    path.write_text(yaml.safe_dump(data))
    return path


def start(recipe: Path, out: Path, workers: int) -> subprocess.Popen[bytes]:
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    command = [sys.executable, "-m", "xlli_ray", "run", str(recipe), "--out", str(out), "--workers", str(workers), "--quiet"]
    return subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)


def record_paths(out: Path) -> list[Path]:
    return [path for path in (out / "records").rglob("*.arrow") if not path.parent.name.startswith("scan")]


def units_recorded(out: Path) -> int:
    return len(record_paths(out))


@pytest.fixture
def many_sizes(corpus: Path) -> None:
    """The corpus with images of 20 sizes, which lie in one bucket."""
    for i in range(20):
        Image.fromarray(image(i, 40 + 2 * i, 48)).save(corpus / f"{i:02d}.png")


@pytest.mark.slow
@pytest.mark.usefixtures("many_sizes")
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7])
def test_a_killed_driver_loses_nothing_of_many_sizes(run: Run, tmp_path: Path, corpus: Path, share: float) -> None:
    test_a_killed_driver_loses_nothing_that_was_recorded(run, tmp_path, corpus, share)
    assert [bucket.name for bucket in open_study(tmp_path / "killed").manifest.cells[0].buckets] == [SIZES]


@pytest.mark.parametrize("share", [pytest.param(0.0, marks=pytest.mark.slow), 0.3, pytest.param(0.7, marks=pytest.mark.slow)])
def test_a_killed_driver_loses_nothing_that_was_recorded(run: Run, tmp_path: Path, corpus: Path, share: float) -> None:
    path, out, fresh = write_recipe(tmp_path, corpus, models=2), tmp_path / "killed", tmp_path / "fresh"
    run(load_recipe(path), "fresh")
    whole = units_recorded(fresh)
    driver = start(path, out, workers=0)
    while driver.poll() is None and units_recorded(out) <= share * whole:
        time.sleep(0.002)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    recorded = {str(name): name.read_bytes() for name in record_paths(out)}
    assert len(recorded) < whole, "it was killed before its end"
    assert run(load_recipe(path), "killed").failed == 0
    assert digest(out) == digest(fresh)
    assert units_recorded(out) == whole, "each unit has exactly one record"
    assert all(Path(name).read_bytes() == data for name, data in recorded.items()), "what was recorded was not computed again"
    assert not list(out.rglob("*.partial")), "the litter of the killed run is swept"


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_random_kills_of_drivers_and_workers_on_ray_end_in_the_same_bytes(tmp_path: Path, corpus: Path, seed: int) -> None:
    import psutil

    rng = random.Random(seed)
    recipe, out, fresh = write_recipe(tmp_path, corpus), tmp_path / "killed", tmp_path / "fresh"
    start(recipe, fresh, workers=0).communicate()
    for _ in range(3):
        driver = start(recipe, out, workers=2)
        goal = units_recorded(out) + rng.randrange(1, 60)
        deadline = time.monotonic() + 90
        while driver.poll() is None and units_recorded(out) < goal and time.monotonic() < deadline:
            if rng.random() < 0.02:
                family = psutil.Process(driver.pid).children(recursive=True)
                actors = [p for p in family if "_Actor" in " ".join(_cmdline(p))]
                if actors:
                    rng.choice(actors).kill()
            time.sleep(0.05)
        family = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        driver.kill()
        driver.wait()
        for process in family:  # the private Ray of the killed driver: only what this test started
            try:
                process.kill()
            except psutil.NoSuchProcess:
                continue
    last = start(recipe, out, workers=2)
    text = last.communicate()[0].decode()
    assert last.returncode == 0, text
    assert digest(out) == digest(fresh)


def _cmdline(process: object) -> list[str]:
    import psutil

    try:
        return process.cmdline()  # type: ignore[attr-defined, no-any-return]
    except psutil.Error:
        return []


@pytest.mark.slow
def test_a_node_that_vanishes_costs_at_most_its_units_in_flight(tmp_path: Path, corpus: Path) -> None:
    """A real raylet is removed ungracefully from a cluster of two nodes while it works; another comes later."""
    script = tmp_path / "cluster.py"
    script.write_text(_CLUSTER)
    recipe, out, fresh = write_recipe(tmp_path, corpus), tmp_path / "killed", tmp_path / "fresh"
    start(recipe, fresh, workers=0).communicate()
    env = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), *sys.path])}
    done = subprocess.run([sys.executable, str(script), str(recipe), str(out)], env=env, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout.decode() + done.stderr.decode()
    result = json.loads(next(line for line in done.stdout.decode().splitlines() if line.startswith("{")))
    assert result["removed"], "a node was removed while it worked"
    assert 0 < result["lost"] <= 2
    assert digest(out) == digest(fresh)


_CLUSTER = """
import json, logging, sys, threading, time
import ray
from ray.cluster_utils import Cluster
from xlli_ray.engine.run.driver import run_study
from xlli_ray.engine.options import Options
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import SIZES
from xlli_ray.recipe import load_recipe

recipe, out = load_recipe(sys.argv[1]), sys.argv[2]
health = {"health_check_initial_delay_ms": 500, "health_check_period_ms": 500, "health_check_failure_threshold": 3}
head = {"num_cpus": 1, "object_store_memory": 100 << 20, "include_dashboard": False, "_system_config": health}
cluster = Cluster(initialize_head=True, head_node_args=head)
worker = cluster.add_node(num_cpus=1, object_store_memory=100 << 20)
ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
removed = []

def remove():
    from pathlib import Path
    while len(list((Path(out) / "records").rglob("*.arrow"))) < 40:
        time.sleep(0.01)
    cluster.remove_node(worker, allow_graceful=False)
    removed.append(1)
    time.sleep(3)
    cluster.add_node(num_cpus=1, object_store_memory=100 << 20)

thread = threading.Thread(target=remove, daemon=True)
thread.start()
run_study(recipe, out, Options(workers=2, quiet=True))
thread.join(timeout=30)
from pathlib import Path
events = [json.loads(line) for path in Path(out).glob("events/*.jsonl") for line in path.read_text().splitlines()]
print(json.dumps({"lost": sum(e["event"] == "lost" for e in events), "removed": bool(removed)}))
ray.shutdown()
cluster.shutdown()
"""
