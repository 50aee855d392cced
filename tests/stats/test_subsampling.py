"""Split halves: orders that keep groups together, halves that do not overlap, an error that is exact for the mean."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy.stats import t

from xlli_ray.stats.subsampling import Dealt, dealt, freedom, halves, orders, quantile, standard_error


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_an_order_is_a_permutation_in_which_groups_stay_together() -> None:
    groups = ["b", "a", "b", "c", "a", "b", "c"]
    drawn = orders(groups, 40, rng())
    assert drawn.shape == (40, 7)
    for order in drawn:
        assert sorted(order) == list(range(7))
        named = [groups[i] for i in order]
        assert sum(one != other for one, other in pairwise(named)) == 2, "three groups, two borders"
    assert len({tuple(groups[i] for i in order) for order in drawn}) == 6, "all orders of three groups occur"
    assert len({tuple(i for i in order if groups[i] == "b") for order in drawn}) == 6, "and inside a group, too"


def test_samples_of_their_own_are_shuffled_freely() -> None:
    drawn = orders(range(4), 600, rng(1))
    counts = np.unique(drawn, axis=0, return_counts=True)[1]
    assert len(counts) == 24
    assert counts.min() > 8


def test_halves_are_equal_and_share_nothing() -> None:
    one, other = halves(rng(2).permutation(11))
    assert (len(one), len(other)) == (5, 5)
    assert not set(one) & set(other)


def test_the_error_of_a_mean_is_the_textbooks() -> None:
    """For a mean it is exact: over all splits, s/√N."""
    values = rng(7).normal(size=60)
    differences = np.array([values[a].mean() - values[b].mean() for a, b in map(halves, orders(range(60), 4000, rng(8)))])
    assert standard_error(differences) == pytest.approx(values.std(ddof=1) / math.sqrt(60), rel=0.05)


def test_the_error_of_a_mean_of_groups_is_that_of_independent_groups() -> None:
    """Ten values that are copies of each other are one: an error that took them for ten would be three times too small."""
    values = rng(5).normal(size=24).repeat(10)
    drawn = orders(np.arange(24).repeat(10), 4000, rng(6))
    differences = np.array([values[a].mean() - values[b].mean() for a, b in map(halves, drawn)])
    assert standard_error(differences) == pytest.approx(values[::10].std(ddof=1) / math.sqrt(24), rel=0.05)


def test_of_a_median_a_split_in_halves_is_right_where_small_cuts_are_not() -> None:
    """The median is not smooth: the jackknife's error of it is known to be wrong however many values there are."""
    spread, split, jackknife = [], [], []
    for seed in range(300):
        values = rng(seed).normal(size=60)
        spread.append(np.median(values))
        drawn = map(halves, orders(range(60), 40, rng(seed + 1000)))
        split.append(standard_error(np.array([np.median(values[a]) - np.median(values[b]) for a, b in drawn])))
        without = np.array([np.median(np.delete(values, i)) for i in range(60)])
        jackknife.append(math.sqrt(59 / 60 * ((without - without.mean()) ** 2).sum()))
    truth = float(np.std(spread))
    assert math.sqrt(np.mean(np.square(split))) == pytest.approx(truth, rel=0.12)
    assert math.sqrt(np.mean(np.square(jackknife))) > 1.2 * truth


def test_nan_and_too_few() -> None:
    assert standard_error(np.array([2.0, np.nan, -2.0])) == pytest.approx(1.0)
    assert math.isnan(standard_error(np.zeros(0)))
    assert math.isnan(standard_error(np.array([1.0])))
    assert math.isnan(standard_error(np.array([2.0, -2.0]), shown=0.0)), "halves that cannot differ say nothing"
    assert math.isnan(quantile(Dealt(2, 2.0, 1.0), 0.95))
    assert quantile(Dealt(20, 20.0, 1.0), 0.95) == pytest.approx(float(t.ppf(0.975, 19)))
    assert freedom(Dealt(5, 1.2, 1.0)) == 1.0
    assert dealt(["a", "a", "b"], np.zeros((0, 3), np.int64)) == Dealt(2, pytest.approx(1.8), 1.0)


@pytest.mark.parametrize("sizes", [(6,) * 9, (33, 33, 16, 6, 6, 6, 4, 2), (1,) * 7])
def test_a_photograph_that_is_in_both_halves_does_not_shorten_the_error(sizes: tuple[int, ...]) -> None:
    """The cut goes through a photograph, whose halves cancel: eight of unequal sizes had 0.88 of their error, nine equal ones 0.94."""
    groups = np.repeat(np.arange(len(sizes)), sizes)
    drawn = orders(groups, 400, rng(9))
    about = dealt(groups, drawn)
    share = np.array(sizes) / len(groups)
    assert about.effective == pytest.approx(1 / float(np.sum(share**2)))
    split = []
    for seed in range(400):
        values = rng(seed + 10).normal(size=len(sizes))[groups]
        split.append(standard_error(np.array([values[a].mean() - values[b].mean() for a, b in map(halves, drawn[:40])]), about.shown))
    assert math.sqrt(np.mean(np.square(split))) == pytest.approx(math.sqrt(float(np.sum(share**2))), rel=0.06)


def test_a_photograph_that_outweighs_the_others_makes_the_error_uncertain() -> None:
    groups = np.repeat(np.arange(4), (30, 2, 2, 2))
    about = dealt(groups, orders(groups, 200, rng(11)))
    assert (about.groups, about.effective < 1.5) == (4, True)
    assert quantile(about, 0.95) > 10 > quantile(Dealt(4, 4.0, 1.0), 0.95)
    assert Dealt(4, 3.0, 0.9).least(Dealt(5, 2.0, 1.0)) == Dealt(4, 2.0, 0.9)
