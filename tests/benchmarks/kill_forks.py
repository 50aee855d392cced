"""Runs of `kills.py` that load nothing: a process that has loaded everything is forked, and the fork is the program from its first line on.

Most of the CPU time of a run of seconds is Python, torch and the package being loaded. A fork has that behind it, so that a campaign has
several times the kills in its time, and they fall where something is written.

    stdin of this program: one JSON line for each run: `words`, `environment`, `said` (file for stderr)
    stdout: `ready`; `started PID`; `ended PID CODE`
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path
from typing import Any

LOADED = (
    "torch", "scipy.stats", "matplotlib.figure", "xlli_ray.cli", "xlli_ray.engine.run.driver", "xlli_ray.engine.run.plan_apart",
    "xlli_ray.engine.run.part_run", "xlli_ray.engine.worker.preload", "xlli_ray.report.page",
)  # fmt: skip


class Forked:
    """A run, as far as `subprocess.Popen` is asked for here."""

    def __init__(self, forks: Forks, pid: int) -> None:
        self._forks, self.pid = forks, pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        self._forks.read(0.0)
        self.returncode = self._forks.ended.get(self.pid)
        return self.returncode

    def wait(self, timeout: float = 1e9) -> int:
        """Raises subprocess.TimeoutExpired."""
        until = time.monotonic() + timeout
        while (code := self.poll()) is None:
            left = until - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired("xlli", timeout)
            self._forks.read(min(left, 0.05))
        return code


class Forks:
    """The process that is forked."""

    def __init__(self, environment: dict[str, str]) -> None:
        self._server = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, process_group=0
        )
        self.ended: dict[int, int] = {}
        self._started: list[int] = []
        self._rest = b""
        self._ready = False
        while not self._ready:
            self.read(1.0)

    def start(self, words: list[str], environment: dict[str, str], said: Path) -> Forked:
        assert self._server.stdin is not None
        self._server.stdin.write(json.dumps({"words": words, "environment": environment, "said": str(said)}).encode() + b"\n")
        self._server.stdin.flush()
        while not self._started:
            self.read(1.0)
        return Forked(self, self._started.pop())

    def read(self, seconds: float) -> None:
        """What the server has said. Raises RuntimeError if it is gone."""
        assert self._server.stdout is not None
        while select.select([self._server.stdout], [], [], seconds)[0]:
            data = os.read(self._server.stdout.fileno(), 65536)
            if not data:
                raise RuntimeError("the process that is forked has ended")
            *lines, self._rest = (self._rest + data).split(b"\n")
            for line in lines:
                what, *numbers = line.decode().split()
                if what == "ready":
                    self._ready = True
                elif what == "started":
                    self._started.append(int(numbers[0]))
                else:
                    self.ended[int(numbers[0])] = int(numbers[1])
            return

    def close(self) -> None:
        self._server.kill()
        self._server.wait()


def become(request: dict[str, Any]) -> None:
    """In the fork: the program, with its words, its environment, and its stderr. Does not return."""
    os.setpgid(0, 0)
    os.environ.update(request["environment"])
    null, said = os.open(os.devnull, os.O_RDWR), os.open(request["said"], os.O_WRONLY | os.O_CREAT)
    for number, handle in enumerate((null, null, said)):
        os.dup2(handle, number)
    sys.stdin, sys.stdout, sys.stderr = open(0), open(1, "w"), open(2, "w")  # noqa: SIM115
    sys.argv = ["xlli", *request["words"]]
    arm = sys.modules["sitecustomize"]
    who, _, number = os.environ.get("XLLI_KILL_AT", "").partition(":")
    if who == "driver":
        arm._arm(int(number), os.environ["XLLI_KILL_UNDER"], os.environ["XLLI_KILL_LOG"])
    from xlli_ray.__main__ import program

    program()


def serve() -> None:
    for name in LOADED:
        import_module(name)
    import_module("xlli_ray.report.page_ahead").load()
    import_module("xlli_ray.store.records.listing").PACK = int(os.environ["XLLI_KILL_PACK"])
    answer("ready")
    rest, alive = b"", set[int]()
    while True:
        if select.select([0], [], [], 0.02 if alive else None)[0]:
            data = os.read(0, 65536)
            if not data:
                return
            *lines, rest = (rest + data).split(b"\n")
            for line in lines:
                pid = os.fork()
                if not pid:
                    try:
                        become(json.loads(line))
                    finally:
                        os._exit(99)
                alive.add(pid)
                answer(f"started {pid}")
        for pid in list(alive):
            found, status = os.waitpid(pid, os.WNOHANG)
            if found:
                alive.remove(pid)
                answer(f"ended {pid} {os.waitstatus_to_exitcode(status)}")


def answer(text: str) -> None:
    os.write(1, text.encode() + b"\n")


if __name__ == "__main__":
    serve()
