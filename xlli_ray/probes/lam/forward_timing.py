"""Cost of the maps of one network on this machine by a method of forward passes alone (`occlusion`): one is measured, all are counted."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from xlli_ray.models.model import Model
from xlli_ray.probes.lam.method_choices import Method
from xlli_ray.probes.lam.params import Params
from xlli_ray.probes.lam.receptive_field import Radius, crop_for
from xlli_ray.probes.lam.timing import LONG, SIDES, possible_windows, timed


@dataclass(frozen=True)
class ForwardTime:
    """Seconds of one worker. See `probes.measurement.Timing`."""

    model: Model
    params: Params
    method: Method
    radius: Radius | None
    once: float
    """Time of a worker before its first map."""
    forward: float
    """Time of one forward pass of `area` input pixels."""
    area: int
    """Of all frames of a clip."""

    def sample(self, height: int, width: int, frames: int = 0) -> float:
        """Time of all maps of one input of this size."""
        places, count = possible_windows(self.params, self.model, height, width)
        if not places or not count:
            return 0.0
        high, wide = self.model.padded(height, width)
        whole = float(self.method.forwards(height, width, frames) * high * wide)
        if self.radius:  # each window has the passes that reach its crop, over that, if this is less
            crops = [crop_for(place, self.radius, self.model.scale, height, width) for place in places]
            sides = [(crop.bottom - crop.top, crop.right - crop.left) for crop in crops]
            alone = count * float(np.mean([self.method.forwards(*side, frames) * side[0] * side[1] for side in sides]))
            whole = min(whole, alone)
        return self.forward * whole * max(1, frames) / self.area


def time_forwards(
    model: Model, params: Params, method: Method, prepare: Callable[[Model], tuple[Model, Radius | None]]
) -> ForwardTime:
    """Measure forward passes of one input. `prepare`: what a worker does once, returning the network to explain and its radius."""
    found: list[tuple[Model, Radius | None]] = []
    once = timed(lambda: found.append(prepare(model)))
    network, radius = found[0]
    for side in SIDES:
        side = max(side, model.minimum)
        size = model.trial_size(side, side)
        x = torch.rand(model.shape(size), generator=torch.Generator().manual_seed(0)).to(model.device)

        def run() -> None:
            with torch.no_grad():
                network.forward(x)  # noqa: B023

        first = timed(run)
        if first >= LONG or side >= SIDES[-1]:
            break
    high, wide = model.padded(side, side)
    return ForwardTime(model, params, method, radius, once, min(timed(run) for _ in range(3)), high * wide * max(1, size.frames))
