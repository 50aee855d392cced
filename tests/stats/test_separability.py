"""CHI: equal to scikit-learn by every route, to closed forms, to itself however it is split; its interval covers, its null is a null."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import calinski_harabasz_score

from xlli_ray.stats.bootstrap import generator, resample
from xlli_ray.stats.gram import centred, gram, pca
from xlli_ray.stats.separability import (
    Separation,
    Sums,
    above_one,
    interval,
    left_out,
    number,
    regroup,
    relabelled,
    resampled,
    separation,
    shifts,
    shuffled,
    units_of_gram,
    units_of_sums,
)


def classes(
    n: int = 120, width: int = 40, k: int = 4, seed: int = 0, *, apart: float = 0.5, offset: float = 0.0
) -> tuple[np.ndarray, np.ndarray]:
    """Features float64 (n, width) of `k` classes of unequal size."""
    rng = np.random.default_rng(seed)
    label = np.sort(rng.integers(0, k, n))
    label[:k] = np.arange(k)
    return rng.normal(size=(n, width)) + apart * rng.normal(size=(k, width))[label] + offset, label


def of_gram(x: np.ndarray, label: np.ndarray, cluster: np.ndarray | None = None) -> Separation:
    return separation(units_of_gram(gram(x), label, cluster))


def streamed(x: np.ndarray, label: np.ndarray, cluster: np.ndarray, cuts: list[int]) -> Separation:
    """By sums, each part for itself, merged in another order than they came in."""
    unit, kind, group = number(label, cluster)
    parts = []
    for rows in np.split(np.arange(len(x)), cuts):
        parts.append(Sums(len(kind), x[0].size))
        parts[-1].add(x[rows], unit[rows])
    whole = Sums(len(kind), x[0].size)
    for part in reversed(parts):
        whole.merge(part)
    return separation(units_of_sums(whole, kind, group))


@pytest.mark.parametrize("offset", [0.0, 1000.0])
@pytest.mark.parametrize("k", [2, 3, 7])
def test_equals_scikit_learn_by_every_route(k: int, offset: float) -> None:
    x, label = classes(k=k, seed=k, offset=offset)
    wanted = calinski_harabasz_score(x, label)
    cluster = np.random.default_rng(9).integers(0, 11, len(x))
    assert of_gram(x, label).chi == pytest.approx(wanted, rel=1e-10)
    assert of_gram(x, label, cluster).chi == pytest.approx(wanted, rel=1e-10)
    assert separation(units_of_gram(centred(gram(x)), label)).chi == pytest.approx(wanted, rel=1e-10)
    for cuts in ([], [60], [1, 2, 50, 119]):
        assert streamed(x, label, cluster, cuts).chi == pytest.approx(wanted, rel=1e-10)
    scores = pca(centred(gram(x)), 5).scores
    assert of_gram(scores, label).chi == pytest.approx(calinski_harabasz_score(scores, label), rel=1e-10)


def test_with_float32_products_it_still_equals_to_a_millionth() -> None:
    x, label = classes(200, 50_000, seed=3, apart=0.3, offset=10)
    small = x.astype(np.float32)
    wanted = calinski_harabasz_score(small.astype(np.float64), label)
    assert of_gram(small, label).chi == pytest.approx(wanted, rel=1e-6)
    assert streamed(small, label, label, [70]).chi == pytest.approx(wanted, rel=1e-10)  # sums are float64 whatever comes in


@settings(deadline=None, max_examples=25)
@given(cuts=st.lists(st.integers(0, 120), max_size=6), seed=st.integers(0, 99))
def test_split_the_rows_anywhere_merge_same_answer(cuts: list[int], seed: int) -> None:
    x, label = classes(seed=seed, offset=50)
    cluster = np.random.default_rng(seed).integers(0, 6, len(x))
    one, other = streamed(x, label, cluster, []), streamed(x, label, cluster, sorted(cuts))
    assert (other.between, other.within, other.chi) == pytest.approx((one.between, one.within, one.chi), rel=1e-12)


def test_four_points_on_a_line() -> None:
    found = of_gram(np.array([[0.0], [2.0], [10.0], [12.0]]), np.array(["a", "a", "b", "b"]))
    assert (found.between, found.within, found.chi, found.samples, found.classes) == (100.0, 4.0, 50.0, 4, 2)
    assert found.share == pytest.approx(100 / 104)


def test_two_gaussians_have_the_chi_of_the_formula() -> None:
    n, width, apart = 100_000, 2, 5.0
    rng = np.random.default_rng(0)
    label = np.repeat([0, 1], n // 2)
    x = rng.normal(size=(n, width))
    x[:, 0] += apart * label
    sums = Sums(2, width)
    sums.add(x, label)
    chi = separation(units_of_sums(sums, np.array([0, 1]), np.zeros(2, int))).chi
    assert chi == pytest.approx(1 + n * apart**2 / (4 * width), rel=0.01)  # sd of the ratio: 0.4 %


def test_random_labels_have_a_chi_of_one() -> None:
    x = np.random.default_rng(1).normal(size=(200, 12))
    matrix, label = gram(x), np.repeat([0, 1], 100)
    null = relabelled(units_of_gram(matrix, label), 2000, generator(0, "null"))
    assert null.mean() == pytest.approx(1, abs=0.05)
    assert shuffled(matrix, label, np.zeros(200), 500, generator(0, "null")).mean() == pytest.approx(1, abs=0.1)


def test_each_point_twice_multiplies_it_by_a_known_factor() -> None:
    x, label = classes(300, 20, 3)
    once, twice = of_gram(x, label), of_gram(np.vstack([x, x]), np.tile(label, 2))
    assert twice.chi / once.chi == pytest.approx(597 / 297, rel=1e-12)
    units = units_of_gram(gram(x), label, np.arange(300) % 10)
    assert resampled(units, np.full((1, 10), 2.0))[0] == pytest.approx(twice.chi, rel=1e-10)


def test_scatter_within_and_between_is_all_scatter() -> None:
    x, label = classes()
    found = of_gram(x, label)
    assert found.between + found.within == pytest.approx(np.trace(centred(gram(x))), rel=1e-12)


def test_what_must_not_change_it_does_not_and_what_must_does() -> None:
    x, label = classes()
    chi = of_gram(x, label).chi
    turn = np.linalg.qr(np.random.default_rng(5).normal(size=(40, 40)))[0]
    order = np.random.default_rng(6).permutation(len(x))
    same = {
        "translation": (x + 3, label), "scale": (7 * x, label), "rotation": (x @ turn, label), "names": (x, 9 - label),
        "order": (x[order], label[order]), "zero features": (np.hstack([x, np.zeros((len(x), 5))]), label),
    }  # fmt: skip
    for what, (features, names) in same.items():
        assert of_gram(features, names).chi == pytest.approx(chi, rel=1e-10), what
    noise = np.random.default_rng(7).normal(size=(len(x), 4000))
    assert 1 < of_gram(np.hstack([x, noise]), label).chi < 0.5 * chi
    assert of_gram(x * np.linspace(0.1, 3, 40), label).chi != pytest.approx(chi, rel=1e-3)


def test_classes_are_joined_and_left_out_without_the_samples() -> None:
    x, label = classes(k=5)
    cluster = np.random.default_rng(3).integers(0, 7, len(x))
    units = units_of_gram(gram(x), label, cluster)
    joined = np.array([0, 1, 0, -1, 1])
    some = label != 3
    found = separation(regroup(units, joined))
    assert found.chi == pytest.approx(calinski_harabasz_score(x[some], joined[label[some]]), rel=1e-10)
    assert found.samples == some.sum()
    some &= cluster != 2  # a cluster without samples keeps its number
    units = units_of_gram(gram(x)[np.ix_(some, some)], label[some], cluster[some])
    joined = np.array([0, 1, 0, 1])
    direct = units_of_gram(gram(x)[np.ix_(some, some)], joined[np.unique(label[some], return_inverse=True)[1]], cluster[some])
    draws = resample(7, 10, generator(0))
    np.testing.assert_allclose(resampled(regroup(units, joined), draws), resampled(direct, draws), rtol=1e-9)
    with pytest.raises(ValueError, match="no class is left"):
        regroup(units, np.full(5, -1))


def test_one_gram_serves_subsets_and_labels() -> None:
    x, label = classes()
    whole = gram(x)
    some = np.flatnonzero(label != 2)
    found = separation(units_of_gram(whole[np.ix_(some, some)], label[some]))
    assert found.chi == pytest.approx(calinski_harabasz_score(x[some], label[some]), rel=1e-10)


def test_bad_input_is_named() -> None:
    x, label = classes(12, 5)
    with pytest.raises(ValueError, match="one class: all 12 samples"):
        of_gram(x, np.zeros(12))
    with pytest.raises(ValueError, match="12 samples in 12 classes"):
        of_gram(x, np.arange(12))
    lonely = of_gram(x, np.array([0] * 11 + [1]))
    assert lonely.smallest == 1
    assert lonely.chi == pytest.approx(calinski_harabasz_score(x, [0] * 11 + [1]), rel=1e-10)
    equal = of_gram(np.full((12, 5), 3.3), label)
    assert (equal.between, equal.within) == (0, 0)
    assert math.isnan(equal.chi)
    assert math.isnan(equal.share)
    stacked = of_gram(np.repeat([[0.1, 0.7], [5.3, 1.1]], 6, axis=0), np.repeat([0, 1], 6))
    assert stacked.chi == math.inf
    with pytest.raises(ValueError, match="rows of 5 features"):
        Sums(2, 4).add(x, np.zeros(12, int))
    with pytest.raises(ValueError, match="draws of 3 clusters; the samples lie in clusters up to number 3"):
        resampled(units_of_gram(gram(x), label, np.arange(12) % 4), np.ones((1, 3)))


def test_a_unit_without_samples_is_left_out() -> None:
    x, label = classes(k=3)
    sums = Sums(4, x.shape[1])
    sums.add(x, label)  # nothing is of unit 3
    found = separation(units_of_sums(sums, np.arange(4), np.zeros(4, int)))
    assert found.chi == pytest.approx(calinski_harabasz_score(x, label), rel=1e-10)


# -- the interval ------------------------------------------------------------------------------------------------


def crossed(clusters: int, seed: int, *, apart: float, each: int = 2, width: int = 8) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The same contents under two labels, `each` contents a cluster: features, label, cluster."""
    rng = np.random.default_rng(seed)
    content = rng.normal(size=(clusters, 1, width)) + rng.normal(size=(clusters, each, width))
    effect = apart * np.ones(width) / math.sqrt(width) * rng.normal(1, 0.3, size=(clusters, 1, 1))
    rest = 0.5 * rng.normal(size=(2, clusters, each, width))
    x = np.stack([content, content + effect]) + rest
    return x.reshape(-1, width), np.repeat([0, 1], clusters * each), np.tile(np.repeat(np.arange(clusters), each), 2)


def test_weights_on_the_gram_are_samples_drawn_again() -> None:
    x, label, cluster = crossed(7, 0, apart=1)
    draws = resample(7, 20, generator(0, "draws"))
    found = resampled(units_of_gram(gram(x), label, cluster), draws)
    for value, draw in zip(found, draws):
        again = np.concatenate([np.flatnonzero(cluster == c) for c in range(7) for _ in range(int(draw[c]))])
        assert value == pytest.approx(calinski_harabasz_score(x[again], label[again]), rel=1e-9)


def test_classes_inside_clusters_are_drawn_as_new_classes() -> None:
    x, _, cluster = crossed(5, 0, apart=0.2)
    content = np.tile(np.arange(len(x) // 2), 2)
    units = units_of_gram(gram(x), content, cluster)
    assert units.nested
    draws = resample(5, 20, generator(0, "draws"))
    for value, draw in zip(resampled(units, draws), draws):
        rows, names = [], []
        for copy, c in enumerate(np.repeat(np.arange(5), draw.astype(int))):
            mine = np.flatnonzero(cluster == c)
            rows.append(mine)
            names += [f"{copy} {content[i]}" for i in mine]
        again = np.concatenate(rows)
        assert value == pytest.approx(calinski_harabasz_score(x[again], np.unique(names, return_inverse=True)[1]), rel=1e-9)


def test_a_cluster_left_out_is_a_study_without_it() -> None:
    x, label, cluster = crossed(6, 0, apart=1)
    found = left_out(units_of_gram(gram(x), label, cluster), 7)
    for gone in range(6):
        rest = cluster != gone
        assert found[gone] == pytest.approx(calinski_harabasz_score(x[rest], label[rest]), rel=1e-9)
    assert math.isnan(found[6]), "an image without samples here"


def chi(clusters: int, seed: int, apart: float) -> tuple[float, np.ndarray]:
    """CHI and its shifts."""
    x, label, cluster = crossed(clusters, seed, apart=apart)
    units = units_of_gram(gram(x), label, cluster)
    value = separation(units).chi
    return value, shifts(value, left_out(units, clusters))


@pytest.mark.parametrize(("clusters", "apart"), [(5, 1.0), (12, 0.5), (20, 2.0)])
def test_the_interval_covers(clusters: int, apart: float) -> None:
    """At 95 %: intervals hold the (geometric) mean CHI over many sets of clusters in 92 to 98 of 100."""
    trials = 400
    truth = math.exp(np.mean([math.log(chi(clusters, 10_000 + seed, apart)[0]) for seed in range(400)]))
    found = [interval(*chi(clusters, seed, apart)) for seed in range(trials)]
    assert all(item.low < item.mean < item.high for item in found)
    error = math.sqrt(0.95 * 0.05 / trials)
    assert 0.93 - 2 * error <= np.mean([item.low <= truth <= item.high for item in found]) <= 0.97 + 2 * error


@pytest.mark.parametrize("clusters", [5, 12])
def test_two_equal_networks_have_a_ratio_of_one_in_most_studies(clusters: int) -> None:
    """Two networks on the same contents, alike but for what is their own."""
    trials, apart = 300, 0
    for seed in range(trials):
        x, label, cluster = crossed(clusters, seed, apart=1.5)
        sides = []
        for network in (1, 2):
            rng = np.random.default_rng([seed, network])
            units = units_of_gram(gram(x + 0.7 * rng.normal(size=x.shape)), label, cluster)
            value = separation(units).chi
            sides.append((value, shifts(value, left_out(units, clusters))))
        (a, one), (b, other) = sides
        found = interval(a / b, one - other)
        apart += found.low > 1 or found.high < 1
    assert apart / trials < 0.07 + 2 * math.sqrt(0.05 * 0.95 / trials)


def test_intervals_of_few_clusters_and_of_none() -> None:
    value, shift = chi(4, 1, 2.0)
    few = interval(value, shift)
    assert 0 < few.low < value < few.high
    assert math.isnan(interval(*chi(2, 1, 2.0)).low)
    assert interval(*chi(2, 1, 2.0)).reason == "2 photographs: an interval takes 3"
    assert math.isnan(interval(math.inf, np.array([0.1, 0.2, 0.3])).low)
    assert math.isnan(above_one(2.0, np.array([np.nan])))


def test_a_ratio_of_two_with_the_same_left_out_is_paired() -> None:
    x, label, cluster = crossed(20, 2, apart=1)
    sides = []
    for features in (x, 3 * x):
        units = units_of_gram(gram(features), label, cluster)
        value = separation(units).chi
        sides.append(shifts(value, left_out(units, 20)))
    found = interval(1.0, sides[0] - sides[1])
    assert found.high - found.low < 1e-9
    assert above_one(2.0, sides[0] - sides[1]) == 1.0
    assert above_one(0.5, sides[0]) == pytest.approx(1 - above_one(2.0, sides[0]))


# -- the null ----------------------------------------------------------------------------------------------------


def test_relabelling_is_what_it_says() -> None:
    """Two clusters, two classes: there are two ways to name them, up to names of the whole."""
    x, label, cluster = crossed(2, 3, apart=1)
    units = units_of_gram(gram(x), label, cluster)
    swapped = np.where(cluster == 1, 1 - label, label)
    wanted = {round(calinski_harabasz_score(x, some), 6) for some in (label, swapped)}
    assert set(np.round(relabelled(units, 50, generator(0)), 6)) == wanted


def test_relabelling_keeps_contents_balanced_when_classes_are_joined() -> None:
    """Three levels joined to two classes: with contents far apart, and no effect, the null is where CHI is."""
    rng = np.random.default_rng(0)
    content = 10 * rng.normal(size=(15, 6))
    x = np.concatenate([content + rng.normal(size=(15, 6)) for _ in range(3)])
    units = units_of_gram(gram(x), np.repeat([0, 1, 2], 15), np.tile(np.arange(15), 3))
    joined = np.array([0, 1, 1])
    found = separation(regroup(units, joined)).chi
    null = relabelled(units, 200, generator(0), joined=joined)
    assert null.mean() < 0.05
    assert found < np.quantile(null, 0.99)
    label = np.repeat(joined, 15)
    swapped = np.array([calinski_harabasz_score(x, label[np.concatenate([i + 15 * rng.permutation(3) for i in range(15)])
                                                         .reshape(15, 3).T.ravel()]) for _ in range(200)])  # fmt: skip
    assert null.mean() == pytest.approx(swapped.mean(), rel=0.2)


def test_shuffling_keeps_strata_and_equals_scikit_learn() -> None:
    x, label, _ = crossed(6, 4, apart=1)
    content = np.tile(np.arange(len(x) // 2), 2)
    found = shuffled(gram(x), content, label, 30, generator(1))
    rng = generator(1)
    order = np.argsort(content, kind="stable")
    who = np.empty((30, len(x)), int)
    for stratum in (0, 1):
        places = np.flatnonzero(label == stratum)
        who[:, places] = rng.permuted(np.broadcast_to(places, (30, len(places))), axis=1)
    for value, permuted in zip(found, who):
        assert (label[permuted] == label).all()
        assert value == pytest.approx(calinski_harabasz_score(x[permuted[order]], content[order]), rel=1e-9)


def test_without_effect_p_is_even_and_with_one_it_is_small() -> None:
    def p(seed: int, apart: float) -> float:
        x, label, cluster = crossed(12, seed, apart=apart)
        units = units_of_gram(gram(x), label, cluster)
        null = relabelled(units, 199, generator(seed, "null"))
        return (1 + float((null >= separation(units).chi).sum())) / 200

    found = np.array([p(seed, 0.0) for seed in range(100)])
    assert 0.35 < found.mean() < 0.65
    assert (found < 0.05).mean() <= 0.12
    assert p(0, 2.0) == pytest.approx(1 / 200)


def test_each_cluster_with_its_own_class_deals_the_classes_anew() -> None:
    x, label = classes(60, 10, 3, apart=3)
    units = units_of_gram(gram(x), label, np.arange(60))
    null = relabelled(units, 300, generator(0))
    assert null.mean() == pytest.approx(1, abs=0.15)
    assert separation(units).chi > null.max()
