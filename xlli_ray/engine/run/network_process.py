"""Code of others is run apart: in a process of its own while a study is checked and planned, so that what ends or hangs it ends no plan.

The rule: a recipe that names a factory (`network: FILE.py:make`, `package.module:make`) has its networks built, looked into and tried in
one child process, begun with the run and ended with the plan; its answers are records and cells. A network of the package or of spandrel
runs only numbers that were checked when they were read, on images of a few hundred pixels a side; it needs no child and pays for none.

The child says what it is about to do (`models.trial_steps`). Where it dies or does not go on, the last word names model and size: a
NetworkError, or, when the network was only being tried, a plan in which it gets one image at a time. A study's units run in workers, whose
deaths are counted elsewhere (`units`); with `workers=0` there is one process, and what ends it ends the run.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import socket
import subprocess
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Concatenate, ParamSpec, TypeVar

from xlli_ray.engine.worker.environment import loading
from xlli_ray.errors import NetworkError
from xlli_ray.models.trial_steps import Step, watch
from xlli_ray.registry import allow, allowed
from xlli_ray.store.objects.client import Objects, open_objects

OWN_PROCESS = True
"""False: everything here, as tests of other things have it, whose networks are their own."""
P = ParamSpec("P")
T = TypeVar("T")
STEP_SECONDS = 300.0
PIXEL_SECONDS = 0.02
"""A step may take so long, and so much longer for a pixel: 80 times of what SwinIR, 12·10⁶ multiply-adds a pixel, needs on a core."""
START = "Python and torch were loaded"
START_SECONDS = 600.0
LOOK_SECONDS = 0.5
PR_SET_PDEATHSIG = 1
_SERVE = "import sys; sys.path[:] = {paths!r}; from xlli_ray.engine.run.network_process import serve; serve({handle})"


class Ended(NetworkError):
    """The child ended, or was ended for it hung, in `step`."""

    def __init__(self, text: str, step: Step | None = None) -> None:
        super().__init__(text)
        self.step = step


class Apart:
    """Calls `function(objects, *args)`: here, or in the child where `foreign`. One at a time."""

    def __init__(self, objects: Objects, *, foreign: bool, paths: Sequence[str]) -> None:
        self._objects, self._paths = objects, list(paths)
        self._child: _Child | None = None
        self.foreign = foreign and OWN_PROCESS
        if self.foreign:
            self._child = _Child(self._paths)  # it loads while others do

    def __call__(self, function: Callable[Concatenate[Objects, P], T], *args: P.args, **named: P.kwargs) -> T:
        """What the function gives or raises; `Ended` when its process did not survive it."""
        if not self.foreign:
            return function(self._objects, *args, **named)
        self._child = self._child or _Child(self._paths)
        try:
            return self._child.ask((function, self._objects.url, args, named, allowed()))
        except Ended:
            self.close()
            raise

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None


def is_foreign(networks: Sequence[str | None]) -> bool:
    """Whether one of a recipe's `network` entries is code that is not this package's."""
    return any(network is not None and ":" in network for network in networks)


class _Child:
    """One process, and the line to it."""

    def __init__(self, paths: list[str]) -> None:
        mine, its = socket.socketpair()
        with its:
            code = _SERVE.format(paths=paths, handle=its.fileno())
            # a session of its own: Ctrl-C is for the run, which then ends the child
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=(its.fileno(),), start_new_session=True
            )
        self._line = Connection(mine.detach())
        self._step = Step(START)

    def ask(self, request: Any) -> Any:
        with suppress(BrokenPipeError, ConnectionResetError):  # what became of it is found below
            self._line.send(request)
        while True:
            kind, content = self._next()
            if kind == "step":
                self._step = content
            elif kind == "gives":
                return content
            else:
                raise content

    def _next(self) -> tuple[str, Any]:
        limit = left = START_SECONDS if self._step.what == START else STEP_SECONDS + PIXEL_SECONDS * self._step.pixels
        while True:
            try:
                if self._line.poll(min(left, LOOK_SECONDS)):
                    return self._line.recv()
            except (EOFError, ConnectionResetError):
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)
                raise Ended(self._death(), self._step) from None
            left -= LOOK_SECONDS
            if self._process.poll() is not None and not self._line.poll(0):
                raise Ended(self._death(), self._step)
            if left <= 0:
                raise Ended(f"did not go on for {limit:.0f} s when {self._step.what}: it hangs. {_ADVICE}", self._step)

    def _death(self) -> str:
        code = self._process.poll()
        if code is not None and code < 0:
            with suppress(ValueError):
                name = signal.Signals(-code).name
                memory = " (so the kernel ends what takes more memory than there is)" if name == "SIGKILL" else ""
                return f"ended its process by signal {name}{memory} when {self._step.what}. {_ADVICE}"
        return f"ended its process (exit code {code}) when {self._step.what}. {_ADVICE}"

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # with what the code of others started
        self._process.wait()
        self._line.close()


_ADVICE = "Let the network raise an exception instead, give it smaller inputs or more memory, or leave the model out; what is done is kept."


def serve(handle: int) -> None:
    """The child: answer what comes over the socket `handle` until it is closed."""
    _die_with_parent()
    os.set_inheritable(handle, False)
    line = Connection(handle)
    with loading():
        import xlli_ray.engine.run.network_trials
        import xlli_ray.engine.run.precheck
        import xlli_ray.engine.run.study_weights  # noqa: F401

    def tell(step: Step) -> None:
        line.send(("step", step))

    watch(tell)
    tell(Step("none of it had run yet"))
    while True:
        try:
            function, url, args, named, places = line.recv()
        except (EOFError, ConnectionResetError):
            os._exit(0)  # threads of others hold nothing up
        allow(places)
        try:
            answer: tuple[str, Any] = ("gives", function(open_objects(url), *args, **named))
        except Exception as error:
            answer = ("raises", _sendable(error))
        line.send(answer)


def _sendable(error: Exception) -> Exception:
    """The error; one that does not survive pickling with its traceback as text."""
    with suppress(Exception):
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    return RuntimeError(f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}")


def _die_with_parent() -> None:
    """Have the kernel end this process when its parent is gone, even one that hangs in native code."""
    parent = os.getppid()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
