"""Addresses of buckets and web servers, and obstore's stores for them, with the settings of the environment."""

from __future__ import annotations

import os
import threading
from typing import Any, NamedTuple
from urllib.parse import quote, unquote, urlsplit

from xlli_ray.errors import EnvironmentFailure
from xlli_ray.remote import bucket as calls
from xlli_ray.remote.answers import first_line
from xlli_ray.remote.aws_profile import settings_of_profile
from xlli_ray.remote.bucket import Bucket

SCHEMES = ("s3", "s3a", "gs", "gcs", "az", "azure", "adl", "abfs", "abfss")
"""Of buckets."""
_SETTINGS = ("AWS_", "GOOGLE_", "AZURE_", "HOME")
"""Beginnings of environment variables on which a store depends."""
_NOT_MARKED = ". Nothing is marked as failed; run the same command again when this is fixed"

_OPEN: dict[tuple[object, ...], Bucket] = {}
_LOCK = threading.Lock()


class Place(NamedTuple):
    """A file of a corpus: the bucket or server, and the key in it."""

    root: str
    key: str

    @property
    def bucket(self) -> Bucket:
        """Its client, one in this process. Raises EnvironmentFailure if it cannot be addressed."""
        settings = tuple((name, value) for name, value in os.environ.items() if name.startswith(_SETTINGS))
        known = (self.root, settings)
        with _LOCK:
            if known not in _OPEN:
                try:
                    _OPEN[known] = Bucket(self.root, *open_stores(self.root), closing=_NOT_MARKED)
                except ValueError as error:
                    raise EnvironmentFailure(f"{self.root}: {error}{_NOT_MARKED}") from error
            return _OPEN[known]


def place_of(uri: str) -> Place | None:
    """Where `uri` lies, None if it is not for obstore: another scheme, a chained URL, a web address with a query or unusual escapes."""
    scheme, _, rest = uri.partition("://")
    root, slash, key = rest.partition("/")
    if "::" in uri or not root:
        return None
    if scheme in SCHEMES:
        return Place(f"{scheme}://{root}", key)
    if scheme not in ("http", "https") or not slash or any(character in rest for character in "?#@"):
        return None
    plain = unquote(key)
    usual = quote(plain) in (key, quote(key)) and "//" not in plain and not plain.endswith("/")
    return Place(f"{scheme}://{root}", plain) if usual and "%2f" not in key.lower() else None


def open_stores(url: str) -> tuple[Any, Any]:
    """The bucket and prefix of `url` as obstore's store, with retries and without (`Bucket`). Credentials and addresses come from the
    environment or a profile. Raises ValueError, with advice, if it cannot be addressed."""
    from obstore.exceptions import BaseError
    from obstore.store import HTTPStore, from_url

    scheme = urlsplit(url).scheme
    found = settings_of_profile() if scheme in ("s3", "s3a") else {}
    try:
        if scheme in ("http", "https"):
            options = {"allow_http": scheme == "http"}
            return tuple(HTTPStore(url, client_options=options, retry_config=retries) for retries in (calls.WITHIN, calls.ONCE))  # type: ignore[return-value,arg-type]
        plain = f"gs://{url.partition('://')[2]}" if scheme == "gcs" else url
        return from_url(plain, retry_config=calls.WITHIN, **found), from_url(plain, retry_config=calls.ONCE, **found)
    except (BaseError, OSError) as error:
        text = first_line(error)
        hint = "; set AZURE_STORAGE_ACCOUNT_NAME (and its key or SAS token)" if "Account" in text else ""
        raise ValueError(f"{text}{hint}") from error


def memory_store() -> Any:
    """An empty store in this process."""
    import obstore.store

    return obstore.store.MemoryStore()
