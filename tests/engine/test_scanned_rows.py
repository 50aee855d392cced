"""The rows of a scan as the driver holds them."""

from __future__ import annotations

import hashlib
import json
import sys

import pytest

from xlli_ray.corpus.files.frames import Clip
from xlli_ray.corpus.kinds.kind import Source
from xlli_ray.engine.run.scan_runner import _scan_id
from xlli_ray.engine.run.scanned_rows import ScannedRows


def test_rows_come_back_as_they_were_in_any_order_and_again() -> None:
    rows = [{"uri": f"/photos/ü{number}.png", "status": "ok", "boxes": [[number, 0]]} for number in range(150)]
    held = ScannedRows([json.dumps(row) for row in rows[first : first + 64]] for first in range(0, 150, 64))
    assert len(held) == 150
    assert list(held) == rows == list(held)
    assert [held[place] for place in (0, 63, 64, 149, -1)] == [rows[place] for place in (0, 63, 64, 149, -1)]
    assert held[62:66] == rows[62:66]
    with pytest.raises(IndexError):
        held[150]
    assert list(ScannedRows([])) == []


def test_many_rows_take_a_fifth_of_the_memory_of_dictionaries_at_most() -> None:
    texts = [
        json.dumps({"uri": f"/photos/{n // 1000}/{n}.png", "sha": hashlib.sha256(b"%d" % n).hexdigest(), "status": "ok", "scale": 4})
        for n in range(6400)
    ]
    held = ScannedRows(texts[first : first + 64] for first in range(0, 6400, 64))
    compressed = sum(len(data) for _, data in held._parts)
    dictionaries = sum(sys.getsizeof(row) + sum(sys.getsizeof(value) for value in row.values()) for row in map(json.loads, texts))
    assert compressed < dictionaries / 5


def test_the_id_of_a_scan_is_that_of_the_whole_list_as_json() -> None:
    """Studies of earlier versions keep their scans."""
    clip = Clip("a", "/clips/a/*.png", ("/clips/a/1.png", "/clips/a/2.png"), (1, 2))
    sources = [Source("images", "/photos/a.png"), Source("pairs", "/a.png", "/b.png", mask=""), Source("clips", clip.uri, clip=clip)]
    plain = [
        {"kind": "images", "uri": "/photos/a.png", "target": None},
        {"kind": "pairs", "uri": "/a.png", "target": "/b.png", "mask": ""},
        {"kind": "clips", "uri": clip.uri, "target": None,
         "clip": {"name": "a", "uri": clip.uri, "frames": list(clip.frames), "numbers": [1, 2]}},
    ]  # fmt: skip
    assert _scan_id("abc", sources) == hashlib.sha256(json.dumps(["abc", plain], sort_keys=True).encode()).hexdigest()[:12]
