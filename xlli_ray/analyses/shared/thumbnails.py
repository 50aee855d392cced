"""Thumbnails of samples: the inputs of the networks as small PNG files, for figures and tables.

A study stores no input pixels; they are recomputed from the files in the sample table, which are checked by their sha256. A file that is
missing or changed has no thumbnail, and the analysis reports how many are missing.
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from typing import Any

import numpy as np

from xlli_ray.analyses.shared.study_access import View
from xlli_ray.corpus.sample import sample_from_row, study_loader
from xlli_ray.errors import XlliError

EDGE = 64
"""Longest side of a thumbnail, pixels."""


def inputs(view: View, rows: Sequence[int], *, edge: int = EDGE) -> dict[int, np.ndarray]:
    """Network inputs of some rows of the sample table: row → uint8 (h, w, 3), averaged down to at most `edge` pixels a side.

    Rows whose file can no longer be read are left out.
    """
    wanted = sorted(set(map(int, rows)))
    table = view.sql("select * from samples where row in (select unnest(?::bigint[])) order by row", [wanted])
    listed: list[dict[str, Any]] = table.to_pylist()
    # grouped by image, so that it is decoded once, and degraded once for each degradation
    listed.sort(key=lambda row: (row["source_sha"] or "", row["label"], row["row"]))
    loader, images = study_loader(view.corpus), {}
    for row in listed:
        try:
            planes = loader.load(sample_from_row(row)).input
        except (XlliError, OSError, MemoryError):
            continue
        images[row["row"]] = _small(planes, edge)
    return dict(sorted(images.items()))


def _small(planes: np.ndarray, edge: int) -> np.ndarray:
    """float32 (3, H, W) in 0..1 → uint8, averaged over whole blocks of pixels; the remainder at the right and bottom is cut off."""
    step = -(-max(planes.shape[1:]) // edge)
    height, width = (max(size // step, 1) for size in planes.shape[1:])
    cut = planes[:, : height * step, : width * step]
    if step > 1 and min(planes.shape[1:]) >= step:
        cut = cut.reshape(len(planes), height, step, width, step).mean(axis=(2, 4))
    return np.floor(np.moveaxis(cut, 0, 2).clip(0, 1) * 255 + 0.5).astype(np.uint8)


def png(pixels: np.ndarray) -> bytes:
    """A PNG file of uint8 (h, w, 3): the same bytes for the same pixels."""
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=6)
    return out.getvalue()
