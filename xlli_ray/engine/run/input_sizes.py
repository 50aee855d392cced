"""The sizes of a corpus' inputs as a plan asks about them: which are too small for a network, and what cannot measure clips."""

from __future__ import annotations

from xlli_ray.corpus.size import Size
from xlli_ray.models.model import Model
from xlli_ray.probes import probe_class
from xlli_ray.probes.protocol import takes_clips
from xlli_ray.registry import PROBES
from xlli_ray.store.records.manifest import Bucket


def size_of(bucket: Bucket) -> Size:
    """The size of its inputs."""
    return Size(bucket.height, bucket.width, bucket.frames)


def pixels(bucket: Bucket) -> int:
    """Of one input, all frames together."""
    return bucket.height * bucket.width * max(1, bucket.frames)


def too_small(model: Model, bucket: Bucket) -> str:
    """Why the network cannot take inputs of this bucket, '' when it can."""
    if min(model.padded(bucket.height, bucket.width)) >= model.minimum:
        return ""
    return (
        f"input too small: {bucket.width}×{bucket.height} pixels, model {model.id} ({model.network}) needs at least "
        f"{model.minimum}×{model.minimum}"
    )


def images_only(kind: str) -> str:
    """Why a stage of this kind cannot measure clips, and which can."""
    able = ", ".join(name for name in sorted(PROBES) if takes_clips(probe_class(name)))
    return f"`{kind}` measures single images, and this corpus holds clips; stages for clips: {able}"
