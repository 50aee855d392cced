"""Store a recipe's checkpoints in the study: once, by content, as safetensors. Workers load only from there (`worker.study_model`).

What needs torch is imported when a checkpoint is read: the driver asks another process to do it where one is there (`network_process`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

from xlli_ray.engine.run.known_models import kept, known_model, plain_entry
from xlli_ray.engine.run.network_process import Apart, Ended
from xlli_ray.errors import NetworkError, RecipeError, WeightsError
from xlli_ray.models.model_spec import ModelSpec
from xlli_ray.recipe import ModelEntry, Recipe
from xlli_ray.store.objects.client import Objects
from xlli_ray.store.records.manifest import ModelRecord

if TYPE_CHECKING:
    import torch


def keep_models(objects: Objects, recipe: Recipe, known: Sequence[ModelRecord], apart: Apart | None = None) -> list[ModelRecord]:
    """Records of the recipe's models, with their weights stored under `weights/`. Raises WeightsError, NetworkError, RecipeError.

    A missing checkpoint is not an error if the study has it from an earlier run of the same entry. `apart`: where networks are built;
    None: here.
    """
    records = []
    for entry in recipe.models:
        before = next((record for record in known if record.id == entry.id), None)
        try:
            record, canonical = looked_at(objects, entry, before) if apart is None else apart(looked_at, entry, before)
        except Ended as error:
            raise NetworkError(f"model {entry.id} ({entry.network or entry.weights}): {error}") from error
        key = f"weights/{record.weights_sha256}.safetensors"
        if canonical and not objects.create(key, canonical) and not kept(objects, record.weights_sha256):
            objects.put(key, canonical)  # the existing one was damaged
        records.append(record)
    return records


def looked_at(objects: Objects, entry: ModelEntry, known: ModelRecord | None) -> tuple[ModelRecord, bytes]:
    """The record of a model, and its weights as safetensors; b"" if the study has them. Writes nothing."""
    from xlli_ray.models.build_model import load_model
    from xlli_ray.models.checkpoint import read_state_dict, to_safetensors

    found = known_model(objects, entry, known)
    if isinstance(found, ModelRecord):
        return found, b""
    notes: tuple[str, ...] = ()
    if found.data is None:
        tensors = _own_weights(entry)
    else:
        read = read_state_dict(found.data, name=f"model {entry.id}: {entry.weights}", key=entry.key)
        tensors, notes = dict(read.tensors), read.notes
    canonical = to_safetensors(tensors)
    digest = hashlib.sha256(canonical).hexdigest()
    spec = ModelSpec(
        id=entry.id, weights=entry.weights, network=entry.network, args=dict(entry.args), scale=entry.scale,
        range=entry.range, output=entry.output, folder=entry.folder, frames=entry.frames,
        tiles=(entry.tiles.size, entry.tiles.halo) if entry.tiles else None,
        segments=(entry.segments.frames, entry.segments.overlap) if entry.segments else None,
    )  # fmt: skip
    model = load_model(spec, tensors)  # a checkpoint that does not load is refused here
    record = ModelRecord(
        id=entry.id,
        weights_sha256=digest,
        source=entry.weights or f"{entry.network}()",
        source_sha256=found.sha256,
        network=model.network,
        network_version=model.network_version,
        scale=model.scale,
        channels=model.channels,
        range=(float(model.range[0]), float(model.range[1])),
        output=model.output,
        entry=plain_entry(entry),
        tags=dict(entry.tags),
        notes=(*notes, *model.notes, *found.mark),
        folder=model.folder,
        sizes=(model.multiple, model.minimum, model.square),
        parts=dict(model.parts),
    )
    return record, canonical


def _own_weights(entry: ModelEntry) -> dict[str, torch.Tensor]:
    """State of a network that brings its own weights (a factory without `weights`)."""
    from xlli_ray.models.checkpoint import tensors_of
    from xlli_ray.models.factory import find_factory, make

    if not entry.network or ":" not in entry.network:
        raise RecipeError(f"model {entry.id}: give `weights`, or `network: package.module:factory` that brings its own")
    try:
        return tensors_of(make(find_factory(entry.network, entry.folder), entry.args).module)
    except (NetworkError, WeightsError) as error:
        error.args = (f"model {entry.id!r}: {error}",)
        raise
