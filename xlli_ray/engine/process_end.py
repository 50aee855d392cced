"""How the process of `xlli` is asked to end, and how it ends.

SIGTERM, SIGINT and a terminal that closes mean one thing: a KeyboardInterrupt in the main thread, once, so that whatever is held is given
back: the lease, a private Ray, its folder. A second signal while that happens changes nothing, a third ends the process where it stands.
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
AT_ONCE = 3
"""The signal that no longer waits."""
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_asked = 0


def heed_signals() -> None:
    """From now on signals ask this process to end. One that is ignored (`nohup`, a shell's background) stays so. Main thread only."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _heed)


def was_asked() -> bool:
    """Whether a signal has asked this process to end."""
    return _asked > 0


def _heed(number: int, frame: FrameType | None) -> None:
    global _asked
    _asked += 1
    if _asked == 1:
        raise KeyboardInterrupt
    if _asked >= AT_ONCE:
        os._exit(STOPPED)
    with contextlib.suppress(OSError):
        os.write(2, b"ending; once more ends at once\n")


def end(code: int) -> NoReturn:
    """End this process: what Python has to do at its end is done, what C++ would do is left out.

    Arrow's pool of threads outlives the interpreter, and its destructor meets them there: one end of eight was "terminate called without an
    active exception", exit code 134 (pyarrow 26, two busy cores; `tests/benchmarks/interrupts.py`).
    """
    for number in SIGNALS:
        signal.signal(number, lambda *_: os._exit(code))
    with contextlib.suppress(Exception):
        wait: Any = getattr(threading, "_shutdown", None)  # for threads of Python's that are no daemons, as the interpreter does
        if wait is not None:
            wait()
    with contextlib.suppress(Exception):
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BrokenPipeError:  # whoever read it has seen enough
            continue
        except (OSError, ValueError, AttributeError) as error:
            with contextlib.suppress(OSError):
                os.write(2, f"output was lost: {error}\n".encode())
            code = code or 1
    os._exit(code)
