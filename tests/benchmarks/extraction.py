"""Feature extraction against plain loops and against Ray Data: CPU and wall time per image.

Corpus: 256 × 256 images, three quarters JPEG (quality 92), one quarter PNG, every one different. Network: four convolutions,
3 → 32 × 64 × 64; the last one's output is stored as float16 (256 KiB an image, blosc lz4 with bitshuffle), in shards as the plan cuts them.
One thread each for torch and BLAS everywhere.

    plain         one process, one loop: load, batch of 32, forward with a hook, float16, encode, one durable put a shard
    plain-untuned the same as people write it: without the worker's setting of the allocator, which halves the cost of a forward pass
    ours-0        `xlli run --workers 0`
    ours-2        `xlli run --workers 2` on a private Ray
    two-sync      two plain processes, half of the shards each; two-threads: each with a thread that loads ahead and one that writes
    ours-2-all    as ours-2 from nothing, so with the scan that reads and decodes the corpus a first time
    ray-data      read_images → map_batches (actors) → write_datasink, on as many cores

The plain loops read with the same `Loader` (same decoding, same sha256 check), take their rows from the same sample table, and write
with the fastest of three writers (measured first). All write the same bytes: checked by crc32c. Each variant is a process of its own;
start-up is taken off by the difference between 6,000 and 2,000 images. Rounds are interleaved.

On a virtual machine these differences swing by tens of percent from one minute to the next; `turns.py` measures the steady state by
turns of seconds, one variant beside the other.
"""

from __future__ import annotations

import importlib.util
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common

NETWORK = '''
import torch
from torch import nn

VERSION = 1


def make():
    torch.manual_seed(0)
    layers = []
    for inputs, outputs, stride in ((3, 16, 2), (16, 32, 2), (32, 32, 1), (32, 32, 1)):
        layers += [nn.Conv2d(inputs, outputs, 3, stride, 1), nn.ReLU()]
    return nn.Sequential(*layers[:-1])
'''
LAYER, BATCH, SHAPE = "6", 32, (32, 64, 64)


def recipe(folder: Path, count: int) -> dict[str, Any]:
    parts = [folder / "images" / "a", folder / "images" / "b"]
    globs = [f"{part}/*" for part in (parts[:1] if count <= sizes(folder)[0] else parts)]
    return {
        "name": f"bench{count}",
        "seed": 0,
        "corpus": {"inputs": globs},
        "models": [{"id": "net", "network": "bench_network:make", "output": "none"}],
        "stages": [{"features": {"layers": [LAYER], "dtype": "float16"}}],
        "batch": {"features": BATCH},
    }


def sizes(folder: Path) -> list[int]:
    return json.loads((folder / "sizes.json").read_text())


# -- children: each runs in a process (and control group) of its own -------------------------------------------------


def child_ours(folder: Path, count: int, out: Path, *, workers: int) -> None:
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import parse_recipe

    summary = run_study(parse_recipe(recipe(folder, count), base=folder), str(out), Options(workers=workers, quiet=True))
    assert (summary.samples, summary.failed) == (count, 0), summary


def child_plan(folder: Path, count: int, out: Path) -> None:
    """Scan and plan: what ours-0 and ours-2 find done, and where the plain loops get rows and shard sizes from."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import plan_study, save_manifest
    from xlli_ray.recipe import parse_recipe
    from xlli_ray.store.objects.client import open_objects

    manifest, _ = plan_study(parse_recipe(recipe(folder, count), base=folder), str(out), Options(workers=0, quiet=True))
    save_manifest(open_objects(out), manifest)


class _Plain:
    """Everything a plain loop needs, made from the plan."""

    def __init__(self, plan: Path, out: Path, *, tuned: bool = True) -> None:
        import bench_network
        import torch

        from xlli_ray.corpus.sample import Loader, sample_from_row
        from xlli_ray.engine.worker.environment import keep_freed_memory
        from xlli_ray.store.objects.client import open_objects
        from xlli_ray.store.records.documents import load_manifest
        from xlli_ray.store.tables.sample_table import SampleReader

        torch.set_num_threads(1)
        if tuned:
            keep_freed_memory()
        manifest = load_manifest(open_objects(plan))
        assert manifest is not None
        assert manifest.samples is not None
        (bucket,) = manifest.cells[0].buckets
        self.meta = bucket.arrays[0]
        self.loader = Loader(cache_bytes=0)  # each image is needed once
        rows = SampleReader(open_objects(plan), manifest.samples).rows(0, manifest.samples.rows)
        self.samples = [sample_from_row(row) for row in rows.to_pylist()]
        self.network = bench_network.make().eval().requires_grad_(False)
        self.found: dict[str, Any] = {}
        hooked = self.network.get_submodule(LAYER)
        hooked.register_forward_hook(lambda _m, _i, output: self.found.__setitem__("x", output.clone()))
        self.objects = open_objects(out)

    def shards(self, half: int, halves: int) -> range:
        every = -(-len(self.samples) // self.meta.shard_rows)
        return range(every * half // halves, every * (half + 1) // halves)

    def batches(self, shards: range) -> Iterator[tuple[int, int, list[Any]]]:
        """(shard, first row in it, samples)"""
        for shard in shards:
            start = shard * self.meta.shard_rows
            stop = min(start + self.meta.shard_rows, len(self.samples))
            for first in range(start, stop, BATCH):
                yield shard, first - start, self.samples[first : min(first + BATCH, stop)]

    def load(self, samples: list[Any]) -> Any:
        import torch

        data = torch.empty(len(samples), 3, 256, 256)
        for i, sample in enumerate(samples):
            data[i] = torch.from_numpy(self.loader.load(sample).input)
        return data

    def forward(self, data: Any) -> Any:
        import torch

        with torch.no_grad():
            self.network(data)
        return self.found.pop("x").half().numpy()

    def put(self, shard: int, writer: Any) -> None:
        self.objects.put(f"c/{shard}", writer.finish())

    def writer(self) -> Any:
        from xlli_ray.store.zarr.shard import ShardWriter

        return ShardWriter(self.meta.shard_rows, self.meta.grid, common.np.dtype(self.meta.dtype), self.meta.codec)


def child_plain(
    folder: Path, count: int, out: Path, *, half: int = 0, halves: int = 1, threads: bool = False, tuned: bool = True
) -> None:
    plain = _Plain(folder / f"plan{count}", out, tuned=tuned)
    shards = plain.shards(half, halves)
    if threads:
        _threaded(plain, shards)
        return
    plain_loop(plain, shards)


def plain_loop(plain: _Plain, shards: range) -> None:
    """All a plain loop does."""
    writer, current = plain.writer(), shards.start
    for shard, first, samples in plain.batches(shards):
        if shard != current:
            plain.put(current, writer)
            writer, current = plain.writer(), shard
        for i, block in enumerate(plain.forward(plain.load(samples))):
            writer.write(first + i, block)
    plain.put(current, writer)


def _threaded(plain: _Plain, shards: range) -> None:
    from queue import Queue
    from threading import Thread

    loaded: Queue[Any] = Queue(2)
    made: Queue[Any] = Queue(2)

    def read() -> None:
        for shard, first, samples in plain.batches(shards):
            loaded.put((shard, first, plain.load(samples)))
        loaded.put(None)

    def write() -> None:
        writer, current = plain.writer(), shards.start
        while (item := made.get()) is not None:
            shard, first, blocks = item
            if shard != current:
                plain.put(current, writer)
                writer, current = plain.writer(), shard
            for i, block in enumerate(blocks):
                writer.write(first + i, block)
        plain.put(current, writer)

    threads = [Thread(target=read), Thread(target=write)]
    for thread in threads:
        thread.start()
    while (item := loaded.get()) is not None:
        made.put((item[0], item[1], plain.forward(item[2])))
    made.put(None)
    for thread in threads:
        thread.join()


def child_two(folder: Path, count: int, out: Path, *, threads: bool) -> None:
    import subprocess

    name = "half-threads" if threads else "half-sync"
    halves = [subprocess.Popen(_command(folder, f"{name}-{half}", count, out)) for half in (0, 1)]
    assert [process.wait() for process in halves] == [0, 0]


def child_ray_data(folder: Path, count: int, out: Path) -> None:
    """The documented way: read_images, a class for map_batches, a Datasink. Shards hold as many rows as ours; the path travels along."""
    import numpy as np
    import pyarrow as pa
    import ray
    from ray.data import ActorPoolStrategy, Datasink

    ray.init(
        address="local", num_cpus=2, include_dashboard=False, object_store_memory=2 << 30, log_to_driver=False,
        _node_ip_address="127.0.0.1", runtime_env={"env_vars": {"OMP_NUM_THREADS": "1"}},
    )  # fmt: skip
    meta = json.loads((folder / f"plan{count}" / "study.json").read_text())["cells"][0]["buckets"][0]["arrays"][0]
    rows = meta["shard_rows"]

    class Infer:
        def __init__(self) -> None:
            import bench_network
            import torch

            torch.set_num_threads(1)
            self.network = bench_network.make().eval().requires_grad_(False)
            self.network.get_submodule(LAYER).register_forward_hook(lambda _m, _i, y: setattr(self, "found", y.clone()))

        def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
            import torch

            data = torch.from_numpy(np.ascontiguousarray(batch["image"])).permute(0, 3, 1, 2).float().div_(255)
            with torch.no_grad():
                self.network(data)
            return {"features": self.found.half().numpy(), "path": batch["path"]}

    class ZarrShards(Datasink):
        """One whole shard an array of its own, with the paths beside it: nothing ties a block to a place in one big array."""

        @property
        def min_rows_per_write(self) -> int:
            return rows

        def write(self, blocks: Any, ctx: Any) -> None:
            from ray.data.block import BlockAccessor

            from xlli_ray.store.objects.client import open_objects
            from xlli_ray.store.zarr.shard import ShardWriter, inner_grid

            paths: list[str] = []
            columns = []
            for block in blocks:
                batch = BlockAccessor.for_block(block).to_numpy(["features", "path"])
                columns.append(batch["features"])
                paths += batch["path"].tolist()
            writer = ShardWriter(len(paths), inner_grid(SHAPE, 2), np.dtype("float16"), "blosc")
            row = 0
            for column in columns:
                for block in column:
                    writer.write(row, block)
                    row += 1
            objects = open_objects(out)
            objects.put(f"part-{ctx.task_idx}/c/0", writer.finish())
            objects.put(f"part-{ctx.task_idx}/paths.json", json.dumps(paths).encode())

    parts = [folder / "images" / "a", folder / "images" / "b"]
    ray.data.DataContext.get_current().enable_progress_bars = False
    data = ray.data.read_images([str(p) for p in (parts[:1] if count <= sizes(folder)[0] else parts)], include_paths=True, mode="RGB")
    # A CPU is left for reading: with one CPU for each actor nothing could be read.
    data = data.map_batches(Infer, batch_size=BATCH, compute=ActorPoolStrategy(size=2), num_cpus=0.5)
    data.write_datasink(ZarrShards())
    found = sorted(path for file in out.glob("part-*/paths.json") for path in json.loads(file.read_text()))
    assert len(found) == len(set(found)) == count, len(found)
    assert pa is not None
    ray.shutdown()


CHILDREN = {
    "plan": lambda f, n, o: child_plan(f, n, o),
    "plain": lambda f, n, o: child_plain(f, n, o),
    "plain-untuned": lambda f, n, o: child_plain(f, n, o, tuned=False),
    "ours-0": lambda f, n, o: child_ours(f, n, o, workers=0),
    "ours-2": lambda f, n, o: child_ours(f, n, o, workers=2),
    "ours-2-all": lambda f, n, o: child_ours(f, n, o, workers=2),
    "two-sync": lambda f, n, o: child_two(f, n, o, threads=False),
    "two-threads": lambda f, n, o: child_two(f, n, o, threads=True),
    "half-sync-0": lambda f, n, o: child_plain(f, n, o, half=0, halves=2),
    "half-sync-1": lambda f, n, o: child_plain(f, n, o, half=1, halves=2),
    "half-threads-0": lambda f, n, o: child_plain(f, n, o, half=0, halves=2, threads=True),
    "half-threads-1": lambda f, n, o: child_plain(f, n, o, half=1, halves=2, threads=True),
    "ray-data": lambda f, n, o: child_ray_data(f, n, o),
}


# -- the parent ------------------------------------------------------------------------------------------------------


def _command(folder: Path, name: str, count: int, out: Path) -> list[str]:
    where = ["--folder", str(folder), "--count", str(count), "--out", str(out)]
    return [sys.executable, str(Path(__file__).resolve()), "--child", name, *where]


def _env(folder: Path) -> dict[str, str]:
    root = str(Path(__file__).resolve().parents[2])
    # Ray starts its workers at niceness 15: on a machine with other load they would wait where a plain loop runs.
    return {"PYTHONPATH": os.pathsep.join([str(folder), root, str(Path(__file__).resolve().parent)]), "RAY_worker_niceness": "0"}


def measure(folder: Path, name: str, count: int) -> common.Cost:
    import shutil

    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    if name in ("ours-0", "ours-2"):
        shutil.copytree(folder / f"plan{count}", out)
    os.sync()  # nobody pays for the dirty pages of the one before
    cost = common.run_measured(_command(folder, name, count, out), env=_env(folder))
    if name != "ray-data":
        check(folder, out, count, name)
    return cost


def check(folder: Path, out: Path, count: int, name: str) -> None:
    """All variants must have written the same bytes."""
    from google_crc32c import value

    files = {int(file.name): file for file in out.glob("c/*")} or {
        int(file.relative_to(shards).parts[0]): file
        for shards in out.glob("arrays.zarr/features/net/*/*/features/c")
        for file in shards.rglob("*")
        if file.is_file()
    }
    sums = [value(files[i].read_bytes()) for i in sorted(files)]
    kept = folder / f"sums{count}.json"
    if not kept.exists():
        kept.write_text(json.dumps(sums))
    assert sums
    assert sums == json.loads(kept.read_text()), f"{name}: other bytes than the first variant"


def writers(rows: int) -> dict[str, float]:
    """CPU ms a row of the three ways to write one shard of features, durably."""
    import numpy as np
    import tensorstore as ts
    import zarr

    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.zarr.layout import ArrayMeta, array_document, dump
    from xlli_ray.store.zarr.shard import ShardWriter

    rng = np.random.default_rng(0)
    data = rng.normal(0, 0.3, (rows, *SHAPE)).astype(np.float16)
    meta = ArrayMeta("features", rows, rows, SHAPE, "float16", ("channel", "y", "x"), "blosc")
    taken: dict[str, list[float]] = {"ShardWriter": [], "tensorstore": []}
    if importlib.util.find_spec("zarrs"):  # no dependency of ours: `pip install zarrs` to compare
        taken["zarrs"] = []
    with common.scratch(None) as folder:
        for round_ in range(3):
            for name in taken:
                place = folder / f"{name}{round_}"
                place.mkdir()
                (place / "zarr.json").write_bytes(dump(array_document(meta)))
                start = common.process_seconds()
                if name == "ShardWriter":
                    writer = ShardWriter(rows, meta.grid, np.dtype("float16"), "blosc")
                    for i, row in enumerate(data):
                        writer.write(i, row)
                    open_objects(place).put("c/0/0/0/0", writer.finish())
                elif name == "tensorstore":
                    context = ts.Context({"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}})
                    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(place)}}
                    ts.open(spec, open=True, context=context).result()[:] = data
                else:
                    with zarr.config.set({"codec_pipeline.path": "zarrs.ZarrsCodecPipeline", "threading.max_workers": 1}):
                        zarr.open_array(place, mode="r+")[:] = data
                    for file in place.rglob("0"):  # zarrs itself does not sync
                        if file.is_file():
                            with file.open("rb") as handle:
                                os.fsync(handle.fileno())
                taken[name].append((common.process_seconds() - start) / rows * 1e3)
    return {name: sorted(values)[len(values) // 2] for name, values in taken.items()}


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--child")
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--count", type=int)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--only", help="comma-separated variants")
    parser.add_argument("--keep", type=Path, help="use (and keep) this folder for images")
    args = parser.parse_args()
    if args.child:
        if args.child != "plain-untuned":
            from xlli_ray.engine.worker.environment import one_arena

            one_arena()  # first of all, as `xlli run` does; for the plain loops with threads, too
        CHILDREN[args.child](args.folder, args.count, args.out)
        return
    small, large = (256, 512) if args.quick else (2000, 6000)
    rounds = args.rounds or (1 if args.quick else 3)
    steady = ["plain", "ours-0", "ours-2", "two-sync", "two-threads", "plain-untuned"]
    once = ["ray-data", "ours-2-all"]
    if args.only:
        steady, once = ([n for n in names if n in args.only.split(",")] for names in (steady, once))
    wrote = writers(128)
    common.show("Writers, CPU ms a row of 256 KiB (blosc lz4 bitshuffle, fsync)", list(wrote.items()), ["writer", "ms"])
    with common.scratch(args.scratch) as folder:
        if args.keep:
            folder = args.keep
            folder.mkdir(parents=True, exist_ok=True)
        prepare(folder, small, large)
        runs: dict[tuple[str, int], list[common.Cost]] = {}
        for number in range(rounds):
            for name in [*steady, *once]:
                for count in (small, large) if name in steady else (large,):
                    cost = measure(folder, name, count)
                    runs.setdefault((name, count), []).append(cost)
                    print(f"round {number + 1} {name:12s} n={count}: {cost.cpu:6.1f} CPU-s, {cost.wall:6.1f} s", flush=True)
            result = summary(runs, steady, once, small, large)  # after each round: the last one stands
    common.finish("extraction", n=[small, large], rounds=rounds, cpu_method=common.CPU_METHOD, writers=wrote, **result)


def prepare(folder: Path, small: int, large: int) -> None:
    if not (folder / "sizes.json").exists():
        (folder / "bench_network.py").write_text(NETWORK)
        common.write_images(folder / "images" / "a", small, seed=7)
        common.write_images(folder / "images" / "b", large - small, seed=7, first=small)
        (folder / "sizes.json").write_text(json.dumps([small, large]))
    import shutil

    for count in (small, large):
        shutil.rmtree(folder / f"plan{count}", ignore_errors=True)
        start = time.perf_counter()
        cost = common.run_measured(_command(folder, "plan", count, folder / f"plan{count}"), env=_env(folder))
        print(f"scan and plan of {count} images: {cost.cpu:.1f} CPU-s, {time.perf_counter() - start:.1f} s", flush=True)


def summary(runs: dict[tuple[str, int], list[common.Cost]], steady: list[str], once: list[str], small: int, large: int) -> dict[str, Any]:
    per = 1e3 / (large - small)
    marginal = {
        kind: {
            name: [(getattr(b, kind) - getattr(a, kind)) * per for a, b in zip(runs[name, small], runs[name, large])] for name in steady
        }
        for kind in ("cpu", "wall")
    }
    rows = [[name, *(common.spread(marginal[kind][name]) for kind in ("cpu", "wall"))] for name in steady]
    common.show(f"Marginal ms an image, n = {small} → {large} (min / median / max)", rows, ["variant", "CPU", "wall"])
    totals = {name: {k: common.spread([getattr(c, k) for c in runs[name, large]]) for k in ("cpu", "wall")} for name in [*steady, *once]}
    common.show(f"Whole run, n = {large}, seconds", [[n, t["cpu"], t["wall"]] for n, t in totals.items()], ["variant", "CPU", "wall"])
    out: dict[str, Any] = {"marginal_ms": {k: {n: common.spread(v) for n, v in d.items()} for k, d in marginal.items()}, "total_s": totals}
    ratios: dict[str, dict[str, float]] = {}

    def ratio(name: str, above: list[float], below: list[float]) -> None:
        ratios[name] = common.spread([a / b for a, b in zip(above, below)])

    def totals_of(name: str, kind: str) -> list[float]:
        return [getattr(cost, kind) for cost in runs[name, large]]

    cpu, wall = marginal["cpu"], marginal["wall"]
    for name in ("ours-0", "ours-2"):
        if name in cpu and "plain" in cpu:
            ratio(f"{name} / plain, CPU, marginal (<= 1.05)", cpu[name], cpu["plain"])
        if name in cpu and "plain-untuned" in cpu:
            ratio(f"{name} / plain-untuned, CPU, marginal", cpu[name], cpu["plain-untuned"])
    two = [n for n in ("two-sync", "two-threads") if n in wall]
    if two and "ours-2" in wall:
        best = min(two, key=lambda n: common.spread(wall[n])["median"])
        ratio(f"ours-2 / {best}, wall, marginal (<= 1.10)", wall["ours-2"], wall[best])
    if "ray-data" in once:
        for name in [n for n in ("ours-2", "ours-2-all") if (n, large) in runs]:
            ratio(f"ray-data / {name}, wall, n = {large} (>= 2)", totals_of("ray-data", "wall"), totals_of(name, "wall"))
            ratio(f"ray-data / {name}, CPU, n = {large} (>= 1.3)", totals_of("ray-data", "cpu"), totals_of(name, "cpu"))
    common.show("Ratios, round by round (min / median / max)", list(ratios.items()), ["ratio", "value"])
    return {**out, "ratios": ratios}


if __name__ == "__main__":
    main()
