"""The protocol of analyses: one names the cells that it reads, reads them through a view, and returns tables, figures and numbers.

An analysis is one file and one registry line (`registry.ANALYSES`). Importing the file must import neither torch nor ray nor matplotlib,
since the recipe's schema reads `Params` from it. An analysis knows neither where a study is stored nor how results are written. From the
protocol follow the recipe's fields, when a result is recomputed, the files under `results/`, the SQL tables, a section of the page, a line
of `xlli status`, and the contract test. `docs/extending.md` walks through a new one.

Analyses run in the driver's process, one after another in the recipe's order, after the tables have been written at the end of `xlli run`,
when no worker is computing any more. The protocol does not require this: `run` takes parameters, a view and a seed and returns a value, so
it could also run in the pool. It reads large arrays shard by shard (`CellArray.blocks`), never as a whole.

An analysis that needs more samples, sets or classes than a corpus may have reports this when the run is planned (`Checking`), not after
everything has been computed. One that says what it found in sentences (`Telling`) has them at the top of the page. One that has more to
show than figures and tables adds its own section to the page (`report.section.Showing`).

Rules: the same inputs, parameters and seed give the same bytes (random numbers come from `stats.bootstrap.generator(seed, purpose)`; no
clock, no iteration over sets); what cannot be computed is null, with a reason in `notes`; what could mislead is reported in `flags`.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from pydantic import BaseModel

from xlli_ray.errors import PlanError, closest
from xlli_ray.plots.view import View as Drawn
from xlli_ray.plots.view import to_json, to_svg
from xlli_ray.store.records.manifest import Cell, SampleTable
from xlli_ray.store.tables.results import Column, Figure, Result, Table

if TYPE_CHECKING:
    from xlli_ray.analyses.shared.findings import Finding, Outcome
    from xlli_ray.analyses.shared.study_access import View

__all__ = [
    "Analysis", "Bringing", "Checking", "Column", "Figure", "Result", "Table", "Telling", "cells_of", "figure", "planned_sets",
    "restore_cells", "whole",
]  # fmt: skip


class Analysis(Protocol):
    """See the module docstring."""

    KIND: ClassVar[str]
    VERSION: ClassVar[int]
    """Raised by hand when numbers or figures change: results of another version are recomputed."""
    REFERENCE: ClassVar[str]
    """Source of the definition: papers."""
    TABLES: ClassVar[tuple[Table, ...]]
    """The first one is shown by `xlli run`, unless `HEADLINE: ClassVar` names another and its columns, (table, (column, …)).

    Names are those of SQL tables: begin them with the analysis's name or its subject."""
    Params: ClassVar[type[BaseModel]]

    @classmethod
    def inputs(cls, params: BaseModel, cells: Sequence[Cell]) -> list[str]:
        """Ids of the cells that `run` reads, out of `cells`: all that the study has for the models chosen by the stage, and those that
        belong to samples alone (their `model` is ""; their rows have no model in SQL).

        These and the parameters decide whether a result is current. Raises PlanError if a required stage is missing, as `cells_of` does.
        """

    @classmethod
    def run(cls, params: BaseModel, view: View, seed: int) -> Result:
        """Compute the result. `view` contains the cells of `inputs` only. `seed` is derived from the study's seed and the stage's id.

        Raises AnalysisError if there is no result; any other error is reported as a bug of the analysis. Other analyses still run.
        """


class Bringing(Protocol):
    """Optional, for an analysis class: it adds the measurements it needs, so that a recipe only has to name the analysis."""

    @classmethod
    def brings(
        cls, params: Mapping[str, Any], stage_id: str, models: Sequence[Mapping[str, Any]]
    ) -> tuple[dict[str, Any], list[dict[str, Any]]]:
        """The stage's completed parameters, and the stages to add before it, each as in a recipe: `{"gram": {"id": …}}`.

        `params`: as in the recipe, not yet validated. `models`: the entries chosen by the stage. A stage without an `id` is not added if
        the recipe has one of its kind; one with an `id` is not added if the recipe has a stage with that id. Nothing may be added when
        the parameters are complete: study.json contains the recipe with everything filled in.
        """


class Checking(Protocol):
    """Optional, for an analysis class: refuse, when the run is planned, what would fail after everything has been computed."""

    @classmethod
    def check(cls, params: BaseModel, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
        """Notes for the plan. Raises PlanError with the field, the numbers, and what would work.

        `cells`: those of `inputs`, planned but not yet measured. `samples`: the numbers of samples by size and degradation.
        """


class Telling(Protocol):
    """Optional, for an analysis class: the sentences with which the page of a study begins (`analyses.shared.findings`)."""

    @classmethod
    def findings(cls, outcome: Outcome) -> Iterable[Finding]:
        """One to three, the most important first, made from the tables of a stored result and nothing else.

        Not part of a result: changing a sentence needs no new VERSION. Results of an earlier VERSION may lack tables.
        """


def planned_sets(cells: Sequence[Cell], samples: SampleTable) -> tuple[str, dict[str, int]]:
    """The input size with most planned samples, which is the one analysed, and the numbers of its samples by degradation label."""
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
        raise PlanError(f"{asked_by}: stage {stage!r} is of kind {matches[0].kind}, expected {kind}")
    fitting = sorted({cell.stage for cell in cells if cell.kind == kind})
    near = closest(stage, fitting, n=1) or fitting[:1]
    hint = f"did you mean {near[0]!r}?" if near else f"add one: `- {kind}: {{…}}`, or choose models that have it"
    raise PlanError(f"{asked_by}: no stage {stage!r} here: {hint}")


def restore_cells(cells: Sequence[Cell], restore: str | None, models: Collection[str], *, asked_by: str) -> list[Cell]:
    """The cells of `models` with PSNR: those of the stage `restore`; `auto`: of the only restore stage; None: none.

    Raises PlanError if `auto` is ambiguous, or if there is no such stage. `asked_by`: as `cells_of`.
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
    """The figure of a result, from a view: the SVG for the page, and the view itself for other renderers."""
    return Figure(name, to_svg(view), caption, to_json(view))


def whole(values: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> list[dict[str, Any]]:
    """Rows with NaN and infinity replaced by null, as in tables of results."""
    names = [column.name for column in columns]
    return [{name: _finite(row.get(name)) for name in names} for row in values]


def _finite(value: Any) -> Any:
    if isinstance(value, float) and (value != value or value in (float("inf"), float("-inf"))):
        return None
    return value
