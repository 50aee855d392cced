"""What all benchmarks share: CPU and wall time of a whole process tree, synthetic images, and how results are printed.

CPU time of a run means all of its processes: driver, raylet and other daemons, workers. Where a control group of our own can be made
(cgroup v1 `cpuacct` or v2, usually as root), the run is started in it and the kernel's count is read at the end. Elsewhere this process
becomes the reaper of orphans and the resource usage of all children is taken, which misses processes whose parent throws their usage
away. `CPU_METHOD` says which it was.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

for _name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
sys.modules.setdefault("coverage", None)  # type: ignore[arg-type]  # numba takes what has this name for the package: ours is none
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import numpy as np  # noqa: E402  (after the thread variables)

_V1 = Path("/sys/fs/cgroup/cpuacct")
_V2 = Path("/sys/fs/cgroup")
PATIENCE = 60.0  # seconds that left-over daemons get to end by themselves


@dataclass(frozen=True)
class Cost:
    """Seconds of one run, all processes; `peak` is the largest resident set among them, bytes."""

    cpu: float
    wall: float
    output: str


def _new_group() -> tuple[Path, str] | None:
    """A fresh control group and the name of its file with the CPU count, None where none can be made."""
    name = f"xlli-bench-{os.getpid()}-{time.monotonic_ns()}"
    for root, file in ((_V1, "cpuacct.usage"), (_V2, "cpu.stat")):
        try:
            if not (root / file).exists() and not (root / "cgroup.procs").exists():
                continue
            group = root / name
            group.mkdir()
            if (group / file).exists():
                return group, file
            group.rmdir()
        except OSError:
            continue
    return None


def _group_seconds(group: Path, file: str) -> float:
    text = (group / file).read_text()
    if file == "cpuacct.usage":
        return int(text) / 1e9
    return int(text.split("usage_usec", 1)[1].split()[0]) / 1e6


def _probe_method() -> str:
    made = _new_group()
    if made is None:
        return "resource usage of reaped children (no control group could be made)"
    made[0].rmdir()
    return f"control group of the run's own ({made[1]})"


CPU_METHOD = _probe_method()


def run_measured(command: Sequence[str], *, env: Mapping[str, str] | None = None, timeout: float = 3600) -> Cost:
    """Run a command to its end and to the end of everything it started. Raises RuntimeError with its output when it fails."""
    made = _new_group()
    if made is None:
        ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER: orphaned daemons become ours to wait for
    before = _children_seconds()
    start = time.perf_counter()

    def enter() -> None:
        if made is not None:
            (made[0] / "cgroup.procs").write_text("0")

    with tempfile.TemporaryFile("w+") as out:
        child = subprocess.Popen(
            list(command), stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **(env or {})}, preexec_fn=enter
        )
        try:
            code = child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.kill()
            code = child.wait()
        wall = time.perf_counter() - start
        out.seek(0)
        text = out.read()
    if made is None:
        _reap()
        cpu = _children_seconds() - before
    else:
        cpu = _leave(*made)
    if code:
        raise RuntimeError(f"{' '.join(command)} ended with {code}:\n{text[-4000:]}")
    return Cost(cpu, wall, text)


def _leave(group: Path, file: str) -> float:
    """CPU seconds of the group, once its last process is gone. What does not end by itself is ours, so it is ended by its pid."""
    until = time.monotonic() + PATIENCE
    while pids := (group / "cgroup.procs").read_text().split():
        if time.monotonic() > until:
            for pid in pids:
                os.kill(int(pid), signal.SIGKILL)
        time.sleep(0.05)
    seconds = _group_seconds(group, file)
    group.rmdir()
    return seconds


def _children_seconds() -> float:
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def _reap() -> None:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        try:
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(0.05)
        except ChildProcessError:
            return


def process_seconds() -> float:
    """CPU seconds of this process so far, all threads."""
    return time.process_time()


@contextmanager
def scratch(parent: str | None) -> Iterator[Path]:
    """A temporary folder, removed at the end."""
    folder = Path(tempfile.mkdtemp(prefix="xlli-bench-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def arguments(about: str, **defaults: Any) -> argparse.ArgumentParser:
    """The parser all benchmarks share."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small sizes, one round: shows that it runs, the ratios mean little")
    parser.add_argument("--rounds", type=int, default=None, help="interleaved repetitions")
    parser.add_argument("--scratch", default=None, help="where the temporary folder goes [default: the system's]")
    parser.set_defaults(**defaults)
    return parser


def spread(values: Sequence[float]) -> dict[str, float]:
    """min, median, max."""
    return {"min": min(values), "median": statistics.median(values), "max": max(values)}


def show(title: str, rows: Sequence[Sequence[Any]], head: Sequence[str]) -> None:
    """Print a plain table."""
    cells = [[_text(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in [list(head), *cells]) for i in range(len(head))]
    print(f"\n{title}")
    for row in [list(head), ["-" * w for w in widths], *cells]:
        print("  " + "  ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))))


def _text(cell: Any) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if abs(cell) >= 1000 else f"{cell:.3g}"
    if isinstance(cell, dict):
        return " / ".join(_text(float(cell[key])) for key in ("min", "median", "max"))
    return str(cell)


def finish(name: str, **results: Any) -> None:
    """Print the JSON line that every benchmark ends with."""
    load = os.getloadavg()
    facts = {"benchmark": name, "cores": os.cpu_count(), "load": [round(x, 2) for x in load], "python": sys.version.split()[0]}
    sys.stdout.flush()
    print(json.dumps({**facts, **results}, default=float))


def scenes(seed: int, count: int = 24, size: int = 256) -> list[np.ndarray]:
    """float32 RGB images in 0..1 of smooth shades and edges, which compress about like photographs."""
    out = []
    for number in range(count):
        rng = np.random.default_rng([seed, number])
        coarse = rng.normal(0.5, 0.25, (9, 9, 3))
        at = np.linspace(0, 8, size)
        low = np.minimum(at.astype(int), 7)
        part = (at - low)[:, None]
        rows = coarse[low] * (1 - part[..., None]) + coarse[low + 1] * part[..., None]
        scene = rows[:, low] * (1 - part[None]) + rows[:, low + 1] * part[None]
        y, x = np.mgrid[:size, :size] / size
        for _ in range(6):
            angle, offset, step = rng.uniform(0, np.pi), rng.uniform(0.2, 0.8), rng.normal(0, 0.15, 3)
            scene = scene + ((np.cos(angle) * x + np.sin(angle) * y > offset)[..., None] * step)
        out.append(scene.clip(0, 1).astype(np.float32))
    return out


def encoded(pixels: np.ndarray, kind: str) -> bytes:
    """The bytes of a JPEG (quality 92) or PNG file."""
    from PIL import Image

    out = BytesIO()
    Image.fromarray(pixels).save(out, kind, **({"quality": 92} if kind == "JPEG" else {}))
    return out.getvalue()


def write_images(folder: Path, count: int, *, seed: int, size: int = 256, first: int = 0) -> None:
    """`count` images, three quarters JPEG and one quarter PNG, all different: scenes, shifted, with fresh grain."""
    folder.mkdir(parents=True, exist_ok=True)
    base = scenes(seed, size=size)
    for number in range(first, first + count):
        rng = np.random.default_rng([seed, number])
        grain = rng.normal(0, 0.008, (size, size, 1)).astype(np.float32)
        scene = np.roll(base[number % len(base)], tuple(rng.integers(0, size, 2)), (0, 1))
        pixels = ((scene + grain).clip(0, 1) * np.float32(255)).astype(np.uint8)
        kind = "PNG" if number % 4 == 3 else "JPEG"
        (folder / f"{number:06d}.{kind.lower()}").write_bytes(encoded(pixels, kind))
