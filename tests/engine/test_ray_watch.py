"""Ray dies under a run: the driver notices, ends what it started, says "run again", and the next run goes on to the same bytes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from helpers import digest

from xlli_ray.engine.pools import private_ray
from xlli_ray.engine.pools import ray_watch as watch_module
from xlli_ray.engine.pools.ray_watch import Watch, dead_daemon
from xlli_ray.engine.run.driver import Summary
from xlli_ray.errors import ClusterLost
from xlli_ray.recipe import Recipe

HERE = Path(__file__).parent


def daemon(code: int | None) -> SimpleNamespace:
    return SimpleNamespace(process=SimpleNamespace(pid=7, poll=lambda: code))


@pytest.mark.parametrize(
    ("codes", "says"),
    [
        ({"gcs_server": None, "raylet": None}, None),
        ({"gcs_server": None, "raylet": -9}, r"lost its raylet \(process 7, killed by signal 9\)"),
        ({"gcs_server": 1, "raylet": None}, r"lost its gcs_server \(process 7, exit code 1\)"),
    ],
)
def test_a_daemon_that_has_ended_is_named_with_how_it_ended(codes: dict[str, int | None], says: str | None) -> None:
    watch = Watch(None)
    watch._worker = SimpleNamespace(_global_node=SimpleNamespace(all_processes={name: [daemon(code)] for name, code in codes.items()}))
    if says is None:
        watch.check()
    else:
        with pytest.raises(ClusterLost, match=f"{says}.*run the same command again"):
            watch.check()
        watch._worker = None
        with pytest.raises(ClusterLost):  # what is gone stays gone
            watch.check()


def test_a_ray_that_keeps_its_daemons_in_another_way_is_believed_to_live() -> None:
    assert dead_daemon(None) == dead_daemon(SimpleNamespace()) == ""


def test_a_head_that_no_longer_answers_is_gone_and_one_that_answers_now_and_then_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray._raylet

    answers = [True, False, True]
    monkeypatch.setattr(watch_module, "PING_SECONDS", 0.01)

    class Client:
        def __init__(self, address: str) -> None:
            assert address == "head:6379"

        def internal_kv_keys(self, *_: object, timeout: float) -> list[bytes]:
            if answers and answers.pop(0):
                return []
            raise TimeoutError("no answer")

    monkeypatch.setattr(ray._raylet, "GcsClient", Client)
    monkeypatch.setattr("ray._private.worker._global_node", SimpleNamespace(gcs_address="head:6379"))
    watch = Watch("head:6379")
    try:
        while answers:
            watch.check()
            time.sleep(0.01)
        watch.check()
        monkeypatch.setattr(watch_module, "PATIENCE_SECONDS", 0.1)
        time.sleep(0.2)
        with pytest.raises(ClusterLost, match="the head of the cluster at head:6379 has not responded"):
            watch.check()
    finally:
        watch.close()


def test_a_dead_ray_that_does_not_let_go_is_left_and_nothing_that_is_freed_later_asks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """A core worker that is half gone answers by ending the process: exit code 1 in the place of 75."""
    import ray._private.worker as worker

    over, later = threading.Event(), []
    hanging = SimpleNamespace(core_worker=object())
    monkeypatch.setattr(worker, "global_worker", hanging)
    monkeypatch.setattr("ray.shutdown", lambda: over.wait(60))
    monkeypatch.setattr(private_ray, "_folder", None)
    monkeypatch.setattr(private_ray, "LEAVE_SECONDS", 0.01)
    monkeypatch.setattr(private_ray.atexit, "unregister", later.append)
    private_ray.stop(lost=True)
    over.set()
    assert later == [worker.shutdown], "nor does the end of this process wait for it"
    assert not hasattr(hanging, "core_worker")


@pytest.mark.usefixtures("ray_session")
def test_the_raylet_of_this_session_is_found_and_lives() -> None:
    from ray._private.worker import _global_node

    found = watch_module.raylet_of(_global_node)
    assert found is not None
    assert found.pid == _global_node.all_processes["raylet"][0].process.pid
    assert watch_module._lives(found)


def lost_run(recipe: Path, study: Path, victim: Callable[[int], psutil.Process], *options: str) -> tuple[int, str, list[str]]:
    """Exit code and messages of a run under which a process was killed once units were being done, and what was left of the run."""
    mark = uuid.uuid4().hex
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]), "XLLI_TRIAL": mark}
    environment["XLLI_TOY_SECONDS"] = "0.2"
    command = [sys.executable, "-m", "xlli_ray", "run", str(recipe), "--workers", "1", "--out", str(study), *options]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    until = time.monotonic() + 120
    while len(_units(study)) < 5 and child.poll() is None and time.monotonic() < until:
        time.sleep(0.05)
    assert child.poll() is None, child.communicate()
    os.kill(victim(child.pid).pid, signal.SIGKILL)
    _, errors = child.communicate(timeout=60)
    return child.returncode, errors, [str(process) for process in psutil.process_iter() if _carries(process, mark)]


def below(pid: int, name: str) -> psutil.Process:
    """The one process of that name below `pid`."""
    (found,) = [process for process in psutil.Process(pid).children(recursive=True) if name in process.name()]
    return found


def _units(study: Path) -> list[Path]:
    """Records of units that are done."""
    return [path for path in (study / "records").rglob("*.arrow") if "scan-" not in str(path.relative_to(study)) and path.name[0] != "."]


def _carries(process: psutil.Process, mark: str) -> bool:
    try:
        return process.environ().get("XLLI_TRIAL") == mark and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes by their environment")
@pytest.mark.parametrize(
    "daemon",
    [
        "raylet",
        pytest.param("gcs_server", marks=pytest.mark.slow),
        pytest.param("DashboardAgent", marks=pytest.mark.slow),
        pytest.param("RuntimeEnvAgent", marks=pytest.mark.slow),
    ],
)
def test_a_daemon_of_rays_killed_under_a_run_costs_nothing_but_running_it_again(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, daemon: str
) -> None:
    slow = recipe("toy:slow", batch={"features": 1, "restore": 1})
    code, errors, left = lost_run(tmp_path / "recipe.yaml", tmp_path / "lost", lambda driver: below(driver, daemon))
    assert code == 75, errors
    assert errors.count("ClusterLost") == 1
    assert "run the same command again" in errors
    assert "Traceback" not in errors
    assert left == []
    assert list((tmp_path / "lost" / "lease").glob("*.end"))  # given back
    summary = run(slow, "lost")
    assert 0 < summary.units_run < summary.units
    run(slow, "undisturbed")
    assert digest(tmp_path / "lost") == digest(tmp_path / "undisturbed")


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["gcs_server", "raylet"])
def test_the_head_of_a_cluster_killed_under_a_run_costs_nothing_but_running_it_again(
    recipe: Callable[..., Recipe], run: Callable[..., Summary], tmp_path: Path, head: tuple[str, int], victim: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    slow = recipe("toy:slow", batch={"features": 1, "restore": 1})
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    address, pid = head
    code, errors, _ = lost_run(tmp_path / "recipe.yaml", tmp_path / "lost", lambda _driver: below(pid, victim), "--address", address)
    assert code == 75, errors
    assert errors.count("ClusterLost") == 1
    assert "Traceback" not in errors
    summary = run(slow, "lost")
    assert 0 < summary.units_run < summary.units
    run(slow, "undisturbed")
    assert digest(tmp_path / "lost") == digest(tmp_path / "undisturbed")
