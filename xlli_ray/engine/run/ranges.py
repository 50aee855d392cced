"""Which rows of the sample table a cell covers, and how many form a unit.

Units: rows of one bucket, as many as keep the largest shard under 256 MiB, all shards of the unit under 1 GiB and the estimated time
under the recipe's `unit_seconds` (5 minutes), but no more than a sixteenth of the bucket, so that a small corpus still spreads over
workers and a kill loses little (`docs/decisions/003-units.md`). Always whole batches; or whole sets, for probes that need a set together.
"""

from __future__ import annotations

from collections.abc import Sequence

from xlli_ray.errors import PlanError, counted
from xlli_ray.store.records.manifest import Bucket, SampleTable

SHARD_BYTES = 256 << 20
UNIT_BYTES = 1 << 30
MACS_A_SECOND = 50e9
"""Assumed speed of a core: a constant, not a measurement, since units depend on it."""
UNITS_A_BUCKET = 16


def choose_rows(table: SampleTable, max_rows: int | None) -> dict[str, tuple[tuple[int, int], ...]]:
    """Which rows of each bucket a cell covers: (first table row, rows). With `max_rows`: the first rows of each degradation's block,
    the same number in each.

    Blocks list the same contents in the same order, so the kept samples stay paired; buckets share by largest remainder. Raises
    PlanError if not even one content fits.
    """
    if max_rows is None or max_rows >= table.rows:
        return {b.name: ((b.start, b.rows),) if b.rows else () for b in table.buckets}
    labels = max(len(b.blocks) for b in table.buckets)
    contents = max_rows // labels
    if not contents:
        raise PlanError(
            f"a stage that covers {counted(max_rows, 'sample')} (max_rows, control_samples) covers less than one image under each of "
            f"{labels} degradations; use {labels} or more"
        )
    sizes = [max(rows for _, _, rows in b.blocks) for b in table.buckets]
    exact = [contents * size / sum(sizes) for size in sizes]
    share = [int(value) for value in exact]
    for index in sorted(range(len(exact)), key=lambda i: (share[i] - exact[i], i))[: contents - sum(share)]:
        share[index] += 1
    return {
        b.name: tuple((start, min(rows, each)) for _, start, rows in b.blocks if each) for b, each in zip(table.buckets, share)
    }


def rows_a_unit(rows: int, batch: int, sample_bytes: Sequence[int], seconds: float, unit_seconds: float) -> int:
    """Rows of one unit, a multiple of `batch` (see the module docstring). `seconds`: of a sample; `unit_seconds`: of a unit at most."""
    limits = [float(-(-rows // UNITS_A_BUCKET))]
    if sample_bytes:
        limits += [SHARD_BYTES / max(1, *sample_bytes), UNIT_BYTES / max(1, sum(sample_bytes))]
    if seconds > 0:
        limits.append(min(1e15, unit_seconds / seconds))
    whole = int(min(limits[1:], default=limits[0]) // batch) * batch
    spread = -(-int(limits[0]) // batch) * batch  # rounded up: the spread is a preference, the other limits are strict
    return max(batch, min(whole, spread))


def set_rows(bucket: Bucket, segments: Sequence[tuple[int, int]], stage: str) -> int:
    """Samples per set of the bucket: the units of a `SetProbe`. Raises PlanError, with names, if they differ."""
    counts = {label: rows for label, _, rows in bucket.blocks}
    if len(segments) == len(bucket.blocks):  # limited to `max_rows`, one segment per set
        counts = {label: count for (label, _, _), (_, count) in zip(bucket.blocks, segments)}
    if len(set(counts.values())) > 1:
        listed = ", ".join(f"{label} {count}" for label, count in sorted(counts.items(), key=lambda item: item[1]))
        raise PlanError(
            f"stage {stage}: all sets need the same number of samples; inputs {bucket.name} have {listed}. "
            "Request as many patches as the smallest set has, or omit that set."
        )
    return next(iter(counts.values()))
