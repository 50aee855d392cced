"""The calls of an object store: tried again where that may help, and their errors in words that lead on.

Connections break, servers ask for patience, answers are cut in the midst of their body. What passes is tried again with growing pauses,
each shortened by chance so that many workers do not come back at once; then the run stops. obstore tries again by itself, but no creation,
deletion or list whose answer was cut or lost. A second try of a creation may meet what the first one made, so creations are tried by this
file alone: when an answer was lost and the key is taken at the next try, the object is read, and it is ours if it has our bytes.
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
"""Seconds before the next try, each shortened by chance to between a half and the whole."""
PATIENCE = 60.0
"""Seconds since a call began after which there is no further try: a server that takes requests and never answers costs 30 s a request."""
FIRST_PAUSES = PAUSES[:3]
"""As long as no call has succeeded: an address with a mistake in it should not take half a minute to be told."""
WITHIN = {"max_retries": 3, "retry_timeout": timedelta(seconds=60)}
"""What obstore tries by itself: parts of a large upload should not begin anew from the first."""
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
_CHANCE = random.Random()  # of its own: the caller's random state is not touched


class Missing(KeyError):
    """No object has this key."""


class Bucket:
    """An obstore store, call by call. `once`: the same store without retries of its own. Every method raises EnvironmentFailure when the
    store cannot be used, and Missing when it can and has no such object. Safe to use from many threads."""

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
        """True when the object is there by this call, also if the answer that said so was lost."""
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
                lost = True  # or refused before it went through: nobody knows
                raise
            return True

        return self._call(key, attempt, writes=True)

    def list(self, prefix: str) -> list[str]:
        """All keys that start with `prefix` + "/", sorted."""
        import obstore

        return self._call(prefix, lambda: sorted(one["path"] for some in obstore.list(self._store, prefix=prefix) for one in some))

    def delete(self, key: str) -> None:
        """Absent ones are no error: S3 says nothing of them, Google's and Azure's stores do, also at a second try of what went through."""
        import obstore

        def attempt() -> None:
            try:
                obstore.delete(self._store, key)
            except FileNotFoundError as error:
                if bucket_advice(_code(error)):  # the bucket itself is not there
                    raise

        self._call(key, attempt, writes=True)

    def _call(self, key: str, attempt: Callable[[], T], *, writes: bool = False) -> T:
        from obstore.exceptions import BaseError

        # A store that did not come back within all pauses is asked once until it answers: a run that ends has several things to say to it.
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
        raise AssertionError("the last try returns or raises")


def open_stores(url: str) -> tuple[Any, Any]:
    """The bucket and prefix of `url` as obstore's store, with retries and without (`Bucket`).

    Credentials and addresses come from the environment. Raises StudyError when the URL names no bucket.
    """
    from obstore.exceptions import BaseError
    from obstore.store import from_url

    parts = urlsplit(url)
    known = "a folder, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX"
    if parts.scheme in ("http", "https"):
        raise StudyError(f"{url}: no place for a study; write s3://BUCKET/PREFIX, and the server's address in AWS_ENDPOINT_URL")
    if parts.scheme not in SCHEMES:
        raise StudyError(f"{url}: no study can lie at {parts.scheme}://; expected {known}")
    if not parts.netloc:
        raise StudyError(f"{url}: names no bucket; expected {known}")
    try:
        return from_url(url, retry_config=WITHIN), from_url(url, retry_config=ONCE)
    except (BaseError, ValueError, OSError) as error:
        text = first_line(error)
        hint = "set AZURE_STORAGE_ACCOUNT_NAME (and its key or SAS token)" if "Account" in text else f"expected {known}"
        raise StudyError(f"{url}: {text}; {hint}") from error


def failure_of(url: str, error: Exception) -> EnvironmentFailure:
    """What an object store's error means, with the way out; `passing` when the same call may succeed a moment later."""
    text = str(error)
    answer = _XML.search(text)
    causes = [next(filter(None, found.groups())) for found in _CAUSE.finditer(text)]
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
    """Of an error's text, without what obstore adds for its developers."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _code(error: BaseException) -> str:
    """The code of an S3 answer, such as NoSuchBucket; '' when the error holds none."""
    found = _XML.search(str(error))
    return found[1] if found else ""
