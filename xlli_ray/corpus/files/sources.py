"""Sources of images: local globs, URLs (`urls`), and the photographs in scikit-image's wheel.

A *URI* is an absolute local path, a URL (`s3://bucket/a.png`, `zip://a.png::https://host/set.zip`) or `skimage://name`.
It is only an address: identities are hashes of bytes, so a corpus may move.
"""

from __future__ import annotations

import fnmatch
import glob
import importlib.util
import os
import re
import stat
from collections.abc import Sequence
from pathlib import Path

from xlli_ray.corpus.files import patterns as globs
from xlli_ray.corpus.files.faults import FileFault, judge
from xlli_ray.corpus.files.urls import SCHEME, list_url, read_url
from xlli_ray.errors import EnvironmentFailure, RecipeError, SampleError, closest

# Colour photographs in the wheel itself (its other images are grey, drawn, or fetched on demand). The right
# half of the stereo pair `motorcycle` is left out: it shows the same scene, and `*` should give distinct
# contents.
SKIMAGE = {
    "astronaut": "astronaut.png",
    "chelsea": "chelsea.png",
    "coffee": "coffee.png",
    "hubble_deep_field": "hubble_deep_field.jpg",
    "motorcycle": "motorcycle_left.png",
    "retina": "retina.jpg",
    "rocket": "rocket.jpg",
}

_SKIMAGE = "skimage://"
_SHOWN = 5  # files named in a message


def list_files(patterns: Sequence[str], base: Path | str) -> list[str]:
    """Sorted, unique URIs of the files that match any of `patterns`.

    Local patterns (`photos/**/*.{png,jpg}`) are relative to the folder `base` and give absolute paths; a folder means all
    images below it; URLs may contain wildcards if their filesystem can list. A name without wildcards is used unchanged if
    it is a URL, and must exist if it is local. Raises RecipeError for a pattern that matches no file.
    """
    files: set[str] = set()
    for pattern in patterns:
        matched = [uri for one in _expanded(pattern, base) for uri in _list(one, base)]
        if not matched:
            raise RecipeError(f"{pattern!r} matches no file: {_why(pattern, base)}. Check the path, or the pattern's wildcards.")
        files.update(matched)
    return sorted(files)


def is_remote(uri: str) -> bool:
    """True for addresses read through a client, not from a mounted file system."""
    return SCHEME.match(uri) is not None and not uri.startswith(_SKIMAGE)


def read_bytes(uri: str) -> bytes:
    """All bytes of one file.

    Raises FileFault if this file seems to be at fault (missing, denied, not a file; see `faults`), EnvironmentFailure if the
    environment is (a lost connection, an error of the disk, a missing package, no credentials, too many open files).
    """
    try:
        if uri.startswith(_SKIMAGE):
            uri = _skimage_path(uri)
        elif SCHEME.match(uri):
            return read_url(uri)
        if not stat.S_ISREG(mode := os.stat(uri).st_mode) and not stat.S_ISDIR(mode):
            raise FileFault("special", f"a pipe, socket or device, not a file: {uri}")  # opening it might block forever
        with open(uri, "rb") as local:
            return local.read()
    except (SampleError, EnvironmentFailure, MemoryError):
        raise
    except Exception as error:  # fsspec's filesystems raise whatever their clients do
        raise judge(uri, error) from error


def pair_files(
    inputs: str | Sequence[str], targets: str | Sequence[str], base: Path | str, *, other: str = "target"
) -> list[tuple[str, str]]:
    """(input, target) URIs, matched by the text in place of the wildcards; sorted by input. `other`: what a target is called.

    `a/*_LR.png` and `b/*_HR.png` pair `a/7_LR.png` with `b/7_HR.png`. The n-th pattern of `inputs` belongs to the n-th
    of `targets`. Raises RecipeError when the patterns do not correspond, or files are left over on either side.
    """
    inputs = [inputs] if isinstance(inputs, str) else list(inputs)
    targets = [targets] if isinstance(targets, str) else list(targets)
    if len(inputs) != len(targets):
        raise RecipeError(
            f"pairs: {len(inputs)} input patterns and {len(targets)} {other} patterns;"
            " expected equal numbers, in the same order"
        )
    pairs: dict[str, str] = {}
    for input_pattern, target_pattern in zip(inputs, targets, strict=True):
        left, right = _by_wildcards(input_pattern, base), _by_wildcards(target_pattern, base)
        if len(next(iter(left))) != len(next(iter(right))):
            raise RecipeError(
                f"pairs: {input_pattern!r} and {target_pattern!r} have different numbers of wildcards;"
                " expected equal numbers, since files are matched by the text in place of the wildcards"
            )
        if lost := [left[key] for key in sorted(left.keys() - right.keys())]:
            raise RecipeError(f"pairs: {_some(lost, 'input')} no {other} of the same name under {target_pattern!r}")
        if lost := [right[key] for key in sorted(right.keys() - left.keys())]:
            raise RecipeError(f"pairs: {_some(lost, other)} no input of the same name under {input_pattern!r}")
        for key, uri in left.items():
            if pairs.setdefault(uri, right[key]) != right[key]:
                raise RecipeError(
                    f"pairs: {uri} is paired with {pairs[uri]} and with {right[key]}; expected one {other} per input"
                )
    return sorted(pairs.items())


def absolute(uri: str, base: Path | str) -> str:
    """`uri` unchanged if it is a URL, else the absolute local path (relative to `base`; links are kept)."""
    if uri.startswith("file://"):
        uri = uri.removeprefix("file://")
    elif SCHEME.match(uri):
        return uri
    return os.path.abspath(os.path.join(base, os.path.expanduser(uri)))


def _list(pattern: str, base: Path | str) -> list[str]:
    if pattern.startswith(_SKIMAGE):
        wanted = pattern.removeprefix(_SKIMAGE)
        return [_SKIMAGE + name for name in sorted(SKIMAGE) if fnmatch.fnmatchcase(name, wanted)]
    if SCHEME.match(pattern) and not pattern.startswith("file://"):
        return list_url(pattern)
    path = absolute(pattern, base)
    if os.path.isfile(path):
        return [path]  # then brackets in the file's own name are not wildcards
    if not os.path.isdir(path):
        path = globs.unescape(path)
    if os.path.isdir(path):
        _refuse_root(pattern, path)
        if not (images := globs.images_below(path)):
            raise RecipeError(
                f"{pattern!r} is a folder without images: it contains {globs.holds(path)}. Extensions of images: {', '.join(globs.IMAGES)}."
            )
        return images
    path = absolute(pattern, base)
    if path.startswith("/**"):
        _refuse_root(pattern, "/")
    # A relative pattern is globbed inside `base`, so that brackets in the folder's name are not wildcards.
    inside = pattern if not os.path.isabs(os.path.expanduser(pattern)) and not pattern.startswith("file://") else None
    if inside is None:
        matches = glob.glob(path, recursive=True)
    else:
        matches = [absolute(name, base) for name in glob.glob(inside, root_dir=base, recursive=True)]
    return [name for name in matches if os.path.isfile(name)]


def _refuse_root(pattern: str, folder: str) -> None:
    """A typing error (`images: [/]`) would read every folder of the machine, including devices and network drives."""
    if os.path.realpath(folder) == os.path.realpath(os.sep):
        raise RecipeError(f"{pattern!r} is the whole file system. Name the folder with the images.")


def _by_wildcards(pattern: str, base: Path | str) -> dict[tuple[str, ...], str]:
    """URI of each matching file by the texts of its wildcards."""
    if pattern.startswith(_SKIMAGE):
        raise RecipeError(f"pairs: {pattern!r} has single photographs, no pairs; expected files")
    if not SCHEME.match(pattern) and os.path.isdir(folder := absolute(pattern, base)):
        return {(os.path.relpath(uri, folder),): uri for uri in list_files([pattern], base)}
    expression = _regex(absolute(pattern, base).partition("::")[0], literal=absolute("", base))
    by_text: dict[tuple[str, ...], str] = {}
    for uri in list_files([pattern], base):
        if uri == absolute(pattern, base):
            return {(): uri}
        match = expression.fullmatch(uri.partition("::")[0])
        if match is None:
            raise RecipeError(
                f"pairs: it is ambiguous which part of {uri} matches the wildcards of {pattern!r}; simplify the pattern"
            )
        by_text[match.groups(default="")] = uri
    return by_text


def _regex(pattern: str, *, literal: str) -> re.Pattern[str]:
    """A glob as a regular expression whose groups are the wildcards; a prefix equal to `literal` has none."""
    start = len(literal) if literal != os.sep and pattern.startswith(literal + os.sep) else 0
    text = re.escape(pattern[:start])
    tokens = {"**/": r"(?:(.*)/)?", "**": "(.*)", "*": "([^/]*)", "?": "([^/])"}
    for token in re.findall(r"\*\*/|\*\*|\*|\?|\[!?\]?[^\]]*\]|\{[^{}]*,[^{}]*\}|.", pattern[start:], flags=re.DOTALL):
        if token in tokens:
            text += tokens[token]
        elif token.startswith("{") and len(token) > 1:
            text += f"({'|'.join(_inner(part) for part in token[1:-1].split(','))})"
        elif len(token) > 1:
            inner = token[1:-1].replace("\\", "\\\\")
            text += f"([^{inner[1:]}])" if inner.startswith("!") else f"([{inner}])"
        else:
            text += re.escape(token)
    return re.compile(text, flags=re.DOTALL)


def _inner(part: str) -> str:
    """An alternative of braces as a regular expression: its own wildcards are not distinguished."""
    return "".join({"*": "[^/]*", "?": "[^/]"}.get(character, re.escape(character)) for character in part)


def _skimage_path(uri: str) -> str:
    name = uri.removeprefix(_SKIMAGE)
    if name not in SKIMAGE:
        hint = ", ".join(closest(name, SKIMAGE)) or ", ".join(SKIMAGE)
        raise SampleError(f"missing file: scikit-image has no photograph {name!r}. Closest: {hint}.")
    package = importlib.util.find_spec("skimage")  # located, not imported, which would take half a second
    if package is None or package.origin is None:
        raise EnvironmentFailure(f"{uri} needs the package scikit-image: pip install scikit-image")
    return os.path.join(os.path.dirname(package.origin), "data", SKIMAGE[name])


def _expanded(pattern: str, base: Path | str) -> list[str]:
    """Brace expansion, except for an existing name and for a URL's query."""
    if not SCHEME.match(pattern) and os.path.lexists(absolute(pattern, base)):
        return [pattern]
    head, chain, tail = pattern.partition("::")
    try:
        return [one + chain + tail for one in globs.expand(head)]
    except ValueError as error:
        raise RecipeError(f"{pattern!r}: {error}") from error


def _why(pattern: str, base: Path | str) -> str:
    if pattern.startswith(_SKIMAGE):
        return f"the photographs are {', '.join(SKIMAGE)}"
    if SCHEME.match(pattern) and not pattern.startswith("file://"):
        return "no name there matches"
    return globs.nothing_matches(absolute(pattern, base))


def _some(uris: list[str], noun: str) -> str:
    more = f", and {len(uris) - _SHOWN} more" if len(uris) > _SHOWN else ""
    return f"{len(uris)} {noun}{'s have' if len(uris) > 1 else ' has'} ({', '.join(uris[:_SHOWN])}{more})"
