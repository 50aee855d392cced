"""A machine that is about to be taken away gives half a minute: SIGTERM ends every kind of run long before a unit in flight could end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from helpers import HERE, digest
from training_runs import write_recipe

from xlli_ray.engine.run.driver import Summary
from xlli_ray.recipe import Recipe

Make = Callable[..., Recipe]
Run = Callable[..., Summary]
UNIT_SECONDS = 120.0
PATIENCE = 240.0


def begin(*words: str) -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "xlli_ray", *words, "--quiet"]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)


@contextmanager
def in_flight(child: subprocess.Popen[str], holds: Callable[[], bool]) -> Iterator[None]:
    """The process, once `holds`; killed if something else fails meanwhile."""
    try:
        until = time.monotonic() + PATIENCE
        while not holds() and child.poll() is None and time.monotonic() < until:
            time.sleep(0.05)
        assert child.poll() is None, child.communicate()[1]
        yield
    finally:
        child.kill()
        child.wait()


def ended(child: subprocess.Popen[str], study: Path) -> float:
    """Seconds to the end that SIGTERM asks for, which must be in order."""
    child.send_signal(signal.SIGTERM)
    began = time.monotonic()
    _, errors = child.communicate(timeout=PATIENCE)
    took = time.monotonic() - began
    print(f"{took:.1f} s from SIGTERM to the end")
    assert child.returncode == 75, errors
    assert errors.splitlines()[-1].startswith("stopped; finished work is kept"), errors
    assert "Traceback" not in errors
    assert len(list((study / "lease").glob("*.end"))) == len(list((study / "lease").glob("0*.json"))), "the lease is given back"
    return took


WAYS = {"here": ["--workers", "0"], "part": ["--part", "1/1"], "processes": [], "ray": ["--workers", "1"]}


@pytest.mark.parametrize("way", ["here", *(pytest.param(way, marks=pytest.mark.slow) for way in ("part", "processes", "ray"))])
def test_a_run_that_is_told_to_end_does_not_wait_for_its_units(recipe: Make, run: Run, tmp_path: Path, way: str) -> None:
    interrupted_run(recipe, run, tmp_path, *WAYS[way])


@pytest.mark.slow
def test_a_run_on_a_cluster_that_is_told_to_end_leaves_its_units_and_the_cluster(
    recipe: Make, run: Run, tmp_path: Path, head: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_AUTH_MODE", "token")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "0" * 64)
    address, pid = head
    interrupted_run(recipe, run, tmp_path, "--workers", "1", "--address", address)
    assert psutil.pid_exists(pid)
    left = [one for one in psutil.Process(pid).children(recursive=True) if "_Actor" in " ".join(one.cmdline())]
    assert psutil.wait_procs(left, timeout=30)[1] == [], "its worker has ended"


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_training_that_is_told_to_end_stops_where_it_is(tmp_path: Path, workers: int) -> None:
    path, study = write_recipe(tmp_path, iterations=10**6), tmp_path / "s"
    child = begin("train", str(path), "--out", str(study), "--workers", str(workers))
    with in_flight(child, lambda: bool(list(study.glob("*/checkpoint.pt")))):
        ended(child, study)
    assert not list(study.glob("*/weights.safetensors"))


def interrupted_run(recipe: Make, run: Run, tmp_path: Path, *way: str) -> None:
    """A run in whose first unit SIGTERM comes, and the same command again."""
    study = tmp_path / "s"
    stuck = recipe("toy:stuck", args={"study": str(study), "seconds": UNIT_SECONDS})
    child = begin("run", str(tmp_path / "recipe.yaml"), "--out", str(study), *way)
    with in_flight(child, study.with_suffix(".began").exists):
        ended(child, study)
    assert study.with_suffix(".began").exists()
    assert not study.with_suffix(".ended").exists(), "the unit was not waited for"
    run(stuck, "s")
    assert not list(study.rglob("*.partial"))
    calm = recipe("toy:stuck", args={"study": str(tmp_path / "s"), "seconds": UNIT_SECONDS})
    run(calm, "calm")
    assert digest(study) == digest(tmp_path / "calm")


STUCK_IN_C = """
import ctypes, os, sys, threading
from xlli_ray.engine import process_end
process_end.END_SECONDS, process_end.OWED_SECONDS = 0.2, 1.0
process_end.end_in_time()
process_end.heed_signals()
lock = ctypes.create_string_buffer(64)
mutex = ctypes.CDLL(None).pthread_mutex_lock
with process_end.owed(lambda: os.write(1, b"given back")), process_end.owed(threading.Event().wait if {hangs} else lambda: None):
    mutex(lock)
    threading.Timer(1.0, os.write, (1, b"stuck ")).start()
    mutex(lock)  # held already, and no signal ends it
"""


@pytest.mark.skipif(sys.platform != "linux", reason="its lock is that of Linux")
@pytest.mark.parametrize(("hangs", "said"), [(False, "given back"), (True, "")])
def test_a_function_that_no_signal_interrupts_is_ended_in_time_and_what_is_owed_is_done(hangs: bool, said: str) -> None:
    """Also if what is owed does not end either: a bucket that no longer responds."""
    environment = {**os.environ, "PYTHONPATH": str(HERE.parents[1])}
    child = subprocess.Popen(
        [sys.executable, "-c", STUCK_IN_C.format(hangs=hangs)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    assert child.stdout.read(6) == "stuck "
    child.terminate()
    out, errors = child.communicate(timeout=60)
    assert (child.returncode, out) == (75, said)
    assert errors.startswith("stopped; finished work is kept")


def test_a_process_that_forked_from_the_program_does_not_end_it_by_its_own_signal() -> None:
    code = "import os, signal, time\nfrom xlli_ray.engine import process_end\nprocess_end.END_SECONDS = 0.1\n"
    code += "process_end.end_in_time()\nprocess_end.heed_signals()\nchild = os.fork()\nif not child:\n    time.sleep(60)\n"
    code += "time.sleep(0.5)\nos.kill(child, signal.SIGTERM)\nos.waitpid(child, 0)\ntime.sleep(0.5)\nprint('goes on')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=HERE.parents[1])
    assert (done.returncode, done.stdout) == (0, "goes on\n")
