"""A network as a worker builds it: from the record in study.json and the study's own weights, never from the file of the recipe."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from xlli_ray.errors import StudyError
from xlli_ray.models.model_spec import ModelSpec
from xlli_ray.store.objects.client import Missing, Objects
from xlli_ray.store.records.manifest import ModelRecord

if TYPE_CHECKING:
    import torch

    from xlli_ray.models.model import Model


def load_study_model(objects: Objects, record: ModelRecord, device: torch.device | str = "cpu") -> Model:
    """Build a model from a study's own weights (`weights/<sha256>.safetensors`), verified against their name."""
    from safetensors.torch import load as tensors_from

    from xlli_ray.models.build_model import load_model

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
