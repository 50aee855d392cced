"""How long what is left of a plan will take one worker of this machine, from short trials of each network.

For people only: it comes from a clock, so nothing that is stored depends on it (batches and units come from `Probe.cost` and multiply-adds
at a fixed speed, as do the limits). CPU time is taken where a worker has one thread, since a busy machine would promise hours.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence

from xlli_ray.engine.run.network_process import Apart
from xlli_ray.engine.run.ranges import MACS_A_SECOND
from xlli_ray.errors import NetworkError
from xlli_ray.models.model import Model
from xlli_ray.probes import make_probe
from xlli_ray.probes.protocol import Timed
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.listing import Listing
from xlli_ray.store.records.manifest import BucketPlan, Cell, Manifest

SIDE = 64
"""Of the noise that plain forwards are tried on, input pixels."""


def project(objects: Objects, manifest: Manifest, models: Collection[str], *, threads: int = 1) -> float | None:
    """Seconds of one worker, on this machine's CPU, for the units of `models`, and for those without a model, that have no record yet; None
    for a study of a GPU, and where a trial fails: the run says of which sample and why.

    Builds no other model: what only a study names is code of a stranger.
    """
    import torch

    from xlli_ray.engine.run.study_weights import load_study_model

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
        for members in sorted(groups.values(), key=lambda some: some[0].model):
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
            total += _group(members[0], left, built[name], forwards[name])
    except Exception:  # of a network's own code, whatever it raises
        return None
    finally:
        torch.set_num_threads(before)
    return total


def timed(apart: Apart, manifest: Manifest, models: Collection[str], *, threads: int) -> float | None:
    """`project` where networks of others are tried; None also when one ends that process, which ends no plan."""
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
            for number, (part, low, high) in enumerate(one for one in inside if one[1] < one[2]):
                have, units = rows.get(part.name, (0, 0))
                rows[part.name] = have + high - low, units + (not number)  # what a unit costs once is of its first size
    return [(part, *rows.get(part.name, (0, 0))) for part in members[0].sizes if not part.refused]


def _group(cell: Cell, left: Sequence[tuple[BucketPlan, int, int]], model: Model, forward: float) -> float:
    """Seconds of the units of one group; `forward`: of a pixel."""
    probe = make_probe(cell.kind, cell.params, cell.spec, cell.code)
    if isinstance(probe, Timed):
        found = probe.timing(model)
        return sum(units * found.once + rows * found.sample(bucket.height, bucket.width) for bucket, rows, units in left)
    areas: Mapping[str, int] = {bucket.name: _area(model, bucket) for bucket, _, _ in left}
    return sum(rows * areas[bucket.name] * forward * min(1.0, probe.cost) for bucket, rows, _ in left)


def _area(model: Model, bucket: BucketPlan) -> int:
    high, wide = model.padded(bucket.height, bucket.width)
    return high * wide * max(1, bucket.frames)


def _forward(model: Model) -> float:
    """Seconds of a plain forward pass, for each input pixel (of each frame): the faster of two, once it is warm."""
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
