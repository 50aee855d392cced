"""The windows of one sample of a batch: as listed, or chosen in its target or input by a rule of `windows`."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor

from xlli_ray.errors import NetworkError
from xlli_ray.models.model import Model
from xlli_ray.probes.lam.over_clips import given_frame
from xlli_ray.probes.lam.params import Chosen, Hardest, Listed, Place
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.lam.windows import candidates, enlarged, hardest, texture
from xlli_ray.probes.measurement import Batch


def sample_windows(
    asked: Chosen | Listed | Sequence[Place], model: Model, batch: Batch, i: int, frame: int | None, shown: Tensor
) -> list[Window]:
    """The windows of sample `i`, in output pixels; of a clip, those of its explained `frame`. `shown`: the batch's input, (B, 3, H, W) or
    (B, T, 3, H, W), on any device. Raises NetworkError if a rule needs a target that there is not, or one of another size."""
    if isinstance(asked, Listed):
        return [Window(place.top, place.left, place.size) for place in asked.of(batch.samples[i].source)]
    if not isinstance(asked, Chosen):
        return [Window(place.top, place.left, place.size) for place in asked]
    image, truth = shown[i], batch.targets[i]
    if frame is not None:
        image, truth = image[frame], None if truth is None else truth[frame]
    if asked.choose == "grid":
        return candidates(model.scale * image.shape[1], model.scale * image.shape[2], asked.size)
    if isinstance(asked.choose, Hardest):
        by = asked.choose.hardest.by
        output = batch.companions[by][i].cpu().numpy()
        if frame is not None:
            output = given_frame(output, frame, len(batch.input[i]), by)
        if truth is None:
            raise NetworkError("windows: hardest needs a target")
        if output.shape[1:] != truth.shape[1:]:
            raise NetworkError(f"windows: hardest: model {by} upscales to a size other than the target's")
        if len(output) != len(truth):
            lead = (None,) * (batch.input.ndim - 3)
            truth = model.prepare(batch.input.new_tensor(truth)[lead]).cpu().numpy().reshape(-1, *truth.shape[1:])
        return hardest(output, truth, asked.size, asked.per_sample)
    return texture(enlarged(image.cpu().numpy(), model.scale) if truth is None else truth, asked.size, asked.per_sample)
