"""A full scan with a running statistic: our shard scan against the same update over a memory map of the same bytes.

Statistics: `moments` (mean, variance, third and fourth central moments of each channel) and `covariance` (32 × 32 over the pixels of
all samples), float64 states, updated a shard at a time. 1,024 rows of 256 KiB float16 (32 × 64 × 64), shards of 64 rows, warm page
cache. Bar: ≥ 0.8 times the memory map's speed with codec none; blosc is reported. Floors: `read` only touches the bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import common
import numpy as np
import synthetic

SHAPE, SHARD = (32, 64, 64), 64


def values(start: int, stop: int) -> np.ndarray:
    return synthetic.feature_like(np.random.default_rng([0, start]), stop - start, SHAPE, "float16")


def update_moments(state: dict[str, Any], block: np.ndarray) -> None:
    """Power sums of each channel, float64; `state` grows by the rows of `block` (n, C, h, w)."""
    for row in block:
        x = row.reshape(len(row), -1).astype(np.float32)
        power = x
        for k in (1, 2, 3, 4):
            state[k] = state.get(k, 0.0) + power.sum(axis=1, dtype=np.float64)
            if k < 4:
                power = power * x


def update_covariance(state: dict[str, Any], block: np.ndarray) -> None:
    """Sum and sum of outer products over all pixels, float64 across rows."""
    for row in block:
        x = row.reshape(len(row), -1).astype(np.float32)
        state["sum"] = state.get("sum", 0.0) + x.sum(axis=1, dtype=np.float64)
        state["outer"] = state.get("outer", 0.0) + (x @ x.T).astype(np.float64)


def update_read(state: dict[str, Any], block: np.ndarray) -> None:
    """Nothing but reading: the largest bit pattern."""
    state["max"] = max(state.get("max", 0), int(block.view(np.uint16).max()))


STATISTICS: dict[str, Callable[[dict[str, Any], np.ndarray], None]] = {
    "moments": update_moments, "covariance": update_covariance, "read": update_read
}  # fmt: skip


def over_memmap(file: Path, rows: int) -> Iterator[np.ndarray]:
    mapped = np.memmap(file, np.float16, "r", shape=(rows, *SHAPE))
    for start in range(0, rows, SHARD):
        yield np.asarray(mapped[start : start + SHARD])


def over_study(folder: Path) -> Iterator[np.ndarray]:
    from xlli_ray.study import open_study

    for block in open_study(folder).array(synthetic.CELL).scan():
        assert block.valid.all()
        yield block.values


def main() -> None:
    args = common.arguments(__doc__).parse_args()
    rows = 128 if args.quick else 1024
    rounds = args.rounds or (2 if args.quick else 7)
    speeds: dict[tuple[str, str], list[float]] = {}
    with common.scratch(args.scratch) as folder:
        for codec in ("none", "blosc"):
            synthetic.write_study(
                folder / codec, rows=rows, shape=SHAPE, dtype="float16", codec=codec, shard_rows=SHARD, values=values
            )  # fmt: skip
        with (folder / "flat.npy").open("wb") as file:
            for start in range(0, rows, SHARD):
                file.write(values(start, min(start + SHARD, rows)).tobytes())
        ways: dict[str, Callable[[], Iterator[np.ndarray]]] = {
            "memmap": lambda: over_memmap(folder / "flat.npy", rows),
            "ours, none": lambda: over_study(folder / "none"),
            "ours, blosc": lambda: over_study(folder / "blosc"),
        }
        for _ in range(rounds):
            for statistic, update in STATISTICS.items():
                states: list[dict[str, Any]] = []
                for way, blocks in ways.items():
                    state: dict[str, Any] = {}
                    start_s = common.process_seconds()
                    for block in blocks():
                        update(state, block)
                    seconds = common.process_seconds() - start_s
                    speeds.setdefault((way, statistic), []).append(rows * 2 * float(np.prod(SHAPE)) / 1e6 / seconds)
                    states.append(state)
                assert all(np.array_equal(states[0][k], other[k]) for other in states for k in states[0])
    table = [[way, *(common.spread(speeds[way, statistic]) for statistic in STATISTICS)] for way in ways]
    common.show("MB per CPU second (min / median / max)", table, ["", *STATISTICS])
    ratios = {
        f"{way} / memmap, {statistic}": common.spread([a / b for a, b in zip(speeds[way, statistic], speeds["memmap", statistic])])
        for way in ("ours, none", "ours, blosc")
        for statistic in STATISTICS
    }
    common.show("Ratios, round by round; bar 0.8 for moments and covariance, codec none", list(ratios.items()), ["", "min / median / max"])
    common.finish("scan_stats", rows=rows, rounds=rounds, ratios=ratios)


if __name__ == "__main__":
    main()
