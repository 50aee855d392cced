"""Input sizes of a corpus for planning: a network's output for each, its batch sizes, and which it does not accept."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from xlli_ray.corpus.size import Size
from xlli_ray.models.cost import survey
from xlli_ray.models.model import Model
from xlli_ray.models.tap import Tap
from xlli_ray.probes import probe_class
from xlli_ray.probes.measurement import Shapes
from xlli_ray.probes.probe import Probe
from xlli_ray.recipe import Recipe
from xlli_ray.registry import PROBES
from xlli_ray.store.records.manifest import Bucket

ACTIVATIONS_CPU = 1 << 30
ACTIVATIONS_GPU = 16 << 30
BATCHES = (32, 16, 8, 4, 2, 1)
COPIES = 16
"""Assumed number of copies of an input that a measurement without a network holds at a time, for choosing batches."""


@dataclass(frozen=True)
class SizeFacts:
    """Facts about the inputs of one bucket, with or without a model."""

    shapes: Shapes | None
    """None if they are refused."""
    macs: float
    """Multiply-adds per sample; without a model, the number of values of its input."""
    refused: str
    """Why the network refuses them."""
    batch: int
    """The largest batch size that fits."""


def size_of(bucket: Bucket) -> Size:
    """The size of its inputs."""
    return Size(bucket.height, bucket.width, bucket.frames)


def pixels(bucket: Bucket) -> int:
    """Pixels of one input, over all frames."""
    return bucket.height * bucket.width * max(1, bucket.frames)


def too_small(model: Model, bucket: Bucket) -> str:
    """Why the network does not accept inputs of this bucket, '' if it does."""
    if min(model.padded(bucket.height, bucket.width)) >= model.minimum:
        return ""
    return (
        f"input too small: {bucket.width}×{bucket.height} pixels, model {model.id} ({model.network}) needs at least "
        f"{model.minimum}×{model.minimum}"
    )


def unable(stage: str, cls: type[Probe], frames: int) -> str:
    """Why a stage cannot measure a corpus of clips (`frames` above 0) or of images, and the kinds that can; '' if it can."""
    if cls.CLIPS if frames else cls.IMAGES:
        return ""
    able = ", ".join(name for name in sorted(PROBES) if (probe_class(name).CLIPS if frames else probe_class(name).IMAGES))
    measures, has = ("single images", "clips") if frames else ("clips", "single images")
    return f"stage {stage}: `{cls.KIND}` measures {measures}, but this corpus has {has}; stages for {has}: {able}"


def size_facts(
    recipe: Recipe, model: Model, bucket: Bucket, strides: Mapping[Tap, tuple[float, float] | None], device: str, *, masks: bool = False
) -> SizeFacts:
    """Run the model once on zeros of the bucket's size, without data if it can. `strides`: those of the tapped layers. `masks`: whether
    samples come with a mask from a file."""
    if reason := too_small(model, bucket):
        return SizeFacts(None, 0.0, reason, 1)
    size = size_of(bucket)
    seen = survey(model, tuple(strides), size)
    output = model.given(model.shape(size), size.height, size.width)[1:] if model.output == "image" else None
    features = {tap: (seen.shapes[tap], stride) for tap, stride in strides.items()}
    target, extras = _made_beside(recipe, bucket, masks=masks)
    shapes = Shapes(size.height, size.width, output, features, target=target, extras=extras, frames=size.frames)
    return SizeFacts(shapes, float(seen.multiply_adds), "", auto_batch(seen.activation_bytes, device))


def sample_facts(recipe: Recipe, bucket: Bucket, *, masks: bool = False) -> SizeFacts:
    """The facts without a model. `masks`: as in `size_facts`."""
    size = size_of(bucket)
    target, extras = _made_beside(recipe, bucket, masks=masks)
    shapes = Shapes(size.height, size.width, None, {}, target=target, extras=extras, frames=size.frames)
    values = math.prod(size.shape())
    return SizeFacts(shapes, float(values), "", auto_batch(COPIES * 4 * values, "cpu"))


def _made_beside(
    recipe: Recipe, bucket: Bucket, *, masks: bool
) -> tuple[tuple[int, int] | None, dict[str, tuple[tuple[int, ...], str]]]:
    """(height, width) of the targets of a bucket, None if there are none; and shape and dtype of the by-products of its degradations."""
    if not bucket.targets or len(bucket.scales) != 1:
        return None, {}
    size = size_of(bucket)
    large = size.times(bucket.scales[0])
    return (large.height, large.width), recipe.corpus.extras(size, bucket.scales[0], masks=masks)


def auto_batch(activation_bytes: int, device: str) -> int:
    """The largest of 1, 2, 4 … 32 samples whose activations stay below 1 GiB (16 GiB on a GPU)."""
    room = ACTIVATIONS_CPU if device.startswith(("cpu", "mps")) else ACTIVATIONS_GPU
    return next((size for size in BATCHES if size * max(1, activation_bytes) <= room), 1)
