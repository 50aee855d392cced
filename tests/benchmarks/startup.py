"""Start-up: `import xlli_ray` and `xlli --help`, each in fresh processes, and what they load.

Bars: import ≤ 0.3 s, help ≤ 0.5 s, neither torch nor ray in sys.modules after either. The import's time is what it adds to a bare
interpreter's start. CPU seconds are the measure on a loaded machine; wall times are reported beside them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import common

ROOT = Path(__file__).resolve().parents[2]
CASES = {
    "python -c pass": ["-c", "pass"],
    "import xlli_ray": ["-c", "import xlli_ray"],
    "xlli --help": ["-c", "import sys; sys.argv = ['xlli', '--help']; from xlli_ray.__main__ import main; main()"],
}
HEAVY = ("torch", "ray", "zarr", "spandrel", "matplotlib", "scipy", "sklearn")
LOADED = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("LOADED " + " ".join(n for n in {heavy!r} if n in sys.modules)))
"""


def timed(arguments: list[str]) -> tuple[float, float]:
    """(CPU, wall) seconds of one fresh interpreter."""
    start = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, *arguments], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.perf_counter() - start
    child.returncode = os.waitstatus_to_exitcode(status)
    assert child.returncode == 0, (arguments, child.returncode)
    return usage.ru_utime + usage.ru_stime, wall


def loaded(arguments: list[str]) -> list[str]:
    """Which of the heavy packages the process had loaded when it ended."""
    code = LOADED.format(heavy=HEAVY) + arguments[1]
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True
    )
    return done.stderr.rsplit("LOADED ", 1)[-1].split()


def main() -> None:
    args = common.arguments(__doc__).parse_args()
    rounds = args.rounds or (3 if args.quick else 15)
    taken: dict[str, list[tuple[float, float]]] = {name: [] for name in CASES}
    for _ in range(rounds):
        for name, arguments in CASES.items():
            taken[name].append(timed(arguments))
    rows, result = [], {}
    for name, values in taken.items():
        cpu, wall = (common.spread([value[i] for value in values]) for i in (0, 1))
        heavy = loaded(CASES[name])
        rows.append([name, cpu, wall, " ".join(heavy) or "-"])
        result[name] = {"cpu_s": cpu, "wall_s": wall, "loaded": heavy}
    common.show("Seconds (min / median / max)", rows, ["", "CPU", "wall", "heavy packages loaded"])
    bare = result["python -c pass"]
    added = {k: result["import xlli_ray"][k]["min"] - bare[k]["min"] for k in ("cpu_s", "wall_s")}
    print(f"\n  import xlli_ray adds {added['cpu_s']:.3f} CPU-s, {added['wall_s']:.3f} s wall to a bare interpreter (bar 0.3)")
    verdict = not any({"torch", "ray"} & set(result[name]["loaded"]) for name in CASES)
    common.finish("startup", rounds=rounds, cases=json.loads(json.dumps(result)), import_adds=added, neither_torch_nor_ray=verdict)


if __name__ == "__main__":
    main()
