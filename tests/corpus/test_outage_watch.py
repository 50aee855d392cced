"""Bad files are told from bad surroundings."""

from __future__ import annotations

import errno
import os
import random
import threading
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from xlli_ray.corpus.files import outages as module
from xlli_ray.corpus.files.faults import FileFault, judge
from xlli_ray.corpus.files.outages import FEWEST, Watch
from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.errors import EnvironmentFailure, SampleError

Fault = Callable[[str], Exception]


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PAUSES", (0.001, 0.002, 0.003))
    monkeypatch.setattr(module, "SECOND_LOOK", 0.001)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for i in range(9):
        (tmp_path / f"{i}.png").write_bytes(b"%d" % i)
    return tmp_path


def faulty(bad: Callable[[str], Exception | None]) -> Callable[[str], bytes]:
    """`read_bytes` of a world in which `bad` says what happens."""

    def read(uri: str) -> bytes:
        if (error := bad(uri)) is not None:
            raise judge(uri, error) from error
        return read_bytes(uri)

    return read


def watch_of(folder: Path, read: Callable[[str], bytes] = read_bytes, *, witnesses: tuple[int, ...] = (0, 4, 8)) -> Watch:
    return Watch(lambda: [(str(folder / f"{i}.png"), sha256_hex(b"%d" % i)) for i in witnesses], read)


class ClientResponseError(Exception):
    """As aiohttp's."""

    def __init__(self, status: int) -> None:
        super().__init__(f"answer {status}")
        self.status = status


FILE = {
    "missing": FileNotFoundError(errno.ENOENT, "No such file"),
    "missing by http": ClientResponseError(404),
    "denied": PermissionError(errno.EACCES, "Permission denied"),
    "denied by http": ClientResponseError(403),
    "damaged in its archive": zipfile.BadZipFile("Bad CRC-32 for file '3.png'"),
    "a name that is too long": OSError(errno.ENAMETOOLONG, "File name too long"),
    "a folder": IsADirectoryError(errno.EISDIR, "Is a directory"),
}
SURROUNDINGS = {
    "disk": OSError(errno.EIO, "Input/output error"),
    "stale handle": OSError(errno.ESTALE, "Stale file handle"),
    "not connected": OSError(errno.ENOTCONN, "Transport endpoint is not connected"),
    "reset": ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"),
    "timeout": TimeoutError(),
    "503": ClientResponseError(503),
    "an error that nobody knows": RuntimeError("Session is closed"),
    "too many open files": OSError(errno.EMFILE, "Too many open files"),
}


@pytest.mark.parametrize("name", FILE)
def test_one_bad_file_among_good_ones_is_its_own_fault(folder: Path, name: str) -> None:
    bad = str(folder / "3.png")
    watch = watch_of(folder, faulty(lambda uri: FILE[name] if uri == bad else None))
    for i in (0, 1, 2, 4, 5):
        assert watch(str(folder / f"{i}.png")) == b"%d" % i
    with pytest.raises(FileFault):
        watch(bad)
    watch.confirm([bad, str(folder / "0.png")])
    assert watch(str(folder / "6.png")) == b"6", "the rest goes on"


@pytest.mark.parametrize("name", [name for name in {**FILE, **SURROUNDINGS} if name not in ("a folder", "a name that is too long")])
def test_what_no_file_is_spared_is_no_files_fault(folder: Path, name: str) -> None:
    outage = threading.Event()
    watch = watch_of(folder, faulty(lambda uri: {**FILE, **SURROUNDINGS}[name] if outage.is_set() else None))
    assert watch(str(folder / "0.png")) == b"0"
    outage.set()
    for i in (1, 2, 0):
        with pytest.raises(EnvironmentFailure) as caught:
            watch(str(folder / f"{i}.png"))
        assert not isinstance(caught.value, SampleError)
    assert "othing is marked as failed" in str(caught.value)


@pytest.mark.parametrize("name", [name for name in SURROUNDINGS if name != "too many open files"])
def test_trouble_that_passes_is_waited_for(folder: Path, name: str) -> None:
    left = [3]

    def bad(uri: str) -> Exception | None:
        left[0] -= 1
        return SURROUNDINGS[name] if left[0] >= 0 else None

    assert watch_of(folder, faulty(bad))(str(folder / "1.png")) == b"1"


def test_when_patience_is_over_there_is_no_further_try(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PATIENCE", -1.0)
    tries: list[str] = []

    def bad(uri: str) -> Exception | None:
        tries.append(uri)
        return SURROUNDINGS["reset"]

    with pytest.raises(EnvironmentFailure):
        watch_of(folder, faulty(bad))(str(folder / "1.png"))
    assert len(tries) == 1


def test_a_file_that_is_missing_for_a_moment_is_read_a_moment_later(folder: Path) -> None:
    seen: set[str] = set()

    def bad(uri: str) -> Exception | None:
        first = uri not in seen
        seen.add(uri)
        return FILE["missing"] if first else None

    watch = watch_of(folder, faulty(bad))
    assert [watch(str(folder / f"{i}.png")) for i in range(9)] == [b"%d" % i for i in range(9)]


@pytest.mark.parametrize("state", ["gone", "empty", "a file"])
def test_a_folder_that_is_not_mounted_is_no_set_of_missing_files(folder: Path, state: str) -> None:
    """Also for a corpus of one file, which no other can speak for."""
    inside = folder / "mounted"
    inside.mkdir()
    (inside / "a.png").write_bytes(b"a")
    watch = Watch(lambda: [(str(inside / "a.png"), None)])
    assert watch(str(inside / "a.png")) == b"a"
    (inside / "a.png").unlink()
    if state != "empty":
        inside.rmdir()
    if state == "a file":
        inside.write_bytes(b"")
    with pytest.raises(EnvironmentFailure, match="is it mounted"):
        watch(str(inside / "a.png"))


def test_a_file_that_is_missing_while_its_neighbours_are_there_is_missing(folder: Path) -> None:
    (folder / "3.png").unlink()
    alone = Watch(lambda: [(str(folder / "3.png"), None)])
    with pytest.raises(FileFault, match="missing file"):
        alone(str(folder / "3.png"))


def test_a_file_that_is_missing_from_a_folder_that_may_not_be_listed_is_missing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: str) -> list[str]:
        raise PermissionError(13, "denied", path)

    monkeypatch.setattr("xlli_ray.corpus.files.outages.os.listdir", denied)
    with pytest.raises(FileFault, match="missing file"):
        watch_of(folder)(str(folder / "none.png"))


@pytest.mark.parametrize("kind", ["folder", "pipe", "device"])
def test_what_is_no_file_is_refused_without_waiting(folder: Path, kind: str) -> None:
    place = folder / "odd.png"
    if kind == "folder":
        place.mkdir()
    elif kind == "pipe":
        os.mkfifo(place)
    else:
        place.symlink_to("/dev/zero")
    with pytest.raises(FileFault, match="not a file"):
        watch_of(folder)(str(place))


def test_three_bad_files_that_are_most_of_the_last_ones_are_an_outage_whatever_the_witnesses_say(folder: Path) -> None:
    bad = {str(folder / f"{i}.png") for i in (1, 2, 3, 5)}
    watch = watch_of(folder, faulty(lambda uri: FILE["denied"] if uri in bad else None))
    for i in range(FEWEST - 1):
        with pytest.raises(FileFault):
            watch(sorted(bad)[i])
    with pytest.raises(EnvironmentFailure, match="3 of the last 3 files are denied"):
        watch(sorted(bad)[FEWEST - 1])


def test_the_same_bad_files_among_many_good_ones_are_bad_files(folder: Path) -> None:
    bad = {str(folder / f"{i}.png") for i in (1, 2, 3)}
    watch = watch_of(folder, faulty(lambda uri: FILE["denied"] if uri in bad else None))
    for i in (0, 4, 5, 6, 7, 8):
        watch(str(folder / f"{i}.png"))
    for uri in sorted(bad) * 3:
        with pytest.raises(FileFault):
            watch(uri)
    watch.confirm(sorted(bad))


def test_a_page_of_a_proxy_in_place_of_every_file_is_no_change_of_the_files(folder: Path) -> None:
    watch = watch_of(folder, lambda uri: b"<html>please log in</html>")
    fault = watch.blame(str(folder / "3.png"), FileFault("changed", "changed since scan"), sha256_hex(b"3"))
    assert isinstance(fault, EnvironmentFailure)


def test_what_was_bad_and_is_good_at_the_end_of_the_unit_is_not_recorded(folder: Path) -> None:
    outage = threading.Event()
    outage.set()
    bad = str(folder / "3.png")
    for healed_before in (False, True):
        watch = watch_of(folder, faulty(lambda uri: FILE["denied"] if uri == bad and outage.is_set() else None))
        outage.set()
        with pytest.raises(FileFault):
            watch(bad)
        outage.clear()
        if healed_before:
            assert watch(bad) == b"3"
        with pytest.raises(EnvironmentFailure, match="could a moment later"):
            watch.confirm([bad])


def test_a_changed_file_is_confirmed_only_while_it_is_changed(folder: Path) -> None:
    sha = sha256_hex(b"3")
    bad = folder / "3.png"
    bad.write_bytes(b"other")
    watch = watch_of(folder)
    assert isinstance(watch.blame(str(bad), FileFault("changed", "changed"), sha), FileFault)
    watch.confirm([str(bad)])
    assert isinstance(watch.blame(str(bad), FileFault("changed", "changed"), sha), FileFault)
    bad.write_bytes(b"3")
    with pytest.raises(EnvironmentFailure):
        watch.confirm([str(bad)])


def test_one_threads_outage_ends_the_waiting_of_all(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Sixteen threads fetch; at the end of a run none may sit out its pauses."""
    monkeypatch.setattr(module, "PAUSES", (3600.0,))

    def bad(uri: str) -> Exception | None:
        return SURROUNDINGS["too many open files" if uri.endswith("8.png") else "reset"]

    watch = watch_of(folder, faulty(bad))
    caught: list[BaseException] = []

    def ask(i: int) -> None:
        try:
            watch(str(folder / f"{i}.png"))
        except EnvironmentFailure as failure:
            caught.append(failure)

    threads = [threading.Thread(target=ask, args=(i,), daemon=True) for i in range(9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(caught) == 9


@pytest.mark.parametrize("seed", range(20))
def test_whatever_share_of_reads_fails_no_good_file_is_recorded_as_bad(folder: Path, seed: int) -> None:
    chance = random.Random(seed)
    share = chance.choice([0.05, 0.3, 0.6, 0.9, 1.0])
    errors = [FILE["missing"], FILE["denied"], *SURROUNDINGS.values()]
    lock = threading.Lock()

    def bad(uri: str) -> Exception | None:
        with lock:
            return chance.choice(errors) if chance.random() < share else None

    watch = watch_of(folder, faulty(bad))
    uris = [str(folder / f"{i}.png") for i in range(9)]
    failed = []
    try:
        for uri in uris:
            try:
                assert watch(uri) == Path(uri).read_bytes()
            except FileFault:
                failed.append(uri)
        # time passes: the outage is over, as the rule for recording asks for
        share = 0.0
        watch.confirm(uris)
    except EnvironmentFailure:
        return
    assert failed == []
