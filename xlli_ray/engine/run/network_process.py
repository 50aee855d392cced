"""Networks are checked and planned with outside the driver's process where that is safer or faster.

Third-party code runs in a process of its own while a study is checked and planned, so that its crash or hang does not end the plan.

The rule: a recipe that names a factory (`network: FILE.py:make`, `package.module:make`) has its networks built, inspected and tested in
one child process, started with the run and ended with the plan; it returns records and cells. A network of the package or of spandrel
runs only on weights that were checked when read, on images of a few hundred pixels a side; it needs no child process. If the run's pool is
already there and loads torch anyway (`process_pool`), its first worker does this work, and the driver never loads torch; else the driver.

The child reports each step in advance (`models.step_reports`). If it dies or hangs, the last report names model and size: a NetworkError,
or, if the network was only being tested, a plan in which it gets one image at a time. A study's units run in workers, whose deaths are
counted elsewhere (`units`); with `workers=0` there is only one process, and its death ends the run.
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
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Concatenate, ParamSpec, TypeVar

from xlli_ray.engine.pools.local import Lost, Pool
from xlli_ray.engine.worker.environment import loading
from xlli_ray.engine.worker.tasks import Call
from xlli_ray.errors import NetworkError
from xlli_ray.models.step_reports import Step, watch
from xlli_ray.store.objects.client import Objects, open_objects
from xlli_ray.user_code import allow, allowed

OWN_PROCESS = True
"""False: everything in this process, for tests of other features with their own networks."""
P = ParamSpec("P")
T = TypeVar("T")
STEP_SECONDS = 300.0
PIXEL_SECONDS = 0.02
"""Time limit of a step, and per pixel: 80 times the time of SwinIR, 12·10⁶ multiply-adds per pixel, on one core."""
START = "Python and torch were loaded"
START_SECONDS = 600.0
LOOK_SECONDS = 0.5
PR_SET_PDEATHSIG = 1
_SERVE = "import sys; sys.path[:] = {paths!r}; from xlli_ray.engine.run.network_process import serve; serve({handle})"


class Ended(NetworkError):
    """The child ended, or was ended because it hung, in `step`."""

    def __init__(self, text: str, step: Step | None = None, *, killed: bool = False) -> None:
        super().__init__(text)
        self.step = step
        self.killed = killed
        """By SIGKILL, which comes from outside: from the kernel when memory runs out, whoever took it."""


class Apart:
    """Calls `function(objects, *args)`: here, in the child if `foreign`, or in a worker of the run (`lend`). One at a time."""

    def __init__(self, objects: Objects, *, foreign: bool, paths: Sequence[str]) -> None:
        self._objects, self._paths = objects, list(paths)
        self._child: _Child | None = None
        self._pool: Callable[[], Pool] | None = None
        self.foreign = foreign and OWN_PROCESS
        self._stays = foreign and not OWN_PROCESS
        if self.foreign:
            self._child = _Child(self._paths)  # it loads in parallel

    def lend(self, pool: Callable[[], Pool]) -> None:
        """Workers that load torch meanwhile: from now on what is not foreign runs there."""
        self._pool = None if self._stays else pool

    def __call__(self, function: Callable[Concatenate[Objects, P], T], *args: P.args, **named: P.kwargs) -> T:
        """Result or error of the function; `Ended` if its process did not survive it: of two, if the first was killed from outside. Else
        one kill would give the plan of a network that ends its process, with other batches and so other numbers."""
        try:
            return self._once(function, *args, **named)
        except Ended as error:
            if not error.killed:
                raise
        return self._once(function, *args, **named)

    def _once(self, function: Callable[Concatenate[Objects, P], T], *args: P.args, **named: P.kwargs) -> T:
        if not self.foreign:
            return self._here(function, *args, **named) if self._pool is None else self._there(self._pool(), function, *args, **named)
        self._child = self._child or _Child(self._paths)
        try:
            return self._child.ask((function, self._objects.url, args, named, allowed()))
        except Ended:
            self.close()
            raise

    def _here(self, function: Callable[Concatenate[Objects, P], T], *args: P.args, **named: P.kwargs) -> T:
        import torch

        threads = torch.get_num_threads()
        try:
            return function(self._objects, *args, **named)
        finally:
            torch.set_num_threads(threads)

    def _there(self, pool: Pool, function: Callable[Concatenate[Objects, P], T], *args: P.args, **named: P.kwargs) -> T:
        ((_, outcome),) = pool.run("call", deque([Call(function, args, named)]), lambda: None)
        if isinstance(outcome, Lost):
            raise Ended(f"{outcome.reason} when it was checked or planned with. {_ADVICE}", killed=outcome.killed)
        answer: T = outcome
        return answer

    def close(self) -> None:
        """End the child."""
        if self._child is not None:
            self._child.end()
            self._child = None


def is_foreign(networks: Sequence[str | None]) -> bool:
    """Whether one of a recipe's `network` entries is third-party code."""
    return any(network is not None and ":" in network for network in networks)


def limit_seconds(step: Step) -> float:
    """How long `step` may take before its network counts as hanging."""
    return START_SECONDS if step.what == START else STEP_SECONDS + PIXEL_SECONDS * step.pixels


class _Child:
    """One process, and the connection to it."""

    def __init__(self, paths: list[str]) -> None:
        own, its = socket.socketpair()
        with its:
            code = _SERVE.format(paths=paths, handle=its.fileno())
            # a separate session: Ctrl-C is for the run, which then ends the child
            self._process = subprocess.Popen(
                [sys.executable, "-c", code], stdin=subprocess.DEVNULL, pass_fds=(its.fileno(),), start_new_session=True
            )
        self._line = Connection(own.detach())
        self._step = Step(START)

    def ask(self, request: Any) -> Any:
        with suppress(BrokenPipeError, ConnectionResetError):  # its fate is determined below
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
        limit = left = limit_seconds(self._step)
        while True:
            try:
                if self._line.poll(min(left, LOOK_SECONDS)):
                    return self._line.recv()
            except (EOFError, ConnectionResetError):
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(10)
                raise Ended(self._death(), self._step, killed=self._process.poll() == -signal.SIGKILL) from None
            left -= LOOK_SECONDS
            if self._process.poll() is not None and not self._line.poll(0):
                raise Ended(self._death(), self._step, killed=self._process.poll() == -signal.SIGKILL)
            if left <= 0:
                raise Ended(f"did not respond for {limit:.0f} s when {self._step.what}: it hangs. {_ADVICE}", self._step)

    def _death(self) -> str:
        code = self._process.poll()
        if code is not None and code < 0:
            with suppress(ValueError):
                name = signal.Signals(-code).name
                memory = " (as from the kernel when memory runs out)" if name == "SIGKILL" else ""
                return f"ended its process by signal {name}{memory} when {self._step.what}. {_ADVICE}"
        return f"ended its process (exit code {code}) when {self._step.what}. {_ADVICE}"

    def end(self) -> None:
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # including processes started by third-party code
        self._process.wait()
        self._line.close()


_ADVICE = "Let the network raise an exception instead, give it smaller inputs or more memory, or omit the model; finished work is kept."


def serve(handle: int) -> None:
    """The child: serve requests on the socket `handle` until it is closed."""
    die_with_parent()
    os.set_inheritable(handle, False)
    line = Connection(handle)
    with loading():
        import xlli_ray.engine.run.plan_apart
        import xlli_ray.engine.run.precheck
        import xlli_ray.engine.run.study_weights  # noqa: F401

    def tell(step: Step) -> None:
        _tell(line, ("step", step))

    watch(tell)
    tell(Step("none of it had run yet"))
    while True:
        try:
            function, url, args, named, places = line.recv()
        except (EOFError, ConnectionResetError):
            os._exit(0)  # do not wait for threads of third-party code
        allow(places)
        try:
            answer: tuple[str, Any] = ("gives", function(open_objects(url), *args, **named))
        except Exception as error:
            answer = ("raises", _sendable(error))
        _tell(line, answer)


def _tell(line: Connection, what: tuple[str, Any]) -> None:
    """To the parent; without one, which was told to end, there is nothing left to do or to say."""
    try:
        line.send(what)
    except (BrokenPipeError, ConnectionResetError):
        os._exit(0)


def _sendable(error: Exception) -> Exception:
    """The error; one that does not survive pickling with its traceback as text."""
    with suppress(Exception):
        if str(pickle.loads(pickle.dumps(error))) == str(error):
            return error
    return RuntimeError(f"{type(error).__name__}: {error}\n{''.join(traceback.format_exception(error))}")


def die_with_parent() -> None:
    """Have the kernel end this process when its parent is gone, even if it hangs in native code."""
    parent = os.getppid()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(0)
