"""How the `xlli` process is asked to end, and how it ends.

SIGTERM, SIGINT and a closing terminal all raise one KeyboardInterrupt in the main thread, so that everything held is released: the lease,
a private Ray, its folder. A second signal during cleanup has no effect, a third ends the process immediately.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from types import FrameType
from typing import Any, NoReturn

STOPPED = 130
TERMINATED = 75
"""After SIGTERM, which batch systems and clouds send before they take a machine away: EX_TEMPFAIL of <sysexits.h>, run again to go on."""
AT_ONCE = 3
"""Number of the signal that ends the process immediately."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_asked = 0
_code = STOPPED


def heed_signals() -> None:
    """From now on signals ask this process to end. Ignored ones (`nohup`, background jobs) stay ignored. Main thread only."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _heed)


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


def end(code: int) -> NoReturn:
    """End this process: Python's shutdown is done, that of C++ libraries is skipped.

    Arrow's thread pool outlives the interpreter and races with its destructor: one of eight runs ended with "terminate called without an
    active exception", exit code 134 (pyarrow 26, two busy cores; `tests/benchmarks/interrupts.py`).
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))
    with contextlib.suppress(Exception):
        wait: Any = getattr(threading, "_shutdown", None)  # waits for non-daemon threads, as the interpreter does
        if wait is not None:
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
