"""Stages that need the measurements of other stages: the order in which their cells are planned, and the cells that each one needs.

A probe names stages (`Probe.needs`). It is given their measurements of the same samples, for the same model or without one. Nothing is read
back from the store: if the cells share a unit, as those do that are planned together for the same rows (`cell_groups`), the needed
measurement is made once, otherwise again, with the batch of the cell that needs it. So a cell can be added to a study at any time, and
ranges need not match.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xlli_ray.errors import PlanError, closest
from xlli_ray.probes.measurement import SetProbe
from xlli_ray.recipe import Recipe
from xlli_ray.store.records.manifest import NO_MODEL

if TYPE_CHECKING:
    from xlli_ray.engine.run.wanted_cells import WantedCell


def check_needs(stage: str, needs: Sequence[str], recipe: Recipe, owner: str) -> None:
    """Raise PlanError if a stage needs one that the recipe does not have, or that does not measure `owner` (see `in_order`)."""
    measuring = [other for other in recipe.stages if not other.concludes]
    known = [other.id for other in measuring]
    entry = next((model for model in recipe.models if model.id == owner), None)
    here = {other.id for other in measuring if other.without_model or (entry is not None and other.chooses(entry))}
    for name in needs:
        if name not in known:
            near = closest(name, known, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PlanError(f"stage {stage}: it needs the stage {name!r}, but no stage has that id: {hint}Stages: {', '.join(known)}")
        if name not in here:
            raise PlanError(_of_nothing(stage, name, owner))


def _of_nothing(stage: str, need: str, owner: str) -> str:
    owned = "samples without a model" if owner == NO_MODEL else f"model {owner}"
    return f"stage {stage}: it needs the stage {need}, which does not measure {owned}"


def in_order(wanted: Sequence[WantedCell], owner: str, alone: Mapping[str, Sequence[str]]) -> list[WantedCell]:
    """The cells of `owner` (a model's id, or NO_MODEL), each after those that it needs, with their ids.

    `alone`: stages that measure samples without a model → ids of their cells. Raises PlanError for impossible needs.
    """
    stages: dict[str, list[WantedCell]] = {}
    for want in wanted:
        stages.setdefault(want.stage.id, []).append(want)
    ids: dict[str, Sequence[str]] = {**alone, **{stage: [want.id(owner) for want in some] for stage, some in stages.items()}}
    out: list[WantedCell] = []
    done: set[str] = set()

    def add(stage: str, above: tuple[str, ...]) -> None:
        if stage in above:
            raise PlanError(f"stages {' → '.join((*above, stage))}: each needs the next, and none can be measured first")
        if stage in done:
            return
        for need in dict.fromkeys(need for want in stages[stage] for need in want.probe.needs):
            if need in stages:
                if any(isinstance(want.probe, SetProbe) for want in stages[need]):
                    raise PlanError(f"stage {stage}: it needs the stage {need}, whose arrays are those of a set, not of a batch")
                add(need, (*above, stage))
            elif need not in ids:
                raise PlanError(_of_nothing(stage, need, owner))
        done.add(stage)
        for want in stages[stage]:
            needed = (cell for need in want.probe.needs for cell in ids[need])
            out.append(replace(want, needs=tuple(cell for cell in needed if want.probe.needs_cell(cell.split("/")[-1]))))

    for stage in stages:
        add(stage, ())
    return out

