"""The mark of a plan: a hash of everything that it depends on, and whether a study has the plan of a recipe already.

Planning runs every network once, and neither a finished study nor the parts of a job array should wait for that.
"""

from __future__ import annotations

from collections.abc import Sequence

from xlli_ray.corpus import decode
from xlli_ray.engine.run.baseline_entry import baseline_entries
from xlli_ray.engine.run.known_models import known_models
from xlli_ray.engine.run.network_process import Apart
from xlli_ray.engine.run.study_weights import keep_models
from xlli_ray.engine.worker.environment import versions
from xlli_ray.models import precision
from xlli_ray.models.networks import raised
from xlli_ray.probes import probe_class
from xlli_ray.recipe import Recipe
from xlli_ray.registry import PROBES
from xlli_ray.store.objects.client import Objects, exists
from xlli_ray.store.records.documents import load_manifest
from xlli_ray.store.records.manifest import Manifest, ModelRecord, identity_hash
from xlli_ray.store.zarr.layout import group_key


def plan_mark(recipe: Recipe, manifest: Manifest, records: Sequence[ModelRecord], device: str) -> str:
    """Hash of everything a plan depends on: planning runs every network, and a complete study should not wait for that."""
    measured = recipe.measured()
    dump = measured.dump()
    models = [
        [r.id, r.weights_sha256, r.network, r.network_version, dict(r.entry), *([parts] if (parts := raised(r.parts)) else [])]
        for r in records
    ]
    ours = {kind: PROBES.version(kind) for kind, place in PROBES.items() if place.startswith("xlli_ray.")}  # one may be based on another
    named = {(stage.kind, stage.code) for stage in measured.stages if stage.code or stage.kind not in ours}
    probes = sorted([*ours.items(), *((kind, probe_class(kind, code).VERSION) for kind, code in named)])
    requested = {key: dump[key] for key in ("stages", "batch", "threads")}
    reduced = [one.id for one in measured.stages if one.precision != "float32"]
    built = [[one.id, parts] for one in measured.stages if (parts := probe_class(one.kind, one.code).parts(one.parsed()))]
    assert manifest.samples is not None
    return identity_hash(
        {**({"parts": built} if built else {}), **({"precision": precision.VERSION} if reduced else {}),
         "asked": requested, "models": models, "tags": [dict(r.tags) for r in records],
         "probes": probes, "device": device, "samples": manifest.samples.hash, "decode": decode.VERSION,
         "degradations": recipe.corpus.versions(manifest.samples.labels), "program": versions()}
    )  # fmt: skip


def planned_study(recipe: Recipe, objects: Objects, apart: Apart) -> tuple[Manifest, list[str]] | None:
    """(the study's manifest, ids of the recipe's models and its baseline) if the study's plan is that of this recipe and all its arrays are
    created; None otherwise. Networks of others, which only their code can tell, are built `apart`, and their weights kept."""
    manifest = load_manifest(objects)
    if manifest is None or manifest.samples is None or not manifest.cells:
        return None
    records = _records(recipe, objects, manifest, apart)
    entries = baseline_entries(recipe, manifest.samples, records, manifest.models)
    if entries:
        beside = _records(recipe.model_copy(update={"models": entries}), objects, manifest, apart)
        recipe, records = recipe.model_copy(update={"models": [*recipe.models, *entries]}), [*records, *beside]
    if plan_mark(recipe, manifest, records, manifest.device) != manifest.planned:
        return None
    groups = (group_key(cell.id, bucket.name) for cell in manifest.cells for bucket in cell.buckets if bucket.arrays)
    created = all(exists(objects, f"{group}/row/zarr.json") for group in groups)
    return (manifest, [record.id for record in records]) if created else None


def _records(recipe: Recipe, objects: Objects, manifest: Manifest, apart: Apart) -> list[ModelRecord]:
    known = None if apart.foreign else known_models(objects, recipe, manifest.models)
    return known if known is not None else keep_models(objects, recipe, manifest.models, apart)
