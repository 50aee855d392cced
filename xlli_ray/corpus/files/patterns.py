"""Patterns of a corpus' files: globs with braces, a folder for all images below it, and explanations for patterns without a match."""

from __future__ import annotations

import glob
import os
import re
from collections import Counter
from collections.abc import Iterator

IMAGES = (".png", ".jpg", ".jpeg", ".webp", ".tif", ".tiff", ".bmp", ".gif", ".ppm", ".pgm")
"""Extensions of files that can be decoded, in lower case; images of a folder are recognised by them, case-insensitively."""
MOST = 1000
"""Maximum number of patterns that braces may expand to."""
_SHOWN = 6
_LOOKED = 100_000  # maximum number of files counted for a message


def expand(pattern: str) -> list[str]:
    """Brace expansion: `a/{x,y}.png` → `a/x.png`, `a/y.png`. Braces without a comma are literal.

    Raises ValueError for more than a thousand.
    """
    out, waiting = [], [pattern]
    while waiting:
        here = waiting.pop()
        group = _innermost(here)
        if group is None:
            out.append(here)
        else:
            start, stop, parts = group
            waiting += [here[:start] + part + here[stop:] for part in reversed(parts)]
        if len(out) + len(waiting) > MOST:
            raise ValueError(f"its braces expand to more than {MOST} patterns")
    return list(dict.fromkeys(out))


def _innermost(pattern: str) -> tuple[int, int, list[str]] | None:
    """Position and alternatives of the first innermost pair of braces with a comma; braces in brackets are literal."""
    for match in re.finditer(r"\[!?\]?[^\]]*\]|\{([^{}]*)\}", pattern):
        if match[1] is not None and "," in match[1]:
            return match.start(), match.end(), match[1].split(",")
    return None


def escape(path: str) -> str:
    """`path` as a pattern that matches only it: brackets, stars and braces in a folder's name are not wildcards."""
    return glob.escape(path).replace("{", "[{]")


def unescape(pattern: str) -> str:
    """The inverse of `escape`."""
    return re.sub(r"\[([*?\[{])\]", r"\1", pattern)


def shown(path: str) -> str:
    r"""`path` unchanged if it is valid text; bytes of a name that are not UTF-8 become `\xff`. Tables and terminals hold text only."""
    return path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


def images_below(folder: str) -> list[str]:
    """All images of a folder and those below it, by their extensions; hidden files and folders are skipped."""
    return sorted(path for path in _files_below(folder) if os.path.splitext(path)[1].lower() in IMAGES)


def _files_below(folder: str) -> Iterator[str]:
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and name != "__MACOSX")
        yield from (os.path.join(place, name) for name in files if not name.startswith("."))


def holds(folder: str) -> str:
    """Content of a folder and its subfolders, for messages: `12 files (10 .txt, 2 .npy)`."""
    kinds: Counter[str] = Counter()
    for number, path in enumerate(_files_below(folder)):
        if number >= _LOOKED:
            break
        kinds[os.path.splitext(path)[1].lower() or "without extension"] += 1
    if not kinds:
        return "no file"
    total = sum(kinds.values())
    most = sorted(kinds.items(), key=lambda one: (-one[1], one[0]))
    listed = ", ".join(f"{count} {kind}" for kind, count in most[:_SHOWN]) + (", …" if len(kinds) > _SHOWN else "")
    return f"{total} file{'s' if total > 1 else ''} ({listed})"


def nothing_matches(path: str) -> str:
    """Why an absolute local pattern matches no file: how much of its path exists, what is there, and whether only letter case differs."""
    marked = re.sub(r"\[([*?\[{])\]", "\0\0\0", path)  # escaped characters, with the same length
    fixed = unescape(path[: len(re.split(r"[*?\[{]", marked, maxsplit=1)[0])])
    folder = fixed if fixed.endswith(os.sep) and fixed != unescape(path) else os.path.dirname(fixed)
    there = folder
    while there and not os.path.isdir(there) and os.path.dirname(there) != there:
        there = os.path.dirname(there)
    if os.path.normpath(there) != os.path.normpath(folder):
        near = ", ".join(sorted(entry.name for entry in _entries(there))[:_SHOWN])
        return f"there is no folder {os.path.normpath(folder)}; {there} contains {near or 'nothing'}"
    if other := other_case(path):
        return f"{len(other)} file{'s differ' if len(other) > 1 else ' differs'} in letter case only, e.g. {os.path.basename(other[0])}"
    return f"{os.path.normpath(folder)} holds {holds(folder)}"


def other_case(path: str) -> list[str]:
    """Files that the pattern would match if extensions were case-insensitive."""
    stem, ending = os.path.splitext(path)
    if not re.fullmatch(r"\.[A-Za-z0-9]+", ending):
        return []
    any_case = stem + "." + "".join(f"[{c.lower()}{c.upper()}]" if c.isalpha() else c for c in ending[1:])
    return sorted(name for name in glob.glob(any_case, recursive=True) if os.path.isfile(name))


def _entries(folder: str) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return [entry for entry, _ in zip(entries, range(_LOOKED)) if not entry.name.startswith(".")]
    except OSError:
        return []
