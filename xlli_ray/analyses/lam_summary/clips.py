"""Which maps are of clips, and which frame of its clip each of them explains."""

from __future__ import annotations

from collections.abc import Iterator

from xlli_ray.analyses.shared.study_access import View
from xlli_ray.store.records.manifest import Cell


def explained_frames(view: View) -> dict[tuple[str, int], int]:
    """(model, row of the sample table) → the frame that the maps of a clip explain; empty for images."""
    if not any(True for _ in clip_cells(view)):
        return {}
    table = view.sql("select distinct model, row, frame from lam where status = 'ok' and frame is not null")
    return {(model, row): frame for model, row, frame in zip(*(table[name].to_pylist() for name in ("model", "row", "frame")))}


def clip_cells(view: View) -> Iterator[Cell]:
    """The cells with maps of clips."""
    for cell in view.cells:
        if cell.kind == "lam" and any(meta.name == "frame_share" for bucket in cell.sizes for meta in bucket.arrays):
            yield cell
