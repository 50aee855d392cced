"""Descriptions of probes stored in a study, so that readers do not need their code (`store.records.probe_description`)."""

from __future__ import annotations

from collections.abc import Iterable

from xlli_ray.errors import RecipeError
from xlli_ray.probes import described, make_probe, probe_class
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.records.probe_description import ColumnRecord, KindRecord


def kind_records(cells: Iterable[Cell], known: Iterable[KindRecord] = ()) -> tuple[KindRecord, ...]:
    """A record for each kind among `cells`, sorted by kind; `known`: existing ones, kept if the probe is missing or must not run."""
    kept = {record.kind: record for record in known}
    out: dict[str, KindRecord] = {}
    by_kind: dict[tuple[str, str], dict[tuple[tuple[str, str], ...], Cell]] = {}  # one cell per set of columns
    for cell in cells:
        by_kind.setdefault((cell.kind, cell.code), {})[cell.columns] = cell
    for (kind, code), different in sorted(by_kind.items(), key=lambda item: item[0]):
        try:
            cls = probe_class(kind, code)
            by_name = {c.name: c for cell in different.values() for c in make_probe(kind, cell.params, cell.spec, code).columns()}
        except RecipeError:
            if kind in kept:
                out.setdefault(kind, kept[kind])
            continue
        columns = tuple(ColumnRecord(c.name, c.dtype, c.about, c.place, c.limits, c.unit, c.better, c.detail) for c in by_name.values())
        out[kind] = KindRecord(kind, code, cls.VERSION, cls.REFERENCE, tuple(described(cls)), columns)
    return tuple(out[kind] for kind in sorted(out))
