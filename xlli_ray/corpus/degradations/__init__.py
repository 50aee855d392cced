"""Degradations of clean images: one file each, combined in one fixed order.

The order is the one of the super-resolution literature whatever the recipe's: blur on the whole target, then the bicubic, then rain, then
noise, then JPEG on the low-resolution patch.

    degradation       the base class: parameters, domain, by-products   mixture    several, from a recipe's entry or a label
    training_ranges   ranges and shares for training                    ranges     parameters drawn for each sample
    blur, noise, jpeg                                                rain       with its streaks and its presets
"""

from __future__ import annotations

from xlli_ray.corpus.degradations.degradation import Degradation, Degraded, Domain, Extra
from xlli_ray.corpus.degradations.mixture import (
    CLEAN,
    GIVEN,
    REAL,
    Mixture,
    Spec,
    counted,
    extras_of,
    get,
    is_made,
    is_real,
    mixture_of,
    parse,
    parse_label,
    versions,
    with_window,
)
from xlli_ray.corpus.degradations.training_ranges import DrawSpec, check_draw, draw, kinds_of

__all__ = [
    "CLEAN", "GIVEN", "REAL", "Degradation", "Degraded", "Domain", "DrawSpec", "Extra", "Mixture", "Spec", "check_draw", "counted", "draw",
    "extras_of", "get", "is_made", "is_real", "kinds_of", "mixture_of", "parse", "parse_label", "versions", "with_window",
]  # fmt: skip
