"""Images in: files -> sample table -> the float arrays that a network gets. Needs neither torch nor ray.

    files/    globs, URLs, scikit-image's photographs -> URIs, bytes; which errors are due to a file
    decode    bytes -> float32 RGB, exactly one way
    spec      the recipe's `corpus` section           kinds/   kinds of corpora, one file each
    scan      one row per file: good or bad, its size, its patches
    scan_result  rows -> images, sorted, with identical files merged, and their labels
    table     images -> sample table, streamed, sorted, the same on any machine
    input_labels  labels, parameters and columns given with files
    patches   grid-aligned tiles          ids   ids of samples
    pies      the evaluation sets of SRGA: degradations, and number of patches
    resize    MATLAB's bicubic            degradations/   blur, rain, noise, jpeg: one file each
    size      height, width, frames; the name of a bucket
    sample    a row of the table -> input and target

The names below are loaded on first use.
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
    "PiesSpec": "pies_like_set",
    "SCHEMA": "table",
    "Sample": "sample",
    "Size": "size",
    "Source": "scan",
    "expand": "table",
    "list_sources": "scan",
    "sample_from_row": "sample",
    "scan_source": "scan",
}

# No function that shares its module's name (`decode`): importing the module would replace the attribute.
__all__ = sorted(_NAMES)


def __getattr__(name: str) -> Any:
    if name not in _NAMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_NAMES[name]}"), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *_NAMES])
