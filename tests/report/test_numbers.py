from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from toy_studies import Recipe, Stage

from xlli_ray.report import numbers
from xlli_ray.report.numbers import Summary, Tables, bootstrap, summarise
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]
ONE = (("v", "float64"),)


def summary_of(place: str, *, models: int = 2, labels: tuple[str, ...] = ("clean", "blur2")) -> Summary:
    with Tables(open_study(place)) as tables:
        return summarise(tables, "restore", "restore", "v", models=[f"net{i}" for i in range(models)], labels=labels)


def study_of(make: Make, value: Callable[[int, int, str], float], **fields: Any) -> str:
    return make(Recipe([Stage("restore", columns=ONE, value=lambda m, row, label: {"v": value(m, row, label)})], **fields))


def test_the_interval_is_the_one_of_a_plain_loop() -> None:
    values = np.random.default_rng(1).normal(size=(30, 2))
    low, high = bootstrap(values, np.ones_like(values))
    rng = np.random.default_rng(numbers.SEED)
    drawn = [rng.multinomial(30, np.full(30, 1 / 30)) @ values / 30 for _ in range(numbers.RESAMPLES)]
    np.testing.assert_allclose((low, high), np.percentile(drawn, [2.5, 97.5], axis=0), rtol=1e-12)
    assert (low < values.mean(axis=0)).all()
    assert (high > values.mean(axis=0)).all()


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(2)
    draws = rng.normal(size=(400, 40)).T  # 400 studies of 40 contents, true mean 0
    low, high = bootstrap(draws, np.ones_like(draws))
    assert 0.90 < np.mean((low < 0) & (high > 0)) < 0.98


def test_a_group_without_values_has_no_interval() -> None:
    sums, counts = np.zeros((5, 2)), np.zeros((5, 2))
    sums[:, 0], counts[:, 0] = range(5), 1
    counts[3, 0] = sums[3, 0] = 0
    low, high = bootstrap(sums, counts)
    assert np.isfinite([low[0], high[0]]).all()
    assert np.isnan([low[1], high[1]]).all()


def test_differences_of_networks_are_taken_picture_by_picture(make_study: Make) -> None:
    # Pictures differ by 10, networks by 0.2 on each of them: means are uncertain, the difference is not.
    place = study_of(make_study, lambda model, row, label: 10.0 * (row % 5) + 0.2 * model, pictures=5)
    found = summary_of(place)
    wide, paired = found.values["net0", "clean"], found.paired["net1", "clean"]
    assert found.pairing == "models"
    assert wide.high - wide.low > 8
    assert (paired.mean, paired.low, paired.high) == pytest.approx((0.1, 0.1, 0.1))
    assert wide.contents == 5


def test_one_network_is_compared_with_itself_on_the_first_degradation(make_study: Make) -> None:
    place = study_of(make_study, lambda model, row, label: 10.0 * (row % 3) - (label != "clean"), models=1)
    found = summary_of(place, models=1)
    assert found.pairing == "labels"
    assert found.paired["net0", "blur2"].mean == pytest.approx(-1.0)
    assert found.paired["net0", "clean"].mean == 0.0


def test_a_picture_that_one_network_lacks_counts_in_its_mean_but_in_no_difference(make_study: Make) -> None:
    def value(model: int, row: int, label: str) -> float:
        return float("nan") if model == 1 and row == 0 else 10.0 * row + model

    found = summary_of(study_of(make_study, value, degradations=["clean"]), labels=("clean",))
    assert found.values["net0", "clean"].contents == 3
    assert found.values["net1", "clean"].contents == 2
    assert {found.paired[model, "clean"].contents for model in ("net0", "net1")} == {2}
    assert found.paired["net1", "clean"].mean == pytest.approx(0.5)
    assert found.missing == 1


def test_one_content_has_a_mean_and_no_interval(make_study: Make) -> None:
    found = summary_of(study_of(make_study, lambda model, row, label: 1.0, pictures=1))
    assert found.values["net0", "clean"].mean == 1.0
    assert np.isnan(found.values["net0", "clean"].low)


def test_many_contents_are_resampled_in_groups_with_the_same_result(make_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    place = study_of(make_study, lambda model, row, label: float(np.sin(row * 7)), pictures=60, size=16)
    one_by_one = summary_of(place).values["net0", "clean"]
    monkeypatch.setattr(numbers, "UNITS", 20)
    grouped = summary_of(place).values["net0", "clean"]
    assert grouped.mean == pytest.approx(one_by_one.mean)
    assert grouped.contents == 60
    assert grouped.high - grouped.low == pytest.approx(one_by_one.high - one_by_one.low, rel=0.35)


def test_failed_rows_are_in_no_mean(make_study: Make) -> None:
    place = study_of(make_study, lambda model, row, label: float(row), failed=[0], degradations=["clean"])
    assert summary_of(place, labels=("clean",)).values["net0", "clean"].mean == pytest.approx(1.5)
