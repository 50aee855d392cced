"""Files that are fetched before they are asked for."""

from __future__ import annotations

import gc
import threading
import weakref
from collections import Counter
from pathlib import Path

import pytest

from xlli_ray.corpus.files.prefetch import TOGETHER, Ahead
from xlli_ray.corpus.files.sources import is_remote, read_bytes
from xlli_ray.errors import EnvironmentFailure, SampleError


class Reader:
    """Counts what it reads; `gate` holds it back."""

    def __init__(self) -> None:
        self.read: Counter[str] = Counter()
        self.gate = threading.Event()
        self.gate.set()
        self.lock = threading.Lock()

    def __call__(self, uri: str) -> bytes:
        assert self.gate.wait(30)
        with self.lock:
            self.read[uri] += 1
        if "missing" in uri:
            raise SampleError(f"missing file: {uri}")
        if "full" in uri:
            raise EnvironmentFailure(24, f"{uri}: too many open files")
        return uri.encode()


@pytest.mark.parametrize("scheme", ["/data/", "s3://bucket/"])
def test_each_file_is_read_once_and_given_to_who_asks(scheme: str) -> None:
    reader = Reader()
    ahead = Ahead(reader)
    uris = [f"{scheme}{i}.png" for i in range(3 * TOGETHER + 1)]
    ahead.fetch([*uris, uris[0]])
    ahead.fetch(uris[:5])
    assert [ahead(uri) for uri in uris] == [uri.encode() for uri in uris]
    assert set(reader.read.values()) == {1}
    ahead.close()


def test_a_file_is_on_its_way_before_it_is_asked_for() -> None:
    begun = threading.Event()

    def read(uri: str) -> bytes:
        begun.set()
        return b"x"

    ahead = Ahead(read)
    ahead.fetch(["a"])
    assert begun.wait(30)
    assert ahead("a") == b"x"
    ahead.close()


def test_slow_buckets_are_asked_for_many_files_at_once() -> None:
    together = threading.Barrier(8)

    def read(uri: str) -> bytes:
        together.wait(30)  # breaks, and raises, unless eight are in flight
        return uri.encode()

    ahead = Ahead(read)
    ahead.fetch([f"s3://bucket/{i}.png" for i in range(8)])
    assert [ahead(f"s3://bucket/{i}.png") for i in range(8)] == [f"s3://bucket/{i}.png".encode() for i in range(8)]
    ahead.close()


def test_a_file_that_nobody_announced_is_read_when_it_is_asked_for() -> None:
    reader = Reader()
    ahead = Ahead(reader)
    ahead.fetch(["a"])
    assert (ahead("b"), ahead("a"), ahead("a")) == (b"b", b"a", b"a")
    assert reader.read == {"b": 1, "a": 2}
    ahead.close()


@pytest.mark.parametrize(("uri", "error"), [("/missing.png", SampleError), ("/full.png", EnvironmentFailure)])
def test_the_error_of_a_file_meets_who_asks_for_it_and_nobody_else(uri: str, error: type[Exception]) -> None:
    ahead = Ahead(Reader())
    ahead.fetch(["/a.png", uri, "/b.png"])
    assert ahead("/a.png") == b"/a.png"
    with pytest.raises(error, match=uri):
        ahead(uri)
    assert ahead("/b.png") == b"/b.png"
    ahead.close()


def test_what_was_not_asked_for_is_let_go() -> None:
    class Bytes(bytearray):
        """Takes weak references, as bytes do not."""

    made: list[weakref.ref[Bytes]] = []

    def read(uri: str) -> bytes:
        data = Bytes(b"x")
        made.append(weakref.ref(data))
        return data

    ahead = Ahead(read)
    ahead.fetch(["/a", "/b"])  # in one thread, in order
    assert ahead("/b") == b"x"
    assert made[0]() is not None
    ahead.close()
    ahead._threads.shutdown(wait=True)
    gc.collect()
    assert [one() for one in made] == [None, None]


def test_files_not_begun_are_not_read_once_forgotten() -> None:
    reader = Reader()
    reader.gate.clear()
    ahead = Ahead(reader)
    uris = [f"/{i}.png" for i in range(TOGETHER)]  # one thread's
    ahead.fetch(uris)
    ahead.forget()
    reader.gate.set()
    ahead._threads.shutdown(wait=True)
    assert sum(reader.read.values()) <= 1  # the one that was under way


def test_real_files_and_photographs_of_the_wheel(tmp_path: Path) -> None:
    (tmp_path / "a.bin").write_bytes(b"abc")
    ahead = Ahead(read_bytes)
    ahead.fetch([str(tmp_path / "a.bin"), "skimage://chelsea"])
    assert ahead(str(tmp_path / "a.bin")) == b"abc"
    assert ahead("skimage://chelsea") == read_bytes("skimage://chelsea")
    assert not is_remote(str(tmp_path))
    assert not is_remote("skimage://chelsea")
    assert is_remote("s3://a/b")
    assert is_remote("zip://a::https://h/b")
    ahead.close()
