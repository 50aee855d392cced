"""For the tests of the page: studies made by hand; `toy_studies` and `lam_studies` can be imported by name."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

for folder in (Path(__file__).parent, Path(__file__).parents[1] / "analyses"):
    if str(folder) not in sys.path:
        sys.path.append(str(folder))

from toy_studies import Recipe, write_study  # noqa: E402

from xlli_ray.store.objects.client import open_objects  # noqa: E402


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[[Recipe], str]:
    """`make_study(Recipe(...))` writes a study and gives its path."""

    def make(recipe: Recipe) -> str:
        place = tmp_path / recipe.name
        write_study(open_objects(place), recipe, tmp_path / f"{recipe.name}-pictures")
        return str(place)

    return make
