"""Projected time of the rest of a plan for one worker of this machine, from short trials of each network.

For people only: it depends on a clock, so nothing stored depends on it (batches and units come from `Probe.cost` and multiply-adds at a
fixed speed, as do the limits). CPU time is used for workers of one thread, since wall time on a busy machine would be too long.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from xlli_ray.engine.run.network_process import Apart
from xlli_ray.engine.run.own_passes import with_own_passes
from xlli_ray.engine.run.ranges import MACS_A_SECOND
from xlli_ray.errors import NetworkError
from xlli_ray.models.model import Model
from xlli_ray.probes import make_probe
from xlli_ray.probes.measurement import Timed
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import BucketPlan, Cell, Manifest

SIDE = 64
"""Side in input pixels of the noise used for trial forward passes."""


def project(objects: Objects, manifest: Manifest, models: Collection[str], *, threads: int = 1) -> float | None:
    """Seconds of one worker, on this machine's CPU, for the units of `models`, and for those without a model, that have no record yet; None
    for a study on a GPU, and if a trial fails: the run will report the sample and the reason.

    Builds no other model: those named only by a study are untrusted code.
    """
    import torch

    from xlli_ray.engine.worker.study_model import load_study_model

    if not manifest.device.startswith("cpu"):
        return None
    groups: dict[str, list[Cell]] = {}
    for cell in manifest.cells:
        if not cell.model or cell.model in models:
            groups.setdefault(cell.group, []).append(cell)
    before, total, records = torch.get_num_threads(), 0.0, Listing(objects)
    built: dict[str, Model] = {}
    forwards: dict[str, float] = {}
    try:
        torch.set_num_threads(threads)
        for members in sorted(groups.values(), key=lambda group: group[0].model):
            left = _left(records, members)
            if not any(rows for _, rows, _ in left):
                continue
            name = members[0].model
            if not name:
                total += sum(rows * part.macs for cell in members for part, (_, rows, _) in zip(cell.sizes, left)) / MACS_A_SECOND
                continue
            if name not in built:
                built = {name: load_study_model(objects, manifest.model(name))}  # one at a time
                forwards[name] = _forward(built[name])
            own = with_own_passes(members)
            each = [cell for cell in members if cell.id in own] or members[:1]
            total += sum(_group(cell, left, built[name], forwards[name]) for cell in each)
    except Exception:  # any error of a network's own code
        return None
    finally:
        torch.set_num_threads(before)
    return total


def timed(apart: Apart, manifest: Manifest, models: Collection[str], *, threads: int) -> float | None:
    """`project` in the process for third-party networks; None also if one ends that process, which does not end the plan."""
    try:
        return apart(project, manifest, models, threads=threads)
    except NetworkError:
        return None


def _left(records: Listing, members: Sequence[Cell]) -> list[tuple[BucketPlan, int, int]]:
    """(bucket, rows, units) that some cell of the group lacks; buckets that the network refuses cost nothing."""
    done = set.intersection(*(set(records.entries(cell)) for cell in members))
    rows: dict[str, tuple[int, int]] = {}
    for unit in range(members[0].units):
        if unit not in done:
            bucket, start, stop = members[0].unit(unit)
            inside = [(part, max(start, part.offset), min(stop, part.offset + part.rows)) for part in bucket.exact]
            for number, (part, low, high) in enumerate(piece for piece in inside if piece[1] < piece[2]):
                have, units = rows.get(part.name, (0, 0))
                rows[part.name] = have + high - low, units + (not number)  # a unit's fixed cost is counted for its first size
    return [(part, *rows.get(part.name, (0, 0))) for part in members[0].sizes if not part.refused]


def _group(cell: Cell, left: Sequence[tuple[BucketPlan, int, int]], model: Model, forward: float) -> float:
    """Seconds of the units of one group; `forward`: per pixel."""
    probe = make_probe(cell.kind, cell.params, cell.spec, cell.code)
    if isinstance(probe, Timed):
        timing = probe.timing(model)
        maps = sum(rows * timing.sample(bucket.height, bucket.width, bucket.frames) for bucket, rows, _ in left)
        return maps + (timing.once if any(units for _, _, units in left) else 0.0)
    areas: Mapping[str, int] = {bucket.name: _area(model, bucket) for bucket, _, _ in left}
    return sum(rows * areas[bucket.name] * forward * min(1.0, probe.cost) for bucket, rows, _ in left)


def _area(model: Model, bucket: BucketPlan) -> int:
    high, wide = model.padded(bucket.height, bucket.width)
    return high * wide * max(1, bucket.frames)


def _forward(model: Model) -> float:
    """Seconds of a plain forward pass, per input pixel (of each frame): the faster of two, after warm-up."""
    import torch

    side = max(SIDE, model.minimum)
    size = model.trial_size(side, side)
    image = torch.rand(model.shape(size), generator=torch.Generator().manual_seed(0)).to(model.device)
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    taken = []
    for _ in range(3):
        start = clock()
        with torch.no_grad():
            model.forward(image)
        taken.append(clock() - start)
    return min(taken[1:]) / (side * side * max(1, size.frames))
