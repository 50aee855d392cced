"""Cost of the causal effect maps of one network on this machine: seconds per worker, and per sample of any size.

A map is interventions, one forward pass each, over the image or the part of it that the window can see. How often a block is replaced is
known only when it is decided; assumed is the geometric mean of the fewest and the most draws, as for `lam` with a tolerance.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from xlli_ray.corpus.degradations import CLEAN
from xlli_ray.models.known import once
from xlli_ray.models.model import Model
from xlli_ray.probes.cem.effects import Grid, block_side
from xlli_ray.probes.cem.params import Draws, Params
from xlli_ray.probes.cem.patch_pool import patch_pool
from xlli_ray.probes.cem.sample_map import intervention_rows
from xlli_ray.probes.lam.params import Chosen, Listed
from xlli_ray.probes.lam.receptive_field import Crop, Radius, crop_for, proved_radius
from xlli_ray.probes.lam.window import Window
from xlli_ray.probes.lam.windows import candidates

SIDES = (32, 64, 96)
"""Sides of the measured image: the first that takes LONG."""
LONG = 0.1
PLACES = 49
"""Maximum number of grid windows whose crops are averaged."""


def expected_draws(draws: Draws) -> float:
    """Draws of a block, on average."""
    return float(np.sqrt(draws.first * draws.most))


@dataclass(frozen=True)
class EffectTime:
    """Seconds of one worker."""

    model: Model
    params: Params
    radius: Radius | None
    once: float
    """Before its first map: the network's reach, and the pool of one degradation."""
    pixel: float
    """Of one intervention, per input pixel of all frames."""

    def sample(self, height: int, width: int, frames: int = 0) -> float:
        """Time of all maps of one input of this size."""
        places, count = self._windows(height, width)
        if not places or not count:
            return 0.0
        grid = Grid(block_side(self.params.block, self.model.scale), height, width)
        draws, several = expected_draws(self.params.draws), max(1, frames)
        high, wide = self.model.padded(height, width)
        whole = draws * int(np.prod(grid.shape)) * several * high * wide * several * self.pixel  # shared by all windows
        if self.radius is None:
            return whole
        seen = [crop_for(place, self.radius, self.model.scale, height, width, margin=0) for place in places]
        passes = [crop_for(place, self.radius, self.model.scale, height, width, margin=0, least=self.model.minimum) for place in places]
        if count * float(np.mean([one.area for one in passes])) >= height * width:  # as in `effects`
            return whole * min(1.0, count * float(np.mean([_blocks(grid, one) for one in seen])) / int(np.prod(grid.shape)))
        each = [_blocks(grid, one) * part.area for one, part in zip(seen, passes)]
        return count * draws * float(np.mean(each)) * several * several * self.pixel

    def _windows(self, height: int, width: int) -> tuple[Sequence[Window], float]:
        """Possible positions of windows in such an input, and their number."""
        asked, scale = self.params.windows, self.model.scale
        if isinstance(asked, Chosen):
            every = candidates(scale * height, scale * width, asked.size)
            count = len(every) if asked.choose == "grid" else min(asked.per_sample, len(every))
            return every[:: -(-len(every) // PLACES)] if every else [], count
        lists = list(asked.places.values()) if isinstance(asked, Listed) else [asked]
        places = [Window(place.top, place.left, place.size) for some in lists for place in some]
        fitting = [place for place in places if not place.problem(scale * height, scale * width)]
        return fitting, len(fitting) / max(1, len(lists))


def _blocks(grid: Grid, seen: Crop) -> int:
    """Blocks with a pixel in `seen`."""
    rows = -(-min(seen.bottom, grid.height) // grid.side) - seen.top // grid.side
    columns = -(-min(seen.right, grid.width) // grid.side) - seen.left // grid.side
    return rows * columns


def time_effects(model: Model, params: Params, frame: int) -> EffectTime:
    """Measure a few passes of as many interventions as a map has in one. `frame`: the explained one, of clips."""
    clock = time.thread_time if torch.get_num_threads() == 1 else time.perf_counter

    def timed(run: Callable[[], object]) -> float:
        start = clock()
        run()
        return clock() - start

    frames = model.trial_size(1, 1).frames
    radii: list[Radius | None] = [None]

    def prepare() -> None:
        own = params.own
        patch_pool(block_side(params.block, model.scale), model.scale, CLEAN, params.pool_size, () if own is None else tuple(own.found))
        if params.crop == "auto":
            radii[0] = once(model, ("radius", frames, frame), lambda: proved_radius(model, frames, frame))

    before = timed(prepare)
    for side in SIDES:
        size = model.trial_size(max(side, model.minimum), max(side, model.minimum))
        image = torch.rand(size.shape(model.channels), generator=torch.Generator().manual_seed(0)).to(model.device)
        rows = intervention_rows(model, image)
        x = image[None].repeat(rows, *(1,) * image.ndim)

        def forward() -> None:
            with torch.no_grad():
                model.forward(x).sum().item()  # noqa: B023  # waits for a GPU

        taken = [timed(forward) for _ in range(3)]
        if min(taken) >= LONG or side == SIDES[-1]:
            break
    high, wide = model.padded(*image.shape[-2:])
    return EffectTime(model, params, radii[0], before, min(taken) / (rows * high * wide * max(1, frames)))
