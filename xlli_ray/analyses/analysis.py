"""What an analysis is: it names the cells that it reads, reads them through a small view, and returns tables, figures and numbers.

An analysis lives in one file and one registry line (`registry.ANALYSES`). Importing the file must import neither torch nor ray nor
matplotlib: the recipe's schema reads `Params` from it. It knows neither where a study lies nor how results are written. From the protocol
follow the recipe's fields, what is run again and when, the files under `results/`, the SQL tables, a section of the page, a line of
`xlli status`, and the contract test. `docs/extending.md` walks through a new one.

Analyses run in the driver's process, one after another in the recipe's order, once the tables are written: at the end of `xlli run`, when
no worker computes any more. Nothing in the protocol asks for that. `run` gets parameters, a view and a seed, and returns a value, so one
that streams through gigabytes may later be sent to the pool as it is. It reads large arrays shard by shard (`CellArray.blocks`), never
whole.

One that needs more samples, sets or classes than a corpus may have says so when planning (`Checking`), not when all is computed. One that
has more to show than figures and tables brings a section of the page (`report.section.Showing`).

What an analysis must keep: the same inputs, parameters and seed give the same bytes (draws come from `stats.bootstrap.generator(seed,
purpose)`, no clock, no order of a set); what cannot be computed is null and said in `notes`; what would mislead is said in `flags`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel

from xlli_ray.errors import PlanError, closest
from xlli_ray.plots.view import View as Drawn
from xlli_ray.plots.view import to_json, to_svg
from xlli_ray.store.records.manifest import Cell, SampleTable
from xlli_ray.store.tables.results import Column, Figure, Result, Table

if TYPE_CHECKING:
    from xlli_ray.analyses.shared.study_access import View

__all__ = [
    "Analysis", "Bringing", "Checking", "Column", "Figure", "Result", "Table", "cells_of", "figure", "planned_sets", "restore_cells",
    "whole",
]  # fmt: skip


class Analysis(Protocol):
    """See the module docstring."""

    KIND: ClassVar[str]
    VERSION: ClassVar[int]
    """Raised by hand when numbers or pictures change: results of another version are made again."""
    REFERENCE: ClassVar[str]
    """Where the definition comes from: papers."""
    TABLES: ClassVar[tuple[Table, ...]]
    """The first one is shown by `xlli run`, unless `HEADLINE: ClassVar` names another and its columns, (table, (column, …)).

    Names are those of SQL tables: begin them with the analysis' name or its subject."""
    Params: ClassVar[type[BaseModel]]

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        """Ids of the cells that `run` reads, of `cells`: all that the study has for the models that the stage chose, and those that
        belong to samples alone (`model` is ""; their rows have no model in SQL).

        They and the parameters decide whether a result is current. Raises PlanError when a stage that it needs is absent; `cells_of` does
        so.
        """

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        """Compute. `view` holds the cells of `inputs` and nothing else. `seed` is keyed by the study's seed and the stage's id.

        Raises AnalysisError when nothing can be said; any other error is reported as a fault of the analysis, and the rest still runs.
        """


class Bringing(Protocol):
    """What an analysis class may offer besides: it brings the measurements it needs along, so that a recipe names the question only."""

    @classmethod
    def brings(
        cls, params: Mapping[str, Any], stage_id: str, models: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The stage's parameters, completed, and the stages to add before it, each as a recipe writes one: `{"gram": {"id": …}}`.

        `params`: as the recipe has them, not yet checked. `models`: the entries that the stage chose. A stage without an `id` is left out
        where the recipe has one of its kind; one with an `id` where it has a stage of that id. It must bring nothing once its parameters
        are complete: study.json holds the recipe with everything in it.
        """


class Checking(Protocol):
    """What an analysis class may offer besides: it refuses when planning what must fail once everything is computed."""

    @classmethod
    def check(cls, params: BaseModel, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
        """Notes for the plan. Raises PlanError naming the field, the numbers and what would work.

        `cells`: those of `inputs`, planned and not yet measured. `samples`: how many there are of each size and degradation.
        """


def planned_sets(cells: Sequence[Cell], samples: SampleTable) -> tuple[str, dict[str, int]]:
    """The input size with most planned samples, which is the one that is looked at, and in it degradation label → samples of a cell."""
    held: dict[str, int] = {}
    segments: dict[str, tuple[tuple[int, int], ...]] = {}
    for cell in cells:
        for bucket in cell.sizes:
            if not bucket.refused:
                held[bucket.name] = held.get(bucket.name, 0) + bucket.rows
                segments.setdefault(bucket.name, bucket.segments)
    if not held:
        return "", {}
    name = max(held, key=lambda bucket: (held[bucket], bucket))
    blocks = next((bucket.blocks for bucket in samples.buckets if bucket.name == name), ())
    counts = {
        label: sum(max(0, min(first + rows, start + count) - max(first, start)) for start, count in segments[name])
        for label, first, rows in blocks
    }
    return name, {label: count for label, count in counts.items() if count}


def cells_of(cells: Sequence[Cell], stage: str, kind: str, *, asked_by: str) -> list[Cell]:
    """The cells of the stage `stage`, which must be of the probe `kind`. Raises PlanError naming the nearest stages.

    `asked_by`: the field that says so, as `lam_summary.of`.
    """
    matches = [cell for cell in cells if cell.stage == stage]
    if matches and all(cell.kind == kind for cell in matches):
        return matches
    if matches:
        raise PlanError(f"{asked_by}: stage {stage!r} is of the kind {matches[0].kind}, {kind} is needed")
    fitting = sorted({cell.stage for cell in cells if cell.kind == kind})
    near = closest(stage, fitting, n=1) or fitting[:1]
    hint = f"did you mean {near[0]!r}?" if near else f"add one: `- {kind}: {{…}}`, or choose models that have it"
    raise PlanError(f"{asked_by}: no stage {stage!r} here: {hint}")


def restore_cells(cells: Sequence[Cell], restore: str | None, models: Collection[str], *, asked_by: str) -> list[Cell]:
    """The cells of `models` that PSNR comes from: of the stage `restore`, of the only one for `auto`, none for None.

    Raises PlanError when `auto` is not clear, or when the stage is none. `asked_by`: as `cells_of`.
    """
    if restore is None:
        return []
    matches = [cell for cell in cells if cell.kind == "restore"]
    stages = sorted({cell.stage for cell in matches})
    if restore != "auto":
        matches = cells_of(cells, restore, "restore", asked_by=asked_by)
    elif len(stages) > 1:
        raise PlanError(f"{asked_by}: there are {len(stages)} restore stages ({', '.join(stages)}): name one, or null")
    return [cell for cell in matches if cell.model in models]


def figure(name: str, view: Drawn, caption: str) -> Figure:
    """The figure of a result that a view makes: the SVG of the page, and the view itself for whatever draws it otherwise later."""
    return Figure(name, to_svg(view), caption, to_json(view))


def whole(values: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Rows with NaN and infinity made null, as tables of results have them."""
    names = [column.name for column in columns]
    return [{name: _finite(row.get(name)) for name in names} for row in values]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
