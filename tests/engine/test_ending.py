"""How the program ends: once asked, in order; and no thread of C++ that outlives Python can turn an end into a crash."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

LIBC = "import ctypes, atexit, sys; from xlli_ray.engine.ending import *\natexit.register(print, 'python ended')\n"


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
        code = "from xlli_ray.engine.ending import end; print('x'); end(0)"
        buffered = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
        done = subprocess.run([sys.executable, "-c", code], env=buffered, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1
    assert "output was lost" in done.stderr


ASKED = """
import os, signal
from xlli_ray.engine.ending import heed_signals, was_asked
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


def test_a_third_signal_ends_at_once() -> None:
    done = python(ASKED.format(first="SIGINT", more=2))
    assert done.returncode == 130
    assert "in order" not in done.stdout


def test_a_signal_that_was_ignored_stays_so_as_under_nohup() -> None:
    code = "import os, signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\nfrom xlli_ray.engine.ending import heed_signals\n"
    done = python(code + "heed_signals()\nos.kill(os.getpid(), signal.SIGHUP)\nprint('goes on')")
    assert (done.returncode, done.stdout) == (0, "goes on\n")
