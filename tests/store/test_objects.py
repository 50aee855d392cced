"""Objects: atomic puts, create-only creates, keys that cannot leave the folder."""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from xlli_ray.errors import EnvironmentFailure, LeaseError, StudyError
from xlli_ray.remote.bucket import Bucket
from xlli_ray.store.objects import atomic_file as beside
from xlli_ray.store.objects import local as module
from xlli_ray.store.objects.client import Missing, Objects, check_key, fenced, open_objects, probe_create_only


@pytest.fixture(params=["local", "memory"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    return open_objects(tmp_path / "study") if request.param == "local" else open_objects(f"memory://{tmp_path.name}")


def test_get_range_list_delete_round_trip(place: Objects) -> None:
    place.put("a/b/one", b"0123456789")
    place.put("a/two", [b"01", b"23"])
    assert place.get("a/b/one") == b"0123456789"
    assert place.get("a/two") == b"0123"
    assert place.get_range("a/b/one", 2, 3) == b"234"
    assert place.get_range("a/b/one", -4, 4) == b"6789"
    assert list(place.list("a")) == ["a/b/one", "a/two"]
    place.delete(["a/two", "a/never-there"])
    assert list(place.list("a")) == ["a/b/one"]
    with pytest.raises(Missing):
        place.get("a/two")
    with pytest.raises(Missing):
        place.get_range("a/two", 0, 1)


def test_of_many_creators_exactly_one_wins_and_its_bytes_stay(place: Objects) -> None:
    with ThreadPoolExecutor(8) as threads:
        won = list(threads.map(lambda i: place.create("lease/1", str(i).encode()), range(32)))
    assert sum(won) == 1
    assert place.get("lease/1") == str(won.index(True)).encode()


@pytest.mark.parametrize("key", ["../x", "a/../x", "/abs", "a//b", "a b", "ä", "", "a/..", "a\nb"])
def test_a_key_that_could_leave_the_folder_is_refused(key: str) -> None:
    with pytest.raises(ValueError, match="is not a store key"):
        check_key(key)


def test_a_killed_writers_litter_is_no_object(tmp_path: Path) -> None:
    place = open_objects(tmp_path)
    place.put("a/x", b"1")
    (tmp_path / "a" / ".x.1234.partial").write_bytes(b"half")
    assert list(place.list("a")) == ["a/x"]


def test_a_store_that_creates_twice_is_refused(tmp_path: Path) -> None:
    class Liar(type(open_objects(tmp_path))):  # type: ignore[misc]
        def create(self, key: str, data: module.Buffers) -> bool:
            self.put(key, data)
            return True

    with pytest.raises(EnvironmentFailure, match="created the same object twice"):
        probe_create_only(Liar(tmp_path))
    probe_create_only(open_objects(tmp_path))
    assert list(open_objects(tmp_path).list("lease")) == []


@pytest.mark.parametrize(("code", "way_out"), [(errno.ENOSPC, "disk is full"), (errno.EROFS, "read-only"), (errno.EACCES, "permission")])
def test_errors_of_the_disk_name_the_way_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, way_out: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(module.os, "fsync", fail)
    with pytest.raises(EnvironmentFailure, match=way_out):
        open_objects(tmp_path).put("a", b"1")
    monkeypatch.undo()
    assert not list(tmp_path.glob("**/*partial")), "a failed put leaves no litter"


def open_files() -> list[str]:
    return [os.readlink(f"/proc/self/fd/{fd}") for fd in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{fd}")]


def test_an_object_that_grows_is_seen_whole_or_not_at_all(place: Objects) -> None:
    place.put("a/x", b"old")
    grows = place.begin("a/x")
    for part in (b"12", b"", b"x" * 300_000):
        grows.write(part)
        assert place.get("a/x") == b"old"
        assert list(place.list("a")) == ["a/x"]
    grows.commit()
    assert place.get("a/x") == b"12" + b"x" * 300_000
    grows.abandon()
    assert list(place.list("a")) == ["a/x"], "an abandon after the commit does nothing"
    with pytest.raises(ValueError, match="committed or abandoned"):
        grows.write(b"more")


def test_an_abandoned_object_leaves_no_file_and_no_handle_and_takes_no_more(place: Objects, tmp_path: Path) -> None:
    grows = place.begin("a/x")
    grows.write(b"half")
    grows.abandon()
    for late in (lambda: grows.write(b"late"), grows.commit):
        with pytest.raises(ValueError, match="committed or abandoned"):
            late()
    assert list(place.list("a")) == []
    assert not list(tmp_path.glob("**/*partial"))
    assert not [name for name in open_files() if str(tmp_path) in name]


def test_more_objects_than_may_be_open_grow_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_FILES", 2)
    place = open_objects(tmp_path)
    grow = [place.begin(f"a/{i}") for i in range(5)]
    for part in (b"first", b"second"):
        for i, one in enumerate(grow):
            one.write(part + b"%d" % i)
    assert len([name for name in open_files() if str(tmp_path) in name]) == 2
    grow[0].abandon()
    grow[4].write(b"takes the place of the first")
    assert len(list(tmp_path.glob("**/*partial"))) == 2
    for one in reversed(grow[1:]):
        one.commit()
    assert [place.get(f"a/{i}") for i in (1, 2, 3)] == [b"first%dsecond%d" % (i, i) for i in (1, 2, 3)]
    assert place.get("a/4") == b"first4second4takes the place of the first"
    assert not list(tmp_path.glob("**/*partial"))


@pytest.mark.parametrize("call", ["write", "fsync", "replace"])
def test_a_disk_that_fails_while_an_object_grows_leaves_the_old_one_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    def fail(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    place = open_objects(tmp_path)
    place.put("x", b"old")
    grows = place.begin("x")
    grows.write(b"1")
    if call == "write":
        grows._file = Full(grows._file)  # type: ignore[attr-defined]
        with pytest.raises(EnvironmentFailure, match="disk is full"):
            grows.write(b"2")
    else:
        monkeypatch.setattr(os, call, fail)
        with pytest.raises(EnvironmentFailure, match="disk is full"):
            grows.commit()
        monkeypatch.undo()
    assert place.get("x") == b"old"
    assert not list(tmp_path.glob("**/*partial"))
    assert not [name for name in open_files() if str(tmp_path) in name]


class Full:
    """A file on a full disk: it cannot even be closed without an error."""

    def __init__(self, file: object) -> None:
        self.file = file

    def write(self, _: bytes) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def close(self) -> None:
        self.file.close()  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_what_a_zombie_was_writing_when_its_successor_swept_replaces_nothing(tmp_path: Path) -> None:
    place = open_objects(tmp_path)
    place.put("a/x", b"the successor's")
    zombie = place.begin("a/x")
    zombie.write(b"the zombie's")
    assert open_objects(tmp_path).sweep("a") == 1  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFailure, match="taken over"):
        zombie.commit()
    assert place.get("a/x") == b"the successor's"
    record = place.begin("a/y")
    record.write(b"the zombie's")
    open_objects(tmp_path).sweep("a")  # type: ignore[attr-defined]
    with pytest.raises(EnvironmentFailure, match="taken over"):
        record.create()  # type: ignore[attr-defined]
    assert list(place.list("a")) == ["a/x"]


@pytest.mark.parametrize("url", ["s3://key:secret@bucket/x", "https://a/b?X-Amz-Signature=abc", "az://c/x?sig=abc"])
def test_a_url_with_credentials_is_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(StudyError, match="credentials") as caught:
        open_objects(url)
    assert "secret" not in str(caught.value)
    assert "=abc" not in str(caught.value)


# -- folders without hard links ------------------------------------------------------------------------------------

NO_LINK = [errno.EOPNOTSUPP, errno.ENOSYS, errno.EXDEV, errno.EMLINK, errno.EPERM]


def without_links(monkeypatch: pytest.MonkeyPatch, code: int, *, rename: bool) -> None:
    """os.link fails as exFAT, network drives and FUSE have it fail; `rename`: whether renameat2(RENAME_NOREPLACE) works there."""

    def refuse(*_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(beside.os, "link", refuse)
    if not rename:
        monkeypatch.setattr(beside, "_rename_noreplace", lambda *_: errno.EINVAL)


@pytest.mark.parametrize("code", NO_LINK)
def test_a_folder_without_hard_links_still_creates_only_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    without_links(monkeypatch, code, rename=True)
    objects = open_objects(tmp_path)
    probe_create_only(objects)
    assert objects.create("records/a", b"first")
    assert not objects.create("records/a", b"second")
    both = [beside.AtomicFile(tmp_path / "records/b", tmp_path, threading.Semaphore(2)) for _ in range(2)]
    for number, one in enumerate(both):  # both have looked: no object is there
        one.write(b"%d" % number)
    assert [one.create() for one in both] == [True, False]
    assert (objects.get("records/a"), objects.get("records/b")) == (b"first", b"0")
    assert not list(tmp_path.rglob("*.partial"))


def test_a_study_folder_that_is_a_link_to_itself_or_has_an_endless_name_is_refused_by_name(tmp_path: Path) -> None:
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    for place, why in ((circle, "a link in the path leads back to itself"), (tmp_path / ("n" * 300), "a name in the path is too long")):
        with pytest.raises(EnvironmentFailure, match=f"{why}: choose another --out"):
            probe_create_only(open_objects(place))


@pytest.mark.parametrize("code", NO_LINK)
def test_a_folder_that_can_neither_link_nor_rename_without_replacing_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    without_links(monkeypatch, code, rename=False)
    with pytest.raises(EnvironmentFailure, match=r"neither hard links \(.*\) nor a rename .*choose another --out"):
        probe_create_only(open_objects(tmp_path))
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# -- what is no file ---------------------------------------------------------------------------------------------


@pytest.mark.timeout(20)
def test_a_fifo_a_folder_and_a_device_where_a_file_is_expected_are_named_and_nobody_waits(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "device").symlink_to("/dev/zero")
    (tmp_path / "circle").symlink_to(tmp_path / "circle")
    for name, kind in (("fifo", "a FIFO"), ("folder", "a folder"), ("device", "a device"), ("circle", "not a regular file")):
        for read in (objects.get, objects.size, lambda key: objects.get_range(key, 0, 4), lambda key: objects.get_range(key, -4, 4)):
            with pytest.raises(StudyError, match=f"{name}: {kind}.*move it away"):
                read(name)
        assert not objects.create(name, b"x"), "and nothing takes its place"


def test_a_folder_where_an_object_belongs_is_named_and_nothing_is_lost(tmp_path: Path) -> None:
    objects = open_objects(tmp_path)
    (tmp_path / "tables" / "index.json").mkdir(parents=True)
    (tmp_path / "tables" / "index.json" / "mine.txt").write_text("kept")
    for change in (lambda: objects.put("tables/index.json", b"x"), lambda: objects.delete(["tables/index.json"])):
        with pytest.raises(StudyError, match=r"tables/index\.json: a folder in place of a file of the study; move it away"):
            change()
    assert (tmp_path / "tables" / "index.json" / "mine.txt").read_text() == "kept"
    assert [path.name for path in (tmp_path / "tables").iterdir()] == ["index.json"]


def test_removing_what_is_not_there_is_no_error_on_stores_that_say_so(tmp_path: Path) -> None:
    """S3 does not; Google's, Azure's and this local store of obstore's answer 404."""
    from obstore.store import LocalStore

    bucket = Bucket("gs://bucket", LocalStore(tmp_path))
    bucket.put("results/a/result.json", b"1")
    for _ in range(2):  # the second is what a retry meets whose first answer was lost
        bucket.delete(["results/a/result.json"])
    with pytest.raises(Missing):
        bucket.get("results/a/result.json")


def test_a_fence_stands_before_one_drivers_changes_and_before_nobody_elses(place: Objects) -> None:
    """In memory the copy was the store itself: the next run's heartbeat met the fence of the run before."""

    class Shut:
        def check(self) -> None:
            raise LeaseError("taken over")

    behind = fenced(place, Shut())  # type: ignore[arg-type]
    with pytest.raises(LeaseError):
        behind.put("a", b"x")
    place.put("a", b"y")
    assert behind.get("a") == b"y"
