"""The rows of a list are the sources that they were as objects: in their order, without duplicates, one by one."""

from __future__ import annotations

import pickle
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from xlli_ray.corpus.kinds import listed, listed_rows
from xlli_ray.corpus.kinds.kind import Source, in_order
from xlli_ray.corpus.scan import list_sources
from xlli_ray.corpus.spec import CorpusSpec


@pytest.fixture(autouse=True)
def _short_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listed, "_BLOCK", 7)
    monkeypatch.setattr(listed_rows, "BLOCK", 5)


def rows_of(folder: Path, columns: dict[str, Any], **options: Any) -> Any:
    pq.write_table(pa.table(columns), folder / "files.parquet", row_group_size=13)
    return list_sources(CorpusSpec.model_validate({"list": "files.parquet", **options}), folder)


@pytest.mark.parametrize("seed", range(4))
def test_rows_are_sorted_and_distinct_as_sources_are(seed: int, tmp_path: Path) -> None:
    chance = random.Random(seed)
    count = 60

    def some(*values: Any) -> list[Any]:
        return [chance.choice(values) for _ in range(count)]

    columns = {
        "input": some("s3://b/é.png", "s3://b/z.png", "s3://b/\U00010000.png", "s3://b/\uffff.png", "s3://b/Z.png"),
        "target": some("s3://b/1.png", "s3://b/2.png"), "mask": some("s3://b/m.png", None), "label": some("wet", "dry", None),
        "site": some("a", "b", None), "depth": some(1.5, None), "number": some(1, 2),
    }  # fmt: skip
    types = {"site": "string", "depth": "float64", "number": "int64"}
    given = [
        Source(
            "pairs", columns["input"][i], columns["target"][i], mask=columns["mask"][i] or "", label=columns["label"][i] or "",
            columns=tuple((name, dtype, columns[name][i]) for name, dtype in types.items()),
        )
        for i in range(count)
    ]  # fmt: skip
    assert list(rows_of(tmp_path, columns)) == list(in_order(given))


def test_a_slice_shares_the_columns_and_travels_as_its_sources(tmp_path: Path) -> None:
    rows = rows_of(tmp_path, {"image": [f"s3://b/{i:02d}.png" for i in range(23)][::-1]}, scale=2)
    every = list(rows)
    assert (len(rows), rows[0], rows[-1], rows[11]) == (23, every[0], every[-1], every[11])
    assert list(rows[4:9]) == every[4:9]
    assert list(rows[4:9][1:3]) == every[5:7]
    assert len(rows[20:99]) == 3
    assert len(rows[9:4]) == 0
    assert pickle.loads(pickle.dumps(rows[4:9])) == tuple(every[4:9])
    for beyond in (23, -24):
        with pytest.raises(IndexError):
            rows[beyond]


def test_only_the_rows_that_are_looked_at_become_objects(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    monkeypatch.setattr(listed_rows, "Source", lambda kind, uri, *_, **__: made.append(uri))
    rows = rows_of(tmp_path, {"image": [f"s3://b/{i:03d}.png" for i in range(500)]}, scale=2)
    chunks = [rows[i : i + 64] for i in range(0, len(rows), 64)]
    assert made == []
    list(chunks[1])
    assert len(made) == 64


def test_an_empty_list_has_no_sources(tmp_path: Path) -> None:
    assert list(rows_of(tmp_path, {"image": pa.array([], pa.string())}, scale=2)) == []
