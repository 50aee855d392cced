"""The arrays of a probe: a list of what is stored, and images.

Dims and dtype determine how an array is drawn (`array_images`): a new probe needs nothing here. If they do not suffice, a probe has its own
section (`brought_section`): a map of attributions means little without the window that it explains.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from xlli_ray.errors import StudyError
from xlli_ray.report import array_images
from xlli_ray.report.image_strip import strip_of
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_model import Scalar, Section, Stored
from xlli_ray.report.page_parts.scalars import digits, number
from xlli_ray.report.shown_samples import spread, table_row, usable_readers
from xlli_ray.store.records.manifest import NO_MODEL, Cell
from xlli_ray.store.tables.sql import quoted, text
from xlli_ray.store.zarr.layout import ArrayMeta
from xlli_ray.store.zarr.size_reader import Reader, open_readers
from xlli_ray.views.stored import is_image

OWNER = f"coalesce(model, {text(NO_MODEL)})"
"""In SQL, as `Cell.owner`."""
PANELS = 12
"""Layers drawn in one section."""
MODELS_SHOWN = 6
"""Models side by side in a row of images."""


def stored_lines(context: Context, stage: str, cells: Sequence[Cell]) -> list[Stored]:
    """The stored arrays, one line per array of each cell, sizes summed over buckets."""
    rows = context.tables.rows(
        f"select {OWNER} as model, what, name, sum(rows)::bigint as rows, sum(valid)::bigint as valid, sum(bytes)::bigint as raw, "
        "sum(bytes_stored)::bigint as stored from features where stage = ? group by all",
        [stage],
    )
    sums = {(row["model"], row["what"], row["name"]): row for row in rows}
    out = []
    for cell in cells:
        names = list(dict.fromkeys(meta.name for bucket in cell.buckets for meta in bucket.arrays))
        for name in names:
            metas = [meta for bucket in cell.sizes for meta in bucket.arrays if meta.name == name]
            shapes = list(dict.fromkeys(meta.shape for meta in metas))
            meta, row = metas[0], sums.get((cell.owner, cell.what, name))
            stride = meta.attributes.get("stride")
            size = " × ".join(map(str, shapes[0])) or "one number"
            out.append(
                Stored(
                    model=cell.owner,
                    what=cell.what if len(names) == 1 else f"{cell.what}/{name}",
                    shape=size + (f" (and {len(shapes) - 1} more)" if len(shapes) > 1 else ""),
                    stride=f"{stride[0]:.3g} × {stride[1]:.3g}" if stride else "–",
                    dtype=meta.dtype,
                    codec=meta.codec,
                    rows=row["rows"] if row else 0,
                    valid=row["valid"] if row else 0,
                    stored=(row["stored"] or 0) if row else 0,
                    raw=row["raw"] if row else 0,
                )
            )
    return out


def add_images(context: Context, out: Section, cells: Sequence[Cell]) -> None:
    """The images of the section; what cannot be read is reported, since the numbers are still useful."""
    try:
        _by_dims(context, out, cells)
    except StudyError as error:  # a damaged shard
        out.notes.append(f"Not all arrays can be read: {error}")
    if not out.strips and not any(line.valid for line in out.stored):
        out.notes.append("No array has a valid row yet.")


def _by_dims(context: Context, out: Section, cells: Sequence[Cell]) -> None:
    """Outputs beside targets, then maps and matrices of at most PANELS arrays."""
    arrays = [(cell, name) for cell in cells for name in dict.fromkeys(meta.name for bucket in cell.buckets for meta in bucket.arrays)]
    images = [(cell, name) for cell, name in arrays if is_image(_meta(cell, name))]
    others = [(cell, name) for cell, name in arrays if (cell, name) not in images and _is_seen(_meta(cell, name))]
    groups: dict[tuple[str, str], list[tuple[Cell, str]]] = {}
    for cell, name in others:
        single = array_images.is_single_map(_meta(cell, name))
        groups.setdefault((cell.what if single else cell.id, name), []).append((cell, name))
    chosen = spread(PANELS, list(groups.values()))
    if len(chosen) < len(groups):
        out.notes.append(f"{len(chosen)} of {len(groups)} arrays are drawn, evenly spaced; all of them are in the table.")
    if images:
        _gallery(context, out, images)
    for members in chosen:
        if len(members) > 1:
            _beside(context, out, members)
        else:
            _alone(context, out, *members[0], rows=2 if len(chosen) <= PANELS // 2 else 1)


def _is_seen(meta: ArrayMeta) -> bool:
    """Whether an array is something to look at: sums and counts by bin (dims `bin`) are for analyses, which draw them as curves."""
    return bool(meta.shape) and "bin" not in meta.dims


def _meta(cell: Cell, name: str) -> ArrayMeta:
    """The array for the first input size; only sizes differ between them."""
    return next(meta for bucket in cell.sizes for meta in bucket.arrays if meta.name == name)


def _readers(context: Context, cell: Cell, name: str) -> list[Reader]:
    return [reader for reader in open_readers(context.study.archive.records, cell) if reader.meta.name == name]


def _alone(context: Context, out: Section, cell: Cell, name: str, *, rows: int) -> None:
    """One array of one network."""
    readers = _readers(context, cell, name)
    usable = usable_readers(readers)
    if not usable:
        if any(reader.valid.any() for reader in readers):
            out.notes.append(f"{array_images.cell_words(cell)}: a single sample is too large to be drawn here.")
        return
    title = array_images.cell_title(cell, usable[0])
    if array_images.is_map(usable[0].meta):
        _add(context, out, array_images.map_panels(context.samples, context.table, usable, title=title, count=rows))
    else:
        _add(context, out, array_images.matrix_panels(context.samples, usable, title=title, colour=context.colour))


def _beside(context: Context, out: Section, members: Sequence[tuple[Cell, str]]) -> None:
    """The same single map of several networks."""
    readers = {cell.owner: usable_readers(_readers(context, cell, name)) for cell, name in members}
    readers = {model: some for model, some in readers.items() if some}
    if len(readers) > array_images.MAPS:
        out.notes.append(f"{array_images.MAPS} of {len(readers)} models are shown side by side, evenly spaced.")
        readers = {model: readers[model] for model in spread(array_images.MAPS, list(readers))}
    if readers:
        title = members[0][0].what
        _add(context, out, array_images.side_by_side(context.samples, context.table, readers, title=title))


def _add(context: Context, out: Section, made: array_images.Noted | None) -> None:
    out.strips += [strip_of(*made, context.samples.read)] if made is not None else []


def _gallery(context: Context, out: Section, images: Sequence[tuple[Cell, str]]) -> None:
    """Best, median and worst sample by the first scalar; the first, middle and last one without scalars."""
    score = next((column for column in out.shown if column.dtype == "float64"), None)
    by_model = {cell.owner: (cell, name) for cell, name in reversed(images)}
    by_model = {model: by_model[model] for model in out.models if model in by_model}
    if out.without_model:  # without models: the arrays side by side
        by_model = {name: (cell, name) for cell, name in images}
    elif len(by_model) > MODELS_SHOWN:
        if score is not None:
            means = context.tables.rows(
                f"select {OWNER} as model, avg({quoted(score.name)}) as v from {quoted(out.kind)} where stage = ? and status = 'ok' "
                f"and isfinite({quoted(score.name)}) group by all order by v desc, model",
                [out.id],
            )
            by_model = {row["model"]: by_model[row["model"]] for row in means if row["model"] in by_model} or by_model
        names = spread(MODELS_SHOWN, list(by_model))
        how = f"evenly spaced by their mean {score.name}" if score else "evenly spaced"
        out.notes.append(f"{len(names)} of {len(by_model)} models are shown side by side, {how}.")
        by_model = {name: by_model[name] for name in names}
    shown = _ranked(context, out, score, out.models if out.without_model else list(by_model)) if score is not None else []
    if not shown:
        each = (_readers(context, cell, name) for cell, name in by_model.values())
        first = next((some for some in each if any(r.valid.any() for r in some)), [])
        good = [(r, int(place)) for r in first for place in np.flatnonzero(r.valid)[:1000]]
        shown = [array_images.Shown(table_row(r.bucket, place), "", {}) for r, place in spread(3, good)]
    _add(context, out, array_images.image_panels(context.samples, by_model, shown))


def _ranked(context: Context, out: Section, score: Scalar, models: Sequence[str]) -> list[array_images.Shown]:
    """Samples with the highest, the median and the lowest mean score over `models`, among those measured by all of them."""
    values, column, source = ", ".join("?" for _ in models), quoted(score.name), quoted(out.kind)
    rows = context.tables.rows(
        f"""
        with per as (
          select row, avg({column}) as v from {source}
          where stage = ? and status = 'ok' and isfinite({column}) and {OWNER} in ({values})
          group by row having count(distinct {OWNER}) = {len(models)}
        ),
        ranked as (select row, v, row_number() over (order by v desc, row) as place, count(*) over () as n from per)
        select row, v, place, n from ranked where place in (1, (n + 1) // 2, n) order by place
        """,
        [out.id, *models],
    )
    if not rows:
        return []
    each = context.tables.rows(
        f"select row, {OWNER} as model, avg({column}) as v from {source} where stage = ? and status = 'ok' "
        f"and row in ({', '.join(str(row['row']) for row in rows)}) group by all",
        [out.id],
    )
    places = digits([row["v"] for row in rows])
    ends = {"lower": ("worst", "best"), "higher": ("best", "worst")}.get(score.better or "", ("highest", "lowest"))
    out_rows = []
    for row in rows:
        name = ends[0] if row["place"] == 1 else ends[1] if row["place"] == row["n"] else "median"
        scores = {e["model"]: f"{score.name} {number(e['v'], places)}" for e in each if e["row"] == row["row"]}
        rank = f"{name} of {row['n']} by {score.name}, mean over the models {number(row['v'], places)}"
        out_rows.append(array_images.Shown(row["row"], rank if len(models) > 1 else f"{name} of {row['n']} by {score.name}", scores))
    return out_rows
