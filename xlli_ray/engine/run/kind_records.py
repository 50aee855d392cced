"""What a study keeps of its probes' own words: readers must not need their code (`store.records.manifest.KindRecord`)."""

from __future__ import annotations

from collections.abc import Iterable

from xlli_ray.errors import RecipeError
from xlli_ray.probes import described, make_probe, probe_class
from xlli_ray.store.records.manifest import Cell, ColumnRecord, KindRecord


def kind_records(cells: Iterable[Cell], known: Iterable[KindRecord] = ()) -> tuple[KindRecord, ...]:
    """A record of each kind among `cells`, by kind; `known`: those of before, kept where the probe is not here or must not run."""
    kept = {record.kind: record for record in known}
    out: dict[str, KindRecord] = {}
    some: dict[tuple[str, str], dict[tuple[tuple[str, str], ...], Cell]] = {}  # one cell for each set of columns
    for cell in cells:
        some.setdefault((cell.kind, cell.code), {})[cell.columns] = cell
    for (kind, code), different in sorted(some.items(), key=lambda item: item[0]):
        try:
            cls = probe_class(kind, code)
            told = {one.name: one for cell in different.values() for one in make_probe(kind, cell.params, cell.spec, code).columns()}
        except RecipeError:
            if kind in kept:
                out.setdefault(kind, kept[kind])
            continue
        columns = tuple(ColumnRecord(one.name, one.dtype, one.about, one.place, one.limits, one.unit, one.better) for one in told.values())
        out[kind] = KindRecord(kind, code, cls.VERSION, cls.REFERENCE, tuple(described(cls)), columns)
    return tuple(out[kind] for kind in sorted(out))
