"""Part `sample-<row>`: everything that is shown of one sample, its images and arrays as stored, with its windows and exact numbers.

Places are in input pixels (`height`, `width` of the sample), whatever the resolution of an array, so that one zoom fits all panels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from xlli_ray.corpus.sample import Loaded
from xlli_ray.errors import SampleError, StudyError
from xlli_ray.plots.image_panels import Source
from xlli_ray.report.explorer.effect_planes import EFFECT, STORED, stored_effects
from xlli_ray.report.explorer.encoding import EXACT_BYTES, image_planes, number_planes
from xlli_ray.report.explorer.sample_windows import MAPS, WINDOWS, finite, windows_of
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_parts.stage import scalars_of
from xlli_ray.report.shown_samples import ROW_BYTES, spread
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.tables.sql import quoted
from xlli_ray.store.zarr.layout import ArrayMeta
from xlli_ray.views.stored import is_image

PLANES = 6
"""Channels of a feature map in the part of a sample: those that vary most. A server gives all of them (`array_part`)."""
FEATURES = 8
"""Arrays of features in it, evenly spaced."""

Form = Literal["image", "map", "signed", "effects", "features"]


@dataclass(frozen=True)
class SeenArray:
    """An array that can be looked at: `ArrayData` of `web/src/data.ts`."""

    key: str
    stage: str
    model: str
    what: str
    form: Form
    title: str
    dtype: str
    dims: tuple[str, ...]
    cell: str = ""
    name: str = ""

    @property
    def about_json(self) -> dict[str, Any]:
        return {
            "key": self.key, "stage": self.stage, "model": self.model, "what": self.what, "kind": self.form, "title": self.title,
            "dtype": self.dtype, "dims": list(self.dims),
        }  # fmt: skip


def seen_arrays(cells: Sequence[Cell]) -> list[SeenArray]:
    """Input and target, then the stored arrays with rows and columns, cells in the given order."""
    out = [SeenArray(name, "", "", "", "image", name, "uint8", ("channel", "y", "x")) for name in ("input", "target")]
    for cell in cells:
        metas = {meta.name: meta for bucket in reversed(cell.sizes) for meta in bucket.arrays}
        kept = [meta for meta in reversed(metas.values()) if _has_pixels(meta)]
        if MAPS.get(cell.kind) == EFFECT and set(STORED) <= set(metas):
            effect, kept = metas[EFFECT], [meta for meta in kept if meta.name not in STORED]
            key, title = f"{cell.id}:{EFFECT}", f"{cell.model} causal effects"
            out.append(
                SeenArray(key, cell.stage, cell.model, cell.what, "effects", title, effect.dtype, tuple(effect.dims), cell.id, EFFECT)
            )
        for meta in kept:
            title = " ".join(part for part in (cell.model or cell.stage, cell.what if cell.what != cell.stage else "") if part)
            title += f" {meta.name}" if len(kept) > 1 or meta.name in ("map", "attribution") else ""
            key = f"{cell.id}:{meta.name}"
            out.append(
                SeenArray(key, cell.stage, cell.model, cell.what, _form(meta), title, meta.dtype, tuple(meta.dims), cell.id, meta.name)
            )
    return out


def _has_pixels(meta: ArrayMeta) -> bool:
    """Whether its rows and columns are those of the sample; of patches they are not."""
    dims = tuple(meta.dims)
    placed = len(dims) >= 2 and (dims[-2:] == ("y", "x") or dims[-3:] == ("y", "x", "channel")) and "patch" not in dims
    return placed and meta.dtype != "bool"


def _form(meta: ArrayMeta) -> Form:
    if is_image(meta):
        return "image"
    if meta.dims[0] == "window":
        return "map" if meta.name == "map" else "signed"
    return "features"


def sample_part(context: Context, row: int, arrays: Sequence[SeenArray]) -> dict[str, Any]:
    """`SampleData` of the sample in `row` of the sample table. What cannot be read is listed with the reason."""
    about = context.samples.row(row)
    images: dict[str, Any] = {}
    missing: list[dict[str, str]] = []
    loaded = context.samples.load(row)
    if isinstance(loaded, str):
        missing.append({"key": "input", "reason": loaded})
    else:
        images |= _of_corpus(loaded)
    shown = {array.key for array in spread(FEATURES, [array for array in arrays if array.form == "features"])}
    for array in arrays:
        if array.cell and (array.form != "features" or array.key in shown):
            try:
                planes = _planes(context, row, array, PLANES)
            except (StudyError, SampleError) as error:
                missing.append({"key": array.key, "reason": str(error)})
                continue
            if planes is not None:
                images[array.key] = planes
    return {
        "row": row, "id": about["sample_id"], "height": about["height"], "width": about["width"], "images": images,
        "windows": list(windows_of(context, row)), "values": _values(context, row), "missing": missing,
    }  # fmt: skip


def array_part(context: Context, row: int, array: SeenArray) -> dict[str, Any]:
    """All planes of one array of one sample. Raises StudyError if it is not stored, not valid or damaged."""
    planes = _planes(context, row, array, None)
    if planes is None:
        raise StudyError(f"{array.key}: there is no valid row for the sample in row {row}")
    return planes


def _of_corpus(loaded: Loaded) -> dict[str, Any]:
    """Input, target and by-products, in grey levels; of a clip the centre frame."""
    out: dict[str, Any] = {}
    frame = len(loaded.input) // 2 if loaded.input.ndim == 4 else None
    frames = len(loaded.input) if frame is not None else 1
    place = [[]] if frame is None else [[frame]]
    for name, values in (("input", loaded.input), ("target", loaded.target)):
        if values is not None:
            still = values if frame is None else values[min(frame, len(values) - 1)] if values.ndim == 4 else values
            levels = np.floor(np.clip(still, 0, 1) * 255 + 0.5).astype(np.uint8)
            out[name] = image_planes(_colours(levels)[None], place, frames)
    for name, extra in loaded.extras.items():
        one = extra[len(extra) // 2] if frame is not None else extra
        planes = np.moveaxis(one, -1, 0) if one.ndim == 3 else one[None]
        if len(planes) in (1, 3):
            out[name] = number_planes(planes.astype(np.float32), [[i] for i in range(len(planes))], len(planes))
    return out


def _colours(planes: NDArray[np.uint8]) -> NDArray[np.uint8]:
    return planes if len(planes) in (1, 3) else planes[:1]


def _planes(context: Context, row: int, array: SeenArray, most: int | None) -> dict[str, Any] | None:
    """`Planes` of a stored array; None where this sample has none."""
    if array.form == "effects":
        return stored_effects(context, row, array.cell, None if most is None else WINDOWS)
    values = context.samples.read.stored(Source(row, array.name, array.cell))
    if values is None or values.nbytes > ROW_BYTES or not values.size:
        return None
    if array.dims[-3:] == ("y", "x", "channel"):
        values = np.moveaxis(values, -1, -3)
    if array.form == "image":
        frames = values[None] if values.ndim == 3 else values
        chosen = range(len(frames)) if most is None or values.ndim == 3 else [len(frames) // 2]
        return image_planes(frames[list(chosen)], [[]] if values.ndim == 3 else [[i] for i in chosen], len(frames))
    if array.form == "signed" and "channel" in array.dims:  # the sum over channels is what the page shows, too
        values = values.sum(axis=array.dims.index("channel"))
    leading = values.shape[:-2]
    stack = values.reshape(-1, *values.shape[-2:])
    kept = _kept(stack, array, most)
    if not len(kept):
        return None
    places = [[int(i) for i in np.unravel_index(k, leading)] if leading else [] for k in kept]
    exact = EXACT_BYTES if most is None or array.form != "features" else 0
    return number_planes(stack[kept], places, len(stack), exact=exact)


def _kept(stack: NDArray[Any], array: SeenArray, most: int | None) -> NDArray[np.intp]:
    """Indices of the planes to show: maps of windows that there are; of features those that vary most."""
    if array.form in ("map", "signed"):
        used = np.flatnonzero(np.isfinite(stack).any(axis=(1, 2)))
        return used if most is None else used[:WINDOWS]
    if most is None or len(stack) <= most:
        return np.arange(len(stack))
    spread_of = np.nan_to_num(stack.astype(np.float64)).std(axis=(1, 2))
    return np.sort(np.argsort(-spread_of, kind="stable")[:most])


def _values(context: Context, row: int) -> dict[str, dict[str, float | None]]:
    """Column id → model → value, for columns with one value a sample and model."""
    manifest = context.study.manifest
    out: dict[str, dict[str, float | None]] = {}
    for stage in dict.fromkeys(cell.stage for cell in manifest.cells if cell.columns and cell.kind != "lam"):
        cells = [cell for cell in manifest.cells if cell.stage == stage]
        names = [c.name for c in scalars_of(cells, manifest.kinds) if not c.place and c.dtype in ("float64", "int64", "bool")]
        lines = context.tables.rows(
            f"select * from {quoted(cells[0].kind)} where stage = ? and row = ? and status = 'ok' "
            "qualify what = min(what) over (partition by model) and count(*) over (partition by model, what) = 1 order by model",
            [stage, row],
        )
        for line in lines:
            for name in names:
                out.setdefault(f"{stage}/{name}", {})[line["model"] or ""] = finite(line[name])
    return out

