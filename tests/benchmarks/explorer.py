"""The explorer with many samples: writing the page, its size, first paint and sorting in Chromium.

Bars: 10,000 samples × 4 networks: page written within 20 s, first paint within 1 s, a sort within 100 ms; 100,000 samples open. The
study is made by hand (32×32 photographs, four degradations, outputs stored), so that only the page is measured; `--place` measures one
that is there.

    python tests/benchmarks/explorer.py --samples 10000
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / "tests/report")]
WEB = ROOT / "xlli_ray/report/explorer/web"


def main() -> None:
    """Print one line of JSON a measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--samples", type=int, default=10_000)
    parser.add_argument("--models", type=int, default=4)
    parser.add_argument("--place", help="a study that is there")
    parser.add_argument("--rounds", type=int, default=5)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        place = asked.place or made(Path(folder), asked.samples, asked.models)
        written(place)
        in_chromium(place, asked.rounds)


def made(folder: Path, samples: int, models: int) -> str:
    """A study of that many samples."""
    from toy_studies import Recipe, Stage, write_study

    from xlli_ray.store.objects.client import open_objects

    def outputs(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng((model, row)).integers(0, 255, shape)

    restore = Stage("restore", name="output", shape=(3, -1, -2), dtype="uint8", array=outputs)
    degradations = ("clean", {"blur": 2}, {"noise": 20}, {"jpeg": 50})
    recipe = Recipe([restore], models=models, pictures=samples // len(degradations), size=32, degradations=degradations, name="many")
    begun = time.perf_counter()
    write_study(open_objects(folder / "many"), recipe, folder / "photographs")
    say("study", samples=samples, models=models, seconds=round(time.perf_counter() - begun, 1))
    return str(folder / "many")


def written(place: str) -> None:
    """Write the page, in a process of its own."""
    begun, spent = time.perf_counter(), os.times()
    subprocess.run([sys.executable, "-m", "xlli_ray", "report", place], check=True, stdout=subprocess.DEVNULL)
    after = os.times()
    cpu = after.children_user + after.children_system - spent.children_user - spent.children_system
    kinds: Counter[str] = Counter()
    for path in Path(place, "report").rglob("*"):
        if path.is_file():
            kinds[path.stem.split("-")[0] if path.parent.name == "data" else path.name] += path.stat().st_size
    wall, sizes = round(time.perf_counter() - begun, 1), {name: size >> 10 for name, size in kinds.items()}
    say("written", seconds=wall, cpu_seconds=round(cpu, 1), kilobytes=sizes)


def in_chromium(place: str, rounds: int) -> None:
    """First paint and sorting."""
    url = Path(place, "report/index.html").as_uri()
    subprocess.run(["node", "browser/speed.mjs", url, str(rounds)], cwd=WEB, check=True)


def say(what: str, **fields: Any) -> None:
    """One line."""
    print(json.dumps({"measured": what, **fields}), flush=True)


if __name__ == "__main__":
    main()
