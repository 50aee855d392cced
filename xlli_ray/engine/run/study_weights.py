"""Store a recipe's checkpoints in the study: once, by content, as safetensors. Workers load only from there."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from xlli_ray.corpus.files.sources import read_bytes
from xlli_ray.engine.run.network_process import Apart, Ended, is_foreign
from xlli_ray.errors import NetworkError, RecipeError, SampleError, StudyError, WeightsError
from xlli_ray.models import build_model
from xlli_ray.models.build_model import ModelSpec, load_model
from xlli_ray.models.checkpoint import check_sha256, has_checksums, read_state_dict, tensors_of, to_safetensors
from xlli_ray.models.factory import Factory, find_factory, make
from xlli_ray.models.model import Model
from xlli_ray.models.networks import current_parts, network_file
from xlli_ray.recipe import ModelEntry, Recipe
from xlli_ray.registry import NETWORKS
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.manifest import ModelRecord

if TYPE_CHECKING:
    import torch


UNCHECKED = "its file's format has no checksums"


def about_files(records: Sequence[ModelRecord]) -> list[str]:
    """Notes on the weight files: the sha256 of each, and, once, which formats cannot detect damage."""
    files = [record for record in records if record.source_sha256 and not record.source.startswith("builtin:")]
    notes = [f"weights: {', '.join(f'{record.id} sha256 {record.source_sha256[:12]}…' for record in files)}"] if files else []
    if unchecked := [record.id for record in files if UNCHECKED in record.notes]:
        notes.append(
            f"{', '.join(unchecked)}: the format (safetensors, PyTorch before 1.6) has no checksums; with `sha256` in the model's entry"
            " damage is detected, and `xlli layers FILE` prints that line"
        )
    return notes


def notes_on(records: Sequence[ModelRecord]) -> list[str]:
    """Decisions made while reading each model, and `about_files`."""
    return [f"model {record.id}: {note}" for record in records for note in record.notes if note != UNCHECKED] + about_files(records)


def keep_models(objects: Objects, recipe: Recipe, known: Sequence[ModelRecord], apart: Apart | None = None) -> list[ModelRecord]:
    """Records of the recipe's models, with their weights stored under `weights/`. Raises WeightsError, NetworkError, RecipeError.

    A missing checkpoint is not an error if the study has it from an earlier run of the same entry. `apart`: process for third-party
    networks; None: this one.
    """
    records = []
    for entry in recipe.models:
        before = next((record for record in known if record.id == entry.id), None)
        if apart is None or not is_foreign([entry.network]):
            record, canonical = looked_at(objects, entry, before)
        else:
            try:
                record, canonical = apart(looked_at, entry, before)
            except Ended as error:
                raise NetworkError(f"model {entry.id} ({entry.network}): {error}") from error
        key = f"weights/{record.weights_sha256}.safetensors"
        if canonical and not objects.create(key, canonical) and not _kept(objects, record.weights_sha256):
            objects.put(key, canonical)  # the existing one was damaged
        records.append(record)
    return records


def _entry(entry: ModelEntry) -> Mapping[str, object]:
    data = entry.model_dump(mode="json")
    if data["key"] is None:
        del data["key"]  # entries of older studies do not have it
    for later in ("frames", "tiles", "segments"):
        if data[later] is None:
            del data[later]
    if not data["baseline"]:
        del data["baseline"]
    return {key: value for key, value in data.items() if key not in ("id", "tags", "sha256", "folder")}


def looked_at(objects: Objects, entry: ModelEntry, known: ModelRecord | None) -> tuple[ModelRecord, bytes]:
    """The record of a model, and its weights as safetensors; b"" if the study has them. Writes nothing."""
    try:
        data = _bytes(entry)  # None: the factory brings its own
    except WeightsError:
        if known is not None and known.entry == _entry(entry):
            version = current_version(known.network, entry)
            # the location of a factory's file comes from the recipe, never from the study
            known = replace(known, network_version=version or known.network_version, parts=current_parts(known.parts))
            return replace(known, tags=dict(entry.tags), folder=_where(entry)), b""
        raise
    source_sha256 = hashlib.sha256(data).hexdigest() if data is not None else ""
    if data is not None and entry.sha256 is not None:
        check_sha256(source_sha256, entry.sha256, name=f"model {entry.id}: {entry.weights}")
    silent = data is not None and entry.sha256 is None and not has_checksums(data) and not str(entry.weights).startswith("builtin:")
    mark = (UNCHECKED,) if silent else ()
    same = known is not None and data is not None and known.source_sha256 == source_sha256 and known.entry == _entry(entry)
    current = known is not None and same and current_version(known.network, entry) == known.network_version
    current = current and known is not None and current_parts(known.parts) == known.parts
    if known is not None and current and _kept(objects, known.weights_sha256):
        said = tuple(note for note in known.notes if note != UNCHECKED)
        return replace(known, tags=dict(entry.tags), folder=_where(entry), notes=(*said, *mark)), b""
    notes: tuple[str, ...] = ()
    if data is None:
        tensors = _own_weights(entry)
    else:
        read = read_state_dict(data, name=f"model {entry.id}: {entry.weights}", key=entry.key)
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
        source_sha256=source_sha256,
        network=model.network,
        network_version=model.network_version,
        scale=model.scale,
        channels=model.channels,
        range=(float(model.range[0]), float(model.range[1])),
        output=model.output,
        entry=_entry(entry),
        tags=dict(entry.tags),
        notes=(*notes, *model.notes, *mark),
        folder=model.folder,
        sizes=(model.multiple, model.minimum, model.square),
        parts=dict(model.parts),
    )
    return record, canonical


def _kept(objects: Objects, digest: str) -> bool:
    try:
        return hashlib.sha256(objects.get(f"weights/{digest}.safetensors")).hexdigest() == digest
    except Missing:
        return False


def _factory(entry: ModelEntry) -> Factory | None:
    """The factory that the recipe names; None if it names none, or one that cannot be imported: loading it reports why."""
    if entry.network is None or ":" not in entry.network:
        return None
    try:
        return find_factory(entry.network, entry.folder)
    except NetworkError:
        return None


def _where(entry: ModelEntry) -> str:
    """The folder of the recipe's factory, "" for an installed one or none."""
    factory = _factory(entry)
    return factory.folder if factory else ""


def current_version(network: str, entry: ModelEntry) -> int | None:
    """Current VERSION of a network: a model is read again if its network's was raised. None if unknown.

    `network`: from the study; `entry`: the recipe's. Only code named by the recipe is imported.
    """
    if network in NETWORKS:
        return int(network_file(network).VERSION)
    if network.startswith("spandrel:"):
        return build_model.SPANDREL_VERSION
    factory = _factory(entry)
    return factory.version if factory else None


def _bytes(entry: ModelEntry) -> bytes | None:
    if entry.weights is None:
        return None
    if entry.weights.startswith("builtin:"):
        from xlli_ray.models.builtin_weights import builtin_path

        return builtin_path(entry.weights.removeprefix("builtin:")).read_bytes()
    try:
        return read_bytes(entry.weights)
    except SampleError as error:
        raise WeightsError(f"model {entry.id}: weights: {error}") from error


def _own_weights(entry: ModelEntry) -> dict[str, torch.Tensor]:
    """State of a network that brings its own weights (a factory without `weights`)."""
    if not entry.network or ":" not in entry.network:
        raise RecipeError(f"model {entry.id}: give `weights`, or `network: package.module:factory` that brings its own")
    try:
        return tensors_of(make(find_factory(entry.network, entry.folder), entry.args).module)
    except (NetworkError, WeightsError) as error:
        error.args = (f"model {entry.id!r}: {error}",)
        raise


def load_study_model(objects: Objects, record: ModelRecord, device: torch.device | str = "cpu") -> Model:
    """Build a model from a study's own weights (`weights/<sha256>.safetensors`), verified against their name."""
    from safetensors.torch import load as tensors_from

    key = f"weights/{record.weights_sha256}.safetensors"
    try:
        data = objects.get(key)
    except Missing as error:
        raise StudyError(f"{objects.url}: {key} is gone; run the recipe again where the checkpoint can be read") from error
    if hashlib.sha256(data).hexdigest() != record.weights_sha256:
        raise StudyError(f"{objects.url}/{key}: the bytes do not have the sha256 of the name; delete it and run again")
    entry = record.entry
    spec = ModelSpec(
        id=record.id,
        weights=entry.get("weights"),
        network=entry.get("network"),
        args=dict(entry.get("args") or {}),
        scale=entry.get("scale"),
        range=tuple(entry["range"]) if entry.get("range") else None,
        output=entry.get("output", "image"),
        folder=record.folder,  # "": among installed packages only, never in the current folder of a worker or the user
        sizes=record.sizes,
        frames=entry.get("frames"),
        tiles=(tiles["size"], tiles["halo"]) if (tiles := entry.get("tiles")) else None,
        segments=(segments["frames"], segments["overlap"]) if (segments := entry.get("segments")) else None,
    )
    model = load_model(spec, tensors_from(data))
    model.module.to(device)
    return model
