"""A factory beside its recipe: found there from any folder, in this process and in Ray's, and refused with where it was looked for."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from helpers import QUIET, digest

from xlli_ray.engine.options import Options
from xlli_ray.engine.run.driver import Summary, plan_study, run_study
from xlli_ray.errors import NetworkError
from xlli_ray.recipe import Recipe, load_recipe

NET = """
import torch
from torch import nn
import parts                       # a neighbour

def make(width=5):
    import late                    # another one, imported when the factory is called
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(late.SEED)
        return parts.Net(width)
"""
PARTS = """
from torch import nn

class Net(nn.Module):
    def __init__(self, width):
        super().__init__()
        self.head = nn.Conv2d(3, width, 3, padding=1)
        self.tail = nn.Conv2d(width, 12, 3, padding=1)

    def forward(self, x):
        return nn.functional.pixel_shuffle(self.tail(self.head(x)), 2)
"""


@pytest.fixture
def beside(tmp_path: Path, corpus: Path) -> Callable[..., Path]:
    """A folder with a recipe and the user's files."""

    def write(network: str, seed: int = 0, name: str = "recipe") -> Path:
        folder = tmp_path / name
        folder.mkdir(exist_ok=True)
        for file, text in (("net_of_mine.py", NET), ("parts.py", PARTS), ("late.py", f"SEED = {seed}\n")):
            (folder / file).write_text(text)
        data: dict[str, Any] = {
            "name": "mine", "corpus": {"images": [f"{corpus}/*.png"], "scale": 2},
            "models": [{"id": "a", "network": network}], "stages": [{"restore": {}}, {"features": {"layers": ["head"]}}],
        }  # fmt: skip
        (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
        return folder / "recipe.yaml"

    return write


@pytest.mark.parametrize("network", ["net_of_mine.py:make", "net_of_mine:make"])
def test_a_factory_beside_the_recipe_runs_from_any_folder(
    network: str, beside: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    summary = run_study(load_recipe(beside(network)), str(tmp_path / "study"), QUIET)
    assert summary.failed == 0
    assert run_study(load_recipe(beside(network)), str(tmp_path / "study"), QUIET).complete


def test_ray_workers_find_it_too_and_give_the_same_bytes(
    beside: Callable[..., Path], ray_session: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    parsed: Recipe = load_recipe(beside("net_of_mine.py:make"))
    run_study(parsed, str(tmp_path / "here"), QUIET)
    summary: Summary = run_study(parsed, str(tmp_path / "there"), Options(workers=1, quiet=True))
    assert summary.failed == 0
    assert digest(tmp_path / "here") == digest(tmp_path / "there")


def test_two_recipes_with_files_of_one_name_have_networks_of_their_own(beside: Callable[..., Path], tmp_path: Path) -> None:
    first, second = beside("net_of_mine:make", 0, "one"), beside("net_of_mine:make", 1, "two")
    for place in (first, second, first):
        run_study(load_recipe(place), str(tmp_path / f"study-{place.parent.name}"), QUIET)
    assert digest(tmp_path / "study-one") != digest(tmp_path / "study-two")


def test_a_recipes_folder_that_moved_with_its_files_goes_on(beside: Callable[..., Path], tmp_path: Path) -> None:
    place = beside("net_of_mine.py:make")
    run_study(load_recipe(place), str(tmp_path / "study"), QUIET)
    os.rename(place.parent, tmp_path / "moved")
    assert run_study(load_recipe(tmp_path / "moved/recipe.yaml"), str(tmp_path / "study"), QUIET).complete


def test_a_factory_that_is_nowhere_is_refused_with_the_places_before_anything_is_computed(
    beside: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = beside("my_edsr:make")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(NetworkError, match=rf"model 'a': .*my_edsr\.py in {place.parent} and {tmp_path}, and among installed packages"):
        plan_study(load_recipe(place), str(tmp_path / "study"), QUIET)


def test_a_factory_in_a_folder_below_the_recipes_is_found_by_the_plan_and_by_workers(
    beside: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place = beside("nets/net_of_mine.py:make")
    (place.parent / "nets").mkdir()
    for name in ("net_of_mine.py", "parts.py", "late.py"):
        (place.parent / name).rename(place.parent / "nets" / name)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run_study(load_recipe(place), str(tmp_path / "study"), QUIET).failed == 0
