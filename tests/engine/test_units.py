"""How work is cut, retried and found again, without any worker."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xlli_ray.corpus.sample import Sample
from xlli_ray.engine.run.ranges import SHARD_BYTES, UNIT_BYTES, rows_a_unit
from xlli_ray.engine.run.units import after_loss
from xlli_ray.engine.worker.batches import batches_ahead
from xlli_ray.engine.worker.job import UnitJob
from xlli_ray.store.records.manifest import BucketPlan, Cell
from xlli_ray.store.records.unit_records import COMPUTED, PASSED


@given(
    rows=st.integers(1, 10**7), batch=st.sampled_from([1, 2, 4, 8, 16, 32]),
    sizes=st.lists(st.integers(1, 1 << 24), max_size=5), seconds=st.floats(0, 100), most=st.floats(1, 1000),
)  # fmt: skip
def test_a_unit_is_whole_batches_within_every_limit_or_one_batch(
    rows: int, batch: int, sizes: list[int], seconds: float, most: float
) -> None:
    size = rows_a_unit(rows, batch, sizes, seconds, most)
    assert size >= batch
    assert size % batch == 0
    if size > batch:
        assert size * max(sizes, default=0) <= SHARD_BYTES
        assert size * sum(sizes) <= UNIT_BYTES
        assert size * seconds <= most * 1.000001
        assert size < rows / 16 + batch, "a small corpus still spreads over workers"


@given(
    buckets=st.lists(st.tuples(st.integers(1, 500), st.integers(1, 9), st.integers(1, 4)), min_size=1, max_size=6)
)
def test_units_cover_every_row_exactly_once_and_share_no_shard(buckets: list[tuple[int, int, int]]) -> None:
    plans, first, table = [], 0, 0
    for number, (rows, batches, batch) in enumerate(buckets):
        segments = ((table, rows // 2), (table + 1000, rows - rows // 2)) if rows > 1 else ((table, rows),)
        plan = BucketPlan(f"h{number}", 1, 1, rows, batch, batches * batch, first, segments, ())
        plans.append(plan)
        first += plan.units
        table += 10_000
    cell = Cell("s", "k", "m", "w", {}, {}, {}, (), "g", 1, tuple(plans))
    seen: dict[str, list[int]] = {plan.name: [] for plan in plans}
    read: list[int] = []
    for unit in range(cell.units):
        bucket, start, stop = cell.unit(unit)
        assert start % bucket.rows_per_unit == 0, "a unit begins where a shard begins"
        assert stop - start <= bucket.rows_per_unit
        seen[bucket.name] += range(start, stop)
        read += [row for a, b in bucket.table_rows(start, stop) for row in range(a, b)]
    assert all(rows == list(range(plan.rows)) for plan, rows in zip(plans, seen.values()))
    assert len(read) == len(set(read)) == sum(plan.rows for plan in plans)


def test_a_sample_that_kills_its_worker_is_found_marked_and_only_it() -> None:
    job = UnitJob("g", 0, ("c",))
    job = after_loss(job, 1, None)
    assert (job.mode, job.skip) == ("batches", ()), "a first loss may be anything: a node that was taken away"
    job = after_loss(job, 2, None)
    assert job.mode == "probe"
    job = after_loss(job, 3, None)
    assert (job.mode, job.skip) == ("probe", ()), "it waited while another unit killed the worker: nothing is blamed"
    job = after_loss(job, 4, 17)
    assert (job.mode, job.skip) == ("probe", (17,)), "the sample in progress is marked, the search goes on"
    job = after_loss(job, 5, COMPUTED)
    assert (job.mode, job.skip) == ("probe", (17,)), "it was being written while another unit killed the worker"
    job = after_loss(job, 6, PASSED)
    assert job.mode == "alone", "all pass alone, the batch does not"
    job = after_loss(job, 7, 18)
    assert job.skip == (17, 18)
    assert after_loss(job, 8, COMPUTED).mode == "alone"
    assert job.attempt == 7, "each attempt has a note of its own"


@pytest.mark.parametrize(("side", "scale", "size", "batches"), [(32, 4, 32, 2), (32, 4, 1, 64), (512, 4, 1, 5), (2048, 4, 1, 2)])
def test_large_images_are_read_ahead_by_bytes_not_by_number(side: int, scale: int, size: int, batches: int) -> None:
    """Sixty-four images of 2048 pixels with their targets would be 50 GB."""
    sample = Sample(0, "", "", "", "", None, None, "clean", scale, "images", 0, None, side, side)
    assert batches_ahead(size, sample) == batches
