"""Group means: the measurements of groups of networks, with intervals over trainings.

For experiments with replicates, such as a training sweep over seeds: each numeric column of a stage (PSNR of `restore`, DI of `lam`) is
averaged for each network over the images on which all networks were measured; networks with the same values of the tags in `by` form a
group, and the group's mean has Student's t interval over its trainings (`analyses.shared.replicates`). Groups are compared, not networks.

The intervals in the page's own section of a stage are over images: they describe the same networks on other images. The intervals here
describe other trainings, on the same images. A claim about a way of training needs the latter.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
from pydantic import BaseModel, Field

from xlli_ray.analyses.analysis import Figure, Result, Table, cells_of, figure, whole
from xlli_ray.analyses.shared.findings import Finding, Outcome
from xlli_ray.analyses.shared.replicates import (
    ENDS,
    GROUP,
    OTHER,
    PAIRED,
    Group,
    Grouped,
    Over,
    compared_groups,
    group_difference,
    group_mean,
    groups_of,
    network_means,
    notes,
)
from xlli_ray.analyses.shared.study_access import View
from xlli_ray.errors import AnalysisError, PlanError, closest
from xlli_ray.store.records.manifest import Cell
from xlli_ray.store.tables.results import Column
from xlli_ray.store.tables.sql import photograph_of, quoted

NUMBERS = ("float64", "int64", "bool")
DOTS = 40
"""More groups than this have no figure."""
_Row = dict[str, Any]


class Params(Grouped):
    """Fields of a `group_means` stage."""

    of: str = Field(default="restore", description="id of the stage whose columns are averaged")
    columns: list[str] | None = Field(default=None, description="its columns; null: all floating-point columns")
    level: float = Field(default=0.95, gt=0.5, lt=1, description="confidence level of the intervals")


_COLUMN, _LABEL = Column("column_name", "string", "column of the stage"), Column("label", "string", "degradation")
_IMAGES = Column("images", "int64", "images on which every network was measured, with equal weights")
MEANS = Table(
    "group_means", "One row per group, column and degradation: mean over trainings of each network's mean over images",
    (GROUP, _COLUMN, _LABEL, Column("mean", "float64", "mean over trainings, in the column's unit"), *ENDS,
     Column("networks", "int64", "networks in the group with a value"), _IMAGES),
)  # fmt: skip
PAIRS = Table(
    "group_differences", "One row per pair of groups, column and degradation",
    (GROUP, OTHER, _COLUMN, _LABEL, Column("difference", "float64", "mean of `group` minus mean of `other`"), *ENDS, PAIRED, _IMAGES),
)  # fmt: skip


class GroupMeans:
    """Means and differences of groups of networks, intervals over trainings. Writes `group_means`, `group_differences`."""

    KIND: ClassVar[str] = "group_means"
    VERSION: ClassVar[int] = 2
    """2: pairs with one clean image, and windows of one clip, are one photograph."""
    REFERENCE: ClassVar[str] = "Student's t over trainings; Welch, Biometrika 34, 1947 (groups without partners)"
    TABLES: ClassVar[tuple[Table, ...]] = (MEANS, PAIRS)
    Params: ClassVar[type[BaseModel]] = Params

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        assert isinstance(params, Params)
        if not params.by:
            raise PlanError("group_means.by: name the tags that form a group, e.g. `by: [residual]`")
        stages = {cell.stage: cell.kind for cell in cells if cell.columns}
        wanted = cells_of(cells, params.of, stages.get(params.of, "restore"), asked_by="group_means.of")
        if not any(cell.model for cell in wanted):
            raise PlanError(f"group_means.of: stage {params.of!r} measures samples without a model; groups are of networks")
        main = min(cell.what for cell in wanted)  # the others are controls
        wanted = [cell for cell in wanted if cell.what == main]
        _chosen(params, wanted)
        return [cell.id for cell in wanted]

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """See `analyses.analysis.Telling`."""
        from xlli_ray.analyses.group_means.findings import findings

        return findings(outcome)

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        assert isinstance(params, Params)
        groups, left = groups_of(view.models, params)
        if not groups:
            raise AnalysisError(f"no network has all of the tags {', '.join(params.by)}")
        means, pairs, shown = [], [], []
        for column in _chosen(params, view.cells):
            for label, values, images in _measured(view, params, column):
                about = {"column_name": column, "label": label, "images": images}
                group_means = {group.name: group_mean(group, values, level=params.level) for group in groups}
                shown.append((column, label, group_means))
                means += [{"group": group.name, **about, **group_means[group.name].row("mean"), "networks": _with_value(group, values)}
                          for group in groups]  # fmt: skip
                for one, other in compared_groups(groups):
                    item = group_difference(one, other, values, level=params.level)
                    pairs.append({"group": one.name, "other": other.name, **about, **item.row("difference"), "paired": item.paired})
        if not means:
            raise AnalysisError(f"stage {params.of} has no measured numbers; `xlli query STUDY \"from failures\"` says why")
        quoted_means: dict[str, dict[str, float]] = {}
        for row in means:
            quoted_means.setdefault(f"{row['column_name']}, {row['label']}", {})[row["group"]] = row["mean"]
        rows = {"group_means": means, "group_differences": pairs}
        return Result(
            {table.name: whole(rows[table.name], table.columns) for table in cls.TABLES}, list(_figures(groups, shown)), quoted_means, (),
            notes(groups, left, params),
        )  # fmt: skip


def _chosen(params: Params, cells: Sequence[Cell]) -> list[str]:
    """The columns to average. Raises PlanError naming the nearest."""
    known = {name: dtype for cell in cells for name, dtype in cell.columns if dtype in NUMBERS}
    if params.columns is None:
        return [name for name, dtype in known.items() if dtype == "float64"]
    for name in params.columns:
        if name not in known:
            near = closest(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PlanError(f"group_means.columns: {params.of} has no number {name!r}; {hint}Columns: {', '.join(known) or 'none'}")
    return list(params.columns)


def _measured(view: View, params: Params, column: str) -> Iterator[tuple[str, Mapping[str, float], int]]:
    """(degradation, model → mean, number of images) of a column, for the degradations with measurements."""
    value = f"cast(t.{quoted(column)} as double)"
    table = view.sql(
        f"select t.model, t.row, s.label, {photograph_of('s')} as photograph, avg({value}) as v "
        f"from {quoted(view.cells[0].kind)} t join samples s on t.row = s.row "
        f"where t.status = 'ok' and isfinite({value}) group by all order by all"
    )
    model, row, label, photograph, numbers = (table[name].to_numpy(zero_copy_only=False) for name in table.column_names)
    models = [item.id for item in view.models]
    for one in view.labels:
        mine = label == one
        if not mine.any():
            continue
        rows, place = np.unique(row[mine].astype(np.int64), return_inverse=True)
        _, number = np.unique(photograph[mine].astype(str), return_inverse=True)
        grid, images = np.full((len(rows), len(models)), np.nan), np.zeros(len(rows), np.int64)
        grid[place.reshape(-1), [models.index(name) for name in model[mine]]] = numbers[mine].astype(np.float64)
        images[place.reshape(-1)] = number.reshape(-1)
        means, count = network_means(grid, images, int(number.max()) + 1)
        yield one, dict(zip(models, means.tolist())), count


def _with_value(group: Group, values: Mapping[str, float]) -> int:
    return sum(bool(np.isfinite(values[model])) for model, _ in group.members)


def _figures(groups: Sequence[Group], shown: Sequence[tuple[str, str, Mapping[str, Over]]]) -> Iterator[Figure]:
    from xlli_ray.plots.dots import Dots, Panel
    from xlli_ray.plots.palette import INK

    names = tuple(group.name for group in groups)
    if len(names) > DOTS:
        return
    for column in dict.fromkeys(column for column, _, _ in shown):
        rows = [(label, mean) for this, label, mean in shown if this == column][:8]
        colours = (INK,) * len(names)
        panels = tuple(Panel(label, column, tuple(mean[name].interval for name in names), colours) for label, mean in rows)
        view = Dots(f"{column} by group", names, panels)
        yield figure(column, view, f"{column}: mean over trainings, with its t interval.")
