"""Writing a page: CPU and wall seconds, of a study with many figures, and of its files in a bucket that answers slowly.

The study is made by hand (eight networks, five degradations, twenty photographs; a stage of outputs, one of maps with ten numbers a window,
one of twelve numbers), so that only the page is measured; `--place` measures one that is there. Each page is written twice in a process of
its own, the first time for what is loaded and compiled; the second one counts. It is written once more, into objects that take
`--latency` seconds for each put, as a bucket far away does: wall seconds in which the process computes nothing.

`--before FOLDER`: another checkout, measured in turns with this one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import common
import numpy as np

ROOT = Path(__file__).resolve().parents[2]
WRITE = """
import json, sys, time
from xlli_ray.report.page import write_report
from xlli_ray.store.objects.local import LocalObjects
place, latency = sys.argv[1], float(sys.argv[2])
clocks = lambda: (time.process_time(), time.perf_counter())
write_report(place)
start = clocks()
write_report(place)
cpu, wall = (after - before for before, after in zip(start, clocks()))
put = LocalObjects.put
def slow(self, key, data):
    time.sleep(latency)
    put(self, key, data)
LocalObjects.put = slow
start = clocks()
write_report(place)
busy, whole = (after - before for before, after in zip(start, clocks()))
print(json.dumps({"cpu": cpu, "wall": wall, "waited": whole - busy}))
"""


def made(folder: Path, quick: bool) -> Path:
    """The study of the docstring."""
    sys.path[:0] = [str(ROOT / "tests/report")]
    from toy_studies import Recipe, Stage, write_study

    from xlli_ray.store.objects.client import open_objects

    def outputs(model: int, row: int, shape: tuple[int, ...]) -> np.ndarray:
        return np.random.default_rng((model, row)).integers(0, 255, shape)

    def numbers(count: int, windows: int = 0) -> Any:
        def of(model: int, row: int, label: str) -> Any:
            rng = np.random.default_rng((model, row, len(label)))
            some = [{f"n{i}": 10.0 * i + row % 7 + float(rng.normal()) for i in range(count)} for _ in range(max(windows, 1))]
            if not windows:
                return some[0]
            return [{"window": i, "top": 8 * i, "left": 8, "size": 16, "di": 10.0, **one} for i, one in enumerate(some)]

        return of

    few = [(f"n{i}", "float64") for i in range(12)]
    window = [*((name, "int64") for name in ("window", "top", "left", "size")), ("di", "float64"), *few[:10]]
    stages = [
        Stage("restore", name="output", shape=(3, -1, -2), dtype="uint8", array=outputs),
        Stage("lam", "lam", window, ("lam",), name="map", shape=(2, 32, 32), dims=("window", "y", "x"), value=numbers(10, 2)),
        Stage("many", "novel", few, ("many",), value=numbers(12)),
    ]
    degradations = ("clean", {"blur": 2}, {"noise": 20}, {"jpeg": 50}, {"blur": 1})
    recipe = Recipe(stages, models=3 if quick else 8, pictures=4 if quick else 20, degradations=degradations, name="figures")
    write_study(open_objects(folder / "figures"), recipe, folder / "photographs")
    return folder / "figures"


def written(root: Path, place: Path, latency: float) -> dict[str, float]:
    """Seconds of one round; see the module docstring."""
    env = {**os.environ, "PYTHONPATH": str(root)}
    done = subprocess.run([sys.executable, "-c", WRITE, str(place), str(latency)], env=env, cwd=root, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(done.stderr)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--before", type=Path, default=None, help="another checkout to compare with")
    parser.add_argument("--place", type=Path, default=None, help="a study that is there")
    parser.add_argument("--latency", type=float, default=0.05, help="seconds of a put [default: 0.05]")
    args = parser.parse_args()
    roots = {**({"before": args.before.resolve()} if args.before else {}), "now": ROOT}
    taken: dict[str, list[dict[str, float]]] = {who: [] for who in roots}
    with common.scratch(args.scratch) as folder:
        place = args.place or made(folder, args.quick)
        for _ in range(args.rounds or (1 if args.quick else 3)):
            for who, root in roots.items():
                taken[who].append(written(root, place.resolve(), args.latency))
        files = [path.stat().st_size for path in (place / "report").rglob("*") if path.is_file()]
    result = {
        who: {what: common.spread([one[what] for one in rounds]) for what in ("cpu", "wall", "waited")} for who, rounds in taken.items()
    }
    rows = [[who, found["cpu"], found["wall"], found["waited"]] for who, found in result.items()]
    common.show("Writing a page, seconds (min / median / max)", rows, ["", "CPU", "wall", f"waited for puts of {args.latency:g} s"])
    ratio = {}
    if args.before:
        ratio = {what: result["before"][what]["median"] / result["now"][what]["median"] for what in ("cpu", "waited")}
        print(f"\n  CPU {ratio['cpu']:.1f} times less than before, waiting for puts {ratio['waited']:.1f} times")
    common.finish("page", seconds=result, ratio=ratio, files=len(files), bytes=sum(files))


if __name__ == "__main__":
    main()
