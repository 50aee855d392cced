"""Files behind URLs: buckets and web servers through the client of studies (`remote`), everything else that fsspec knows through fsspec.

fsspec reads chained URLs (`zip://*.png::s3://bucket/set.zip`), `hf://`, `ftp://` and the like, and web addresses with a query or of servers
that do not tell a file's size; it lists pages of web servers. Patterns mean the same for both: those of fsspec.
"""

from __future__ import annotations

import re

import fsspec
from fsspec.utils import glob_translate

from xlli_ray.corpus.files.faults import FileFault, judge, one_line
from xlli_ray.errors import EnvironmentFailure, RecipeError, SampleError, closest
from xlli_ray.remote.answers import Denied, Missing
from xlli_ray.remote.places import SCHEMES, place_of

SCHEME = re.compile(r"([a-zA-Z][a-zA-Z0-9+.-]*)://")
_NO_SIZE = "Content-Length"


def read_url(uri: str) -> bytes:
    """All bytes of one file: one GET. Raises FileFault, EnvironmentFailure, or whatever fsspec's filesystems raise."""
    if (place := place_of(uri)) is not None and place.key:
        try:
            return place.bucket.get(place.key)
        except Missing as error:
            raise FileFault("missing", f"missing file: {uri}") from error
        except Denied as error:
            hint = " (S3 also reports this for a missing name if listing is not allowed)" if uri.startswith("s3") else ""
            raise FileFault("denied", f"permission denied: {uri}{hint}") from error
        except EnvironmentFailure as error:
            if "status code: 410" in str(error):
                raise FileFault("missing", f"missing file: {uri}") from error
            if not (uri.startswith("http") and _NO_SIZE in str(error)):
                raise
        except ValueError as error:
            raise FileFault("special", f"unreadable file: {uri}: {one_line(error)}") from error
    filesystem, path = fsspec.core.url_to_fs(uri)
    # s3fs, in a chained URL, would request the size first: two requests, and the errors of the first have no text
    return bytes(filesystem.cat_file(path, **({"max_concurrency": 1} if "s3" in filesystem.protocol else {})))


def list_url(pattern: str) -> list[str]:
    """URLs of the files that match, in any order; the pattern itself if it has no wildcards. Raises RecipeError for a scheme that cannot be
    listed, EnvironmentFailure if a bucket cannot be."""
    # Chained URLs keep their tail: zip://*.png::s3://bucket/set.zip. A question mark in http starts a query, it is not a
    # wildcard.
    head, chain, tail = pattern.partition("::")
    protocol = SCHEME.match(pattern)[1]  # type: ignore[index]
    magic = "*" if protocol.startswith("http") else "*?["
    if protocol not in SCHEMES and protocol not in fsspec.available_protocols():
        near = f"; did you mean {' or '.join(near)}?" if (near := closest(protocol, SCHEMES)) else ""
        raise RecipeError(f"{pattern!r} cannot be listed: no files can be read from {protocol}://{near}")
    if not any(character in head for character in magic):
        return [pattern]
    if protocol in SCHEMES and not chain:
        return _list_bucket(pattern)
    try:
        filesystem, path = fsspec.core.url_to_fs(pattern)
        filesystem.invalidate_cache()  # it may be older than this run
        details = filesystem.glob(path, detail=True)
    except ValueError as error:
        raise RecipeError(f"{pattern!r} cannot be listed: {one_line(error)}. Check the address.") from error
    except Exception as error:
        verdict = judge(pattern, error)
        raise (RecipeError(f"{pattern!r} cannot be listed: {verdict}") if isinstance(verdict, SampleError) else verdict) from error
    names = [name for name, info in details.items() if info.get("type") != "directory"]
    return [name if SCHEME.match(name) else f"{protocol}://{name}{chain}{tail}" for name in names]


def _list_bucket(pattern: str) -> list[str]:
    """One list of what lies below the folder before the first wildcard."""
    place = place_of(pattern)
    if place is None or any(character in place.root for character in "*?["):
        raise RecipeError(f"{pattern!r} cannot be listed: expected the name of one bucket after ://, without wildcards")
    fixed = re.split(r"[*?\[]", place.key, maxsplit=1)[0]
    folder = fixed.rpartition("/")[0]
    flat = "**" not in place.key and "/" not in place.key[len(folder) :].lstrip("/")
    wanted = re.compile(glob_translate(place.key)).match
    try:
        found = place.bucket.find(folder, wanted, flat=flat)
    except Missing:
        return []
    except ValueError as error:
        raise RecipeError(f"{pattern!r} cannot be listed: {one_line(error)}. Check the address.") from error
    return [f"{place.root}/{key}" for key in found]
