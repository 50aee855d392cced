"""What maps of one network cost on this machine, from a few short walks: seconds of a unit and of a sample of any size.

Multiply-adds alone mislead by factors: networks run at very different speed, windows share forwards or have crops of their own, and the
reach of a network is found anew in each unit. So one window is walked with one and with three nodes on a small image; the rest follows from
areas, windows and nodes as `attribution` deals with them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from xlli_ray.models.model import Model
from xlli_ray.probes.lam.attribution import BLOCK, FORWARD_SHARE, Rule, attribute
from xlli_ray.probes.lam.objectives import Objective, Window
from xlli_ray.probes.lam.params import Channel, Chosen, Listed
from xlli_ray.probes.lam.quadrature import FIRST_CELLS
from xlli_ray.probes.lam.receptive_field import Radius, crop_for
from xlli_ray.probes.lam.windows import candidates

if TYPE_CHECKING:
    from xlli_ray.probes.lam.probe import Lam

SIDES = (32, 48, 64, 96)
"""Of the image that is walked: the first that takes LONG, so that no network is measured by its overheads, nor for minutes."""
LONG = 0.2
PLACES = 49
"""Windows of a grid whose crops are averaged, at most."""


@dataclass(frozen=True)
class MapTime:
    """Seconds of one worker. All walks were of one window over `area` input pixels."""

    probe: Lam
    model: Model
    radius: Radius | None
    once: float
    """What every unit takes before its first map."""
    ends: float
    """A walk without nodes."""
    node: float
    """One node: forward, backward, sums."""
    blur: float
    """Of it, the path's point and increment, which are made of the whole image also where the network sees a crop."""
    area: int

    def sample(self, height: int, width: int) -> float:
        """All maps of one input of this size."""
        places, count = self._windows(height, width)
        if not places or not count:
            return 0.0
        nodes, network = self._nodes(), max(self.node - self.blur, 0.0)
        paths = nodes * self.blur * height * width / self.area
        crops = [crop_for(place, self.radius, self.model.scale, height, width).area for place in places] if self.radius else []
        if crops:
            seen = count * float(np.mean(crops))
            if seen < height * width * (FORWARD_SHARE + (1 - FORWARD_SHARE) * count):  # as `attribution` decides
                return (self.ends + nodes * network) * seen / self.area + count * paths
        high, wide = self.model.padded(height, width)
        shared = FORWARD_SHARE + (1 - FORWARD_SHARE) * count
        return (self.ends + nodes * network * shared) * high * wide / self.area + paths

    def _nodes(self) -> float:
        """Gradients per window. Unknown with a tolerance: estimated between the first cells and the maximum, evenly in the logarithm."""
        from xlli_ray.probes.lam.probe import PAPER_NODES

        p = self.probe.params
        if p.tolerance is not None:
            return float(np.sqrt(FIRST_CELLS * p.max_nodes))
        return float(PAPER_NODES if p.mode == "paper" else self.probe.nodes)

    def _windows(self, height: int, width: int) -> tuple[list[Window], float]:
        """Places that windows of such an input may have, and how many it has."""
        asked, scale = self.probe.params.windows, self.model.scale
        if isinstance(asked, Chosen):
            every = candidates(scale * height, scale * width, asked.size)
            count = len(every) if asked.choose == "grid" else min(asked.per_sample, len(every))
            return every[:: -(-len(every) // PLACES)] if every else [], count
        lists = list(asked.places.values()) if isinstance(asked, Listed) else [asked]
        places = [Window(place.top, place.left, place.size) for some in lists for place in some]
        fitting = [place for place in places if not place.problem(scale * height, scale * width)]
        return fitting, len(fitting) / max(1, len(lists))


def time_maps(probe: Lam, model: Model) -> MapTime:
    """Walk a few times. Takes about the time of ten gradients, and of what a unit does once."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter

    def timed(run: Callable[[], object]) -> float:
        start = clock()
        run()
        return clock() - start

    radii: list[tuple[Model, Radius | None]] = []
    once = timed(lambda: radii.append(probe._ready(model)))
    network, radius = radii[0]
    p = probe.params
    objective = Objective("channel", p.objective.channel) if isinstance(p.objective, Channel) else Objective(p.objective)
    for side in SIDES:
        side = max(side, model.minimum)
        generator = torch.Generator().manual_seed(0)
        image = torch.rand(model.channels, side, side, generator=generator).to(model.device)
        target = torch.rand(model.channels, side * model.scale, side * model.scale, generator=generator).to(model.device)
        path, end = probe.way.path(image, target)
        size = min(p.windows.size if isinstance(p.windows, Chosen) else 16, model.scale * side // 2)
        window = Window(model.scale * side // 4, model.scale * side // 4, size)

        def walk(nodes: int) -> None:
            rule = Rule(nodes=nodes, gates=p.gates)
            attribute(network, image, [window], path, objective=objective, rule=rule, end=end, target=target)  # noqa: B023

        first = timed(lambda: walk(1))
        if first >= LONG or side == SIDES[-1]:
            break
    one, three = min(timed(lambda: walk(1)) for _ in range(2)), timed(lambda: walk(3))
    at = [(k + 0.5) / BLOCK for k in range(BLOCK)]
    blur = timed(lambda: (path.points(image, at), path.increments(image, at, at))) / BLOCK
    node = max((three - one) / 2, one / 10)
    high, wide = model.padded(side, side)
    return MapTime(probe, model, radius, once, max(one - node, 0.0), node, min(blur, node), high * wide)
