"""A study's own objects, opened for reading only, and nothing beside them.

In a folder the way to an object is gone one name at a time without following symbolic links: a link in a study of somebody else could lead
anywhere, and could change between a check and the opening.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from xlli_ray.store.objects.atomic_file import environment_errors
from xlli_ray.store.objects.client import LocalObjects, Missing, Objects, check_key

BLOCK = 4 << 20
"""Bytes read at a time: of a bucket, one request each."""
_NOT_THERE = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG, errno.EISDIR, errno.ENXIO, errno.ENODEV)


class Reading(Protocol):
    """An object that is open."""

    @property
    def size(self) -> int: ...

    def read(self, start: int, length: int) -> bytes:
        """At most `length` bytes from `start`."""


@dataclass(frozen=True)
class _File:
    handle: int
    size: int

    def read(self, start: int, length: int) -> bytes:
        with environment_errors("the study"):
            return os.pread(self.handle, length, start)


@dataclass(frozen=True)
class _Remote:
    objects: Objects
    key: str
    size: int

    def read(self, start: int, length: int) -> bytes:
        return self.objects.get_range(self.key, start, length)


def is_object(key: str) -> bool:
    """Whether an object of a study can have this key. Names that begin with a dot are of files being written."""
    try:
        return not any(name.startswith(".") for name in check_key(key).split("/"))
    except ValueError:
        return False


@contextmanager
def reading(objects: Objects, key: str) -> Iterator[Reading]:
    """The object `key`, for `is_object`. Raises Missing; also for what is not a regular file, and for everything behind a link."""
    if not is_object(key):
        raise Missing(key)
    if not isinstance(objects, LocalObjects):
        yield _Remote(objects, key, objects.size(key))
        return
    with environment_errors(objects.url):
        handle = _handle(objects.root, key)
    try:
        facts = os.fstat(handle)
        if not stat.S_ISREG(facts.st_mode):
            raise Missing(key)
        yield _File(handle, facts.st_size)
    finally:
        os.close(handle)


def _handle(root: Path, key: str) -> int:
    *folders, name = key.split("/")
    try:
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for folder in folders:
                inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
                os.close(here)
                here = inside
            return os.open(name, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
        finally:
            os.close(here)
    except OSError as error:
        if error.errno in _NOT_THERE:
            raise Missing(key) from error
        raise
