"""The images of a `cem` stage on the page: networks on one scale, and verdicts that are those of the table."""

from __future__ import annotations

import numpy as np
import pytest

from xlli_ray.probes.cem.verdicts import EffectRule, decided_again, judge


def test_what_was_decided_follows_from_what_is_stored() -> None:
    rng = np.random.default_rng(0)
    effect, error = rng.normal(0, 0.05, (12, 9)), np.abs(rng.normal(0, 0.01, (12, 9)))
    draws = rng.choice([0, 4, 8, 64], (12, 9))
    effect[draws == 0] = error[draws == 0] = 0
    found = decided_again({"effect": effect.astype(np.float32), "error": error.astype(np.float32), "draws": draws}, {"tolerance": 0.02})
    assert set(found.ravel()) == {-1, 0, 1, 2}
    assert not found[draws == 0].any()
    for place in np.ndindex(12, 9):
        if draws[place]:
            one, _ = judge(effect[place][None], error[place][None], int(draws[place]), EffectRule(0.02))
            assert found[place] == one[0]


def test_another_level_decides_otherwise() -> None:
    found = {"effect": np.array([[0.05]]), "error": np.array([[0.02]]), "draws": np.array([[64]])}
    levels = [int(decided_again(found, {"draws": {"level": level}})[0, 0]) for level in (0.6, 0.999)]
    assert levels == [1, 2]
    assert decided_again(found, {"tolerance": 0.5})[0, 0] == pytest.approx(0)
