"""An installed package's entry point whose value a registry cannot take is an error that names it, once its name is asked for; it costs
nothing else, and its name is never said to be unknown."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import xlli_ray
from xlli_ray import registry
from xlli_ray.errors import NetworkError, RecipeError
from xlli_ray.models.networks import network_file
from xlli_ray.recipe import parse_recipe

TABLES = [table for table in vars(registry).values() if isinstance(table, registry.Registry)]
ENTRIES = """
[xlli_ray.probes]
contrast = someones_probe
[xlli_ray.analyses]
spread = someones_spread.py
[xlli_ray.degradations]
drizzle = someones_rain
[xlli_ray.corpora]
numbered = someones_kinds
[xlli_ray.metrics]
sharpness = someones_metric
[xlli_ray.lam_paths]
grey = someones_path
[xlli_ray.lam_methods]
shap = someones_method
[xlli_ray.sections]
restore = someones_section
[xlli_ray.networks]
doubler = someones_net:Doubler
tripler = someones_triple
"""
RECIPE: dict[str, Any] = {
    "name": "own", "corpus": {"images": "*.png", "scale": 4}, "models": [{"id": "net", "weights": "builtin:srresnet-gr-clean"}],
    "stages": [{"restore": {}}],
}  # fmt: skip


@pytest.fixture(autouse=True)
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    about = tmp_path / "someones-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: someones\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(ENTRIES)
    (tmp_path / "someones_triple.py").write_text("def make():\n    pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    for table in TABLES:
        table.__dict__.pop("_installed", None)
    yield
    sys.modules.pop("someones_triple", None)
    for table in TABLES:
        table.__dict__.pop("_installed", None)


@pytest.mark.parametrize(
    ("change", "entry", "group"),
    [
        ({"stages": [{"contrast": {}}]}, "contrast = someones_probe", "probes"),
        ({"stages": [{"spread": {}}]}, "spread = someones_spread.py", "analyses"),
        ({"corpus": {"images": "*.png", "scale": 4, "degradations": [{"drizzle": 1}]}}, "drizzle = someones_rain", "degradations"),
        ({"corpus": {"numbered": "photos"}}, "numbered = someones_kinds", "corpora"),
        ({"stages": [{"restore": {"metrics": ["sharpness"]}}]}, "sharpness = someones_metric", "metrics"),
        ({"stages": [{"lam": {"path": "grey"}}]}, "grey = someones_path", "lam_paths"),
        ({"stages": [{"lam": {"method": "shap"}}]}, "shap = someones_method", "lam_methods"),
    ],
)  # fmt: skip
def test_a_recipe_that_asks_for_its_name_is_told_entry_point_package_and_form(
    change: dict[str, Any], entry: str, group: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as caught:
        parse_recipe({**RECIPE, **change}, base=tmp_path)
    said = f"the entry point `{entry}` of package someones, group xlli_ray.{group}, has the wrong form; expected package.module:Name."
    assert said in str(caught.value)


def test_a_network_that_names_a_class_is_told_to_name_the_module_or_the_place_in_the_recipe() -> None:
    with pytest.raises(NetworkError) as caught:
        network_file("doubler")
    said = "the entry point `doubler = someones_net:Doubler` of package someones, group xlli_ray.networks, has the wrong form; "
    assert f"{said}expected package.module, without a class or function." in str(caught.value)
    assert str(caught.value).endswith("A recipe may also name someones_net:Doubler itself.")


def test_a_network_whose_module_builds_none_is_told_what_the_module_lacks() -> None:
    with pytest.raises(NetworkError, match="'tripler': the module someones_triple has no VERSION and no from_state_dict"):
        network_file("tripler")


def test_it_costs_nothing_that_does_not_ask_for_it(tmp_path: Path) -> None:
    assert [recipe.kind for recipe in parse_recipe(RECIPE, base=tmp_path).stages] == ["restore"]
    for table in TABLES:
        names = set(table)
        assert len(table) == len(names)
        assert not names & {"contrast", "spread", "drizzle", "numbered", "sharpness", "grey", "doubler"}
    assert "restore" not in registry.SECTIONS
    with pytest.raises(RecipeError, match="page section 'restore': the entry point `restore = someones_section` of package someones"):
        registry.SECTIONS.load("restore")
    with pytest.raises(xlli_ray.XlliError, match="there is no stage 'contras'"):
        parse_recipe({**RECIPE, "stages": [{"contras": {}}]}, base=tmp_path)


def test_a_name_that_two_packages_give_to_two_places_is_refused_naming_both_once_it_is_used(tmp_path: Path) -> None:
    """The later one won without a word."""
    for package, place in (("others", "others_rain:Rain"), ("someone", "someones_rain:Rain"), ("again", "someones_rain:Rain")):
        about = tmp_path / f"{package}-1.0.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (about / "entry_points.txt").write_text(f"[xlli_ray.degradations]\nfog = {place}\n")
    parse_recipe(RECIPE, base=tmp_path)
    with pytest.raises(RecipeError, match=r"degradation 'fog': .* `others_rain:Rain` of package others and `someones_rain:Rain` of"):
        parse_recipe({**RECIPE, "corpus": {"images": "*.png", "scale": 4, "degradations": [{"fog": 1}]}}, base=tmp_path)
