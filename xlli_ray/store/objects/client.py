"""Opening a folder or a bucket as `Objects` (`protocol`), and checking that it can hold a study."""

from __future__ import annotations

import errno
import re
import secrets
from pathlib import Path
from urllib.parse import urlsplit

from xlli_ray.errors import EnvironmentFailure, StudyError
from xlli_ray.store.objects.bucket_objects import BucketObjects, open_bucket
from xlli_ray.store.objects.local import LocalObjects, open_regular, regular_handle
from xlli_ray.store.objects.protocol import Buffers, Fence, Missing, Objects, Pending, check_key

__all__ = [
    "BucketObjects", "Buffers", "Fence", "LocalObjects", "Missing", "Objects", "Pending", "check_key", "exists", "fenced", "is_url",
    "open_objects", "open_regular", "probe_create_only", "refuse_secrets", "regular_handle",
]  # fmt: skip
"""Also the names of `protocol` and `local`: what other packages need is imported from here."""


def fenced(objects: Objects, fence: Fence) -> Objects:
    """The same folder or bucket, with the fence checked before changes."""
    assert isinstance(objects, LocalObjects | BucketObjects)
    out = object.__new__(type(objects))  # not `copy`: it pickles, and an in-memory store would open the shared one
    out.__dict__.update(objects.__dict__, fence=fence)
    return out


def exists(objects: Objects, key: str) -> bool:
    """Whether a small object exists: it is read, so that anything else in its place is reported (`open_regular`)."""
    try:
        objects.get(key)
    except Missing:
        return False
    return True


def is_url(place: str) -> bool:
    """True for s3://…, gs://…; False for paths."""
    return "://" in place


def open_objects(place: str | Path) -> Objects:
    """The folder or bucket prefix at `place`: a path, `file://…`, or `s3://`, `gs://`, `az://`, `memory://`.

    Raises StudyError for a URL with credentials (they would end up in study.json), or of another form.
    """
    text = str(place)
    if not is_url(text):
        return LocalObjects(Path(text).expanduser().absolute())
    parts = urlsplit(text)
    if parts.scheme == "file":
        return LocalObjects(Path(parts.path))
    refuse_secrets(text)
    return open_bucket(text)


def refuse_secrets(url: str) -> None:
    """Raise StudyError if a URL contains a user, password, key or signature."""
    parts = urlsplit(url)
    secret_query = re.search(r"(?i)(^|&)(sig|signature|token|key|secret|password|x-amz-[a-z-]*)=", parts.query)
    if parts.username or parts.password or secret_query:
        clean = f"{parts.scheme}://{(parts.hostname or '')}{parts.path}"
        raise StudyError(
            f"{clean}: the URL contains credentials, which would be written into study.json. "
            "Pass them in environment variables (AWS_ACCESS_KEY_ID, …) and use the plain URL."
        )


def probe_create_only(objects: Objects) -> None:
    """Raise EnvironmentFailure unless `create` is create-only here: records and leases would not protect anything."""
    key = f"lease/probe-{secrets.token_hex(8)}"
    if not objects.create(key, b"1"):
        raise EnvironmentFailure(errno.EIO, f"{objects.url}: a new object could not be created ({key})")
    try:
        if objects.create(key, b"2"):
            raise EnvironmentFailure(
                errno.ENOTSUP,
                f"{objects.url}: this store created the same object twice, so concurrent runs cannot be excluded. "
                "Use a local or shared folder with hard links, or a bucket with conditional puts.",
            )
    finally:
        objects.delete([key])
