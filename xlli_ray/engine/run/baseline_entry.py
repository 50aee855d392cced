"""The baseline of every `restore` stage in addition to its networks: added automatically once the corpus has been scanned.

Only then is its scale known. It is a model like any other (`models.networks.bicubic`), used only by `restore` stages, so it adds cells and
changes none. `baseline: false` in the recipe disables it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from xlli_ray.analyses.shared.worse_than_baseline import NETWORK
from xlli_ray.recipe import ModelEntry, Recipe
from xlli_ray.store.records.manifest import ModelRecord, SampleTable

LARGEST = 16
"""The largest scale with a baseline."""


def baseline_entries(
    recipe: Recipe, table: SampleTable, records: Sequence[ModelRecord], known: Sequence[ModelRecord] = ()
) -> list[ModelEntry]:
    """What to add to the recipe's models: a baseline for RGB, for luma, or both, as the networks of its `restore` stages need.

    `records`: of the recipe's models. `known`: the study's, whose baseline keeps its id. Nothing without a `restore` stage or targets, for
    a corpus of several scales, with `baseline: false`, and if the recipe contains the baseline itself.
    """
    stages = [stage for stage in recipe.stages if stage.kind == "restore"]
    scales = {scale for bucket in table.buckets for scale in bucket.scales if scale}
    if not recipe.baseline or not stages or len(scales) != 1 or not any(bucket.targets for bucket in table.buckets):
        return []
    (scale,) = scales
    if scale > LARGEST:
        return []
    looked = {entry.id for entry in recipe.models if any(stage.chooses(entry) for stage in stages)}
    named = {record.channels for record in records if record.network == NETWORK}
    seen = {record.channels for record in records if record.id in looked and record.output == "image"}
    frames: Literal["each"] | None = "each" if any(bucket.frames for bucket in table.buckets) else None
    out: list[ModelEntry] = []
    for channels in sorted(seen - named, reverse=True):
        args: dict[str, Any] = {"scale": scale} if channels == 3 else {"scale": scale, "channels": channels}
        name = ("bicubic" if scale > 1 else "input") + ("-luma" if channels == 1 and seen != {1} else "")
        taken = {entry.id for entry in (*recipe.models, *out)}
        out.append(ModelEntry(id=_free(name, args, taken, known), network=NETWORK, args=args, frames=frames, baseline=True))
    return out


def _free(name: str, args: Mapping[str, Any], taken: set[str], known: Sequence[ModelRecord]) -> str:
    """An id used neither by the recipe nor by another model of the study."""
    same = {record.id for record in known if record.network == NETWORK and record.entry.get("args") == args}
    others = {record.id for record in known} - same
    kept = [record.id for record in known if record.id in same and record.entry.get("baseline") and record.id not in taken]
    names = [*kept, name, f"{name}-baseline", *(f"{name}-baseline-{number}" for number in range(2, len(taken | others) + 3))]
    return next(candidate for candidate in names if candidate not in taken | others)
