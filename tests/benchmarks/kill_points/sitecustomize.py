"""Ends a process of a run at its n-th change of files, for `kills.py`, which puts this folder first in PYTHONPATH: Python imports a
module of this name when it starts.

From outside a kill falls where most time is spent, in loading and computing. Here it falls between two system calls: before the n-th
`open` for writing, rename, link, unlink or mkdir under a folder, leases aside, that a process of the chosen role makes. Packs are of a few
units instead of a thousand, so that small studies have some.

XLLI_KILL_AT=driver:37 (or worker, child), XLLI_KILL_UNDER=FOLDER, XLLI_KILL_LOG=FILE: created by whom it hits, with what it was about to
do; nobody is hit while it exists.
"""

from __future__ import annotations

import os
import signal
import sys

ROLES = {"driver": "xlli_ray", "worker": "process_pool", "child": "network_process", "actor": "default_worker.py"}
CHANGES = ("os.rename", "os.link", "os.remove", "os.mkdir")
WRITES = os.O_WRONLY | os.O_RDWR


def _role() -> str:
    """Of this process, by its command line; '' for what is none of the run's own."""
    words = " ".join(sys.orig_argv[1:4])
    found = next((role for role in ("worker", "child", "actor") if ROLES[role] in words), "")
    return {"actor": "worker"}.get(found, found) or ("driver" if "-m xlli_ray" in words else "")


def _pack_small() -> None:
    import xlli_ray.store.records.listing as listing

    listing.PACK = int(os.environ["XLLI_KILL_PACK"])


def _arm(count: int, under: str, log: str) -> None:
    met = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal met
        if event == "open":
            changes = isinstance(arguments[2], int) and bool(arguments[2] & WRITES)
        else:
            changes = event in CHANGES
        places = [os.fspath(one) for one in arguments if isinstance(one, str | os.PathLike)] if changes else []
        places = [str(place).removeprefix(under) for place in places if str(place).startswith(under)]
        if not places or places[-1].startswith("lease"):
            return
        met += 1
        if met != count:
            return
        try:
            handle = os.open(log, os.O_CREAT | os.O_EXCL | os.O_WRONLY)
        except FileExistsError:
            return
        os.write(handle, f"{event} {' '.join(places)}".encode())
        os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


if "XLLI_KILL_PACK" in os.environ and _role():
    if _role() == "driver":
        _pack_small()
    _who, _, _number = os.environ.get("XLLI_KILL_AT", "").partition(":")
    if _who == _role():
        _arm(int(_number), os.environ["XLLI_KILL_UNDER"], os.environ["XLLI_KILL_LOG"])
