"""Cost of the maps of one network on this machine, from a few short measurements: seconds per worker, and per sample of any size.

Multiply-adds alone are wrong by factors: networks run at very different speeds, windows share forward passes or have their own crops, and
the radius of a network is determined once a worker. So one window is measured with one and with three nodes on a small image; the rest
follows from areas, windows and nodes in the same way as in `attribution`.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from xlli_ray.models.model import Model
from xlli_ray.probes.lam.attribution import BLOCK, FORWARD_SHARE, Rule, attribute
from xlli_ray.probes.lam.demo import MOVING
from xlli_ray.probes.lam.objectives import Objective
from xlli_ray.probes.lam.params import Channel, Chosen, Listed, Params
from xlli_ray.probes.lam.path_points import Path
from xlli_ray.probes.lam.quadrature import FIRST_CELLS
from xlli_ray.probes.lam.receptive_field import Radius, crop_for
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.lam.windows import candidates

SIDES = (32, 48, 64, 96)
"""Sides of the measured image: the first that takes LONG, so that the time is neither all overhead nor minutes."""
LONG = 0.2
PLACES = 49
"""Maximum number of grid windows whose crops are averaged."""


@dataclass(frozen=True)
class MapTime:
    """Seconds of one worker. Measured for one window and `area` input pixels."""

    model: Model
    params: Params
    nodes: int
    """Gradients per window, if the parameters fix them."""
    radius: Radius | None
    once: float
    """Time of a worker before its first map."""
    ends: float
    """Time of a map without its nodes."""
    node: float
    """Time of one node: forward, backward, sums."""
    blur: float
    """The part of it for the path's point and increment, computed for the whole image even if the network gets a crop."""
    area: int
    """Of all frames of a clip."""

    def sample(self, height: int, width: int, frames: int = 0) -> float:
        """Time of all maps of one input of this size."""
        if frames:
            return frames * self.sample(height, width)
        places, count = possible_windows(self.params, self.model, height, width)
        if not places or not count:
            return 0.0
        nodes, network = self._nodes(), max(self.node - self.blur, 0.0)
        paths = nodes * self.blur * height * width / self.area
        crops = [crop_for(place, self.radius, self.model.scale, height, width).area for place in places] if self.radius else []
        if crops:
            seen = count * float(np.mean(crops))
            if seen < height * width * (FORWARD_SHARE + (1 - FORWARD_SHARE) * count):  # as in `attribution`
                return (self.ends + nodes * network) * seen / self.area + count * paths
        high, wide = self.model.padded(height, width)
        shared = FORWARD_SHARE + (1 - FORWARD_SHARE) * count
        return (self.ends + nodes * network * shared) * high * wide / self.area + paths

    def _nodes(self) -> float:
        """Gradients per window. With a tolerance, estimated by the geometric mean of the minimum and the maximum."""
        if self.params.tolerance is not None:
            return float(np.sqrt(FIRST_CELLS * self.params.max_nodes))
        return float(MOVING if self.params.mode == "paper" else self.nodes)


def possible_windows(params: Params, model: Model, height: int, width: int) -> tuple[list[Window], float]:
    """Possible positions of windows in an input of this size, some of many, and the number of windows."""
    asked, scale = params.windows, model.scale
    if isinstance(asked, Chosen):
        every = candidates(scale * height, scale * width, asked.size)
        count = len(every) if asked.choose == "grid" else min(asked.per_sample, len(every))
        return every[:: -(-len(every) // PLACES)] if every else [], count
    lists = list(asked.places.values()) if isinstance(asked, Listed) else [asked]
    places = [Window(place.top, place.left, place.size) for some in lists for place in some]
    fitting = [place for place in places if not place.problem(scale * height, scale * width)]
    return fitting, len(fitting) / max(1, len(lists))


def timed(run: Callable[[], object]) -> float:
    """Seconds of a call: of this thread's CPU if torch has one thread, else of the clock."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter
    start = clock()
    run()
    return clock() - start


def time_maps(
    model: Model, params: Params, nodes: int, along: Callable[[Tensor, Tensor], tuple[Path, Tensor]], rule: Rule,
    prepare: Callable[[Model], tuple[Model, Radius | None]],
) -> MapTime:  # fmt: skip
    """Measure a few maps. Takes about the time of ten gradients, plus what a worker does once.

    `nodes`: gradients per window, see `MapTime`. `along`: the path of an image and a target, and its end. `rule`: of one or a few nodes,
    in place of its own. `prepare`: what a worker does once, returning the network to explain and its radius.
    """
    radii: list[tuple[Model, Radius | None]] = []
    once = timed(lambda: radii.append(prepare(model)))
    network, radius = radii[0]
    explained = params.objective
    objective = Objective("channel", explained.channel) if isinstance(explained, Channel) else Objective(explained)
    for side in SIDES:
        side = max(side, model.minimum)
        generator = torch.Generator().manual_seed(0)
        size = model.trial_size(side, side)
        image = torch.rand(size.shape(model.channels), generator=generator).to(model.device)
        target = torch.rand(size.times(model.scale).shape(model.channels), generator=generator).to(model.device)
        path, end = along(image, target)
        shown = target[size.frames // 2] if size.frames else target
        extent = min(params.windows.size if isinstance(params.windows, Chosen) else 16, model.scale * side // 2)
        window = Window(model.scale * side // 4, model.scale * side // 4, extent)

        def walk(count: int) -> None:
            few = replace(rule, nodes=count)
            attribute(network, image, [window], path, objective=objective, rule=few, end=end, target=shown)  # noqa: B023

        first = timed(lambda: walk(1))
        if first >= LONG or side == SIDES[-1]:
            break
    one, three = min(timed(lambda: walk(1)) for _ in range(2)), timed(lambda: walk(3))
    at = [(k + 0.5) / BLOCK for k in range(BLOCK)]
    blur = timed(lambda: (path.points(image, at), path.increments(image, at, at))) / BLOCK
    node = max((three - one) / 2, one / 10)
    high, wide = model.padded(side, side)
    return MapTime(model, params, nodes, radius, once, max(one - node, 0.0), node, min(blur, node), high * wide * max(1, size.frames))
