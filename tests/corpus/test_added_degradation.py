"""The promise, as a test: a degradation with parameters and by-products is one file of one's own, and nothing in the package changes. It is
taken from docs/extending.md as it stands."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

import xlli_ray
from xlli_ray import user_code
from xlli_ray.corpus.degradations import check_draw, draw, parse
from xlli_ray.errors import RecipeError

DOCS = Path(__file__).parents[2] / "docs" / "extending.md"
STREAKS = re.search(r"## A degradation.*?```python\n(.*?)```", DOCS.read_text(), re.DOTALL)[1]  # type: ignore[index]
PLACE = "someones_streaks:Streaks"
NET = "from torch import nn\n\n\ndef make():\n    return nn.Upsample(scale_factor=2)\n"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the one file of somebody's package, importable; what the recipe allows is forgotten afterwards."""
    (tmp_path / "someones_streaks.py").write_text(STREAKS)
    (tmp_path / "net.py").write_text(NET)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(user_code, "_allowed", set())
    yield tmp_path
    sys.modules.pop("someones_streaks", None)


def recipe(folder: Path) -> Path:
    (folder / "photos").mkdir()
    for i in range(2):
        coarse = np.random.default_rng(i).normal(0.4, 0.1, (8, 10, 3)).clip(0, 1)
        Image.fromarray((np.kron(coarse, np.ones((4, 4, 1))) * 255).astype(np.uint8)).save(folder / "photos" / f"{i}.png")
    entries = ["clean", {PLACE: 0.01}, {PLACE: {"amount": 0.01, "length": 5}, "label": "drizzle"}, {PLACE: 0.01, "blur": 1}]
    data = {
        "name": "streaks", "baseline": False,
        "corpus": {"images": ["photos/*.png"], "scale": 2, "degradations": entries},
        "models": [{"id": "net", "network": "net.py:make", "scale": 2}],
        "stages": [{"inputs": {"save": ["input", "layer", "mask"]}}, {"restore": {}}],
    }  # fmt: skip
    (folder / "recipe.yaml").write_text(yaml.safe_dump(data))
    return folder / "recipe.yaml"


def test_streaks_with_three_parameters_and_a_mask_goes_from_a_file_of_ones_own_to_arrays_and_tables(package: Path) -> None:
    place = package / "study"
    xlli_ray.run(str(recipe(package)), str(place))
    study = xlli_ray.open_study(place)
    rows = study.sql("select label, type, streaks, blur, parameters from samples group by all order by label").to_pylist()
    assert [(row["label"], row["type"], row["streaks"], row["blur"]) for row in rows] == [
        ("blur1+streaks0.01", "blur+streaks", 0.01, 1.0), ("clean", "clean", None, None),
        ("drizzle", "streaks", 0.01, None), ("streaks0.01", "streaks", 0.01, None),
    ]  # fmt: skip
    assert yaml.safe_load(rows[2]["parameters"]) == {"streaks": {"amount": 0.01, "length": 5, "strength": 0.8}}
    ids = study.sql("select sample_id from samples where label = 'drizzle' order by row").column("sample_id").to_pylist()
    layer, mask, seen = (study.array("inputs/-/inputs", name).rows(ids) for name in ("layer", "mask", "input"))
    assert layer.shape == mask.shape == (2, 16, 20)
    assert (layer[mask] == 204).all()
    assert 0 < mask.mean() < 0.5
    assert (seen[:, 0][mask] >= 204).all(), "what is stored are the streaks that the input has"
    clean = study.sql("select sample_id from samples where label = 'clean' order by row").column("sample_id").to_pylist()
    assert not study.array("inputs/-/inputs", "layer").rows(clean).any()
    families = study.manifest.samples.families
    assert [(family.name, family.axis, family.colour) for family in families][1] == ("streaks", "streaks, share of pixels", "#117733")
    before = sorted(path for path in (place / "records").rglob("*"))
    xlli_ray.run(str(package / "recipe.yaml"), str(place))
    assert sorted(path for path in (place / "records").rglob("*")) == before, "nothing was computed again"


def test_a_received_study_runs_no_degradation_that_no_recipe_names_and_is_read_without_it(package: Path) -> None:
    place = package / "study"
    xlli_ray.run(str(recipe(package)), str(place))
    user_code._allowed.clear()
    sys.modules.pop("someones_streaks", None)
    (package / "someones_streaks.py").write_text(f"open({str(package / 'ran')!r}, 'w')")
    study = xlli_ray.open_study(place)
    assert study.sql("select count(*) as n from restore").to_pylist() == [{"n": 8}]
    sample = study.sample(study.sql("select sample_id from samples where label = 'drizzle' limit 1").to_pylist()[0]["sample_id"])
    with pytest.raises(xlli_ray.XlliError, match="drizzle"):
        _ = sample.input
    with pytest.raises(RecipeError, match="code that none of your recipes names"):
        parse({PLACE: 0.01})
    assert not (package / "ran").exists()


def test_parameters_of_ones_own_are_drawn_for_training_in_their_order(package: Path) -> None:
    user_code.allow([PLACE])
    spec = {PLACE: {"amount": [0.01, 0.02], "length": [3, 5]}, "noise": 10}
    check_draw(spec)
    rng = np.random.default_rng(0)
    made = [draw(spec, rng).parts for _ in range(200)]
    assert {part.params.length for _, part in made} == {3, 4, 5}  # type: ignore[attr-defined]
    assert all(0.01 <= part.level <= 0.02 and part.params.strength == 0.8 for _, part in made)  # type: ignore[attr-defined]
    assert all(noise.level == 10 for noise, _ in made)
    with pytest.raises(RecipeError, match=r"degradation streaks: \[2, 1\] is not a range"):
        check_draw({PLACE: {"amount": [2, 1]}})


def test_two_sets_of_parameters_share_no_label_and_no_identity(package: Path) -> None:
    user_code.allow([PLACE])
    one, other = parse({PLACE: {"amount": 0.01, "length": 5}}), parse({PLACE: {"amount": 0.01, "length": 6}})
    assert one.label != other.label
    assert one.label.startswith("streaks0.01~")
    named = parse({PLACE: {"amount": 0.01, "length": 5}, "label": "drizzle"})
    assert (named.label, named.identity) == ("drizzle", one.identity)
    for bad in ("clean", "given", "real-x", "a b", "", 3):
        with pytest.raises(RecipeError, match="degradation label"):
            parse({PLACE: 0.01, "label": bad})
