"""Do two studies hold the same numbers? For a change that must not move any: make a study before it and after it, and compare.

    python tests/benchmarks/same_study.py OLD NEW

Compared are the bytes of every shard, the rows of the sample table and of every scalar table (columns and models that only NEW has are
listed, and are no difference). Not compared: what belongs to a run (records, leases, events, versions). Exit code 1 when something differs.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


def shards(study: Path) -> dict[str, bytes]:
    """Path below `arrays.zarr` → bytes, of the objects that are no JSON."""
    root = study / "arrays.zarr"
    return {str(path.relative_to(root)): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file() and path.suffix != ".json"}


def table(study: Path, name: str) -> pa.Table | None:
    """A Parquet table of the study, rows sorted by what identifies them; parts of `samples` joined."""
    paths = sorted((study / "samples").glob("part-*.parquet")) if name == "samples" else [study / "tables" / f"{name}.parquet"]
    if not paths or not paths[0].exists():
        return None
    read = pa.concat_tables([pq.ParquetFile(path).read() for path in paths])
    keys = [(key, "ascending") for key in ("stage", "model", "what", "row", "window", "sample_id") if key in read.column_names]
    return read.sort_by(keys) if keys else read


def same(old: pa.ChunkedArray, new: pa.ChunkedArray) -> bool:
    """Equal values, NaN equal to NaN."""
    if pa.types.is_floating(old.type) and pa.types.is_floating(new.type):
        return bool(np.array_equal(old.to_numpy(), new.to_numpy(), equal_nan=True))
    return old.to_pylist() == new.to_pylist()


def compare(old: Path, new: Path) -> tuple[list[str], list[str]]:
    """(differences, what only NEW has)."""
    differences, added = [], []
    before, after = shards(old), shards(new)
    differences += [f"shard {key}: {'missing' if key not in after else 'other bytes'}" for key in before if before[key] != after.get(key)]
    added += [f"shard {key}" for key in after if key not in before]
    for name in ["samples", *sorted(path.stem for path in (old / "tables").glob("*.parquet"))]:
        one, other = table(old, name), table(new, name)
        if one is None or other is None:
            differences += [f"table {name}: missing"] if one is not None else []
            continue
        if "model" in one.column_names and "model" in other.column_names:
            known = set(one["model"].to_pylist())
            extra = sorted({str(model) for model in other["model"].to_pylist() if model not in known})
            added += [f"table {name}: model {model}" for model in extra]
            other = other.filter(pa.array([model in known for model in other["model"].to_pylist()], pa.bool_()))
        if one.num_rows != other.num_rows:
            differences.append(f"table {name}: {one.num_rows} rows, now {other.num_rows}")
            continue
        for column in one.column_names:
            if column not in other.column_names:
                differences.append(f"table {name}: column {column} is gone")
            elif not same(one[column], other[column]):
                differences.append(f"table {name}: column {column} has other values")
        added += [f"table {name}: column {column}" for column in other.column_names if column not in one.column_names]
    return differences, added


def main() -> int:
    old, new = map(Path, sys.argv[1:3])
    differences, added = compare(old, new)
    print(json.dumps({"old": old.name, "new": new.name, "shards": len(shards(old)), "differences": differences, "added": added}, indent=1))
    return 1 if differences else 0


if __name__ == "__main__":
    sys.exit(main())
