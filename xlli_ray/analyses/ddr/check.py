"""Checks when planning that a corpus suffices for separability: layers and labels exist, and there are classes to separate."""

from __future__ import annotations

from collections.abc import Sequence

from xlli_ray.analyses.analysis import planned_sets
from xlli_ray.analyses.ddr.measures import matches, places_of
from xlli_ray.analyses.ddr.params import Params
from xlli_ray.analyses.shared.labels import Labels
from xlli_ray.corpus.degradations import is_real
from xlli_ray.errors import AnalysisError, PlanError, closest, counted
from xlli_ray.store.records.manifest import Cell, SampleTable

_RESAMPLES = "`resamples` no longer has an effect, since intervals are no longer bootstrapped: remove it"


def check(params: Params, cells: Sequence[Cell], samples: SampleTable) -> list[str]:
    """Notes for the plan. `cells`: those of the features stage. Raises PlanError for what would otherwise fail after computing."""
    try:
        places = places_of(cells, params.layers, list(dict.fromkeys(cell.model for cell in cells)))
    except AnalysisError as error:
        raise PlanError(str(error)) from error
    layers = list(dict.fromkeys(place.layer for place in places))
    for name, globs in (("embed_layers", params.embed_layers), ("depth", params.depth)):
        for glob in globs if isinstance(globs, list) else ():
            if not any(matches(layer, [glob]) for layer in layers):
                raise PlanError(f"ddr.{name}: {glob!r} matches none of the layers that are read: {', '.join(layers[:12])}")
    notes = [] if params.resamples is None else [_RESAMPLES]
    size, counts = planned_sets(cells, samples)
    if not counts:
        return notes
    for label in params.degradations or ():
        if label not in samples.labels:
            near = closest(label, samples.labels, n=1)
            hint = f"did you mean {near[0]!r}? " if near else ""
            raise PlanError(f"ddr.degradations: no sample has the label {label!r}: {hint}Labels: {', '.join(samples.labels)}")
    wanted = {label: count for label, count in counts.items() if params.degradations is None or label in params.degradations}
    if sum(wanted.values()) < 3:
        have = counted(sum(wanted.values()), "sample")
        raise PlanError(f"{have} of input size {size}; separability needs three: use more patches or images")
    meaning = Labels.of(samples)
    types = [meaning.type(label) for label in wanted]
    shared = [count for label, count in wanted.items() if not is_real(label)]
    possible = {
        "type": len(set(types)) > 1,
        "level": len(set(types)) < len(types),
        "content": len(shared) > 1 and max(shared) > 1,  # the copies of a patch are a class
        "image": True,  # the number of images is known only when the table is read
    }
    if not any(possible[name] for name in params.labels):
        raise PlanError(
            f"ddr.labels: nothing to separate by {', '.join(params.labels)} in {', '.join(f'{n} {label}' for label, n in wanted.items())} "
            f"(input size {size}): add degradations, levels or images to the corpus, or choose other `labels`"
        )
    return notes
