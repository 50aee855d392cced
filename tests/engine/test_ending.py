"""How the program ends: once asked, in order; and no thread of C++ that outlives Python can turn an end into a crash."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from helpers import HERE

from xlli_ray.engine.pools.ray_folder import processes
from xlli_ray.recipe import Recipe

LIBC = "import ctypes, atexit, sys; from xlli_ray.engine.process_end import *\natexit.register(print, 'python ended')\n"


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


@pytest.mark.skipif(sys.platform != "linux", reason="sets its trap in the C library of Linux")
@pytest.mark.parametrize("code", [0, 75])
def test_the_end_runs_what_python_has_to_do_and_nothing_of_cpps(code: int) -> None:
    trap = "libc = ctypes.CDLL(None); libc.__cxa_atexit(ctypes.cast(libc.abort, ctypes.c_void_p), None, None)\n"
    control = python(f"{LIBC}{trap}sys.exit({code})")
    assert control.returncode == -signal.SIGABRT  # a destructor that aborts would be met
    done = python(f"{LIBC}{trap}print('written', end='')\nend({code})")
    assert (done.returncode, done.stdout) == (code, "writtenpython ended\n")


def test_the_end_waits_for_threads_of_pythons() -> None:
    thread = "import threading, time\nthreading.Thread(target=lambda: (time.sleep(0.3), print('thread ended'))).start()\n"
    done = python(f"{LIBC}{thread}end(0)")
    assert (done.returncode, done.stdout) == (0, "thread ended\npython ended\n")


def test_output_that_cannot_be_written_is_no_success() -> None:
    if not os.path.exists("/dev/full"):
        pytest.skip("there is no /dev/full")
    with open("/dev/full", "w") as full:
        code = "from xlli_ray.engine.process_end import end; print('x'); end(0)"
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run([sys.executable, "-c", code], env=buffered, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert "output was lost" in done.stderr


ASKED = """
import os, signal
from xlli_ray.engine.process_end import heed_signals, was_asked
heed_signals()
try:
    os.kill(os.getpid(), signal.{first})
except KeyboardInterrupt:
    print('giving back', was_asked())
for _ in range({more}):
    os.kill(os.getpid(), signal.SIGTERM)
print('in order')
"""


@pytest.mark.parametrize("first", ["SIGTERM", "SIGINT", "SIGHUP"])
def test_a_second_signal_does_not_disturb_the_end_that_the_first_asked_for(first: str) -> None:
    done = python(ASKED.format(first=first, more=1))
    assert (done.returncode, done.stdout) == (0, "giving back True\nin order\n")
    assert "once more ends at once" in done.stderr


@pytest.mark.parametrize(("first", "code"), [("SIGINT", 130), ("SIGTERM", 75)])
def test_a_third_signal_ends_at_once(first: str, code: int) -> None:
    done = python(ASKED.format(first=first, more=2))
    assert done.returncode == code
    assert "in order" not in done.stdout


def test_a_signal_that_was_ignored_stays_so_as_under_nohup() -> None:
    code = "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom xlli_ray.engine.process_end import heed_signals\n"
    done = python(code + "heed_signals()\nos.kill(os.getpid(), signal.SIGHUP)\nprint('goes on')")
    assert (done.returncode, done.stdout) == (0, "goes on\n")


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc").exists(), reason="finds processes by their environment")
@pytest.mark.parametrize("wait", [0.0, 0.5, 1.5, 3.0])
def test_a_signal_while_ray_starts_ends_the_run_in_order_and_leaves_nothing(
    recipe: Callable[..., Recipe], tmp_path: Path, wait: float
) -> None:
    """Ray's own handler would abort the process three seconds after the signal, with the lease held."""
    recipe("toy:small")
    temporary = Path(tempfile.mkdtemp(prefix="t-", dir="/tmp"))
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1])]), "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "xlli_ray", "run", str(tmp_path / "recipe.yaml"), "--workers", "1", "--out", str(tmp_path / "s")]
    child = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    try:
        until = time.monotonic() + 120
        while not (folders := list(temporary.glob("xlli-ray-*/*-*"))) and child.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(wait)
        child.terminate()
        _, errors = child.communicate(timeout=120)
        assert child.returncode == 75, errors
        assert errors.splitlines()[-1].startswith("stopped; finished work is kept")
        assert "***" not in errors
        assert list((tmp_path / "s" / "lease").glob("*.end"))
        assert not folders[0].exists()
        assert list(processes(folders[0])) == []
    finally:
        child.kill()
        shutil.rmtree(temporary)
