"""A finished study of ten million samples in a bucket: what planning, a resume, `status`, queries and the page cost.

    python tests/benchmarks/study_scale.py [--rows 10000000] [--folder KEPT] [--steps "plan; resume"] [--local]

The bucket is of the tests' own S3 server (tests/s3/server.py), which counts its requests. The sample table is made up (`synthetic`, six
degradations), the plan is that of `plan_scale` (two networks, features of each layer and `restore`, with bicubic beside them); records with
scores are made up for every unit and written by the project's own writers, whole thousands as packs and one layer's one by one. Shards of
arrays are not: nothing here reads them but `verify`, which says so. Then the first `xlli run` packs, writes `valid`, tables and the page;
each further step is one command in a process of its own: seconds, CPU seconds, largest resident set, requests.

Bars at 10⁷: plan < 120 s and < 2 GB, resume < 60 s and < 1 GB, status < 10 s.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import plan_scale
import pyarrow as pa
import synthetic

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "s3"))

ROOT = Path(__file__).resolve().parents[2]
FAILED_EVERY = 100_003
"""One sample in so many is a failed row."""
QUERIES = {
    "query, means": "select stage, model, count(*) as n, avg(psnr_y) as psnr_y from restore group by all order by all",
    "query, by degradation": "select model, label, avg(psnr_y) as psnr_y from restore join samples using (row) group by all order by all",
    "query, worst": "select model, sample_id, psnr_y from restore where status = 'ok' order by psnr_y limit 10",
}


def child_table(place: str, folder: Path, rows: int) -> None:
    """The sample table of this corpus section, as a scan would write it."""
    from xlli_ray.corpus.table import SCHEMA
    from xlli_ray.engine.run.scan_runner import scan_versions, with_meanings
    from xlli_ray.recipe import parse_recipe
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import save_manifest
    from xlli_ray.store.records.manifest import Manifest
    from xlli_ray.store.tables.sample_table import corpus_hash, write_sample_table

    parsed = parse_recipe(plan_scale.recipe(folder), base=folder)
    corpus = parsed.corpus.model_dump(mode="json")
    del corpus["pies"]
    key = corpus_hash({**corpus, "limit": None}, parsed.seed, scan_versions(parsed.corpus))
    objects = open_objects(place)
    batches = synthetic.sample_batches(rows, degradations=plan_scale.DEGRADATIONS)
    table = write_sample_table(objects, batches, SCHEMA, synthetic.REJECTED.empty_table(), corpus_hash=key)
    table = with_meanings(table, {mixture.label: mixture for mixture in parsed.corpus.mixtures})
    save_manifest(objects, Manifest("scale", 0, parsed.dump(), table))


def child_plan(place: str, folder: Path, rows: int) -> None:
    """`xlli plan`, with what a run does before its first unit: the plan is kept, all Zarr documents and `row` are written."""
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import plan_study
    from xlli_ray.recipe import load_recipe

    manifest, plan = plan_study(load_recipe(folder / "recipe.yaml"), place, Options(workers=0, quiet=True), adopt=True)
    print(f"{len(plan.cells)} cells, {sum(cell.units for cell in plan.cells)} units, {manifest.samples and manifest.samples.rows} samples")


def child_records(place: str, folder: Path, rows: int) -> None:
    """A record of every unit of every cell: packs of whole thousands, the rest and the whole of one layer one by one."""
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import load_manifest
    from xlli_ray.store.records.listing import PACK
    from xlli_ray.store.records.unit_records import write_pack, write_record
    from xlli_ray.store.tables.sample_table import SampleReader

    objects = open_objects(place)
    manifest = load_manifest(objects)
    assert manifest is not None
    assert manifest.samples is not None
    single = next(cell.id for cell in manifest.cells if cell.stage == "features")
    reader = SampleReader(objects, manifest.samples)
    for cell in manifest.cells:
        waiting: list[tuple[Any, pa.Table]] = []
        for unit in range(cell.units):
            waiting.append(_made_up(cell, unit, reader if cell.columns else None))
            if len(waiting) == PACK and cell.id != single:
                write_pack(objects, cell.id, unit + 1 - PACK, 1, waiting)
                waiting = []
            elif len(waiting) == PACK:
                for one in waiting:
                    write_record(objects, *one)
                waiting = []
        for one in waiting:
            write_record(objects, *one)
        print(f"{cell.id}: {cell.units} units", flush=True)


def _made_up(cell: Any, unit: int, reader: Any) -> tuple[Any, pa.Table]:
    from xlli_ray.store.records.unit_records import ARROW, Failure, Receipt
    from xlli_ray.store.zarr.layout import shard_key
    from xlli_ray.store.zarr.shard import Shard

    bucket, start, stop = cell.unit(unit)
    shards = {meta.name: Shard(shard_key(cell.id, bucket.name, meta, start // meta.shard_rows), 0, 1 << 20) for meta in bucket.arrays}
    bad = [row for row in range(start - start % FAILED_EVERY, stop, FAILED_EVERY) if row >= start]
    named = [f"{row:016x}" for row in bad]
    failed = tuple(Failure(row, row, name, "sample", "made up: NaN in the output") for row, name in zip(bad, named))
    receipt = Receipt(cell.id, unit, 1, bucket.name, start, stop, shards, failed, {"read": 1.0, "compute": 2.0}, "host", 1)
    if not cell.columns:
        return receipt, pa.table({"row": pa.array([], pa.int64())})
    rng = np.random.default_rng([unit, len(cell.model)])
    names = pa.concat_arrays(reader.rows(start, stop)["sample_id"].chunks)
    ok = np.ones(stop - start, bool)
    ok[[row - start for row in bad]] = False
    columns: dict[str, Any] = {
        "row": pa.array(np.arange(start, stop)), "sample_id": names, "status": pa.array(np.where(ok, "ok", "failed")),
        **{name: pa.array(np.where(ok, rng.normal(28, 3, stop - start), np.nan), ARROW[dtype]) for name, dtype in cell.columns},
    }  # fmt: skip
    return receipt, pa.table(columns)


def child_rows(place: str, folder: Path, rows: int) -> None:
    """`array(…).rows` of 256 ids spread over the table, and the same of others: the second look is warm."""
    from xlli_ray.study import open_study

    study = open_study(place)
    array = study.array(study.arrays[0])
    step = rows // 256
    for shift in (0, 7):
        start = time.perf_counter()
        wanted = [study.sample_rows(row + shift, row + shift + 1)["sample_id"][0].as_py() for row in range(0, rows - shift - 1, step)][:256]
        found = time.perf_counter()
        array.rows(wanted)
        print(f"ids {found - start:.2f} s, rows {time.perf_counter() - found:.2f} s", flush=True)


def child_resume_without_page(place: str, folder: Path, rows: int) -> None:
    """What `xlli run` does when there is nothing to do, but for drawing a page that was never drawn."""
    start = time.perf_counter()
    from xlli_ray.engine.options import Options
    from xlli_ray.engine.run.driver import run_study
    from xlli_ray.recipe import load_recipe
    from xlli_ray.report.page_freshness import kept_page
    from xlli_ray.report.text import result_table

    summary = run_study(load_recipe(folder / "recipe.yaml"), place, Options(quiet=True))
    ran = time.perf_counter()
    said = result_table(place)
    print(f"{summary.units} units, {summary.units_run} run, {summary.failed} failed; page kept: {bool(kept_page(place))}")
    print(f"{len(said.splitlines())} lines; driver {ran - start:.1f} s, results {time.perf_counter() - ran:.1f} s")


CHILDREN: dict[str, Callable[[str, Path, int], None]] = {
    "table": child_table, "plan": child_plan, "records": child_records, "rows": child_rows,
    "resume without page": child_resume_without_page,
}  # fmt: skip


def commands(place: str, folder: Path) -> dict[str, list[str]]:
    """Step → arguments of `xlli`."""
    recipe = str(folder / "recipe.yaml")
    return {
        "finish": ["run", recipe, "--out", place],
        "resume": ["run", recipe, "--out", place],
        "status": ["status", place],
        **{name: ["query", place, sql] for name, sql in QUERIES.items()},
        "rows": [],
        "query, one sample": ["query", place, "select * from restore where row = 4321"],
        "report": ["report", place],
        "verify": ["verify", place],
    }


def measured(command: list[str], env: dict[str, str], timeout: float) -> dict[str, Any]:
    """Run a command; `peak_mb` is the largest process among it and those it waited for."""
    start = time.perf_counter()
    process = subprocess.Popen(command, env={**os.environ, **env}, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdout is not None
    os.set_blocking(process.stdout.fileno(), False)
    said, late = b"", False
    while True:
        said += process.stdout.read() or b""
        pid, status, usage = os.wait4(process.pid, os.WNOHANG)
        if pid:
            break
        if time.perf_counter() - start > timeout and not late:
            late = True
            process.kill()
        time.sleep(0.02)
    said += process.stdout.read() or b""
    process.returncode = os.waitstatus_to_exitcode(status)
    return {
        "wall_s": round(time.perf_counter() - start, 2), "cpu_s": round(usage.ru_utime + usage.ru_stime, 2),
        "peak_mb": round(usage.ru_maxrss / 1e3), "rc": process.returncode, **({"killed": True} if late else {}),
        "said": said.decode(errors="replace"),
    }  # fmt: skip


def steps(place: str, folder: Path, rows: int, chosen: list[str], timeout: float, requests: Callable[[], Any]) -> Iterator[dict[str, Any]]:
    env = {"PYTHONPATH": f"{folder}:{ROOT}:{Path(__file__).resolve().parent}", "OMP_NUM_THREADS": "1"}
    listed = commands(place, folder)
    for name in chosen or ["table", "plan", "records", *listed]:
        if name in CHILDREN:
            command = [sys.executable, str(Path(__file__).resolve()), "--child", name, "--folder", str(folder), "--rows", str(rows)]
            command += ["--place", place]
        else:
            command = [sys.executable, "-m", "xlli_ray", *listed[name]]
        before = requests()
        result = measured(command, env, timeout)
        after = requests()
        said = result.pop("said")
        made = {kind: count - before.get(kind, 0) for kind, count in after.items() if count > before.get(kind, 0)}
        yield {"step": name, "rows": rows, **result, "requests": made}
        print("\n".join(f"    {line}"[:200] for line in said.splitlines()[-12:]), flush=True)


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="kept, with the server's data [default: a temporary one]")
    parser.add_argument("--steps", default="", help="only these, separated by semicolons [default: all]")
    parser.add_argument("--local", action="store_true", help="in a folder, without a server")
    parser.add_argument("--seconds", type=float, default=1800.0, help="of a step, then it is ended")
    parser.add_argument("--child")
    parser.add_argument("--place")
    args = parser.parse_args()
    rows = args.rows or (10**5 if args.quick else 10**7)
    if args.child:
        CHILDREN[args.child](args.place, args.folder, rows)
        print(f"peak {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3:.0f} MB")
        return
    chosen = [name.strip() for name in args.steps.split(";") if name.strip()]
    with common.scratch(args.scratch) as scratch:
        folder = args.folder or scratch
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "scale_network.py").write_text(plan_scale.NETWORK)
        (folder / "recipe.yaml").write_text(json.dumps(plan_scale.recipe(folder)))
        results = []
        with serving(folder, local=args.local) as (place, requests):
            for result in steps(place, folder, rows, chosen, args.seconds, requests):
                results.append(result)
                print(json.dumps(result), flush=True)
        head = ["step", "wall s", "CPU s", "peak MB", "requests"]
        table = [[*(one[name] for name in ("step", "wall_s", "cpu_s", "peak_mb")), " ".join(f"{k} {n}" for k, n in one["requests"].items())]
                 for one in results]  # fmt: skip
        common.show(f"{rows} samples", table, head)
        common.finish("study_scale", table_rows=rows, steps=results)


class serving:
    """`with serving(folder) as (address of the study, counter of requests)`."""

    def __init__(self, folder: Path, *, local: bool) -> None:
        self._folder, self._local, self._server = folder, local, None

    def __enter__(self) -> tuple[str, Callable[[], Any]]:
        if self._local:
            return str(self._folder / "study"), dict
        from server import KEY, REGION, SECRET, Server

        self._server = Server(self._folder / "s3", gigabytes=20)
        self._server.start()
        if not (self._folder / "made").exists():
            self._server.make_buckets()
            (self._folder / "made").touch()
        os.environ.update({
            "AWS_ENDPOINT_URL": self._server.url, "AWS_ACCESS_KEY_ID": KEY, "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_REGION": REGION,
            "AWS_ALLOW_HTTP": "true", "AWS_EC2_METADATA_DISABLED": "true",
        })  # fmt: skip
        return "s3://studies/scale", self._server.requests

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.stop()


if __name__ == "__main__":
    main()
