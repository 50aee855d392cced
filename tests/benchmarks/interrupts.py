"""Ends: `xlli scan` again and again, and SIGTERM at random moments of a run that starts Ray.

Bars: no exit code but 0 (scans), 130, 75 (SIGTERM) or 0 (signalled), no process left after it, no lease
that would hold the next run up, no temp folder.
Each trial carries a mark in its environment, which what it starts inherits: what is left is found by it and by nothing else.
"""

from __future__ import annotations

import collections
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import common
import numpy as np
import psutil
import yaml
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
MARK = "XLLI_TRIAL"
GRACE_SECONDS = 10.0
EARLIEST_SECONDS = 1.0
"""Before that Python loads, and a signal does what it does to any program."""


def make_recipe(folder: Path, images: int = 6) -> Path:
    """A recipe over noise images of 48 × 48 and one built-in network."""
    for number in range(images):
        values = np.random.default_rng(number).integers(0, 255, (48, 48, 3), dtype=np.uint8)
        Image.fromarray(values).save(folder / f"{number}.png")
    data = {
        "name": "tiny",
        "corpus": {"images": [f"{folder}/*.png"], "scale": 4},
        "models": [{"id": "small", "weights": "builtin:srresnet-gr-clean"}],
        "stages": [{"restore": {}}],
    }
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def begin(arguments: list[str], mark: str) -> subprocess.Popen[bytes]:
    """`xlli ARGUMENTS` in a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", MARK: mark}
    command = [sys.executable, "-m", "xlli_ray", *arguments]
    return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, process_group=0)


def left(mark: str, grace: float = GRACE_SECONDS) -> list[str]:
    """Processes of that trial that are still there after the grace, by name."""
    until = time.monotonic() + grace
    while True:
        found = []
        for process in psutil.process_iter(["name"]):
            try:
                if process.environ().get(MARK) == mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(process)
            except psutil.Error:
                continue
        if not found or time.monotonic() > until:
            return [f"{process.info['name']} ({process.pid})" for process in found]
        time.sleep(0.2)


def scans(recipe: Path, folder: Path, count: int) -> collections.Counter[str]:
    """How `count` scans ended."""
    ends: collections.Counter[str] = collections.Counter()
    for trial in range(count):
        child = begin(["scan", str(recipe), "--out", str(folder / f"scan{trial}")], uuid.uuid4().hex)
        _, errors = child.communicate()
        ends[str(child.returncode)] += 1
        if child.returncode:
            print(f"  scan {trial}: {child.returncode}: {errors.decode(errors='replace').strip()[-300:]}")
    return ends


def signalled(recipe: Path, folder: Path, count: int, *, seconds: float, group: bool, seed: int) -> collections.Counter[str]:
    """How `count` runs ended that got SIGTERM after up to `seconds`: to the driver alone, or to its process group as shells do."""
    ends: collections.Counter[str] = collections.Counter()
    drawn = random.Random(seed)
    for trial in range(count):
        mark, wait = uuid.uuid4().hex, drawn.uniform(EARLIEST_SECONDS, seconds)
        study = folder / f"run{seed}-{trial}"
        child = begin(["run", str(recipe), "--workers", "2", "--out", str(study)], mark)
        try:
            child.wait(wait)
        except subprocess.TimeoutExpired:
            (os.killpg if group else os.kill)(child.pid, signal.SIGTERM)
        sent = time.monotonic()
        _, errors = child.communicate()
        took = time.monotonic() - sent
        text = errors.decode(errors="replace")
        ends[str(child.returncode)] += 1
        leases = sorted(path.name for path in (study / "lease").glob("0*.json")) if (study / "lease").exists() else []
        open_leases = [name for name in leases if not (study / "lease" / name.replace(".json", ".end")).exists()]
        remains = left(mark)
        found = {
            "left a process": remains, "left its lease": open_leases, "traceback": "Traceback" in text, "C++ stack": "***" in text,
            "slower than 10 s": took > 10,
        }  # fmt: skip
        ends.update(what for what, bad in found.items() if bad)
        if child.returncode not in (0, 75, 130) or any(found.values()):
            print(f"  trial {trial}, signal at {wait:.2f} s, end {took:.1f} s later: rc {child.returncode}, {found}: {text.strip()[-900:]}")
    return ends


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--scans", type=int, default=60)
    parser.add_argument("--signals", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=9.0, help="latest moment of the signal: starting, and a little of the run")
    parser.add_argument("--group", action="store_true", help="signal the process group, as a closing shell or a batch system does")
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="xlli-ends-") as place:
        folder = Path(place)
        recipe = make_recipe(folder)
        ends = {"scans": dict(scans(recipe, folder, args.scans))}
        ends["signalled"] = dict(
            signalled(recipe, folder, args.signals, seconds=args.seconds, group=args.group, seed=args.seed)
        )
    for name, counts in ends.items():
        print(f"  {name}: {counts}")
    common.finish("interrupts", group=args.group, seed=args.seed, **ends)


if __name__ == "__main__":
    main()
