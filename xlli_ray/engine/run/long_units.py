"""Units that take longer than the recipe's `unit_seconds` by the estimate of the plan, and what can be done about it.

Ranges are cut once per cell and stay (`docs/decisions/003-units.md`), so a recipe that asks for shorter units later is told, not obeyed.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

from xlli_ray.engine.run.own_passes import with_own_passes
from xlli_ray.engine.run.ranges import MACS_A_SECOND
from xlli_ray.probes import probe_class
from xlli_ray.recipe import Recipe
from xlli_ray.recipe.schema import UNIT_SECONDS
from xlli_ray.store.records.manifest import Cell

SLACK = 1.01


def long_units(recipe: Recipe, cells: Iterable[Cell], kept: Collection[str]) -> list[str]:
    """A note for each stage of the recipe with such units among its `cells` that are to be computed. `kept`: ids of cells that the study
    had before this run."""
    sets = {stage.id: hasattr(probe_class(stage.kind, stage.code), "held_bytes") for stage in recipe.measured().stages}
    spent: dict[tuple[str, str], float] = {}
    cells = [cell for cell in cells if cell.stage in sets]
    own = with_own_passes(cells)
    for cell in cells:
        for bucket in cell.buckets:
            here, key = bucket.macs * min(bucket.rows, bucket.rows_per_unit) / MACS_A_SECOND, (cell.group, bucket.name)
            spent[key] = here + spent.get(key, 0.0) if cell.id in own else max(here, spent.get(key, 0.0))
    notes: dict[tuple[str, str], float] = {}
    for cell in cells:
        whole = any(sets[other.stage] for other in cells if other.group == cell.group)
        for bucket in cell.buckets:
            if (seconds := spent[cell.group, bucket.name]) <= recipe.unit_seconds * SLACK:
                continue
            if whole:
                why = "a unit is a whole set"
            elif bucket.rows_per_unit <= bucket.batch:
                why = f"a unit is at least one batch, here of {bucket.batch}; `batch` can make it smaller"
            elif cell.id in kept:
                why = f"the study's units stay as they were cut; --replace {cell.stage} computes them anew, in shorter ones"
            else:
                continue  # of many sizes: the mean is not what limits them
            if recipe.unit_seconds != UNIT_SECONDS or (cell.id in kept and not whole and bucket.rows_per_unit > bucket.batch):
                notes[cell.stage, why] = max(seconds, notes.get((cell.stage, why), 0.0))
    return [
        f"stage {stage}: units of about {seconds:.3g} s, longer than unit_seconds ({recipe.unit_seconds:g}): {why}"
        for (stage, why), seconds in notes.items()
    ]
