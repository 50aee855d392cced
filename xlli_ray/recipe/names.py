"""Names that become names of files and folders."""

from __future__ import annotations

from collections.abc import Iterable


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that differ in case only, None when there are none: on Windows, macOS and memory cards (exFAT) they are one file.

    Ids are ASCII (`store.zarr.layout.check_name`): no letter of theirs can be written in two ways, as é composed and decomposed.
    """
    seen: dict[str, str] = {}
    for name in names:
        other = seen.setdefault(name.lower(), name)
        if other != name:
            return other, name
    return None
