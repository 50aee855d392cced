"""Start-up: `import xlli_ray`, `xlli --help`, the quickstart, and a finished study, in fresh processes; what they load, and their parts.

Bars: import ≤ 0.3 s, help ≤ 0.5 s, the quickstart ≤ 10 s and a finished study ≤ 1 s of wall time on a quiet machine with two cores; neither
torch nor ray in sys.modules after import, help and a finished study. The import's time is what it adds to a bare interpreter's start. CPU
seconds, of all processes of a run, are the measure on a loaded machine; wall times are reported beside them. The first run after an
installation also compiles every module: `--first` measures it, with an empty cache of bytecode.

`--before FOLDER`: another checkout, measured in turns with this one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import common

ROOT = Path(__file__).resolve().parents[2]
BARS = {"import": 0.3, "help": 0.5, "quickstart": 10.0, "finished": 1.0}
MAIN = "from xlli_ray.__main__ import main; main()"
SMALL = {
    "python -c pass": "pass",
    "import xlli_ray": "import xlli_ray",
    "xlli --help": f"import sys; sys.argv = ['xlli', '--help']; {MAIN}",
}
HEAVY = ("torch", "ray", "zarr", "spandrel", "matplotlib", "scipy", "sklearn", "pandas", "torch._dynamo")
LOADED = """
import atexit, sys
atexit.register(lambda: sys.stderr.write("LOADED " + " ".join(n for n in {heavy!r} if n in sys.modules)))
"""
STEPS = (
    ("cli", "_recipe"), ("engine.run.driver", "_checked"), ("engine.run.driver", "_scanned"), ("engine.run.driver", "_with_baseline"),
    ("engine.run.driver", "_planned"), ("engine.run.driver", "create_arrays"), ("engine.run.driver", "run_units"),
    ("engine.run.driver", "finish"), ("engine.run.driver", "run_analyses"), ("engine.run.driver", "write_root"), ("cli", "_write_report"),
    ("report.text", "result_table"),
)  # fmt: skip
PARTS = """
import atexit, functools, importlib, json, sys, time
clocks = lambda: (time.perf_counter(), time.process_time())
began, parts = clocks(), {{}}
def timed(module, name):
    where = importlib.import_module("xlli_ray." + module)
    if (function := getattr(where, name, None)) is None:
        return
    @functools.wraps(function)
    def run(*args, **given):
        start = clocks()
        try:
            return function(*args, **given)
        finally:
            parts[name.strip("_")] = [b - a for a, b in zip(start, clocks())]
    setattr(where, name, run)
import xlli_ray.cli, xlli_ray.engine.run.driver, xlli_ray.report.text
parts["imports of the driver"] = [b - a for a, b in zip(began, clocks())]
for step in {steps!r}:
    timed(*step)
def tell():
    parts["all"] = [b - a for a, b in zip(began, clocks())]
    sys.stderr.write("PARTS " + json.dumps(parts))
atexit.register(tell)
sys.argv = {argv!r}
from xlli_ray.__main__ import main
main()
"""


def environment(root: Path, **more: str) -> dict[str, str]:
    return {"PYTHONPATH": str(root), **more}


def loaded(code: str, root: Path) -> list[str]:
    """Which of the heavy packages the process had loaded when it ended."""
    done = subprocess.run(
        [sys.executable, "-c", LOADED.format(heavy=HEAVY) + code], cwd=root, env={**os.environ, **environment(root)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    return done.stderr.rsplit("LOADED ", 1)[-1].split()


def parts_of(argv: list[str], root: Path) -> dict[str, list[float]]:
    """Step of a run → (wall, CPU) seconds in the driver's process."""
    done = subprocess.run(
        [sys.executable, "-c", PARTS.format(steps=STEPS, argv=argv)], cwd=root, env={**os.environ, **environment(root)},
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    told: dict[str, list[float]] = json.loads(done.stderr.rsplit("PARTS ", 1)[-1])
    return told


def small_recipe(folder: Path) -> Path:
    """A recipe with an analysis over eight scenes."""
    from PIL import Image

    for number, scene in enumerate(common.scenes(0, 8, 96)):
        Image.fromarray((scene * 255).astype("uint8")).save(folder / f"{number}.png")
    path = folder / "small.yaml"
    path.write_text(
        "name: small\ncorpus: {images: ['*.png'], scale: 4, degradations: [clean, {noise: 20}]}\n"
        "models: [{id: net, weights: 'builtin:srresnet-gr-clean'}]\n"
        "stages: [restore: {}, srga: {layer: '*:last_conv_input', reference: clean, components: 4}]\n"
    )
    return path


def xlli(root: Path, recipe: str, out: Path, *more: str, **env: str) -> common.Cost:
    command = [sys.executable, "-m", "xlli_ray", "run", recipe, "--out", str(out), *more]
    return common.run_measured(command, env=environment(root, **env))


def quickstarts(places: dict[str, Path], folder: Path, rounds: int) -> dict[str, dict[str, list[tuple[float, float]]]]:
    """Checkout → case → (CPU, wall) seconds of each round, in turns."""
    small = str(small_recipe(folder))
    taken: dict[str, dict[str, list[tuple[float, float]]]] = {who: {} for who in places}
    for _ in range(rounds):
        for who, root in places.items():
            one, two = folder / f"{who}-quickstart", folder / f"{who}-small"
            for case, recipe, out, more, fresh in (
                ("quickstart", "quickstart", one, (), True), ("quickstart, finished", "quickstart", one, (), False),
                ("quickstart, one process", "quickstart", one, ("--workers", "0"), True), ("small study", small, two, (), True),
                ("small study, finished", small, two, (), False),
            ):  # fmt: skip
                if fresh:
                    shutil.rmtree(out, ignore_errors=True)
                cost = xlli(root, recipe, out, *more)
                assert fresh or "nothing to do" in cost.output
                taken[who].setdefault(case, []).append((cost.cpu, cost.wall))
    return taken


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--before", type=Path, default=None, help="another checkout to compare with")
    parser.add_argument("--first", action="store_true", help="also the first run after an installation")
    args = parser.parse_args()
    places = {**({"before": args.before.resolve()} if args.before else {}), "now": ROOT}
    rounds = args.rounds or (1 if args.quick else 3)
    result: dict[str, Any] = {}
    rows = []
    for name, code in SMALL.items():
        costs = [common.run_measured([sys.executable, "-c", code], env=environment(ROOT)) for _ in range(5 * rounds)]
        cpu, wall = common.spread([cost.cpu for cost in costs]), common.spread([cost.wall for cost in costs])
        heavy = loaded(code, ROOT)
        rows.append([name, cpu, wall, " ".join(heavy) or "-"])
        result[name] = {"cpu_s": cpu, "wall_s": wall, "loaded": heavy}
    common.show("Seconds (min / median / max)", rows, ["", "CPU", "wall", "heavy packages loaded"])
    bare = result["python -c pass"]
    added = {k: result["import xlli_ray"][k]["min"] - bare[k]["min"] for k in ("cpu_s", "wall_s")}
    with common.scratch(args.scratch) as folder:
        taken = quickstarts(places, folder, rounds)
        rows = []
        for case in taken["now"]:
            for who in places:
                cpu, wall = (common.spread([value[i] for value in taken[who][case]]) for i in (0, 1))
                rows.append([f"{case} ({who})" if args.before else case, cpu, wall])
                result[f"{who}: {case}"] = {"cpu_s": cpu, "wall_s": wall}
        common.show(f"Studies: seconds of all processes, by {common.CPU_METHOD}", rows, ["", "CPU", "wall"])
        for title, out in (("The quickstart", folder / "parts"), ("The same, finished", folder / "parts")):
            told = {who: parts_of(["xlli", "run", "quickstart", "--out", f"{out}-{who}"], root) for who, root in places.items()}
            steps = list(dict.fromkeys(step for some in told.values() for step in some))
            table = [[step, *(told[who].get(step, [0.0, 0.0])[i] for who in places for i in (0, 1))] for step in steps]
            head = ["", *(f"{who}, {clock}" for who in places for clock in ("wall", "CPU"))]
            common.show(f"{title}: seconds in the driver's process", table, head)
            result[f"parts: {title}"] = told
        code = f"import sys; sys.argv = ['xlli', 'run', 'quickstart', '--out', {str(folder / 'parts-now')!r}]; {MAIN}"
        finished = loaded(code, ROOT)
        if args.first:
            cost = xlli(ROOT, "quickstart", folder / "first", PYTHONPYCACHEPREFIX=str(folder / "bytecode"))
            print(f"\n  the first run, which compiles every module: {cost.cpu:.1f} CPU-s, {cost.wall:.1f} s wall")
            result["first"] = {"cpu_s": cost.cpu, "wall_s": cost.wall}
    cases = {"quickstart": "quickstart", "finished quickstart": "quickstart, finished", "finished study": "small study, finished"}
    best = {name: result[f"now: {case}"]["wall_s"]["min"] for name, case in cases.items()}
    print(f"\n  import xlli_ray adds {added['cpu_s']:.3f} CPU-s, {added['wall_s']:.3f} s wall to a bare interpreter (bar {BARS['import']})")
    print(f"  quickstart: {best['quickstart']:.1f} s wall (bar {BARS['quickstart']:g})")
    for name in ("finished quickstart", "finished study"):
        print(f"  {name}: {best[name]:.2f} s wall (bar {BARS['finished']:g}), loads {' '.join(finished) or 'nothing heavy'}")
    light = [result[name]["loaded"] for name in SMALL] + [finished]
    common.finish(
        "startup", rounds=rounds, cases=json.loads(json.dumps(result)), import_adds=added, wall=best,
        neither_torch_nor_ray=not any({"torch", "ray"} & set(some) for some in light),
    )  # fmt: skip


if __name__ == "__main__":
    main()
