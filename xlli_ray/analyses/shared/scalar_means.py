"""What `xlli run` prints of measurements at its end: the mean of each scalar per stage, model and degradation, and how many it is of.

The photograph is the unit, as on the page: the mean of its values (patches, windows) is taken first, and photographs weigh the same.

A value that is not finite has no part in a mean: NaN (no target) says that nothing was measured, and the infinite PSNR of an exact copy
would make every mean infinite. How many were left out stands below the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from xlli_ray.store.tables.sql import PHOTOGRAPHS, quoted
from xlli_ray.store.tables.study_tables import kind_columns, table_kinds

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from xlli_ray.analyses.shared.worse_than_baseline import Below
    from xlli_ray.store.records.manifest import Cell, Manifest


def mean_tables(manifest: Manifest, sql: Callable[[str], pa.Table], below: Sequence[Below]) -> list[tuple[pa.Table, list[str]]]:
    """For each probe with numbers: its table, and lines that belong below it. `sql`: runs one statement; `below`: the networks below the
    baseline."""
    out = []
    for kind, cells in table_kinds(manifest).items():
        details = {column.name for record in manifest.kinds if record.kind == kind for column in record.columns if column.detail}
        numbers = [name for name, dtype in kind_columns(cells).items() if dtype == "float64" and name not in details]
        if numbers:
            out.append(_means(sql, kind, cells, numbers, below if kind == "restore" else ()))
    return out


def _means(
    sql: Callable[[str], pa.Table], kind: str, cells: Sequence[Cell], numbers: Sequence[str], below: Sequence[Below]
) -> tuple[pa.Table, list[str]]:
    names = [quoted(name) for name in numbers]
    own = ", ".join(f"avg({name}) filter (where isfinite({name})) as {name}" for name in names)
    # a stage with several cells a model (a map and its controls): one line each
    what = "what, " if len({cell.what for cell in cells}) > 1 else ""
    photographs = (
        f"select t.stage, t.model, {f't.{what}' if what else ''}s.label as degradation, s.photograph, "
        f"count(*) filter (where t.status = 'ok') as n, {own} from {quoted(kind)} t join {PHOTOGRAPHS} s on t.row = s.row group by all"
    )
    table = sql(
        f"select stage, model, {what}degradation, sum(n)::bigint as n, {', '.join(f'avg({name}) as {name}' for name in names)}, "
        f"max(n) > 1 as {quoted(_SEVERAL)} from ({photographs}) group by all order by all"
    )
    several = any(table[_SEVERAL].to_pylist())
    infinite = ", ".join(f"count(*) filter (where isinf({name}) and status = 'ok') as {name}" for name in map(quoted, numbers))
    (counts,) = sql(f"select {infinite} from {quoted(kind)}").to_pylist()
    about = ", ".join(f"{count} of {name}" for name, count in counts.items() if count)
    unit = ["means over photographs, each weighing the same; n counts values"] if several else []
    flags = [f"FLAG {one.text}" for one in below]
    infinities = [f"left out of the means as infinite (exact copies): {about}"] if about else []
    return table.drop_columns([_SEVERAL]), [*unit, *flags, *infinities]


_SEVERAL = "several values of a photograph"
"""A name that no column has."""
