"""Groups: new cells of one model that can share a forward pass, which has one precision, share row ranges and units; for samples alone,
all cells do. So do cells with passes of their own and those that need their measurements (`needed_stages`): maps that others try are made
once, if all are planned together and cover the same rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from xlli_ray.engine.run.input_sizes import SizeFacts
from xlli_ray.engine.run.many_sizes import many_sizes
from xlli_ray.engine.run.ranges import MACS_A_SECOND, SHARD_BYTES, rows_a_unit, set_rows
from xlli_ray.engine.run.wanted_cells import WantedCell, unit_cost
from xlli_ray.probes.measurement import SetProbe, columns_of
from xlli_ray.store.records.manifest import BucketPlan, Cell, SampleTable
from xlli_ray.store.zarr.layout import ArrayMeta


def cut_groups(
    wanted: Sequence[WantedCell],
    model: str,
    table: SampleTable,
    facts: Mapping[str, SizeFacts],
    taken: set[str],
    threads: int,
    unit_seconds: float,
) -> list[Cell]:
    """The cells of one model, or with "" those of samples alone, with their ranges. `facts`: about each bucket; `taken`: names of existing
    groups; `unit_seconds`: of a unit at most."""
    together: dict[Any, list[WantedCell]] = {}
    with_sets = any(isinstance(want.probe, SetProbe) for want in wanted)
    joined = _joined(wanted, model)
    for want in wanted:
        shared = _shared(want)
        alone = () if want.probe.SHARES_FORWARD or not model else (joined[want.id(model)],)
        sets = with_sets and (isinstance(want.probe, SetProbe) or _fits_sets(want, table, facts))
        together.setdefault((*shared, alone, sets), []).append(want)
    out = []
    for members in together.values():
        number = 0
        name = model or "samples"
        while f"{name}-{number}" in taken:
            number += 1
        group = f"{name}-{number}"
        taken = {*taken, group}
        plans = _cut_group(members, table, facts, unit_seconds)
        for want, buckets in zip(members, plans):
            out.append(
                Cell(
                    stage=want.stage.id,
                    kind=want.stage.kind,
                    model=model,
                    what=want.probe.what,
                    spec=dict(want.spec),
                    params=want.stage.params,
                    identity=want.identity,
                    columns=columns_of(want.probe.columns(), clips=any(bucket.frames for bucket in table.buckets)),
                    group=group,
                    threads=threads,
                    buckets=tuple(buckets),
                    code=want.stage.code,
                    needs=want.needs,
                )
            )
    return out


def _shared(want: WantedCell) -> tuple[object, ...]:
    """What the cells of one group have in common."""
    return tuple(sorted(want.batches.items())), tuple(sorted(want.segments.items())), want.stage.precision


def _joined(wanted: Sequence[WantedCell], model: str) -> dict[str, str]:
    """The id of each cell → of the first cell that it is joined with: cells with passes of their own, by what they need of each other."""
    by_id = {want.id(model): want for want in wanted if not want.probe.SHARES_FORWARD}
    first = {name: name for name in by_id}

    def root(name: str) -> str:
        while first[name] != name:
            name = first[name]
        return name

    rank = {name: number for number, name in enumerate(by_id)}
    for name, want in by_id.items():
        for need in want.needs:
            if need in by_id and _shared(by_id[need]) == _shared(want):
                one, other = sorted((root(name), root(need)), key=rank.__getitem__)
                first[other] = one
    return {name: root(name) for name in by_id}


def _fits_sets(want: WantedCell, table: SampleTable, facts: Mapping[str, SizeFacts]) -> bool:
    """Whether a cell may share the units, and thus the forward pass, of a `SetProbe`: its shards of a complete set are within the limit."""
    for bucket in table.buckets:
        shapes = facts[bucket.name].shapes
        rows = max((rows for _, _, rows in bucket.blocks), default=0)
        for array in want.probe.arrays(shapes) if shapes else ():
            if rows * int(np.prod(array.shape, dtype=np.int64)) * np.dtype(array.dtype).itemsize > SHARD_BYTES:
                return False
    return True


def _cut_group(
    members: Sequence[WantedCell], table: SampleTable, facts: Mapping[str, SizeFacts], unit_seconds: float
) -> list[list[BucketPlan]]:
    if (together := many_sizes(members, table, facts, unit_seconds)) is not None:
        return [[plan] for plan in together]
    plans: list[list[BucketPlan]] = [[] for _ in members]
    first_unit = 0
    for bucket in table.buckets:
        segments = members[0].segments[bucket.name]
        rows = sum(count for _, count in segments)
        if not rows:
            continue
        here = facts[bucket.name]
        shapes, macs, refused = here.shapes, here.macs, here.refused
        set_cell = next((want for want in members if isinstance(want.probe, SetProbe)), None)  # then ranges are complete sets
        sets = set_rows(bucket, segments, set_cell.stage.id) if set_cell else 0
        if shapes and sets:
            shapes = replace(shapes, together=sets)
        arrays = [want.probe.arrays(shapes) if shapes else () for want in members]
        batch = members[0].batches[bucket.name]
        sample_bytes = [int(np.prod(a.shape, dtype=np.int64)) * np.dtype(a.dtype).itemsize for some in arrays for a in some]
        seconds = macs * unit_cost(members) / MACS_A_SECOND
        size = sets or rows_a_unit(rows, batch, sample_bytes, seconds, unit_seconds)
        for want, some, plan in zip(members, arrays, plans):
            metas = [ArrayMeta(a.name, rows, size, a.shape, a.dtype, a.dims, a.codec, a.described) for a in some]
            plan.append(
                BucketPlan(
                    bucket.name, bucket.height, bucket.width, rows, batch, size, first_unit, segments, tuple(metas),
                    macs * want.probe.cost, refused, bucket.frames,
                )
            )  # fmt: skip
        first_unit += -(-rows // size)
    return plans
