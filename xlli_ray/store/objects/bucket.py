"""The calls of an object store: retried where that may help, with errors that say what to do.

Connections break, servers throttle, responses are truncated. Transient errors are retried with growing pauses, with random jitter so that
many workers do not come back at once; then the run stops. obstore retries too, but not creations, deletions or lists whose response was
truncated or lost. A retried creation may meet the object of the first attempt, so creations are retried only by this file: if a response
was lost and the key is taken at the next attempt, the object is read, and it is ours if it has our bytes.
"""

from __future__ import annotations

import errno
import random
import re
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar
from urllib.parse import urlsplit

from xlli_ray.errors import EnvironmentFailure, StudyError, bucket_advice

PAUSES = (0.1, 0.4, 1.6, 6.4, 12.8, 12.8)
"""Seconds before the next attempt, each reduced by jitter to between a half and the whole."""
PATIENCE = 60.0
"""Seconds since the start of a call after which it is not retried: a server that never responds costs 30 s per request."""
FIRST_PAUSES = PAUSES[:3]
"""Before the first successful call: a mistyped address should not take half a minute to be reported."""
WITHIN = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
"""Retries of obstore itself: a large upload should not restart from its first part."""
ONCE = {"max_retries": 0}

SCHEMES = ("s3", "s3a", "gs", "az", "azure", "adl", "abfs", "abfss")
_PASSING_STATUS = re.compile(r"status code: (5\d\d|408|409|429)\b")
_NEVER_PASSING = ("BadScheme", "169.254.169.254")
_PASSING = (
    "error sending request", "body error", "error decoding", "timed out", "connection", "list response", "RequestTimeout",
    "IncompleteMessage",
)  # fmt: skip
_XML = re.compile(r"<Code>(.*?)</Code>.*?<Message>(.*?)</Message>", re.DOTALL)
_CAUSE = re.compile(r'message: "([^"]+)"|error: "([^"]+)"|(TimedOut)')

T = TypeVar("T")
_CHANCE = random.Random()  # separate: the caller's random state is not changed


class Missing(KeyError):
    """No object has this key."""


class Bucket:
    """An obstore store, call by call. `once`: the same store without its own retries. Every method raises EnvironmentFailure if the
    store cannot be used, and Missing if it has no such object. Thread-safe."""

    def __init__(self, url: str, store: Any, once: Any = None) -> None:
        self.url = url
        self._store, self._once = store, store if once is None else once
        self._proven = self._down = False

    def get(self, key: str) -> bytes:
        import obstore

        return self._call(key, lambda: bytes(obstore.get(self._store, key).bytes()))

    def size(self, key: str) -> int:
        """Bytes of an object."""
        import obstore

        return self._call(key, lambda: int(obstore.head(self._store, key)["size"]))

    def get_range(self, key: str, start: int, length: int) -> bytes:
        import obstore

        return self._call(key, lambda: bytes(obstore.get_range(self._store, key, start=start, length=length)))

    def put(self, key: str, data: bytes) -> None:
        import obstore

        self._call(key, lambda: obstore.put(self._store, key, data), writes=True)

    def create(self, key: str, data: bytes) -> bool:
        """True if this call created the object, also if the response was lost."""
        import obstore
        from obstore.exceptions import AlreadyExistsError

        lost = False

        def attempt() -> bool:
            nonlocal lost
            try:
                obstore.put(self._once, key, data, mode="create")
            except AlreadyExistsError:
                return lost and bytes(obstore.get(self._store, key).bytes()) == data
            except Exception:
                lost = True  # or refused before it took effect: unknown
                raise
            return True

        return self._call(key, attempt, writes=True)

    def list(self, prefix: str) -> list[str]:
        """All keys that start with `prefix` + "/", sorted."""
        import obstore

        return self._call(prefix, lambda: sorted(entry["path"] for page in obstore.list(self._store, prefix=prefix) for entry in page))

    def delete(self, key: str) -> None:
        """Missing objects are not an error: S3 ignores them, Google's and Azure's stores report them, also on retries of a success."""
        import obstore

        def attempt() -> None:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError as error:
                if bucket_advice(_code(error)):  # the bucket itself does not exist
                    raise

        self._call(key, attempt, writes=True)

    def _call(self, key: str, attempt: Callable[[], T], *, writes: bool = False) -> T:
        from obstore.exceptions import BaseError

        # A store that did not respond within all retries is called once only until it responds: an ending run makes several more calls.
        pauses = () if self._down else PAUSES if self._proven else FIRST_PAUSES
        end = time.monotonic() + PATIENCE
        for pause in (*pauses, None):
            try:
                out = attempt()
            except (BaseError, OSError) as error:
                if isinstance(error, FileNotFoundError) and not writes and not bucket_advice(_code(error)):
                    self._proven, self._down = True, False
                    raise Missing(key) from error
                failure = failure_of(self.url, error)
                if not failure.passing or pause is None or time.monotonic() > end:
                    self._down = failure.passing
                    raise failure from error
                time.sleep(pause * _CHANCE.uniform(0.5, 1.0))
            else:
                self._proven, self._down = True, False
                return out
        raise AssertionError("the last attempt returns or raises")


def open_stores(url: str) -> tuple[Any, Any]:
    """The bucket and prefix of `url` as obstore's store, with retries and without (`Bucket`).

    Credentials and addresses come from the environment. Raises StudyError if the URL does not name a bucket.
    """
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    parts = urlsplit(url)
    known = "a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    if parts.scheme in ("http", "https"):
        raise StudyError(f"{url}: not a place for a study; write s3://BUCKET/PREFIX, and the server's address in AWS_ENDPOINT_URL")
    if parts.scheme not in SCHEMES:
        raise StudyError(f"{url}: studies at {parts.scheme}:// are not supported; expected {known}")
    if not parts.netloc:
        raise StudyError(f"{url}: does not name a bucket; expected {known}")
    try:
        return from_url(url, retry_config=WITHIN), from_url(url, retry_config=ONCE)
    except (BaseError, ValueError, OSError) as error:
        text = first_line(error)
        hint = "set AZURE_STORAGE_ACCOUNT_NAME (and its key or SAS token)" if "Account" in text else f"expected {known}"
        raise StudyError(f"{url}: {text}; {hint}") from error


def failure_of(url: str, error: Exception) -> EnvironmentFailure:
    """Meaning of an object store's error, with advice; `passing` if the same call may succeed later."""
    text = str(error)
    answer = _XML.search(text)
    causes = [next(filter(None, match.groups())) for match in _CAUSE.finditer(text)]
    what = f"{answer[1]}: {answer[2]}" if answer else ", ".join([first_line(error), *causes[:1]])
    advice = bucket_advice(_code(error) or text)
    failure = EnvironmentFailure(
        errno.EIO,
        f"{url}: {what.rstrip('.')}. {advice or 'Check the network, the server (AWS_ENDPOINT_URL, AWS_REGION) and this key’s rights'}; "
        "what is done is kept, run the same command again",
    )
    passing = _PASSING_STATUS.search(text) or any(word in text for word in _PASSING)
    failure.passing = bool(passing) and not any(word in text for word in _NEVER_PASSING) and not (answer and advice)
    return failure


def first_line(error: BaseException) -> str:
    """First line of an error's text, without obstore's debugging details."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _code(error: BaseException) -> str:
    """The code of an S3 response, such as NoSuchBucket; '' if the error has none."""
    match = _XML.search(str(error))
    return match[1] if match else ""
