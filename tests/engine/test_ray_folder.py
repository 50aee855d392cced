"""The folder of a private Ray: closed, short enough, and removed with what is left in it, by the next run at the latest."""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil
import pytest

from xlli_ray.engine.pools import ray_folder as folder_module
from xlli_ray.engine.pools.ray_folder import MARK, MARKER, SOCKET, UNMARKED_SECONDS, make_folder, processes, remove_folder, sweep
from xlli_ray.errors import EnvironmentFailure
from xlli_ray.store.records.lease import Holder


@pytest.fixture
def place(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A short temporary folder of the test's own."""
    with tempfile.TemporaryDirectory(prefix="t-", dir="/tmp") as name:
        monkeypatch.setattr(tempfile, "tempdir", name)
        yield Path(name)


def sleeper(folder: Path) -> subprocess.Popen[bytes]:
    """A process that carries the folder's mark, as a daemon of Ray's does."""
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], env={**os.environ, MARK: str(folder)})


def mark(folder: Path, holder: Holder) -> Path:
    folder.mkdir(parents=True)
    (folder / MARKER).write_text(json.dumps(asdict(holder)))
    return folder


def test_the_folder_is_its_users_alone_and_short_enough_for_a_socket(place: Path) -> None:
    folder = make_folder()
    assert folder.parent.parent == place
    assert [stat.S_IMODE(each.stat().st_mode) for each in (folder, folder.parent)] == [0o700, 0o700]
    assert len(os.fsencode(folder / SOCKET.format(pid=os.getpid()))) <= folder_module.LONGEST_SOCKET


def test_a_home_that_was_left_open_is_closed(place: Path) -> None:
    home = place / f"xlli-ray-{os.getuid()}"
    home.mkdir()
    home.chmod(0o777)
    assert stat.S_IMODE(make_folder().parent.stat().st_mode) == 0o700


def test_a_link_that_somebody_put_in_the_homes_place_is_not_followed(place: Path) -> None:
    (place / "elsewhere").mkdir()
    (place / f"xlli-ray-{os.getuid()}").symlink_to(place / "elsewhere")
    folder = make_folder()
    assert list((place / "elsewhere").iterdir()) == []
    assert stat.S_IMODE(folder.parent.stat().st_mode) == 0o700


def test_a_temporary_folder_with_a_long_path_is_passed_over_and_without_another_the_way_out_is_named(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = place / ("long" * 30)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))
    folder = make_folder()
    assert not folder.is_relative_to(long)
    remove_folder(folder, patience=0.0)
    monkeypatch.setattr(folder_module, "LONGEST_SOCKET", 10)
    with pytest.raises(EnvironmentFailure, match=r"Set TMPDIR .* --workers 0"):
        make_folder()


def test_the_next_run_ends_and_removes_what_a_killed_driver_left_and_nothing_else(place: Path) -> None:
    here = Holder.here()
    home = place / f"xlli-ray-{os.getuid()}"
    dead = mark(home / "dead", Holder(here.host, here.pid, "1", here.machine))  # that pid, begun at another time
    before_boot = mark(home / "boot", Holder(here.host, here.pid, here.started, "another boot:pid:[1]"))
    alive = mark(home / "alive", here)
    container = mark(home / "container", Holder("other", 2, "1", here.machine.partition(":")[0] + ":pid:[1]"))
    young, old = home / "young", home / "old"
    for each in (young, old):
        each.mkdir()
    os.utime(old, (time.time() - 2 * UNMARKED_SECONDS,) * 2)
    orphan, other = sleeper(dead), sleeper(alive)
    try:
        made = make_folder()
        assert {each.name for each in home.iterdir()} == {"alive", "container", "young", made.name}
        assert not dead.exists()
        assert not before_boot.exists()
        assert container.exists()
        assert not psutil.pid_exists(orphan.pid)
        assert other.poll() is None
    finally:
        for each in (orphan, other):
            each.kill()
            each.wait()


def test_what_ends_by_itself_is_waited_for_and_what_does_not_is_ended(place: Path) -> None:
    folder = make_folder()
    child = sleeper(folder)
    try:
        assert [process.pid for process in processes(folder)] == [child.pid]
        began = time.monotonic()
        remove_folder(folder, patience=0.3)
        assert time.monotonic() - began >= 0.3
        assert not psutil.pid_exists(child.pid)
        assert not folder.exists()
    finally:
        child.kill()
        child.wait()


def test_this_process_is_not_counted_among_those_to_end(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make_folder()
    code = "import sys; from xlli_ray.engine.pools.ray_folder import *; print(len(list(processes(Path(sys.argv[1])))))"
    environment = {**os.environ, MARK: str(folder)}
    done = subprocess.run([sys.executable, "-c", code, str(folder)], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "0"
    assert psutil.pid_exists(os.getpid())
    sweep(folder.parent)
    assert folder.exists()  # its driver, this process, lives
