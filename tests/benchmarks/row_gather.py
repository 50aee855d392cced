"""Gathering rows of a sharded array: our reader, tensorstore, and zarr-python's `oindex`, in rows per CPU second.

4,096 rows of 64 KiB float16 (32 × 32 × 32), shards of 256 rows, one row an inner chunk, warm page cache; random rows: 1 %, 10 % and all.
Bar: ≥ 20 times zarr-python's `oindex` with zarr 3.1.6 (Python 3.11), ≥ 5 times with the version for 3.12. All readers must give the same
numbers. `ids` is the whole way of a user, `study.array(name).rows(sample_ids)`; the dictionary of ids is made once for each array.

All rows are a quarter of a gigabyte of fresh memory a call, and on a virtual machine whose host takes unused memory back, the first
touch of a page costs several times its copying, for every reader alike. So two controls stand beside: `copy` takes the same rows from an
array in memory, which no reader can beat; and `all, warm` gathers all rows again just after that much memory was touched and freed, so
that no reader pays for the host.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import common
import numpy as np
import synthetic

SHAPE, SHARD = (32, 32, 32), 256
WARM = "all, warm"
SLOW = 3.0  # seconds; a reader that takes longer for all rows is asked once, not in each round


def readers(folder: Path) -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    import pyarrow.parquet as pq
    import tensorstore as ts
    import zarr

    from xlli_ray.study import open_study

    place = folder / "arrays.zarr" / synthetic.CELL / "h0064w0064" / "features"
    array = open_study(folder).array(synthetic.CELL)
    ids = np.array(pq.read_table(folder / "samples", columns=["sample_id"])["sample_id"].to_pylist())
    array.rows(ids[:1].tolist())
    context = ts.Context({"data_copy_concurrency": {"limit": 1}, "file_io_concurrency": {"limit": 1}})
    spec = {"driver": "zarr3", "kvstore": {"driver": "file", "path": str(place)}}
    stored = ts.open(spec, open=True, read=True, context=context).result()
    through_zarr = zarr.open_array(place, mode="r")
    everything = array.readers[0].rows(np.arange(len(ids)))
    return {
        "ours": lambda rows: array.readers[0].rows(rows),
        "ids": lambda rows: array.rows(ids[rows].tolist()),
        "tensorstore": lambda rows: stored[rows].read().result(),
        "zarr oindex": lambda rows: through_zarr.oindex[rows],
        "copy": lambda rows: everything[rows],
    }


def warm(size: int) -> None:
    """Touch as much memory as a reader will take (a result is held while the next one is made), and give it back."""
    np.ones(2 * size, np.uint8)


def rate(read: Callable[[np.ndarray], np.ndarray], rows: np.ndarray, *, at_least: float) -> tuple[float, np.ndarray]:
    """Rows per CPU second, repeated until `at_least` CPU seconds have passed."""
    done, start = 0, common.process_seconds()
    while True:
        values = read(rows)
        done += len(rows)
        spent = common.process_seconds() - start
        if spent >= at_least:
            return done / spent, values


def values(start: int, stop: int) -> np.ndarray:
    return synthetic.feature_like(np.random.default_rng([0, start]), stop - start, SHAPE, "float16")


def main() -> None:
    args = common.arguments(__doc__).parse_args()
    count = 512 if args.quick else 4096
    rounds = args.rounds or (1 if args.quick else 5)
    shares = {"1 %": 0.01, "10 %": 0.1, "all": 1.0, WARM: 1.0}
    ratios: dict[str, Any] = {}
    table = []
    for codec in ("none", "blosc"):
        with common.scratch(args.scratch) as folder:
            synthetic.write_study(
                folder, rows=count, shape=SHAPE, dtype="float16", codec=codec, shard_rows=SHARD, values=values
            )  # fmt: skip
            ways = readers(folder)
            taken: dict[tuple[str, str], list[float]] = {}
            for number in range(rounds):
                for share, part in shares.items():
                    rows = np.random.default_rng([1, number]).permutation(count)[: max(1, int(part * count))]
                    first: np.ndarray | None = None
                    for name, read in ways.items():
                        if number and count / taken[name, "all"][0] > SLOW and part == 1.0:
                            continue
                        if share == WARM:
                            warm(len(rows) * int(np.prod(SHAPE)) * 2)
                        speed, found = rate(read, rows, at_least=0.1 if args.quick else 0.3)
                        taken.setdefault((name, share), []).append(speed)
                        first = found if first is None else first
                        assert np.array_equal(first, found), name
                        del found
            for name in ways:
                table.append([f"{name}, {codec}", *(common.spread(taken[name, share]) for share in shares)])
            for other in ("zarr oindex", "tensorstore"):
                for way in ("ours", "ids", "copy"):
                    for share in shares:
                        pairs = zip(taken[way, share], taken[other, share] * (rounds if len(taken[other, share]) == 1 else 1))
                        ratios[f"{way} / {other}, {codec}, {share}"] = common.spread([a / b for a, b in pairs])
    import zarr

    common.show("Rows of 64 KiB per CPU second (min / median / max)", table, ["reader", *shares])
    bar = 20 if sys.version_info < (3, 12) else 5
    common.show(f"Ratios, round by round; bar against zarr oindex: {bar}", list(ratios.items()), ["", "min / median / max"])
    common.finish("row_gather", rows=count, rounds=rounds, zarr=zarr.__version__, bar=bar, ratios=ratios)


if __name__ == "__main__":
    main()
