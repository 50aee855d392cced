"""Learning curves: what is easy costs less than what cannot be learnt, whatever its strength, and the same numbers come out again."""

from __future__ import annotations

import math

import numpy as np
import torch

from xlli_ray.stats.prequential import learn
from xlli_ray.stats.textures import dead_leaves

STEPS = 12


def rng() -> np.random.Generator:
    return np.random.default_rng(5)


def test_stripes_cost_less_than_noise_and_their_strength_does_not_matter() -> None:
    textures = dead_leaves(8, 32, np.random.default_rng(0))
    stripes = np.tile(50.0 * (np.arange(32) % 8 < 2), (4, 32, 1))
    noise = np.random.default_rng(1).standard_normal((64, 32, 32))
    easy, hard = learn(stripes, "textures", textures, STEPS, rng()), learn(noise, "noise", textures, STEPS, rng())
    assert easy.area < 0.9 * hard.area
    assert hard.losses.min() > 0.5, "half of the error of noise in noise of equal power is the best that there is"
    assert math.isnan(hard.half)
    again = learn(8 * stripes, "textures", textures, 3, rng())
    np.testing.assert_allclose(again.losses, easy.losses[:3], rtol=1e-3)


def test_a_flat_set_has_nothing_to_learn_and_threads_are_given_back() -> None:
    before = torch.get_num_threads()
    assert math.isnan(learn(np.full((3, 32, 32), 4.0), "noise", np.empty(0), 3, rng()).area)
    learn(np.random.default_rng(0).random((3, 32, 32)), "noise", np.empty(0), 1, rng())
    assert torch.get_num_threads() == before


def test_leaves_cover_each_other_and_differ() -> None:
    one, other = dead_leaves(2, 48, np.random.default_rng(0))
    assert len(np.unique(one)) > 20
    assert not np.array_equal(one, other)
    np.testing.assert_array_equal(dead_leaves(2, 48, np.random.default_rng(0))[1], other)
