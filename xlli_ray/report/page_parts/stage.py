"""One section of the page per stage, made from the probe's protocol: its columns, its arrays, its docstrings and its reference.

Nothing here depends on a particular probe: scalars become a table and figures (`scalars`), arrays become images (`arrays`), unless the
probe has its own section (`brought_section`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence

from xlli_ray.errors import RecipeError
from xlli_ray.probes import described, probe_class
from xlli_ray.probes.measurement import Column
from xlli_ray.report.page_context import Context
from xlli_ray.report.page_model import Scalar, Section
from xlli_ray.report.page_parts.arrays import add_images, stored_lines
from xlli_ray.report.page_parts.brought_section import foreign_line, pieces_of
from xlli_ray.report.page_parts.scalars import add_scalars
from xlli_ray.report.section import SectionContext
from xlli_ray.report.shown_samples import natural
from xlli_ray.store.records.manifest import Cell, Manifest
from xlli_ray.store.records.probe_description import ColumnRecord, KindRecord
from xlli_ray.store.tables.sql import text
from xlli_ray.store.tables.study_tables import kind_columns


def stage_sections(context: Context) -> list[Section]:
    """The sections of a study, in the recipe's order; stages of earlier recipes come last."""
    manifest = context.study.manifest
    order = [stage.get("id") for stage in manifest.recipe.get("stages", [])]
    stages = list(dict.fromkeys(cell.stage for cell in manifest.cells))
    stages.sort(key=lambda stage: order.index(stage) if stage in order else len(order))
    return [section(context, stage) for stage in stages]


def section(context: Context, stage: str) -> Section:
    """One stage."""
    manifest = context.study.manifest
    cells = [cell for cell in ordered(manifest) if cell.stage == stage]
    kind = cells[0].kind
    out = Section(stage, kind, models=list(dict.fromkeys(cell.owner for cell in cells)))
    how = {name: cells[0].identity[name] for name in ("precision",) if name in cells[0].identity}
    out.params = json.dumps({**cells[0].params, **how}, ensure_ascii=False) if cells[0].params or how else ""
    out.prose, out.reference, _ = describe(kind, manifest.kinds)
    out.columns += scalars_of(cells, manifest.kinds)
    for reason in dict.fromkeys(bucket.refused for cell in cells for bucket in cell.sizes if bucket.refused):
        out.notes.append(f"Refused: {reason}.")
    if out.columns:
        add_scalars(context, out)
    cls, foreign = _class(kind, manifest.kinds)
    out.own, notes = pieces_of(cls, SectionContext(context, stage, kind, cells))
    out.notes += [*notes, *([foreign_line("probe", kind, foreign)] if cls is None and foreign else [])]
    if any(bucket.arrays for cell in cells for bucket in cell.buckets):
        out.stored = stored_lines(context, stage, cells)
        if not out.own:
            add_images(context, out, cells)
    model = "model, " if any(cell.model for cell in cells) else ""
    if not out.query and out.columns and not out.stored:  # nothing to average: show the rows
        names = ", ".join(context.tables.name(column.name) for column in out.columns)
        out.query = f"select sample_id, {model}{names} from {context.tables.name(kind)} where stage = {text(stage)} limit 10"
    if not out.query:
        out.query = f"select {model}what, bucket, shape, dtype, bytes_stored from features where stage = {text(stage)}"
    return out


def scalars_of(cells: Sequence[Cell], records: Sequence[KindRecord]) -> list[Scalar]:
    """The columns of cells of one kind, with what is told of them."""
    columns = describe(cells[0].kind, records)[2]
    out = []
    for name, dtype in kind_columns(cells).items():
        known = columns.get(name)
        told = (known.about, known.place, known.limits, known.unit, known.better, known.detail) if known else ("",)
        out.append(Scalar(name, dtype, *told))
    return out


def ordered(manifest: Manifest) -> list[Cell]:
    """All cells, networks in the recipe's order, layers in natural order."""
    rank = {model.id: i for i, model in enumerate(manifest.models)}
    return sorted(manifest.cells, key=lambda cell: (rank.get(cell.model, len(rank)), natural(cell.what)))


def _class(kind: str, records: Sequence[KindRecord]) -> tuple[type | None, str]:
    """(the probe's class, None if its code is missing or may not run; its location as in the study, "" for a registry)."""
    record = next((one for one in records if one.kind == kind), None)
    code = record.code if record is not None else ""
    try:
        return probe_class(kind, code), code
    except (RecipeError, ImportError):
        return None, code


def describe(kind: str, records: Sequence[KindRecord] = ()) -> tuple[list[str], str, Mapping[str, Column | ColumnRecord]]:
    """(description, source, columns by name) of the probe: from its class if registered, else as stored in the study; none for a probe of
    an older study that is not installed. Runs no code named by the study."""
    record = next((one for one in records if one.kind == kind), None)
    if record is None or not record.code:
        try:
            cls = probe_class(kind)
            known = {column.name: column for column in record.columns} if record is not None else {}
            return described(cls)[:3], cls.REFERENCE, {**known, **{column.name: column for column in cls.COLUMNS}}
        except (RecipeError, ImportError):
            pass
    if record is not None:
        return list(record.prose[:3]), record.reference, {column.name: column for column in record.columns}
    return [f"The probe {kind!r} is not part of this installation; its numbers are shown as they are stored."], "", {}
