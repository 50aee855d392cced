"""Steady state of feature extraction: plain loops and ours take turns of seconds on the same shards, and each turn is compared with the one
beside it.

    plain         one plain loop, the other core idle
    two-sync      two plain loops at once, in processes of their own; two-threads: each with a thread that loads ahead and one that writes
    worker        one `Worker` that has a core to itself and no more, as each of ours-2 where they fill the cores; the other core idle
    ours-0        the same with readers on the other core, as `xlli run --workers 0` calls it
    ours-2        two actors on a private Ray, as `xlli run --workers 2` calls them

Corpus, network, loops and written bytes are `extraction.py`'s. All processes live from the first turn to the last, so that neither start
nor memory that is touched for the first time counts, and only one variant works at a time. CPU time is that of the processes at work; of
ours-2, of all that this process is and has started but the loops: driver, Ray's daemons, workers. Two busy cores of a virtual machine may
be two threads of one real core, so two actors are compared with two loops as well as with one.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import common
import extraction

SHARDS = 4
WARM_UP = 3  # turns: as long as a process goes on taking memory that it has not had before
TICKS = os.sysconf("SC_CLK_TCK")


class Loops:
    """Two processes with a plain loop each, which do what they are told; CPU seconds are what they say themselves."""

    def __init__(self, folder: Path, count: int, out: Path) -> None:
        env = {**os.environ, **extraction._env(folder)}
        command = [sys.executable, __file__, "--serve", "--folder", str(folder), "--count", str(count), "--out"]
        self.processes = [
            subprocess.Popen([*command, str(out / f"plain{i}")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
            for i in (0, 1)
        ]

    def run(self, kind: str, parts: list[range]) -> float:
        for process, part in zip(self.processes, parts):
            assert process.stdin is not None
            process.stdin.write(f"{kind} {part.start} {part.stop}\n")
            process.stdin.flush()
        return sum(float(process.stdout.readline()) for process, _ in zip(self.processes, parts) if process.stdout is not None)

    def close(self) -> None:
        for process in self.processes:
            assert process.stdin is not None
            process.stdin.close()
            process.wait()


def serve(folder: Path, count: int, out: Path) -> None:
    """One process of `Loops`."""
    from xlli_ray.engine.worker.environment import one_arena

    one_arena()
    plain = extraction._Plain(folder / f"plan{count}", out)
    for line in sys.stdin:
        kind, first, last = line.split()
        before = time.process_time()
        loop = extraction._threaded if kind == "threads" else extraction.plain_loop
        loop(plain, range(int(first), int(last)))
        print(time.process_time() - before, flush=True)


def tree_seconds(leave_out: set[int]) -> dict[int, float]:
    """CPU seconds so far of this process and of each below it, without those in `leave_out` and what is below them."""
    parents: dict[int, int] = {}
    spent: dict[int, int] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rsplit(")", 1)[1].split()
            except OSError:
                continue
            parents[int(entry.name)], spent[int(entry.name)] = int(fields[1]), int(fields[11]) + int(fields[12])
    found = {}
    for pid, ticks in spent.items():
        above = pid
        while above not in leave_out and above != os.getpid() and above in parents:
            above = parents[above]
        if above == os.getpid():
            found[pid] = ticks / TICKS
    return found


def turns(folder: Path, count: int, out: Path, rounds: int) -> dict[str, dict[str, list[float]]]:
    """CPU and wall milliseconds an image of each variant, turn by turn."""
    from xlli_ray.engine.pools.ray_pool import RayPool
    from xlli_ray.engine.run.allowed_models import make_gate
    from xlli_ray.engine.run.units import pending_jobs
    from xlli_ray.engine.worker.tasks import WorkerSpec
    from xlli_ray.engine.worker.worker import Worker
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import load_manifest
    from xlli_ray.store.records.listing import Listing
    from xlli_ray.store.records.unit_records import forget_records

    studies = [out / "study0", out / "study2"]
    for study in studies:
        shutil.copytree(folder / f"plan{count}", study)
    objects = [open_objects(study) for study in studies]
    manifest = load_manifest(objects[0])
    assert manifest is not None
    (bucket,) = manifest.cells[0].buckets
    jobs = list(pending_jobs(Listing(objects[0]), manifest.cells, make_gate(manifest.models)))
    whole = (len(jobs) - 1) // SHARDS * SHARDS  # the last shard is shorter
    images = SHARDS * bucket.arrays[0].shard_rows
    loops = Loops(folder, count, out)
    apart = {process.pid for process in loops.processes}
    spec = WorkerSpec(str(studies[1]), 1, paths=tuple(map(str, sys.path)))
    pool = RayPool(spec, workers=2)
    workers = {pid for _, pid in pool.wait_ready()}
    single, worker, threads = Worker(str(studies[0]), 1, readers=0), Worker(str(studies[0]), 1), ThreadPoolExecutor(2)

    def plain(first: int) -> float:
        return loops.run("sync", [range(first, first + SHARDS)])

    def two(kind: str, first: int) -> float:
        return loops.run(kind, [range(first, first + SHARDS // 2), range(first + SHARDS // 2, first + SHARDS)])

    def here(one: Worker, first: int) -> float:
        before = time.process_time()
        list(threads.map(one.run, jobs[first : first + SHARDS]))
        return time.process_time() - before

    def actors(first: int) -> float:
        before = tree_seconds(apart)
        list(pool.run("unit", deque(jobs[first : first + SHARDS]), lambda: None))
        spent = {pid: seconds - before.get(pid, 0.0) for pid, seconds in tree_seconds(apart).items()}
        beside.append(sum(seconds for pid, seconds in spent.items() if pid not in workers) / images * 1e3)
        return sum(spent.values())

    beside: list[float] = []
    variants = {
        "plain": plain,
        "worker": lambda first: here(single, first),
        "ours-0": lambda first: here(worker, first),
        "two-sync": lambda first: two("sync", first),
        "ours-2": actors,
        "two-threads": lambda first: two("threads", first),
    }
    taken: dict[str, dict[str, list[float]]] = {name: {"cpu": [], "wall": []} for name in variants}
    for number in range(-WARM_UP, rounds):
        first = SHARDS * (number % (whole // SHARDS))
        names = list(variants)
        for name in names if number % 2 else names[::-1]:
            for place in objects:
                forget_records(Listing(place), manifest.cells[0].id)
            os.sync()  # nobody pays for the dirty pages of the one before
            start = time.perf_counter()
            seconds = variants[name](first)
            if number >= 0:
                taken[name]["cpu"].append(seconds / images * 1e3)
                taken[name]["wall"].append((time.perf_counter() - start) / images * 1e3)
    pool.close()
    loops.close()
    taken["of ours-2: driver and Ray"] = {"cpu": beside[WARM_UP:], "wall": [0.0]}
    return taken


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--serve", action="store_true", help="one of the plain loops (used by this script itself)")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--keep", type=Path, help="use (and keep) this folder for images")
    args = parser.parse_args()
    if args.serve:
        serve(args.folder, args.count, args.out)
        return
    from xlli_ray.engine.worker.environment import one_arena

    one_arena()
    small, large = (256, 512) if args.quick else (2000, 6000)
    rounds = args.rounds or (2 if args.quick else 8)
    with common.scratch(args.scratch) as scratch:
        folder = args.keep or scratch
        folder.mkdir(parents=True, exist_ok=True)
        extraction.prepare(folder, small, large)
        sys.path.insert(0, str(folder))
        out = folder / "out"
        shutil.rmtree(out, ignore_errors=True)
        out.mkdir()
        taken = turns(folder, large, out, rounds)
    rows = [[name, *(common.spread(values[kind]) for kind in ("cpu", "wall"))] for name, values in taken.items()]
    common.show(f"Steady state, {rounds} turns of {SHARDS} shards, ms an image (min / median / max)", rows, ["variant", "CPU", "wall"])
    ratios = {}
    for kind, above, below, bar in (
        ("cpu", "worker", "plain", "<= 1.05"), ("cpu", "ours-2", "two-sync", "<= 1.05"), ("cpu", "ours-2", "plain", ""),
        ("cpu", "two-sync", "plain", ""), ("cpu", "ours-0", "plain", ""), ("wall", "ours-0", "plain", ""),
        ("wall", "ours-2", "two-sync", "<= 1.10"), ("wall", "ours-2", "two-threads", "<= 1.10"),
    ):  # fmt: skip
        pairs = zip(taken[above][kind], taken[below][kind])
        ratios[f"{above} / {below}, {kind} {bar}".strip()] = common.spread([a / b for a, b in pairs])
    common.show("Ratios, turn by turn (min / median / max)", list(ratios.items()), ["ratio", "value"])
    print(json.dumps({name: {kind: [round(v, 2) for v in some] for kind, some in values.items()} for name, values in taken.items()}))
    common.finish("turns", rounds=rounds, ratios=ratios)
    sys.stdout.flush()
    os._exit(0)  # the worker's threads wait for more work


if __name__ == "__main__":
    main()
