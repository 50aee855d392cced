"""Peak memory of worker and driver: ten thousand small samples against one thousand.

    whole     images of 64 × 64 pixels as they are, features of 16 KiB each
    patches   patches of 64 × 64 pixels, eight of each 512 × 512 image (three megabytes decoded: the worker's memory of decoded images
              is full in both runs)

Each is run in this process (`--workers 0`) and with one Ray worker, from nothing: scan, plan, units, tables. Every process of a run is
looked at five times a second for its VmHWM, the kernel's own record of the largest resident set; what matters are the driver and the
process of the actor. The driver is looked at fifty times a second: in the last tenths of a second of its life the finalizers of its
libraries read
100 MB of them in, whatever was computed, and a last look that comes before or after would call that a difference. Bar: 10⁴ samples
≤ 10³ samples + 5 %. Linux only.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import common
import psutil
from extraction import LAYER, NETWORK


def recipe(folder: Path, case: str, count: int) -> dict[str, Any]:
    place = folder / f"{case}{count}"
    corpus: dict[str, Any] = {"inputs": [f"{place}/*"]}
    if case == "patches":
        corpus = {"images": [f"{place}/*"], "scale": 1, "patches": {"size": 64, "per_image": 8, "min_std": 0.0}}
    return {
        "name": "memory", "seed": 0, "corpus": corpus,
        "models": [{"id": "net", "network": "bench_network:make", "output": "none"}],
        "stages": [{"features": {"layers": [LAYER], "dtype": "float16"}}],
        "batch": {"features": 32},
    }  # fmt: skip


def child(folder: Path, case: str, count: int, workers: int) -> None:
    from xlli_ray.engine.worker.environment import one_arena

    one_arena()  # first of all, as `xlli run` does
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import parse_recipe

    out = folder / f"out-{case}-{count}-{workers}"
    summary = run_study(parse_recipe(recipe(folder, case, count), base=folder), str(out), Options(workers=workers, quiet=True))
    assert (summary.samples, summary.failed) == (count, 0), summary


def peak(pid: int) -> int:
    """VmHWM of a process, bytes; 0 when it is gone."""
    try:
        text = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return 0
    return int(text.split("VmHWM:")[1].split()[0]) * 1024 if "VmHWM:" in text else 0


def peaks(folder: Path, case: str, count: int, workers: int) -> dict[str, int]:
    """Bytes: `driver`, and `worker` where there is one."""
    root = Path(__file__).resolve().parents[2]
    env = {**os.environ, "PYTHONPATH": f"{folder}:{root}:{root / 'tests/benchmarks'}"}
    command = [sys.executable, str(Path(__file__).resolve()), "--child", case, "--folder", str(folder), "--count", str(count)]
    process = subprocess.Popen([*command, "--workers", str(workers)], env=env)
    found = {"driver": 0}
    looks = 0
    while process.poll() is None:
        looks += 1
        found["driver"] = max(found["driver"], peak(process.pid))
        if workers and looks % 10 == 0:
            for one in _children(process.pid):
                try:
                    if "_Actor" in " ".join(one.cmdline()):
                        found["worker"] = max(found.get("worker", 0), peak(one.pid))
                except psutil.Error:
                    continue
        time.sleep(0.02)
    assert process.returncode == 0, process.returncode
    return found


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--child")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--workers", type=int)
    parser.add_argument("--case", choices=("whole", "patches"), help="only this one")
    args = parser.parse_args()
    if args.child:
        child(args.folder, args.child, args.count, args.workers)
        return
    small, large = (96, 400) if args.quick else (1000, 10000)
    rounds = args.rounds or 1
    rows, ratios = [], {}
    with common.scratch(args.scratch) as folder:
        (folder / "bench_network.py").write_text(NETWORK)
        for case in (args.case,) if args.case else ("whole", "patches"):
            for count in (small, large):
                size = 64 if case == "whole" else 512
                common.write_images(folder / f"{case}{count}", count if case == "whole" else count // 8, seed=3, size=size)
            for workers in (0, 1):
                taken: dict[tuple[str, int], list[float]] = {}
                for _ in range(rounds):
                    for count in (small, large):
                        for who, size_ in peaks(folder, case, count, workers).items():
                            taken.setdefault((who, count), []).append(size_ / 1e6)
                        subprocess.run(["rm", "-rf", str(folder / f"out-{case}-{count}-{workers}")], check=True)
                for who in sorted({who for who, _ in taken}):
                    few, many = (max(taken[who, count]) for count in (small, large))
                    name = f"{case}, {'in-process' if not workers else who + ' with 1 Ray worker'}"
                    ratios[name] = many / few
                    rows.append([name, few, many, many / few])
                    print(f"{name}: {few:.0f} → {many:.0f} MB", flush=True)
    common.show("Peak resident MB; bar 1.05", rows, ["", f"{small} samples", f"{large} samples", "ratio"])
    common.finish("memory", samples=[small, large], rounds=rounds, ratios=ratios, peak_mb={row[0]: row[1:3] for row in rows})


if __name__ == "__main__":
    main()
