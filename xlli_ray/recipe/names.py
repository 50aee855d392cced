"""Names that become names of files and folders."""

from __future__ import annotations

from collections.abc import Iterable


def alike(names: Iterable[str]) -> tuple[str, str] | None:
    """Two names that differ only in case, or None: on Windows, macOS and memory cards (exFAT) they are one file.

    Ids are ASCII (`store.zarr.layout.check_name`): none of their letters has two encodings, like é composed and decomposed.
    """
    seen: dict[str, str] = {}
    for name in names:
        earlier = seen.setdefault(name.lower(), name)
        if earlier != name:
            return earlier, name
    return None
