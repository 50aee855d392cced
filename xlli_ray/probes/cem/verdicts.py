"""When a block has been replaced often enough, and what was decided of it.

A verdict follows from effect, standard error and draws by the stage's rule, so that it is not stored. Does not import torch: a page that
shows stored maps needs it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class EffectRule:
    """When a block has been replaced often enough; `params.Draws` has the meanings."""

    tolerance: float = 0.01
    first: int = 8
    most: int = 16
    precision: float = 0.25
    level: float = 0.95
    rounded: bool = True
    rows: int = 4
    """Interventions in one forward pass; results depend on it in the last digits."""


def judge(
    mean: NDArray[np.float64], error: NDArray[np.float64], count: int, rule: EffectRule
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(verdict, precise) of effects and standard errors after `count` draws: verdict as `WindowEffects.decided`; precise: the interval's
    half width is at most the tolerance, or `precision` of the effect."""
    from scipy.special import stdtrit  # scipy.stats, which has it by another name, takes half a second to load

    half = stdtrit(count - 1, 0.5 + rule.level / 2) * error
    verdict = np.full(mean.shape, 2, np.int64)
    verdict[mean - half > rule.tolerance] = 1
    verdict[mean + half < -rule.tolerance] = -1
    verdict[np.abs(mean) + half <= rule.tolerance] = 0
    return verdict, half <= np.maximum(rule.tolerance, rule.precision * np.abs(mean))


def decided_again(found: Mapping[str, NDArray[Any]], params: Mapping[str, Any]) -> NDArray[np.int64]:
    """`WindowEffects.decided` of stored `effect`, `error` and `draws`, of any one shape. `params`: of the stage."""
    from xlli_ray.probes.cem.params import Params

    asked = Params(**params)
    rule = EffectRule(asked.tolerance, level=asked.draws.level, precision=asked.draws.precision)
    decided = np.zeros(found["draws"].shape, np.int64)
    for count in np.unique(found["draws"][found["draws"] > 0]).tolist():
        there = found["draws"] == count
        decided[there] = judge(found["effect"][there].astype(np.float64), found["error"][there].astype(np.float64), count, rule)[0]
    return decided
