"""Planning a study of ten million samples, and how fast a corpus is scanned.

The sample table (10⁷ rows, six degradations) is written by `store.tables.sample_table.write_sample_table` from made-up batches of
`corpus.table.SCHEMA`. Then, in a fresh process of its own: read study.json, plan two networks with random weights (features and restore),
save the plan, list what is pending, and read the rows of one unit as a worker does. Bars: planning < 2 minutes and < 2 GB resident at
its peak. Then the same for ten times as many, by their summary alone, with a record of every unit. The writing of the table is reported
too, and the time of `expand` (ids of real samples) for a tenth of the rows.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import common
import synthetic

DEGRADATIONS = ("clean", "blur1", "blur2", "noise20", "jpeg50", "blur2+noise10")
NETWORK = '''
import torch
from torch import nn


class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(*[nn.Sequential(nn.Conv2d(3 if i == 0 else width, width, 3, 1, 1), nn.ReLU()) for i in range(4)])
        self.last = nn.Sequential(nn.Conv2d(width, 48, 3, 1, 1), nn.PixelShuffle(4))

    def forward(self, x):
        return self.last(self.body(x))


def make(width=16):
    torch.manual_seed(0)
    return Net(width)
'''


class _Steps:
    """Seconds and peak memory after each step."""

    def __init__(self) -> None:
        self.steps: dict[str, dict[str, float]] = {}
        self._wall, self._cpu = time.perf_counter(), time.process_time()

    def done(self, name: str) -> None:
        wall, cpu = time.perf_counter(), time.process_time()
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
        self.steps[name] = {"cpu_s": cpu - self._cpu, "wall_s": wall - self._wall, "peak_mb": peak / 1e6}
        self._wall, self._cpu = time.perf_counter(), time.process_time()


def recipe(folder: Path) -> dict[str, Any]:
    return {
        "name": "scale",
        "seed": 0,
        "corpus": {
            "images": ["/photos/*/*.png"],
            "scale": 4,
            "patches": {"size": 256, "per_image": 8},
            "degradations": ["clean", {"blur": 1}, {"blur": 2}, {"noise": 20}, {"jpeg": 50}, {"blur": 2, "noise": 10}],
        },
        "models": [{"id": f"net{width}", "network": "scale_network:make", "args": {"width": width}} for width in (16, 32)],
        "stages": [{"features": {"layers": ["body.*"]}}, {"restore": {}}],
        "limits": {"bytes": "1000TB", "hours": 1e6},
    }


def child_table(folder: Path, rows: int) -> dict[str, Any]:
    from xlli_ray.corpus.table import SCHEMA
    from xlli_ray.recipe import parse_recipe
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import save_manifest
    from xlli_ray.store.records.manifest import Manifest
    from xlli_ray.store.tables.sample_table import write_sample_table

    steps = _Steps()
    batches = synthetic.sample_batches(rows, degradations=DEGRADATIONS)
    for _ in synthetic.sample_batches(rows, degradations=DEGRADATIONS):
        pass
    steps.done("making the batches")
    objects = open_objects(folder / "study")
    table = write_sample_table(objects, batches, SCHEMA, synthetic.REJECTED.empty_table(), corpus_hash="made-up")
    steps.done("write_sample_table (with making)")
    parsed = parse_recipe(recipe(folder), base=folder)
    save_manifest(objects, Manifest("scale", 0, parsed.dump(), table))
    return {"steps": steps.steps, "bytes": sum(f.stat().st_size for f in (folder / "study" / "samples").iterdir())}


def child_plan(folder: Path, rows: int) -> dict[str, Any]:
    steps = _Steps()
    from dataclasses import replace

    from xlli_ray.engine.run.allowed_models import make_gate
    from xlli_ray.engine.run.plan import make_plan
    from xlli_ray.engine.run.study_weights import keep_models
    from xlli_ray.engine.run.units import pending_jobs
    from xlli_ray.engine.worker.environment import device_name
    from xlli_ray.engine.worker.study_model import load_study_model
    from xlli_ray.recipe import parse_recipe
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import load_manifest, save_manifest
    from xlli_ray.store.records.listing import Listing

    steps.done("import")
    objects = open_objects(folder / "study")
    manifest = load_manifest(objects)
    assert manifest is not None
    assert manifest.samples is not None
    assert manifest.samples.rows == rows
    parsed = parse_recipe(recipe(folder), base=folder)
    models = {record.id: record for record in keep_models(objects, parsed, ())}
    plan = make_plan(
        parsed, manifest.samples, list(models.values()), lambda name: load_study_model(objects, models[name]), device=device_name("cpu")
    )
    steps.done("plan")
    manifest = replace(manifest, models=tuple(models.values()), cells=plan.cells, device=device_name("cpu"))
    save_manifest(objects, manifest)
    steps.done("save study.json")
    jobs = pending_jobs(Listing(objects), plan.cells, make_gate(manifest.models))
    steps.done("pending jobs")
    return {
        "steps": steps.steps, "cells": len(plan.cells), "units": len(jobs), "study_json": (folder / "study" / "study.json").stat().st_size,
        "array_bytes": plan.nbytes, "hours": plan.seconds / 3600,
    }  # fmt: skip


def child_rows(folder: Path, rows: int) -> dict[str, Any]:
    """What a worker does before it can compute the first sample of a unit in the middle of the table."""
    from xlli_ray.engine.run.allowed_models import make_gate
    from xlli_ray.engine.run.units import pending_jobs
    from xlli_ray.engine.worker.worker import Worker
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import load_manifest
    from xlli_ray.store.records.listing import Listing

    steps = _Steps()
    objects = open_objects(folder / "study")
    manifest = load_manifest(objects)
    assert manifest is not None
    jobs = pending_jobs(Listing(objects), manifest.cells, make_gate(manifest.models))
    worker = Worker(str(folder / "study"), 1)
    steps.done("worker opens the study")
    job = jobs[len(jobs) // 2]
    bucket, start, stop = manifest.cell(job.cells[0]).unit(job.unit)
    samples = worker._read_rows(bucket, start, stop)
    steps.done(f"rows of one unit ({len(samples)})")
    assert samples[0].row == start
    worker.close()
    return {"steps": steps.steps}


def child_expand(folder: Path, rows: int) -> dict[str, Any]:
    """The table of real ids: `expand` over scanned rows, eight patches an image."""
    import hashlib

    from xlli_ray.corpus.spec import CorpusSpec
    from xlli_ray.corpus.table import expand

    spec = CorpusSpec(**recipe(folder)["corpus"])
    boxes = [[256 * (i // 4), 256 * (i % 4)] for i in range(8)]
    scanned = (
        {
            "status": "ok", "kind": "images", "uri": f"/photos/{i}.png", "target": None, "target_sha": None, "scale": 4, "size": 256,
            "sha": hashlib.sha256(b"%d" % i).hexdigest(), "height": 1024, "width": 1024, "target_height": None, "target_width": None,
            "boxes": boxes,
        }
        for i in range(rows // 8 // len(DEGRADATIONS))
    )  # fmt: skip
    steps = _Steps()
    made = sum(batch.num_rows for batch in expand(scanned, spec, 0))
    steps.done(f"expand to {made} rows")
    return {"steps": steps.steps, "rows": made}


def child_scan(folder: Path, rows: int) -> dict[str, Any]:
    """Files per CPU second of the corpus scan, by size of image, with and without patches."""
    from xlli_ray.corpus.scan import CorpusSpec, list_sources, scan_source

    rates = {}
    for size, count in ((256, 400), (1024, 40)):
        place = folder / f"images{size}"
        common.write_images(place, count, seed=size, size=size)
        for name, patches in (("whole", None), ("patches", {"size": 64, "per_image": 8})):
            spec = CorpusSpec(images=[f"{place}/*"], scale=4, patches=patches)
            start = time.process_time()
            found = [scan_source(source, spec, 0) for source in list_sources(spec, "/")]
            rates[f"{size}×{size}, {name}"] = len(found) / (time.process_time() - start)
            assert all(row["status"] == "ok" for row in found)
    return {"files_per_cpu_s": rates}


class _Names:
    """A store that has a record of each unit of a plan, by name: what a run of ten times as many samples lists at its end."""

    def __init__(self, cells: Any) -> None:
        self._cells = cells

    def list(self, prefix: str) -> Iterator[str]:
        from xlli_ray.store.records.unit_records import record_key

        assert prefix == "records"
        for cell in self._cells:
            yield from (record_key(cell.id, unit, 1) for unit in range(cell.units))


def child_tenfold(folder: Path, rows: int) -> dict[str, Any]:
    """Ten times as many samples, by their summary alone: plan, and what names of records cost when none is packed yet."""
    from dataclasses import replace

    from xlli_ray.engine.run.allowed_models import make_gate
    from xlli_ray.engine.run.plan import make_plan
    from xlli_ray.engine.run.units import pending_jobs
    from xlli_ray.engine.worker.study_model import load_study_model
    from xlli_ray.recipe import parse_recipe
    from xlli_ray.store.archive import Archive
    from xlli_ray.store.objects.client import open_objects
    from xlli_ray.store.records.documents import load_manifest
    from xlli_ray.store.records.listing import Listing
    from xlli_ray.store.tables.study_tables import fingerprint

    objects = open_objects(folder / "study")
    manifest = load_manifest(objects)
    assert manifest is not None
    assert manifest.samples is not None
    buckets = tuple(
        replace(one, start=10 * one.start, rows=10 * one.rows, blocks=tuple((name, 10 * first, 10 * n) for name, first, n in one.blocks))
        for one in manifest.samples.buckets
    )
    table = replace(manifest.samples, rows=10 * rows, buckets=buckets)
    steps = _Steps()
    plan = make_plan(
        parse_recipe(recipe(folder), base=folder), table, manifest.models,
        lambda name: load_study_model(objects, manifest.model(name)), device=manifest.device,
    )  # fmt: skip
    steps.done("plan")
    names: Any = _Names(plan.cells)
    listing = Listing(names)
    assert not pending_jobs(listing, plan.cells, make_gate(manifest.models))
    steps.done("pending jobs, all done")
    fingerprint(Archive(names, replace(manifest, samples=table, cells=plan.cells), listing))
    steps.done("fingerprint of the tables")
    none = len(pending_jobs(Listing(open_objects(folder / "nothing")), plan.cells, make_gate(manifest.models)))
    steps.done("pending jobs, none done")
    return {"steps": steps.steps, "units": none, "records": sum(cell.units for cell in plan.cells), "array_bytes": plan.nbytes}


CHILDREN = {
    "table": child_table, "plan": child_plan, "rows": child_rows, "tenfold": child_tenfold, "expand": child_expand, "scan": child_scan,
}  # fmt: skip


def main() -> None:
    parser = common.arguments(__doc__)
    parser.add_argument("--rows", type=int, default=None)
    parser.add_argument("--child")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    rows = args.rows or (10**5 if args.quick else 10**7)
    if args.child:
        print("RESULT " + json.dumps(CHILDREN[args.child](args.folder, rows)))
        return
    result: dict[str, Any] = {}
    with common.scratch(args.scratch) as folder:
        (folder / "scale_network.py").write_text(NETWORK)
        root = Path(__file__).resolve().parents[2]
        env = {"PYTHONPATH": f"{folder}:{root}:{Path(__file__).resolve().parent}"}
        for name in CHILDREN:
            count = rows // 10 if name == "expand" else rows
            command = [sys.executable, str(Path(__file__).resolve()), "--child", name, "--folder", str(folder), "--rows", str(count)]
            cost = common.run_measured(command, env=env)
            result[name] = json.loads(cost.output.rsplit("RESULT ", 1)[1])
            if steps := result[name].get("steps"):
                table = [[step, v["cpu_s"], v["wall_s"], v["peak_mb"]] for step, v in steps.items()]
                common.show(f"{name} ({count} rows)", table, ["", "CPU s", "wall s", "peak MB so far"])
    print("\n", {k: v for k, v in result["plan"].items() if k != "steps"})
    common.show("Scan, files per CPU second", list(result["scan"]["files_per_cpu_s"].items()), ["images", "files/s"])
    plan = result["plan"]["steps"]
    total = {k: sum(step[k] for step in plan.values()) for k in ("cpu_s", "wall_s")}
    peak = max(step["peak_mb"] for step in plan.values())
    spent = f"{total['wall_s']:.1f} s, {total['cpu_s']:.1f} CPU-s, {peak:.0f} MB at the peak"
    print(f"\n  planning {rows} rows: {spent} (bars: 120 s, 2,000 MB)")
    common.finish("plan_scale", table_rows=rows, planning={**total, "peak_mb": peak}, steps=result)


if __name__ == "__main__":
    main()
