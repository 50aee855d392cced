"""One run of a campaign of `kills.py`: started, hit at a moment, and told of: who was hit, in which phase, how it ended, what it said."""

from __future__ import annotations

import collections
import contextlib
import os
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

import psutil
from kill_forks import Forked, Forks
from kill_worlds import World, command, environment

MARK = "XLLI_TRIAL"
PATIENCE = 240.0
"""Seconds of a run before it counts as one that hangs."""
ENDS = {  # exit codes that a run may have when one of these was killed; 0: it was over, or went on
    "driver": (-9,), "everything": (-9,), "worker": (0, 1), "child": (0, 1), "raylet": (0, 75), "gcs": (0, 75), "agent": (0, 75),
    "SIGTERM": (0, 75, -15), "": (0,),
}  # fmt: skip
NAMES = {"process_pool": "worker", "network_process": "child", "default_worker.py": "worker", "ray::": "worker", "gcs_server": "gcs",
         "raylet/raylet": "raylet", "agent.py": "agent"}  # fmt: skip
PHASES = {
    "lease/": "start", "records/scan-": "scan", "samples/": "sample table", "weights/": "weights", "study": "plan", "events/": "events",
    "tables/": "tables", "results/": "results", "digests.json": "digests", "report/": "page",
}  # fmt: skip
"""Beginning of a key → when a run writes it."""


def phase_of(key: str) -> str:
    """Of a run that wrote this object last, or was about to change it."""
    name = key.strip("/").rsplit("/", 1)[-1].lstrip(".")
    found = next((phase for start, phase in PHASES.items() if key.strip("/").startswith(start)), "")
    if found or not key.strip("/"):
        return found or "start"
    if key.startswith("records/"):
        return "packs" if "pack-" in name else "records"
    if "/valid" in key:
        return "valid"
    return "Zarr documents" if "json" in name or "/row" in key else "shards"


@dataclass
class Hit:
    """A kill. `moment`: seconds after the start, or the change of files before which it fell."""

    victim: str
    moment: str
    phase: str
    signal: str = "KILL"


@dataclass
class Told:
    """How a run went."""

    mode: str
    code: int
    seconds: float
    hits: list[Hit] = field(default_factory=list)
    said: str = ""
    """The last line of what it said."""
    findings: list[str] = field(default_factory=list)

    def plain(self) -> dict[str, object]:
        return asdict(self)


def marked(mark: str) -> list[psutil.Process]:
    """Living processes of a campaign, a study or a run, by the beginning of the mark in their environment."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.environ().get(MARK, "").startswith(mark) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def role(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        words = " ".join(process.cmdline()[:6])
        return next((name for part, name in NAMES.items() if part in words), "")
    return ""


def newest(out: Path, since: float) -> str:
    """The object of a study that was written last, heartbeats aside; '' if none was since then (seconds since 1970)."""
    best, when = "", int(since * 1e9)
    for folder, _, names in os.walk(out):
        for name in names:
            with contextlib.suppress(OSError):
                at = os.stat(os.path.join(folder, name)).st_mtime_ns
                if at > when and not name.endswith(".beat") and ".beat." not in name:
                    best, when = os.path.relpath(os.path.join(folder, name), out), at
    return best


class Run:
    """`xlli run` of a world into `out`. `last`: the last change of the study since a moment, for hits from outside."""

    def __init__(
        self, world: World, out: str, mode: str, options: Sequence[str], *, mark: str, last: Callable[[float], str], more: dict[str, str],
        forks: Forks | None = None,
    ) -> None:  # fmt: skip
        self.mode, self.out, self._last = mode, out, last
        self.mark = f"{mark}-{uuid.uuid4().hex[:8]}"
        self.hits: list[Hit] = []
        handle, name = tempfile.mkstemp(prefix="said-")
        self._said = Path(name)
        self.started, self.began = time.monotonic(), time.time()
        self.process: subprocess.Popen[bytes] | Forked
        words, given = command(world.path, out, *options), {MARK: self.mark, **more}
        if forks is not None:
            self.process = forks.start(words[3:], given, self._said)
        else:
            self.process = subprocess.Popen(words, env=environment(**given), stdout=subprocess.DEVNULL, stderr=handle, process_group=0)
        os.close(handle)

    def over(self, seconds: float) -> bool:
        """Whether it ends within so many seconds."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self.process.wait(max(0.0, seconds))
        return self.process.poll() is not None

    def there(self) -> dict[str, list[psutil.Process]]:
        """What of it could be hit now."""
        found: dict[str, list[psutil.Process]] = collections.defaultdict(list)
        for process in marked(self.mark):
            if process.pid != self.process.pid:
                found[role(process)].append(process)
        found.pop("", None)
        return dict(found)

    def hit(self, victim: str, process: psutil.Process | None, number: int = signal.SIGKILL) -> None:
        """Kill the driver, everything, or a process of the run."""
        try:
            driver = psutil.Process(self.process.pid)
        except psutil.NoSuchProcess:
            return
        targets = [driver, *marked(self.mark)] if victim == "everything" else [process or driver]
        moment = f"{time.monotonic() - self.started:.2f} s"
        self.hits.append(Hit(victim, moment, phase_of(self._last(self.began)), signal.Signals(number).name.removeprefix("SIG")))
        for target in targets:
            with contextlib.suppress(psutil.Error):
                target.send_signal(number)

    def told(self, also: Sequence[int] = ()) -> Told:
        """Wait for its end. `also`: further exit codes that are right."""
        findings = []
        if not self.over(PATIENCE - (time.monotonic() - self.started)):
            findings.append(f"hangs: {PATIENCE:.0f} s after its start it has not ended")
            for process in [psutil.Process(self.process.pid), *marked(self.mark)]:
                with contextlib.suppress(psutil.Error):
                    process.kill()
            self.process.wait()
        text = self._said.read_text(errors="replace")
        self._said.unlink()
        code = self.process.wait()
        if code != -signal.SIGKILL:  # it was over at that moment
            self.hits = [hit for hit in self.hits if hit.signal != "KILL" or hit.victim not in ("driver", "everything")]
        expected = [*also, *(end for hit in self.hits for end in ENDS["SIGTERM" if hit.signal == "TERM" else hit.victim])] or [0]
        if code == 3 and "Ray did not start" in text and any(hit.victim in ("raylet", "gcs", "agent") for hit in self.hits):
            expected.append(3)  # killed while it was starting
        if code not in expected:
            findings.append(f"exit code {code}, not one of {sorted(set(expected))}: {text.strip()[-1500:]}")
        if "Traceback" in text or "***" in text:
            findings.append(f"traceback: {text.strip()[-3000:]}")
        said = (text.strip().splitlines() or [""])[-1]
        return Told(self.mode, code, round(time.monotonic() - self.started, 2), self.hits, said[-400:], findings)
