"""Intervals over trainings and photographs: what they are made of, and how often they hold the truth."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from xlli_ray.stats.crossed import ALONE, BOTH, complete, difference, mean, ratio
from xlli_ray.stats.intervals import intervals

STUDIES = 400
ERROR = (0.95 * 0.05 / STUDIES) ** 0.5
"""Standard error of a share of so many studies."""


def crossed_values(rng: np.random.Generator, trainings: int, photographs: int, *, training: float, photograph: float, rest: float = 0.02,
                   level: float = 0.7, shared: np.ndarray | None = None) -> np.ndarray:  # fmt: skip
    """ρ as studies have it: μ + training + photograph + rest. `shared`: the photographs' part, of other values of the same ones."""
    own = rng.normal(0, photograph, photographs)
    images = own if shared is None else shared + own
    values: np.ndarray = level + rng.normal(0, training, (trainings, 1)) + images + rng.normal(0, rest, (trainings, photographs))
    return values


def test_where_only_trainings_or_only_photographs_vary_the_interval_is_that_of_the_one_that_does() -> None:
    trainings, photographs = np.array([1.0, 2.0, 4.0]), np.array([0.0, 1.0, 5.0, 6.0])
    found = mean(np.tile(trainings[:, None], (1, 9)))
    half = t.ppf(0.975, 2) * trainings.std(ddof=1) / math.sqrt(3)
    assert (found.low, found.mean, found.high) == pytest.approx((trainings.mean() - half, trainings.mean(), trainings.mean() + half))
    found, (alone,) = mean(np.tile(photographs, (5, 1))), intervals(photographs[:, None])
    assert (found.low, found.mean, found.high) == pytest.approx((alone.low, alone.mean, alone.high))
    assert found.over == BOTH


def test_distances_of_the_ends_of_both_parts_add_in_squares() -> None:
    rows, columns = np.array([0.0, 2.0, 4.0]), np.array([0.0, 3.0, 6.0, 3.0, 9.0])
    one, other = (t.ppf(0.975, len(part) - 1) * part.std(ddof=1) / math.sqrt(len(part)) for part in (rows, columns))
    values = np.add.outer(rows, columns)
    found = difference(values, np.zeros_like(values))
    assert found.high - found.mean == pytest.approx(math.hypot(one, other))
    assert found.mean - found.low == pytest.approx(math.hypot(one, other))


def test_fewer_than_three_trainings_leave_the_interval_over_photographs() -> None:
    values = np.random.default_rng(0).normal(size=(2, 8))
    found = mean(values)
    (alone,) = intervals(values.mean(axis=0)[:, None])
    assert (found.mean, found.low, found.high) == (alone.mean, alone.low, alone.high)
    assert (found.over, found.trainings, found.photographs) == (ALONE, 2, 8)
    assert mean(values[:, :2]).reason == "2 photographs: an interval takes 3"
    assert mean(np.full((3, 4), np.nan)).reason == "nothing was measured"


def test_photographs_that_a_training_lacks_are_left_out_of_all() -> None:
    values = np.add.outer([0.0, 1.0, 2.0], np.arange(5.0))
    values[1, 4] = np.nan
    assert mean(values).mean == pytest.approx(mean(values[:, :4]).mean)
    one, other = complete(values, np.where(np.arange(5) == 0, np.nan, values))
    assert one.shape == other.shape == (3, 3)


def test_a_constant_difference_is_exact_where_trainings_and_photographs_are_common() -> None:
    one = np.random.default_rng(1).normal(0, 5, (3, 6))
    found = difference(one, one - 0.25)
    assert (found.mean, found.low, found.high) == pytest.approx((0.25, 0.25, 0.25), abs=1e-12)
    apart = difference(one, one - 0.25, common_trainings=False, common_photographs=False)
    assert apart.low < 0 < apart.high
    assert apart.mean == pytest.approx(0.25)


def test_a_ratio_is_exact_where_it_is_one_and_undefined_without_a_base() -> None:
    below = np.random.default_rng(2).uniform(0.5, 1.0, (3, 6))
    found = ratio(0.4 * below, below)
    assert (found.mean, found.low, found.high) == pytest.approx((0.4, 0.4, 0.4), abs=1e-12)
    nothing = ratio(below, 0 * below)
    assert math.isnan(nothing.mean)
    assert nothing.reason == "the mean that is divided by is not above 0"


def test_ends_stay_within_the_range_of_the_quantity() -> None:
    values = np.abs(np.random.default_rng(3).normal(0, 1, (3, 4))) ** 3
    assert mean(values, limits=(0.0, None)).low == 0.0


CASES = {
    "seeds and photographs": (0.03, 0.08),
    "photographs only": (0.0, 0.08),
    "seeds only": (0.05, 0.0),
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(("trainings", "photographs"), [(3, 8), (4, 30)])
def test_means_and_gaps_hold_the_truth_as_often_as_they_say(case: str, trainings: int, photographs: int) -> None:
    """At least 93 of 100; more where little varies but the rest, which is counted twice."""
    training, photograph = CASES[case]
    rng, held = np.random.default_rng([trainings, photographs]), np.zeros(3)
    for _ in range(STUDIES):
        shared = rng.normal(0, photograph, photographs)
        seen = crossed_values(rng, trainings, photographs, training=training, photograph=photograph / 2, level=0.95, shared=shared)
        unseen = crossed_values(rng, trainings, photographs, training=training, photograph=photograph / 2, level=0.7, shared=shared)
        found, truths = (mean(seen), difference(seen, unseen), ratio(unseen, seen)), (0.95, 0.25, 0.7 / 0.95)
        held += [one.low <= truth <= one.high for one, truth in zip(found, truths)]
    assert (held / STUDIES > 0.93 - 2 * ERROR).all(), held / STUDIES


def test_an_interval_over_photographs_alone_would_be_too_sure_of_trainings() -> None:
    """The test above can fail: three seeds taken for the truth."""
    rng, held = np.random.default_rng(5), 0
    for _ in range(400):
        values = crossed_values(rng, 3, 40, training=0.05, photograph=0.02)
        (alone,) = intervals(values.mean(axis=0)[:, None], difference=True)
        held += alone.low <= 0.7 <= alone.high
    assert held / 400 < 0.5
