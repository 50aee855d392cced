"""The section of `complexity`: each measure of the clean images and of the residual of each degradation."""

from __future__ import annotations

from collections.abc import Iterable

from xlli_ray.probes.complexity import Complexity
from xlli_ray.report.section import Column, Part, Rows, SectionContext
from xlli_ray.stats.image_complexity import NAMES


def complexity_section(context: SectionContext) -> Iterable[Part]:
    """One table, measures down and degradations across; empty if no sample has a residual."""
    units = {column.name: column.unit for column in Complexity.COLUMNS}
    means = ", ".join(f"avg({name}) filter (where isfinite({name})) as {name}" for name in units)
    found = context.rows(
        f"select label, {means} from complexity join samples using (sample_id) where stage = ? and status = 'ok' group by label",
        [context.stage],
    )
    by_label = {row["label"]: row for row in found}
    labels = [label for label in context.labels if by_label.get(label, {}).get("residual_tv") is not None]
    if not labels:
        return
    heads = [Column("measure", "string", "of one image"), Column("image", "float64", "mean over clean images")]
    heads += [Column(f"r{i}", "float64", f"mean over residuals of {label}") for i, label in enumerate(labels)]
    rows = [
        {"measure": f"{name}, {units[name]}" if units[name] else name, "image": by_label[labels[0]][name],
         **{f"r{i}": by_label[label][f"residual_{name}"] for i, label in enumerate(labels)}}
        for name in NAMES
    ]  # fmt: skip
    what = "; ".join(f"r{i}: residual of {label}" for i, label in enumerate(labels))
    warning = "A higher rate of the residual does not mean that a network finds it harder: see `complexity_summary`."
    yield Rows("images and what was added to them", heads, rows, f"Means over samples. {what}. {warning}")
