"""Checks when planning that a corpus suffices for the index: the reference set exists and has more samples than components."""

from __future__ import annotations

from collections.abc import Sequence

from xlli_ray.analyses.analysis import planned_sets
from xlli_ray.analyses.srga.params import Params, default_components
from xlli_ray.errors import PlanError, closest, counted
from xlli_ray.store.records.manifest import Cell, SampleTable


def check(params: Params, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
    """Notes for the plan. `cells`: those with Gram matrices or features. Raises PlanError for what would otherwise fail after computing."""
    halves = [cell.id for cell in cells if any(array.dtype == "float16" for bucket in cell.buckets for array in bucket.arrays)]
    if halves and not params.allow_float16:
        raise PlanError(
            f"srga.of: {halves[0]} is stored as float16, whose rounding lifts the tail of the spectrum and with it the index: store "
            "`dtype: float32`, or set `allow_float16: true`"
        )
    size, counts = planned_sets(cells, samples)
    if not counts:
        return []
    if params.reference not in counts:
        near = closest(params.reference, counts, n=1)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise PlanError(f"srga.reference: there is no set {params.reference!r} of inputs {size}: {hint}Sets: {', '.join(counts)}")
    have = counts[params.reference]
    if have < 2:
        raise PlanError(f"the set {params.reference!r} has {have} sample of input size {size}; an index needs two: use more patches")
    if params.components is not None and have <= params.components:
        raise PlanError(
            f"srga.components: {params.components} components need at least {params.components + 1} samples in each set, but there are "
            f"{have} of input size {size}: use more patches, omit `components` (then {default_components(have)}), or set it to "
            f"{default_components(have)} or fewer"
        )
    notes = []
    if params.components is None and default_components(have) != 300:
        chosen = default_components(have)
        notes.append(
            f"{counted(chosen, 'component')}, half of the {counted(have, 'sample')} in a set; set `components` for another number"
        )
    if unequal := [f"{label} has {count}" for label, count in counts.items() if count != have]:
        notes.append(f"sets whose number of samples differs from that of {params.reference} ({have}) are left out: {', '.join(unequal)}")
    if len(counts) == 1:
        notes.append(f"{params.reference} is the only set of input size {size}: there is nothing to compare it with")
    return notes
