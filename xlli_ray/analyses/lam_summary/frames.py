"""Of clips: the share of the attribution on each frame, by its distance from the explained one, mean over clips with its interval."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from xlli_ray.analyses.analysis import figure
from xlli_ray.analyses.lam_summary.clips import clip_cells, explained_frames
from xlli_ray.analyses.lam_summary.tables import ALL
from xlli_ray.plots.curves import Axis, Curve, CurvePanel, Curves
from xlli_ray.plots.palette import Look
from xlli_ray.stats.intervals import SHARE
from xlli_ray.store.tables.results import Figure

if TYPE_CHECKING:
    from xlli_ray.analyses.lam_summary.measures import Measures

_Row = dict[str, Any]


def frame_rows(measures: Measures) -> list[_Row]:
    """Rows of `lam_frames`; none for images."""
    found = _shares(measures)
    if found is None:
        return []
    offsets, shares = found  # (windows, models, offsets)
    out = []
    for label in [*measures.labels, *([ALL] if len(measures.labels) > 1 else [])]:
        mask = np.ones(len(measures.windows), bool) if label == ALL else measures.label == label
        for i, model in enumerate(measures.models):
            means = measures.intervals(shares[mask, i], measures.image[mask], SHARE)
            out += [
                {"model": model, "label": label, "frame": offset, "images": item.photographs, "windows": item.values, "share": item.mean,
                 "share_low": item.low, "share_high": item.high}
                for offset, item in zip(offsets, means) if item.photographs
            ]  # fmt: skip
    return out


def _shares(measures: Measures) -> tuple[list[int], np.ndarray] | None:
    """(distances from the explained frame, shares (windows, models, distances)), NaN where a clip has no such frame or no map."""
    view, data = measures.view, measures.data
    own, explained = list(clip_cells(view)), explained_frames(view)
    if not own:
        return None
    arrays = {cell.id: view.array(cell.id, "frame_share") for cell in own}
    longest = max(meta.shape[-1] for cell in own for bucket in cell.sizes for meta in bucket.arrays if meta.name == "frame_share")
    shares = np.full((len(measures.windows), len(measures.models), 2 * longest - 1), np.nan)
    held: tuple[str, int, np.ndarray | None] = ("", -1, None)
    for index, place, column in zip(measures.own, measures.place, measures.column):
        model, row, window = str(data["model"][index]), int(data["row"][index]), int(data["win"][index])
        cell = f"{measures.params.of}/{model}/{data['what'][index]}"
        if held[:2] != (cell, row):
            held = cell, row, arrays[cell].row(row)
        if held[2] is not None:
            values, first = held[2][window], longest - 1 - explained[model, row]
            shares[place, column, first : first + len(values)] = values
    used = np.flatnonzero(np.isfinite(shares).any(axis=(0, 1)))
    return [int(place) - longest + 1 for place in used], shares[:, :, used]


def frames(rows: Sequence[_Row], models: Sequence[str], looks: Mapping[str, Look]) -> Iterator[Figure]:
    """The shares of all models against the distance; all degradations together."""
    if not rows:
        return
    label = ALL if any(row["label"] == ALL for row in rows) else rows[0]["label"]
    curves = []
    for model in models:
        mine = [row for row in rows if row["model"] == model and row["label"] == label]
        columns = ([row[name] for row in mine] for name in ("frame", "share", "share_low", "share_high"))
        x, y, low, high = (tuple(float(value) for value in column) for column in columns)
        if x:
            curves.append(Curve(model, looks[model].colour, x, y, low, high, looks[model].line, looks[model].marker))
    places = tuple(sorted({x for curve in curves for x in curve.x}))
    axis = Axis("frames from the explained one", places=places if len(places) <= 15 else ())
    panel = CurvePanel("", tuple(curves), axis, Axis("share of the attribution", zero=True))
    about = "Share of the attribution on each frame of the input, mean over clips with its interval; 0: the frame of the window."
    yield figure("frames", Curves("attribution by frame", (panel,), apart=True), about)
