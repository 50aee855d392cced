from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from toy_studies import Recipe, Stage

from xlli_ray.report.page_means import Asked, Summary, Tables, summarise
from xlli_ray.stats.intervals import UNLIMITED, Interval, intervals, photograph_means
from xlli_ray.stats.network_pairs import compared
from xlli_ray.study import open_study

Make = Callable[[Recipe], str]
ONE = (("v", "float64"),)


def summary_of(
    place: str, *, models: int = 2, labels: tuple[str, ...] = ("clean", "blur2"), against: str | None = None, asked: Asked | None = None
) -> Summary:
    asked = asked or Asked("restore", "restore", {"v": UNLIMITED})
    with Tables(open_study(place)) as tables:
        (found,) = summarise(tables, asked, models=[f"net{i}" for i in range(models)], labels=labels, against=against)
    return found


def study_of(make: Make, value: Callable[[int, int, str], float], **fields: Any) -> str:
    return make(Recipe([Stage("restore", columns=ONE, value=lambda m, row, label: {"v": value(m, row, label)})], **fields))


def difference(summary: Summary, name: str, where: str = "clean") -> Interval:
    (found,) = [item.interval for item in summary.differences if (item.name, item.where) == (name, where)]
    return found


def test_the_page_has_the_interval_that_every_analysis_has(make_study: Make) -> None:
    place = study_of(make_study, lambda model, row, label: float(np.exp(np.sin(7.0 * row + model))), pictures=7)
    found = summary_of(place)
    table = open_study(place).sql("select model, label, row, v from restore join samples using (sample_id, row)").to_pylist()
    for (model, label), item in found.values.items():
        rows = [row["v"] for row in table if (row["model"], row["label"]) == (model, label)]
        (same,) = intervals(*photograph_means(np.array(rows)[:, None], np.arange(7), 7))
        assert (item.mean, item.low, item.high) == pytest.approx((same.mean, same.low, same.high), rel=1e-12)
        assert (item.photographs, item.values) == (7, 7)


def test_several_windows_of_a_photograph_are_one(make_study: Make) -> None:
    """Five windows a picture: the interval is that of the pictures' means, not of forty windows."""
    columns = (("window", "int64"), ("v", "float64"))

    def value(model: int, row: int, label: str) -> list[dict[str, Any]]:
        return [{"window": i, "v": 10.0 * (row % 8) + i + model * (row % 3)} for i in range(5)]

    place = make_study(Recipe([Stage("restore", columns=columns, value=value)], pictures=8, degradations=["clean"]))
    found = summary_of(place, labels=("clean",), asked=Asked("restore", "restore", {"v": UNLIMITED}, ["window"]))
    (same,) = intervals(10.0 * np.arange(8)[:, None] + 2)
    item = found.values["net0", "clean"]
    assert (item.low, item.high) == pytest.approx((same.low, same.high))
    assert (item.photographs, item.values) == (8, 40)
    apart = difference(found, "net1 − net0")
    assert apart.mean == pytest.approx(np.mean([row % 3 for row in range(8)]))
    assert (apart.photographs, apart.values) == (8, 40)


def test_two_networks_differ_by_b_minus_a_and_not_by_half_of_it(make_study: Make) -> None:
    # Pictures differ by 10, networks by 0.2 on each of them: means are uncertain, the difference is not.
    place = study_of(make_study, lambda model, row, label: 10.0 * (row % 5) + 0.2 * model, pictures=5)
    found = summary_of(place)
    wide, paired = found.values["net0", "clean"], difference(found, "net1 − net0")
    assert found.pairing == "models"
    assert wide.high - wide.low > 8
    assert (paired.mean, paired.low, paired.high) == pytest.approx((0.2, 0.2, 0.2))
    assert wide.photographs == 5


def test_a_few_networks_are_compared_pair_by_pair_and_many_with_one(make_study: Make) -> None:
    place = study_of(make_study, lambda model, row, label: float(row + model), models=7, degradations=["clean"])
    few, many = (summary_of(place, models=count, labels=("clean",)) for count in (3, 7))
    assert [item.name for item in few.differences] == ["net1 − net0", "net2 − net0", "net2 − net1"]
    assert [item.name for item in many.differences] == [f"net{i} − net0" for i in range(1, 7)]
    chosen = summary_of(place, models=3, labels=("clean",), against="net1")
    assert [(item.name, item.interval.mean) for item in chosen.differences] == [("net0 − net1", -1.0), ("net2 − net1", 1.0)]
    assert len(compared([f"m{i}" for i in range(40)])) == 39
    assert len(compared([f"m{i}" for i in range(6)])) == 15


def test_one_network_is_compared_with_itself_on_the_first_degradation(make_study: Make) -> None:
    place = study_of(make_study, lambda model, row, label: 10.0 * (row % 3) - (label != "clean"), models=1)
    found = summary_of(place, models=1)
    assert found.pairing == "labels"
    assert [(item.name, item.where, item.interval.mean) for item in found.differences] == [("blur2 − clean", "net0", pytest.approx(-1.0))]


def test_a_picture_that_one_network_lacks_counts_in_its_mean_but_in_no_difference(make_study: Make) -> None:
    def value(model: int, row: int, label: str) -> float:
        return float("nan") if model == 1 and row == 0 else 10.0 * row + model

    found = summary_of(study_of(make_study, value, degradations=["clean"]), labels=("clean",))
    assert found.values["net0", "clean"].photographs == 3
    assert found.values["net1", "clean"].photographs == 2
    assert difference(found, "net1 − net0").photographs == 2
    assert difference(found, "net1 − net0").mean == pytest.approx(1.0)
    assert found.missing == 1


def test_two_pictures_have_a_mean_and_a_reason_in_place_of_an_interval(make_study: Make) -> None:
    found = summary_of(study_of(make_study, lambda model, row, label: float(row), pictures=2))
    item = found.values["net0", "clean"]
    assert np.isfinite(item.mean)
    assert np.isnan([item.low, item.high]).all()
    assert item.reason == "2 photographs: an interval takes 3"


def test_ends_stay_in_the_range_of_the_column(make_study: Make) -> None:
    place = study_of(make_study, lambda model, row, label: 0.99 if row % 4 else 0.2, pictures=4, degradations=["clean"])
    free, bound = (summary_of(place, labels=("clean",), asked=Asked("restore", "restore", {"v": limits}))
                   for limits in ((None, None), (0.0, 1.0)))  # fmt: skip
    assert free.values["net0", "clean"].high > 1
    assert bound.values["net0", "clean"].high == 1


def test_failed_rows_are_in_no_mean(make_study: Make) -> None:
    place = study_of(make_study, lambda model, row, label: float(row), failed=[0], degradations=["clean"])
    assert summary_of(place, labels=("clean",)).values["net0", "clean"].mean == pytest.approx(1.5)


def test_columns_that_are_summarised_together_are_those_summarised_alone(make_study: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ten columns of a stage went through its rows and joins thirty times; one statement takes as many as fit. Limits, missing and infinite
    values, and a column of one value, are each column's own."""
    columns = (("v", "float64"), ("w", "int64"), ("alike", "bool"), ("none", "float64"), ("odd", "float64"))

    def value(model: int, row: int, label: str) -> dict[str, Any]:
        odd = {0: np.inf, 1: np.nan, 2: None}.get(row, row * 0.1 + model)
        return {"v": np.sin(row + model), "w": row % 5 + model, "alike": True, "none": None, "odd": odd}

    place = make_study(Recipe([Stage("restore", columns=columns, value=value)], models=3, pictures=6))
    limits = {"v": (-1.0, 0.5), "w": UNLIMITED, "alike": (0.0, 1.0), "none": UNLIMITED, "odd": (0.0, None)}
    nets, labels = ["net0", "net1", "net2"], ("clean", "blur2")
    with Tables(open_study(place)) as tables:
        queries: list[str] = []
        run = tables.arrow
        monkeypatch.setattr(tables, "arrow", lambda sql, values=(): queries.append(sql) or run(sql, values))
        together = summarise(tables, Asked("restore", "restore", limits), models=nets, labels=labels)
        assert len(queries) == 3
        alone = [summarise(tables, Asked("restore", "restore", {name: own}), models=nets, labels=labels) for name, own in limits.items()]
        queries.clear()
        monkeypatch.setattr("xlli_ray.report.page_means.HELD", 1)
        one_by_one = summarise(tables, Asked("restore", "restore", limits), models=nets, labels=labels)
        assert len(queries) == 1 + 2 * 5 - 1, "a column without a value has no differences"
    assert [found.column for found in together] == list(limits)
    assert [len(found.differences) for found in together] == [6, 6, 0, 0, 6]
    odd = together[-1]
    assert odd.missing > 0
    assert odd.infinite > 0
    assert max(item.high for item in together[0].values.values()) == 0.5
    for first, (second,), third in zip(together, alone, one_by_one):
        assert _said(first) == pytest.approx(_said(second), rel=1e-12, nan_ok=True)
        assert _said(first) == pytest.approx(_said(third), rel=1e-12, nan_ok=True)


def _said(found: Summary) -> dict[Any, Any]:
    """All that a summary says, as numbers."""
    ends = ("mean", "low", "high", "photographs", "values")
    values = {(key, end): getattr(item, end) for key, item in found.values.items() for end in ends}
    apart = {(item.name, item.where, end): getattr(item.interval, end) for item in found.differences for end in ends}
    return {**values, **apart, "missing": found.missing, "infinite": found.infinite}
