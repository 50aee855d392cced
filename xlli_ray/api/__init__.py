"""One network, one image, one window → arrays and a figure, without a study."""

from __future__ import annotations

from xlli_ray.api.effect_map import CemResult, cem
from xlli_ray.api.lam_map import ClipLamResult, LamResult, lam
from xlli_ray.api.map_trial import FaithfulnessResult, faithfulness

__all__ = ["CemResult", "ClipLamResult", "FaithfulnessResult", "LamResult", "cem", "faithfulness", "lam"]
