"""What `xlli run` prints of measurements at its end: the mean of each scalar per stage, model and degradation, and how many it is of.

A value that is not finite has no part in a mean: NaN (no target) says that nothing was measured, and the infinite PSNR of an exact copy
would make every mean infinite. How many were left out stands below the table.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pyarrow as pa

from xlli_ray.analyses.baseline import below_baseline
from xlli_ray.store.sql import quoted
from xlli_ray.store.tables import kind_columns, table_kinds

if TYPE_CHECKING:
    from collections.abc import Sequence

    from xlli_ray.store.manifest import Cell
    from xlli_ray.study import Study


def mean_tables(study: Study) -> list[tuple[pa.Table, list[str]]]:
    """For each probe with numbers: its table, and lines that belong below it."""
    out = []
    for kind, cells in table_kinds(study.manifest).items():
        numbers = [name for name, dtype in kind_columns(cells).items() if dtype == "float64"]
        if numbers:
            out.append(_means(study, kind, cells, numbers))
    return out


def _means(study: Study, kind: str, cells: Sequence[Cell], numbers: Sequence[str]) -> tuple[pa.Table, list[str]]:
    means = ", ".join(f"avg({name}) filter (where isfinite({name})) as {name}" for name in map(quoted, numbers))
    # a stage with several cells a model (a map and its controls): one line each
    what = "t.what, " if len({cell.what for cell in cells}) > 1 else ""
    table = study.sql(
        f"select t.stage, t.model, {what}s.label as degradation, count(*) filter (where t.status = 'ok') as n, {means} "
        f"from {quoted(kind)} t join samples s using (sample_id) group by all order by all"
    )
    infinite = ", ".join(f"count(*) filter (where isinf({name}) and status = 'ok') as {name}" for name in map(quoted, numbers))
    (counts,) = study.sql(f"select {infinite} from {quoted(kind)}").to_pylist()
    about = ", ".join(f"{count} of {name}" for name, count in counts.items() if count)
    below = [one.text for one in below_baseline(study.manifest, study.sql)] if kind == "restore" else []
    return table, [*below, *([f"left out of the means as infinite (exact copies): {about}"] if about else [])]
