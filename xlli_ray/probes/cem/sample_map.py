"""Causal effect maps of one sample, from its image and target to effects: the same for a study and for a single call.

Everything random comes from `key`, in a study the sample's seed and id: the same key, image and parameters give the same map.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from xlli_ray.corpus.degradations import CLEAN, GIVEN, parse_label
from xlli_ray.corpus.degradations.keyed_random import generator
from xlli_ray.errors import NetworkError, RecipeError
from xlli_ray.models.batch_independence import manners
from xlli_ray.models.known import once
from xlli_ray.models.model import Model
from xlli_ray.probes.cem.effects import Grid, WindowEffects, block_side, causal_effects
from xlli_ray.probes.cem.params import Params
from xlli_ray.probes.cem.patch_pool import patch_pool
from xlli_ray.probes.cem.verdicts import EffectRule
from xlli_ray.probes.lam.pass_width import PIXELS
from xlli_ray.probes.lam.receptive_field import proved_radius
from xlli_ray.probes.lam.window import Window
from xlli_ray.stats.stratified_draws import randoms_for

ROWS = 4
"""Interventions of a forward pass on a CPU: few, so that memory stays small."""
ADDED = ("rain", "noise")
"""Degradations that add something to the clean image."""


@dataclass(frozen=True)
class Corruption:
    """What patches carry: `how` is the column; `label` is that of the pool; `kept` is added to them, (C, H, W)."""

    how: str
    label: str
    kept: Tensor | None = None


def sample_key(seed: int, sample_id: str) -> str:
    """The key of a sample's draws."""
    return f"{seed}|{sample_id}|cem"


def sample_maps(
    model: Model, image: Tensor, clean: NDArray[np.float32], windows: Sequence[Window], params: Params, *, label: str, key: str,
    extras: Mapping[str, Any] | None = None, frame: int | None = None, rows: int | None = None,
) -> tuple[str, list[WindowEffects]]:  # fmt: skip
    """(what the patches carry, the map of each window).

    `image`: (C, H, W), of a clip (T, C, H, W), as returned by `Model.prepare`. `clean`: its target in 0..1, RGB. `label`: the sample's
    degradation, `extras`: its by-products; they say what the patches carry. `rows`: see `intervention_rows`. Raises NetworkError with the
    reason if there is no map.
    """
    height, width = image.shape[-2:]
    frames = len(image) if image.ndim == 4 else 0
    high, wide = model.scale * height, model.scale * width
    if clean.shape[-2:] != (high, wide):
        raise NetworkError(f"wrong scale: the output is {wide}×{high} pixels, the target {clean.shape[-1]}×{clean.shape[-2]}")
    target = model.prepare(torch.from_numpy(clean)[None].to(image.device))[0]
    corruption = corruption_of(label, extras or {}, image, target)
    side, draws, own = block_side(params.block, model.scale), params.draws, params.own
    if own is not None and (problem := own.problem(side, model.scale, params.pool_size)):
        raise NetworkError(problem)
    files = () if own is None else tuple(own.found)
    pool = torch.from_numpy(patch_pool(side, model.scale, corruption.label, params.pool_size, files).copy())
    lead = (None,) if frames else ()
    given = model.prepare(pool[(slice(None), *lead)])
    randoms = generator(key).random((*Grid(side, height, width, frames).shape, randoms_for(draws.most)))
    radius = None
    if params.crop == "auto":
        explained = frame or 0
        radius = once(model, ("radius", frames, explained), lambda: proved_radius(model, frames, explained))
    rule = EffectRule(
        params.tolerance, draws.first, draws.most, draws.precision, draws.level, params.rounded, rows or intervention_rows(model, image)
    )
    maps = causal_effects(
        model, image, windows, target if frame is None else target[frame], given[:, 0].numpy() if frames else given.numpy(), randoms, rule,
        radius=radius, frame=frame, corruption=corruption.kept,
    )  # fmt: skip
    return corruption.how, maps


def intervention_rows(model: Model, image: Tensor) -> int:
    """Interventions of one forward pass: 1 for a network that treats a batch as a whole, few on a CPU, on a GPU as many as keep it busy."""
    if once(model, "manners", lambda: manners(model)).alone:
        return 1
    return ROWS if image.device.type == "cpu" else max(1, PIXELS // (image.numel() // image.shape[-3]))


def corruption_of(label: str, extras: Mapping[str, Any], image: Tensor, target: Tensor) -> Corruption:
    """What the patches of a sample carry: see the docstring of `probe`."""
    if label == CLEAN:
        return Corruption("none", CLEAN)
    try:
        parts = {part.NAME for part in parse_label(label).parts}
    except RecipeError:
        parts = {"rain"} if "rain" in extras else set()
    same = image.shape == target.shape
    if same and (not parts or parts <= set(ADDED)):  # of a given pair nothing is known but the pair
        return Corruption("kept", CLEAN, image - target)
    return Corruption("none", CLEAN) if label == GIVEN else Corruption("pool", label)
