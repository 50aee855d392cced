"""Reading files while watching their environment: an outage must not look like bad files.

Three checks precede the verdict that a file is bad. Is it still so after a moment? Can other files of the corpus (*witnesses*) be read,
with the bytes of the scan? And is it a single file: if more than half of the files read last, at least three, are bad in the same way,
it is an outage, whatever the witnesses say. Transient errors (a lost connection, a timeout, a 5xx response, a disk error) are retried with
growing pauses, and then stop the run.
"""

from __future__ import annotations

import contextlib
import errno
import os
import random
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from xlli_ray.corpus.files.faults import SURE, FileFault
from xlli_ray.corpus.files.sources import is_remote, read_bytes
from xlli_ray.corpus.ids import sha256_hex
from xlli_ray.errors import EnvironmentFailure

Witness = tuple[str, str | None]
"""A file of the corpus, and its sha256 when it was scanned, if known."""

PAUSES = (0.2, 0.8, 3.2, 12.8)
"""Seconds before transient errors are retried, each multiplied by a random factor between ½ and 1."""
PATIENCE = 60.0
"""Seconds since the first attempt at a file after which it is not retried: clients retry themselves, and may take long to give up."""
SECOND_LOOK = 0.2
"""Seconds before a file that seems bad is read again."""
WINDOW = 64
FEWEST = 3
SHARE = 0.5
"""If of the last WINDOW files at least FEWEST, and more than SHARE, are bad in the same way, the files are not the cause."""

_CHANCE = random.Random()  # its own generator: the caller's random state is not changed


class Watch:
    """`read` (`read_bytes` unless given), from URI to bytes, that distinguishes bad files from a failing environment. Thread-safe.

    After an environment failure it reads nothing more: every call, including those waiting for a retry, raises the same error.
    `witnesses` is called only in case of doubt.
    """

    def __init__(self, witnesses: Callable[[], Sequence[Witness]], read: Callable[[str], bytes] | None = None) -> None:
        self._witnesses, self._read = witnesses, read or read_bytes
        self._lock = threading.Lock()
        self._lately: OrderedDict[str, str] = OrderedDict()  # outcome of the last files: '' or the kind of fault
        self._faults: dict[str, str | None] = {}  # files that seem bad, not yet confirmed → their expected sha256
        self._healed: set[str] = set()  # such files that could be read later
        self._failure: EnvironmentFailure | None = None
        self._over = threading.Event()

    def __call__(self, uri: str) -> bytes:
        """All bytes of the file. Raises FileFault if it is bad among good ones, EnvironmentFailure if the environment fails."""
        looked, end = False, time.monotonic() + PATIENCE
        for pause in (*PAUSES, None):
            if self._failure is not None:
                raise self._failure
            try:
                data = self._read(uri)
            except FileFault as fault:
                if looked or pause is None or fault.kind in SURE:
                    raise self.blame(uri, fault) from None
                looked = True
                self._over.wait(SECOND_LOOK)
            except EnvironmentFailure as failure:
                if pause is None or not failure.passing or time.monotonic() > end:
                    raise self._stop(failure) from None
                self._over.wait(pause * _CHANCE.uniform(0.5, 1.0))
            else:
                self._note(uri, "")
                return data
        raise AssertionError("the last try returns or raises")

    def blame(self, uri: str, fault: FileFault, sha: str | None = None) -> FileFault | EnvironmentFailure:
        """The error to raise for a file that seems bad: `fault` if it is the file's own, else the environment failure. `sha`: the expected
        sha256 of its bytes."""
        if fault.kind in SURE:
            return fault
        self._note(uri, fault.kind)
        if why := self._share(fault.kind) or self._unwitnessed(uri, fault):
            return self._stop(EnvironmentFailure(
                errno.EIO, f"{fault}; {why}. Single files are not the cause, so nothing is marked as failed. Fix this and run the same "
                "command again; if the corpus was changed on purpose, use a new --out",
            ))  # fmt: skip
        with self._lock:
            self._faults[uri] = sha
        return fault

    def confirm(self, uris: Iterable[str]) -> None:
        """Check those of `uris` that seemed bad once more, after some time, before this is recorded.

        Raises EnvironmentFailure if one of them can be read now, or if the environment is now in doubt.
        """
        for uri in dict.fromkeys(uris):
            with self._lock:
                if uri not in self._faults and uri not in self._healed:
                    continue
                sha, healed = self._faults.get(uri), uri in self._healed
            outcome: Exception | None = None
            try:
                if not healed and sha is not None and sha256_hex(self._read(uri)) != sha:
                    outcome = self.blame(uri, FileFault("changed", f"changed since scan: {uri}"), sha)
                elif not healed and sha is None:
                    self._read(uri)
            except FileFault as fault:
                outcome = self.blame(uri, fault, sha)
            except EnvironmentFailure as failure:
                outcome = self._stop(failure)
            if outcome is None:
                outcome = self._stop(EnvironmentFailure(
                    errno.EIO, f"{uri} could not be read, but could a moment later: it is not the cause. Nothing is marked as failed; "
                    "run the same command again when the disk or the network is stable",
                ))  # fmt: skip
            if isinstance(outcome, EnvironmentFailure):
                raise outcome
            with self._lock:
                self._faults.pop(uri, None)

    def _note(self, uri: str, kind: str) -> None:
        with self._lock:
            if not kind and uri in self._faults:
                del self._faults[uri]
                self._healed.add(uri)
            self._lately[uri] = kind
            self._lately.move_to_end(uri)
            while len(self._lately) > WINDOW:
                self._lately.popitem(last=False)

    def _share(self, kind: str) -> str:
        with self._lock:
            bad, total = sum(one == kind for one in self._lately.values()), len(self._lately)
        return f"{bad} of the last {total} files are {kind}" if bad >= FEWEST and bad > SHARE * total else ""

    def _unwitnessed(self, uri: str, fault: FileFault) -> str:
        """Why the file itself cannot be to blame; '' if it can."""
        folder = os.path.dirname(uri)
        if fault.kind == "missing" and not is_remote(uri) and os.path.isabs(uri):
            if not os.path.isdir(folder):
                return f"its folder {folder} is missing: is it mounted?"
            with contextlib.suppress(PermissionError):  # a folder may be accessible but not listable
                if not os.listdir(folder):
                    return f"its folder {folder} is empty: is it mounted?"
        others = [(other, sha) for other, sha in self._witnesses() if other != uri]
        for other, sha in others:
            try:
                data = self._read(other)
            except (FileFault, EnvironmentFailure):
                continue
            if sha is None or sha256_hex(data) == sha:
                return ""
        if others:
            return f"other files cannot be read either, or have changed: {', '.join(other for other, _ in others)}"
        # The only file: its content is its own fault, but being unreachable may have any cause.
        own = fault.kind in ("changed", "damaged") or not is_remote(uri)
        return "" if own else "the corpus has no other file to check the environment with"

    def _stop(self, failure: EnvironmentFailure) -> EnvironmentFailure:
        with self._lock:
            self._failure = self._failure or failure
        self._over.set()
        return self._failure
