"""Folder for the sockets and logs of a private Ray: only its user can enter it, and it is removed at the end.

Ray's default is /tmp/ray, with folders of mode 0777. Ours are in one folder of mode 0700 per user, below the temporary folder and not in
$XDG_RUNTIME_DIR, which is removed when its user logs out, even during a background run. Leftovers of a killed driver are removed by the
next run: a marker names the owner, and every process of a private Ray has the folder's name in its environment.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import stat
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.store.records.lease import Holder

MARKER = "driver.json"
MARK = "XLLI_RAY_FOLDER"
"""The environment variable that identifies processes of a private Ray."""
SOCKET = "session_2026-01-01_00-00-00_000000_{pid}/sockets/plasma_store"
"""The longest path of a socket that Ray creates."""
LONGEST_SOCKET = 103
"""Maximum bytes of a Unix socket's path: 107 on Linux, 103 on macOS."""
UNMARKED_SECONDS = 3600.0
"""A folder without a marker is being created, or its creator was killed before it wrote one; after this long, the latter."""
END_SECONDS = 0.3
GONE_SECONDS = 3.0
POLL_SECONDS = 0.05


def make_folder() -> Path:
    """A new folder of mode 0700 for one private Ray, marked as this process's; leftovers of dead drivers are removed first.

    Raises EnvironmentFailure if no temporary folder has a path short enough for sockets.
    """
    home = _home()
    sweep(home)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=home))
    (folder / MARKER).write_text(json.dumps(asdict(Holder.here())))
    return folder


def _home() -> Path:
    """The user's folder below the first temporary folder whose path is short enough. Never another user's."""
    tried = dict.fromkeys([tempfile.gettempdir(), "/tmp"])
    for place in tried:
        home = Path(place) / f"xlli-ray-{os.getuid()}"
        example = home / f"{os.getpid()}-12345678" / SOCKET.format(pid=os.getpid())
        if len(os.fsencode(example)) > LONGEST_SOCKET or not os.access(place, os.W_OK):
            continue
        with contextlib.suppress(FileExistsError):
            home.mkdir(mode=0o700)
        about = home.lstat()
        if not stat.S_ISDIR(about.st_mode) or about.st_uid != os.getuid():
            return Path(tempfile.mkdtemp(prefix="xlli-", dir=place))  # someone else has created that name
        home.chmod(0o700)
        return home
    raise EnvironmentFailure(
        36, f"no temporary folder for Ray's sockets: {', '.join(tried)} cannot be written to, or its path is too long (a socket's has at "
        f"most {LONGEST_SOCKET} bytes). Set TMPDIR to a short one, or run with --workers 0.",
    )  # fmt: skip


def sweep(home: Path) -> None:
    """Remove the folders of dead drivers, and end the remaining processes of their Rays."""
    for folder in home.iterdir():
        if folder.is_dir() and not folder.is_symlink() and _is_left_over(folder):
            remove_folder(folder, patience=0.0)


def _is_left_over(folder: Path) -> bool:
    """Whether its driver is certainly dead: it ran in this machine's pid namespace, or before a reboot."""
    try:
        driver, current = Holder(**json.loads((folder / MARKER).read_text())), Holder.here()
        started_again = driver.machine.partition(":")[0] != current.machine.partition(":")[0]
        return driver.is_dead_here() is True or (driver.host == current.host and started_again)
    except (OSError, ValueError, TypeError):
        with contextlib.suppress(OSError):
            return time.time() - folder.stat().st_mtime > UNMARKED_SECONDS
        return False


def remove_folder(folder: Path, *, patience: float = END_SECONDS) -> None:
    """End the processes of the private Ray that are still alive after `patience` seconds, and remove its folder."""
    until = time.monotonic() + patience
    while (alive := list(processes(folder))) and time.monotonic() < until:
        time.sleep(POLL_SECONDS)
    for process in alive:
        with contextlib.suppress(psutil.Error):
            process.kill()
    psutil.wait_procs(alive, timeout=GONE_SECONDS)
    shutil.rmtree(folder, ignore_errors=True)


def processes(folder: Path) -> Iterator[psutil.Process]:
    """Processes whose environment names the folder, except this one. Unreadable environments of other users are skipped."""
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if process.pid != os.getpid() and process.environ().get(MARK) == str(folder) and process.status() != psutil.STATUS_ZOMBIE:
                yield process
