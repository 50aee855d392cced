"""Images in: files -> sample table -> the float arrays that a network sees. Needs neither torch nor ray.

    files/    globs, URLs, scikit-image's photographs -> URIs, bytes; which errors are a file's
    decode    bytes -> float32 RGB, exactly one way
    spec      the recipe's `corpus` section           kinds/   where samples come from: one file each
    scan      one row per file: good or bad, its size, its patches
    scanned   rows -> images, sorted, equal files merged, and their labels
    table     images -> sample table, streamed, sorted, the same on any machine
    given     labels, parameters and columns given for files
    patches   grid-aligned tiles          ids   what samples are called
    pies      an evaluation set: which degradations, and how many patches of each image
    resize    MATLAB's bicubic            degradations/   blur, rain, noise, jpeg: one file each
    size      height, width, frames; the name of a bucket
    sample    a row of the table -> input and target

The names below are loaded when they are first used.
"""

from __future__ import annotations

import importlib
from typing import Any

_NAMES = {
    "Box": "patches",
    "CorpusSpec": "spec",
    "Decoded": "decode",
    "Loaded": "sample",
    "Loader": "sample",
    "Mixture": "degradations",
    "PiesSpec": "pies",
    "SCHEMA": "table",
    "Sample": "sample",
    "Size": "size",
    "Source": "scan",
    "expand": "table",
    "list_sources": "scan",
    "sample_from_row": "sample",
    "scan_source": "scan",
}

# No function that shares its module's name (`decode`): the attribute would turn from one to the other on import.
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
