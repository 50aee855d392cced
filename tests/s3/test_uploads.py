"""Shards on their way to a bucket: small ones in one request, large ones from a temporary file in parts, none half."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from faulty import Faulty, Request
from server import STUDIES

from xlli_ray.errors import EnvironmentFailure, LeaseError
from xlli_ray.remote import bucket
from xlli_ray.store.objects import bucket_objects, spooled
from xlli_ray.store.objects.client import Missing, Objects, fenced, open_objects

PART = 5 << 20
"""The least that S3 takes."""


@pytest.fixture
def asked(proxy: Faulty, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    monkeypatch.setattr(bucket, "PART", PART)
    monkeypatch.setattr(bucket_objects, "PART", PART)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    seen: list[str] = []

    def note(request: Request) -> str:
        seen.append(step(request))
        return ""

    proxy.rule = note
    return seen


def step(request: Request) -> str:
    """What a request is for."""
    if "partNumber" in request.path:
        return "part"
    if "uploadId" in request.path:
        return "complete" if request.method == "POST" else "abort"
    return "begin" if "uploads" in request.path else request.method


@pytest.fixture
def place(asked: list[str]) -> Objects:
    return open_objects(f"s3://{STUDIES}/{uuid.uuid4().hex}")


def grown(place: Objects, size: int) -> tuple[object, bytes]:
    data = os.urandom(size)
    growing = place.begin("arrays.zarr/c/0")
    for start in range(0, size, 400_000):
        growing.write(data[start : start + 400_000])
    return growing, data


def held_files(folder: Path) -> int:
    handles = [os.readlink(handle.path) for handle in os.scandir("/proc/self/fd") if os.path.lexists(handle.path)]
    return sum(name.startswith(str(folder)) for name in handles)


@pytest.mark.parametrize(
    ("size", "requests"),
    [(1000, ["PUT"]), (3 << 20, ["PUT"]), (PART, ["PUT"]), (2 * PART + 1, ["begin", "part", "part", "part", "complete"])],
)
def test_a_small_shard_is_one_request_and_a_large_one_its_parts(
    place: Objects, asked: list[str], tmp_path: Path, size: int, requests: list[str]
) -> None:
    growing, data = grown(place, size)
    assert asked == [], "nothing is sent before it is complete"
    assert held_files(tmp_path) == (size > spooled.IN_MEMORY)
    growing.commit()  # type: ignore[attr-defined]
    assert asked == requests
    assert place.get("arrays.zarr/c/0") == data
    assert held_files(tmp_path) == 0


@pytest.mark.parametrize("where", ["begin", "part", "complete"])
@pytest.mark.parametrize("fault", ["503", "lost", "reset", "cut"])
def test_a_large_shard_survives_faults_of_each_step(place: Objects, proxy: Faulty, where: str, fault: str) -> None:
    """More of them than obstore retries: the whole upload is begun again."""
    met: list[str] = []

    def rule(request: Request) -> str:
        if step(request) == where and len(met) < 4:
            met.append(request.path)
            return fault
        return ""

    place.put("first", b"1")
    growing, data = grown(place, 2 * PART + 1)
    proxy.rule = rule
    growing.commit()  # type: ignore[attr-defined]
    assert met
    proxy.rule = lambda request: ""
    assert place.get("arrays.zarr/c/0") == data


def test_an_upload_that_is_given_up_is_aborted_and_the_old_object_stays(place: Objects, asked: list[str], proxy: Faulty) -> None:
    place.put("arrays.zarr/c/0", b"old")
    growing, _ = grown(place, 2 * PART + 1)
    proxy.rule = lambda request: (asked.append(step(request)), "503" if step(request) == "part" else "")[1]
    with pytest.raises(EnvironmentFailure, match="what is done is kept"):
        growing.commit()  # type: ignore[attr-defined]
    assert asked.count("abort") == asked.count("begin") > 0
    proxy.rule = lambda request: ""
    assert place.get("arrays.zarr/c/0") == b"old"


def test_the_fence_stands_before_the_first_part(place: Objects, asked: list[str]) -> None:
    class Shut:
        def check(self) -> None:
            raise LeaseError("taken over")

    growing, _ = grown(fenced(place, Shut()), 2 * PART + 1)  # type: ignore[arg-type]
    with pytest.raises(LeaseError):
        growing.commit()  # type: ignore[attr-defined]
    assert asked == []


def test_an_abandoned_shard_sends_nothing_and_leaves_no_file(place: Objects, asked: list[str], tmp_path: Path) -> None:
    growing, _ = grown(place, 3 << 20)
    growing.abandon()  # type: ignore[attr-defined]
    growing.abandon()  # type: ignore[attr-defined]
    assert asked == []
    assert held_files(tmp_path) == 0
    with pytest.raises(Missing):
        place.get("arrays.zarr/c/0")
    with pytest.raises(ValueError, match="committed or abandoned"):
        growing.write(b"more")  # type: ignore[attr-defined]


def test_more_shards_than_files_may_be_open_grow_in_memory(place: Objects, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    monkeypatch.setattr(spooled, "_SLOTS", threading.Semaphore(1))
    first, second = grown(place, 3 << 20), grown(place, 2 * PART + 1)
    assert held_files(tmp_path) == 1
    for growing, data in (second, first):
        growing.commit()  # type: ignore[attr-defined]
        assert place.get("arrays.zarr/c/0") == data


@pytest.fixture
def full() -> Iterator[None]:
    """The temporary folder has no room."""
    before, tempfile.tempdir = tempfile.tempdir, "/dev/full/nowhere"
    yield
    tempfile.tempdir = before


def test_a_temporary_folder_that_cannot_be_used_is_named_with_the_way_out(place: Objects, full: None) -> None:
    growing = place.begin("arrays.zarr/c/0")
    with pytest.raises(EnvironmentFailure, match=r"temporary folder.*set TMPDIR.*same command again"):
        growing.write(b"x" * (2 << 20))
