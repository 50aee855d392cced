"""The meaning of read errors: is this file at fault, or the environment of all files?

A file's own fault becomes a failed row and remains one. An environment failure stops the run and marks nothing, since it will pass.
`judge` distinguishes them as far as one error allows: a lost connection is never a file's fault, a folder in place of a file always is.
A missing or denied file may be either; `outages` then checks other files.
"""

from __future__ import annotations

import errno
import lzma
import tarfile
import zipfile
import zlib
from typing import Literal

from xlli_ray.errors import EnvironmentFailure, SampleError
from xlli_ray.remote.answers import bucket_advice

Kind = Literal["missing", "denied", "damaged", "changed", "special"]

SURE: frozenset[Kind] = frozenset({"special"})
"""Kinds that an outage cannot cause. The others are believed only while other files of the corpus can be read."""

_PROCESS_ERRNO = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}
"""Errors of the process, not of one file."""
_NAME_ERRNO = {errno.ELOOP, errno.ENAMETOOLONG}
_CREDENTIAL_ERRORS = {
    "NoCredentialsError", "PartialCredentialsError", "ProfileNotFound", "DefaultCredentialsError", "RefreshError",
    "ClientAuthenticationError", "TokenRetrievalError", "UnauthorizedSSOTokenError", "SSOTokenLoadError", "CredentialRetrievalError",
}  # fmt: skip
_ARCHIVE_ERRORS = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError)
_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "az": "azure", "abfs": "azure", "abfss": "azure"}
_AGAIN = "Nothing is marked as failed; run the same command again when this is fixed"


class FileFault(SampleError):
    """A file is at fault. `kind`: missing, denied, damaged (part of an archive), changed (its bytes differ from the scan's), or special (a
    folder, a pipe, a device)."""

    def __init__(self, kind: Kind, text: str) -> None:
        super().__init__(text)
        self.kind: Kind = kind


def judge(uri: str, error: Exception) -> SampleError | EnvironmentFailure:
    """The error to raise instead of `error`, which occurred when reading `uri`.

    FileFault if the file may be at fault; EnvironmentFailure if every file would fail, `passing` if a retry may help.
    """
    if isinstance(error, ImportError):
        return missing_package(uri, error)
    code, status = _code(error), _status(error)
    if (advice := bucket_advice(f"{code} {error}")) or type(error).__name__ in _CREDENTIAL_ERRORS:
        what = "no credentials to read it" if type(error).__name__ in _CREDENTIAL_ERRORS else code or "refused"
        return EnvironmentFailure(errno.EACCES, f"{uri}: {what}: {one_line(error)}. {advice or bucket_advice('no credentials')}. {_AGAIN}")
    number = error.errno if isinstance(error, OSError) else None
    if number in _PROCESS_ERRNO:
        return EnvironmentFailure(number, f"{uri} cannot be opened: {one_line(error)}. Raise the limit, or use fewer workers. {_AGAIN}")
    if isinstance(error, FileNotFoundError | NotADirectoryError) or status in (404, 410):
        return FileFault("missing", f"missing file: {uri}")
    if isinstance(error, PermissionError) or status in (401, 403):
        hint = " (S3 also reports this for a missing name if listing is not allowed)" if uri.startswith("s3") else ""
        return FileFault("denied", f"permission denied: {uri}{hint}")
    if isinstance(error, IsADirectoryError):
        return FileFault("special", f"a folder, not a file: {uri}")
    if number in _NAME_ERRNO or isinstance(error, UnicodeError):
        return FileFault("special", f"unreadable file: {uri}: {one_line(error)}")
    if isinstance(error, _ARCHIVE_ERRORS):
        return FileFault("damaged", f"unreadable file: {uri}: damaged archive: {one_line(error)}")
    failure = EnvironmentFailure(
        number or errno.EIO, f"{uri} cannot be read: {one_line(error)}. Check the disk, the mount and the network. {_AGAIN}"
    )
    failure.passing = not isinstance(error, ValueError | TypeError)
    return failure


def missing_package(uri: str, error: ImportError) -> EnvironmentFailure:
    """The package to install for `uri`."""
    extra = _EXTRAS.get(uri.rpartition("::")[2].partition("://")[0])
    advice = f"pip install 'xlli_ray[{extra}]'" if extra else "install the package that it names"
    return EnvironmentFailure(f"{uri} needs a package that is not installed ({error}): {advice}")


def one_line(error: BaseException) -> str:
    """The first line of an error's text, or its type's name."""
    return (str(error).strip() or type(error).__name__).splitlines()[0][:300]


def _code(error: BaseException | None) -> str:
    """The code in an object store's response, such as `NoSuchBucket`, from the error or its cause; '' if there is none."""
    while error is not None:
        response = getattr(error, "response", None)
        if isinstance(response, dict):
            return str(response.get("Error", {}).get("Code", ""))
        error = error.__cause__
    return ""


def _status(error: BaseException) -> int | None:
    """The HTTP status in an error of a client library (aiohttp, gcsfs, azure), else None."""
    for name in ("status", "status_code", "code"):
        value = getattr(error, name, None)
        if isinstance(value, int) and 400 <= value < 600:
            return value
    return None
