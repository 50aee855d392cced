"""How the `xlli` process is asked to end, and how it ends.

SIGTERM, SIGINT and a closing terminal all raise one KeyboardInterrupt in the main thread, so that everything held is released: the lease,
a private Ray, its folder. A second signal during cleanup has no effect, a third ends the process immediately.

Clouds and batch systems give a process half a minute, and Python code cannot interrupt a C function: a decomposition or a forward pass may
take longer. So a thread that the signal itself wakes ends the process after `END_SECONDS`, whatever the others do, and first does what is
`owed`. Nothing is lost by that: it is what a kill does, and records say what is finished.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType
from typing import Any, NoReturn

STOPPED = 130
TERMINATED = 75
"""After SIGTERM, which batch systems and clouds send before they take a machine away: EX_TEMPFAIL of <sysexits.h>, run again to go on."""
AT_ONCE = 3
"""Number of the signal that ends the process immediately."""
END_SECONDS = 20.0
"""From the first signal to the end at the latest."""
OWED_SECONDS = 3.0
"""For all that is owed, when the time is up: a bucket may not respond."""
THREAD_SECONDS = 1.0
"""For threads that are still at work when everything else has ended."""
STOPPED_TEXT = "stopped; finished work is kept, run the same command again to continue"
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_asked = 0
_code = STOPPED
_owed: list[Callable[[], None]] = []


def heed_signals() -> None:
    """From now on signals ask this process to end. Ignored ones (`nohup`, background jobs) stay ignored. Main thread only."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _heed)


def end_in_time() -> None:
    """From now on a signal that is heeded ends this process within `END_SECONDS`. For a program: there is no way back. Main thread only."""
    if os.name == "posix":
        reading, writing = os.pipe()
        os.set_blocking(writing, False)
        signal.set_wakeup_fd(writing, warn_on_full_buffer=False)  # written to when a signal comes, though the main thread is in C
        os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))  # its signals are its own
        threading.Thread(target=_end_at_the_latest, args=(reading,), name="xlli-end", daemon=True).start()


@contextlib.contextmanager
def owed(act: Callable[[], None]) -> Iterator[None]:
    """Within it, `act` is also done if this process ends because its time is up, in any thread."""
    _owed.append(act)
    try:
        yield
    finally:
        _owed.remove(act)


def _end_at_the_latest(asked: int) -> None:
    """Wait for a signal, then until the time is up; end this process."""
    number = 0
    while number not in SIGNALS:
        number = os.read(asked, 1)[0]
    time.sleep(END_SECONDS)
    acts = threading.Thread(target=_pay, daemon=True)
    acts.start()
    acts.join(OWED_SECONDS)
    with contextlib.suppress(OSError):
        os.write(2, f"{STOPPED_TEXT}\n".encode())
    os._exit(TERMINATED if number == signal.SIGTERM else STOPPED)


def _pay() -> None:
    for act in reversed(_owed):
        with contextlib.suppress(Exception):
            act()


def was_asked() -> bool:
    """Whether a signal has asked this process to end."""
    return _asked > 0


def stopped_code() -> int:
    """Exit code of a process that was asked to end: by the first signal."""
    return _code


def _heed(number: int, frame: FrameType | None) -> None:
    global _asked, _code
    _asked += 1
    if _asked == 1:
        _code = TERMINATED if number == signal.SIGTERM else STOPPED
        raise KeyboardInterrupt
    if _asked >= AT_ONCE:
        os._exit(_code)
    with contextlib.suppress(OSError):
        os.write(2, b"ending; once more ends at once\n")


def _at_work(seconds: float) -> bool:
    """Whether a thread that the interpreter would wait for is in something longer than that."""
    until = time.monotonic() + seconds
    others = [one for one in threading.enumerate() if not one.daemon and one is not threading.current_thread()]
    for thread in others:
        thread.join(max(0.0, until - time.monotonic()))
    return any(thread.is_alive() for thread in others)


def end(code: int) -> NoReturn:
    """End this process: Python's shutdown is done, that of C++ libraries is skipped.

    Arrow's thread pool outlives the interpreter and races with its destructor: one of eight runs ended with "terminate called without an
    active exception", exit code 134 (pyarrow 26, two busy cores; `tests/benchmarks/interrupts.py`).
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))
    with contextlib.suppress(Exception):
        wait: Any = getattr(threading, "_shutdown", None)  # waits for non-daemon threads, as the interpreter does
        if wait is not None and not (was_asked() and _at_work(THREAD_SECONDS)):
            wait()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # the reader has closed the pipe
            continue
        except (OSError, ValueError, AttributeError) as error:
            with contextlib.suppress(OSError):
                os.write(2, f"output was lost: {error}\n".encode())
            code = code or 1
    os._exit(code)
